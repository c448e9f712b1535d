"""Benchmarks: one schema of results, records that a program compares, and a claim and an extra for each script."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from benchmarks import recording

from tests.release.test_extras import ALONG, ALWAYS, PROJECT, brought, homes_of_packages

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "benchmarks"
FILES: Final = sorted(FOLDER.rglob("*.py"))
SCRIPTS: Final = [path for path in FILES if '__name__ == "__main__"' in path.read_text(encoding="utf-8")]
OWN: Final = {path.stem for path in FILES} | {"beampipe", "tests"}
OF_NO_EXTRA: Final = {"triton_python_backend_utils", "coffea"}
"""A package that Triton brings, and one that `make bench-calibration` installs."""


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
    """Script and extras, of each script that `benchmarks.toml` lists with its extra."""
    for row in listed():
        if "extra" in row:
            yield row["command"].removeprefix("python "), row["extra"]


def listed() -> list[dict[str, Any]]:
    """The scripts in `benchmarks.toml`."""
    areas = tomllib.loads((FOLDER / "benchmarks.toml").read_text(encoding="utf-8"))["area"]
    return [row for area in areas for row in area["script"]]


def result(figures: list[dict[str, Any]]) -> str:
    """A result of the benchmark `fit.py`."""
    begun = {"date": "2026-01-01", "command": "python benchmarks/fit.py", "processor": "?", "cores": 2}
    return json.dumps({"conditions": {**begun, "load_average": [0.1, 0.1, 0.1]}, "figures": figures})


def test_the_page_of_benchmarks_is_that_of_the_recorded_results() -> None:
    subprocess.run([sys.executable, FOLDER / "page.py", "--check"], check=True)


def test_every_script_is_listed_with_its_claim() -> None:
    assert {ROOT / row["command"].removeprefix("python ") for row in listed()} == set(SCRIPTS)
    assert all(row["claim"] and row["shows"] for row in listed())


def test_records_have_the_schema_of_figures() -> None:
    scripts = {row["command"].removeprefix("python ") for row in listed() if row.get("measures", True)}
    records = sorted((FOLDER / "results").glob("*.json"))
    assert len(records) >= 20
    for path in records:
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record.keys() == {"conditions", "figures"}, path
        command = record["conditions"]["command"]
        assert recording.script_of(command) in scripts, path
        figures = recording.figures_of(record)
        assert len({figure.name for figure in figures}) == len(figures) > 0, path
        assert all(figure.claim for figure in figures), path


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ({"name": "time", "value": float("nan")}, "finite"),
        ({"name": "", "value": 1.0}, "expected a name"),
        ({"name": "time", "value": 1.0, "spread": -1.0}, "spread >= 0"),
        ({"name": "time", "value": 1.0, "better": "smaller"}, "expected one of lower, higher, equal"),
    ],
)
def test_a_figure_that_is_no_number_or_has_no_direction_is_refused(figure: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recording.Figure(**figure)


@pytest.mark.parametrize(
    ("old", "new", "worse"),
    [
        ({"value": 10.0, "better": "lower"}, 10.9, False),  # 10 % where no spread is recorded
        ({"value": 10.0, "better": "lower"}, 11.1, True),
        ({"value": 10.0, "better": "lower", "spread": 2.0}, 11.9, False),
        ({"value": 10.0, "better": "higher", "spread": 0.5}, 9.4, True),
        ({"value": 10.0, "better": "higher", "spread": 0.5}, 90.0, False),
        ({"value": 0, "better": "equal"}, 1, True),  # counts are exact
        ({"value": 0, "better": "equal"}, 0, False),
        ({"value": 1.0, "better": "equal", "spread": 0.1}, 0.8, True),
    ],
)
def test_a_figure_is_worse_beyond_its_recorded_spread(
    old: dict[str, Any], new: float, worse: bool, tmp_path: Path
) -> None:
    for folder, figure in (("records", old), ("new", {**old, "value": new})):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "fit.json").write_text(result([{"name": "fit of a track", **figure}]))
    (tmp_path / "new" / "notes.json").write_text("[]")  # something else
    command: list[str | Path] = [
        sys.executable,
        FOLDER / "page.py",
        "--compare",
        tmp_path / "new",
        "--records",
        tmp_path / "records",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == worse, done.stderr
    assert ("WORSE: fit of a track" in done.stdout) == worse
    assert f"1 figures compared, {int(worse)} worse" in done.stdout


def test_results_without_a_record_are_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, FOLDER / "page.py", "--compare", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "got no result with a record" in done.stderr


def test_each_benchmark_names_what_it_lacks_before_anything_else() -> None:
    for path in SCRIPTS:
        assert imports(path)[0] == "beampipe.terminal.scripts", path


def test_every_package_that_benchmarks_import_is_brought_by_the_extra_that_is_named() -> None:
    homes = homes_of_packages()
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
                    assert alias.name in defined(str(node.module)), f"{path}: {node.module} has no {alias.name}"


@cache
def defined(module: str) -> set[str]:
    """Names that a module defines, or the modules in a package, without importing it."""
    path = ROOT / "src" / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names = {item.stem for item in path.glob("*")} if path.is_dir() else set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def test_the_list_names_extras_that_bring_what_each_benchmark_imports() -> None:
    output, homes = list(marks()), homes_of_packages()
    for script, extras in output:
        assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys(), (script, extras)
        bring = {item for extra in extras.split(",") for item in brought(extra, deep=True)}
        for name in all_imports(ROOT / script, set()):
            package, _, rest = name.partition(".")
            if package == "beampipe" and (area := AREAS.get(rest.partition(".")[0])) and area != "simulation":
                assert brought(area, deep=False) <= bring, f"{script} imports {name}, listed with [{extras}]"
            elif package not in OWN | ALWAYS | OF_NO_EXTRA:
                results = {home.lower().replace("_", "-") for home in homes.get(package, ())}
                assert not results or results & (bring | ALONG), f"{script} imports {name}, listed with [{extras}]"


@pytest.mark.parametrize(
    ("script", "hidden", "extra"),
    [
        ("fit.py", "scipy", "tracking"),
        ("serving/overhead.py", "grpc", "serving"),
        ("fleet/latency.py", "yaml", "fleet"),
        ("calibration_vs_coffea.py", "numba", "calibration"),
        ("analysisops/valid.py", "a2a", "analysisops"),
    ],
)
def test_a_package_that_is_missing_is_one_line_and_code_2(script: str, hidden: str, extra: str) -> None:
    command = [sys.executable, "-c", PROGRAM, hidden, str(FOLDER / script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{Path(script).name}: ")
    assert line.endswith(f"needs {hidden}, which is not installed: pip install 'beampipe[{extra}]'")
