"""What is missing is said, and what brings it: in environments in which the packages of an extra cannot be found."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import runpy
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

import beampipe
from beampipe.errors import MissingExtraError
from beampipe.extras import _BRINGS, _OF_PACKAGE, extra_of, name_missing_extras

ROOT = Path(__file__).parents[2]
SOURCE = Path(beampipe.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WITHOUT: dict[str, str] = runpy.run_path(str(ROOT / "release/check.py"))["WITHOUT"]

SAID = {command: extra for command, extra in WITHOUT.items() if command != "chain demo"}
"""Its worker processes import what is missing, and a test cannot hide it from them."""

NOT_OF_EXTRAS = {"IPython", "jaxtyping", "playwright", "triton_python_backend_utils"}
"""What a notebook, the tests or Triton bring; beampipe does without."""

ALWAYS = {"click", "numpy", "pydantic", "rich", "typer"}
"""Packages that are there without any extra; typer brings click and pydantic."""

BY_THEIR_NAMES = {package for package, extra in _OF_PACKAGE.items() if not extra}
"""Packages that errors name, as no extra of an area brings them."""

ALONG = {"anyio", "cramjam", "dask", "grpcio", "markupsafe", "pillow", "protobuf", "starlette"}
"""Distributions that packages of extras depend on, and that beampipe imports itself, too."""

USES = {
    "tracking": "tracking demo",
    "simulation": "tracking simulate -o out.parquet",
    "serving": "track events.parquet -o out.parquet --url grpc://127.0.0.1:1",
    "fleet": "fleet certificate authority",
    "calibration": "calibration demo -o out",
    "analysisops": "analysisops demo -o out",
    "train": "tracking train events.parquet -o out --quick",
}
"""Extra -> a command that needs one of its packages."""

PROGRAM = """
import json, sys
from importlib.machinery import PathFinder
hidden, commands = json.loads(sys.argv[1])
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name.partition(".")[0] in hidden else find(name, *more)
from typer.testing import CliRunner
from beampipe.cli import app
for command in commands:
    result = CliRunner().invoke(app, command.split())
    print("said:", json.dumps([command, type(result.exception).__name__, result.output + str(result.exception)]))
"""


def brought(extra: str, *, deep: bool) -> set[str]:
    """Names of the distributions that an extra brings, by itself or with the extras that it names."""
    result: set[str] = set()
    for wish in PROJECT["optional-dependencies"][extra]:
        name, _, more = re.fullmatch(r"([\w.-]+)(\[([\w,-]+)\])?.*", wish).groups()  # type: ignore[union-attr]
        if name != "beampipe":
            result.add(name.lower().replace("_", "-"))
        elif deep:
            result |= {item for other in more.split(",") for item in brought(other, deep=True)}
    return result


homes_of_packages = cache(packages_distributions)
"""Package -> the distributions in which it is."""


@cache
def imported() -> dict[tuple[str, str], set[str]]:
    """Package and module of beampipe that imports it -> the distributions in which the package is."""
    homes, result = homes_of_packages(), {}
    for path in SOURCE.rglob("*.py"):
        module = ".".join(("beampipe", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [str(node.module)]
            for package in {name.partition(".")[0] for name in names} - {"beampipe"} - NOT_OF_EXTRAS:
                if package not in sys.stdlib_module_names:
                    # One that is not installed counts by its own name.
                    result[package, module] = {home.lower().replace("_", "-") for home in homes.get(package, [package])}
    return result


def said(tmp_path: Path, hidden: set[str], commands: list[str]) -> dict[str, tuple[str, str]]:
    """Command -> name and message of the error that ended it, where `hidden` packages cannot be found."""
    arguments = json.dumps([sorted(hidden), commands])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    lines = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("said: ")]
    assert len(lines) == len(commands), done.stderr
    return {command: (kind, message) for command, kind, message in lines}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from beampipe.calibration.run import start_calibration
    from beampipe.tracking.data import write_example

    result = tmp_path_factory.mktemp("files")
    write_example(result / "events.parquet")
    start_calibration(result / "dijets.toml")
    return result


def test_every_import_of_the_package_is_mended_by_the_extra_that_is_named() -> None:
    assert len(imported()) > 100
    for (package, module), homes in imported().items():
        if package not in ALWAYS | BY_THEIR_NAMES:
            extra = extra_of(package, module)
            assert extra, f"{module} imports {package}, which no extra brings"
            bring = brought(extra, deep=True)
            assert homes & (bring | ALONG), (
                f"{module} imports {package} ({homes}), but [{extra}] brings {sorted(bring)}"
            )


def test_without_any_extra_every_command_names_the_one_it_needs(folder: Path) -> None:
    result = said(folder, {package for package, _ in imported()} - ALWAYS, [*SAID])
    for command, extra in SAID.items():
        kind, message = result[command]
        assert kind == "MissingExtraError", (command, kind, message)
        assert message.endswith(f"pip install 'beampipe[{extra}]'"), (command, message)


def test_the_extra_of_an_area_brings_what_its_parts_of_other_areas_need() -> None:
    for area, parts in _BRINGS.items():
        bring = brought(area, deep=True)
        for part in parts:
            assert (brought(part, deep=True) if part in PROJECT["optional-dependencies"] else {part}) <= bring, part


@pytest.mark.parametrize(
    ("outer", "inner", "package", "extra"),
    [
        ("beampipe.chain.collisions", "beampipe.simulation.jets", "numba", "chain"),
        ("beampipe.chain.collisions", "beampipe.simulation.pythia", "pythia8mc", "chain"),
        ("beampipe.chain.tracks", "beampipe.tracking.strips", "scipy", "chain"),
        ("beampipe.fleet.server", "beampipe.triton.model", "tritonclient", "fleet"),
        ("beampipe.serving.fleet_demo", "beampipe.triton.model", "tritonclient", "fleet"),
        ("beampipe.serving.demo", "beampipe.triton.model", "tritonclient", "serving"),
        ("beampipe.analysisops.tasks.load", "beampipe.simulation.jets", "numba", "analysisops"),
        ("beampipe.calibration.run", "beampipe.simulation.jets", "fastjet", "simulation"),
        ("beampipe.chain.run", "beampipe.workflow.pools", "dask", "chain"),
    ],
)
def test_an_area_that_uses_another_one_names_its_own_extra(
    outer: str, inner: str, package: str, extra: str, hide: Any
) -> None:
    hide(package)
    name_missing_extras()
    code = compile(f"import {package}", "inner", "exec")
    with pytest.raises(MissingExtraError, match=rf"{inner}.* needs {package}.*beampipe\[{extra}\]"):
        exec("exec(code, {'__name__': inner})", {"__name__": outer, "code": code, "inner": inner})


@pytest.mark.parametrize("extra", USES)
def test_an_extra_that_is_missing_alone_is_named(extra: str, folder: Path) -> None:
    own = brought(extra, deep=False)
    hidden = {package for (package, _), homes in imported().items() if homes & own} - ALWAYS
    assert hidden
    ((kind, message),) = said(folder, hidden, [USES[extra]]).values()
    assert kind in ("MissingExtraError", "BeampipeError"), message  # the second: one file of several, said before
    named = re.search(r"'beampipe\[(\w+)\]'", message)
    package = re.search(r"needs (\w+)", message)
    assert named is not None
    assert package is not None
    assert own & brought(named[1], deep=True)


def test_others_and_questions_are_answered_as_ever(hide: Any) -> None:
    hide("uproot")
    name_missing_extras()
    assert [getattr(finder, "__name__", "") for finder in sys.meta_path].count("_Missing") == 1
    assert importlib.util.find_spec("uproot") is None
    with pytest.raises(ModuleNotFoundError) as error:
        import uproot  # noqa: F401
    assert not isinstance(error.value, MissingExtraError)
