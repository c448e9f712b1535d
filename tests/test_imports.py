"""What importing an area loads: nothing of areas that it must not know, nothing heavy; and no circles of imports.

The layers themselves are contracts of import-linter in pyproject.toml (`make check`). Here stands what that tool does
not see: what the ``__init__`` of a package brings along, and circles between a package and its own modules.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

import beampipe

SOURCE = Path(beampipe.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

GROUND = {
    "arrays",
    "errors",
    "extras",
    "figures",
    "files",
    "lazy",
    "notebook",
    "processes",
    "pythia",
    "settings",
    "terminal",
    "units",
}
"""What every area stands on."""

MAY_LOAD = {
    **dict.fromkeys(sorted(GROUND), GROUND),
    "tracking": {*GROUND, "tracking"},
    "triton": {*GROUND, "triton"},
    "workflow": {*GROUND, "workflow"},
    "serving": {*GROUND, "triton", "tracking", "fleet", "serving"},
    "calibration": {*GROUND, "workflow", "triton", "calibration"},
    "fleet": {*GROUND, "triton", "fleet"},
    "analysisops": {*GROUND, "workflow", "tracking", "analysisops"},
}
"""Area of the package -> the areas that importing any module of it may load, by whatever chain."""

HEAVY = {
    "torch",
    "acts",
    "pythia8mc",
    "matplotlib",
    "mplhep",
    "pyarrow",
    "scipy",
    "numba",
    "uproot",
    "awkward",
    "hist",
    "lightgbm",
    "correctionlib",
    "fastjet",
    "dask",
    "distributed",
    "tritonclient",
    "grpc",
    "prometheus_client",
    "a2a",
    "atlasopenmagic",
    "mcp",
    "iminuit",
    "httpx",
    "uvicorn",
}
"""Packages that only parts of an area need: each is imported where it is used."""


def name_of(path: Path) -> str:
    """Dotted name of a module of beampipe."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports() -> dict[str, set[str]]:
    """Module -> the modules of beampipe that it imports, at its top or late; imports for the type checker left out."""
    graph = grimp.build_graph("beampipe", exclude_type_checking_imports=True, cache_dir=None)
    return {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}


def parents(module: str) -> set[str]:
    """The packages whose ``__init__`` runs before a module does."""
    parts = module.split(".")
    return {".".join(parts[:n]) for n in range(1, len(parts))}


def loaded_by(module: str) -> set[str]:
    """Everything of beampipe that a module can load, packages on the way to it included."""
    found: set[str] = set()
    waiting = {module}
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= (imports()[name] | parents(name)) - found
    return found


def area_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_the_graph_is_there() -> None:
    assert set(map(name_of, MODULES)) == set(imports())
    assert "beampipe.errors" in loaded_by("beampipe.tracking.pipeline")


@pytest.mark.parametrize("area", MAY_LOAD)
def test_an_area_loads_only_what_it_may(area: str) -> None:
    for module in imports():
        if area_of(module) == area:
            strangers = {name for name in loaded_by(module) if area_of(name) not in {"", *MAY_LOAD[area]}}
            assert not strangers, f"{module} can load {sorted(strangers)}"


def test_every_area_is_known() -> None:
    assert {area_of(module) for module in imports()} == {*MAY_LOAD, "", "cli", "__main__"}


def test_nobody_imports_in_circles() -> None:
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize("module", [name for name in map(name_of, MODULES) if ".training" not in name])
def test_inference_does_not_import_training(module: str) -> None:
    if not module.endswith("cli"):
        assert not [name for name in imports()[module] if name.startswith("beampipe.tracking.training")]


def loaded(module: str) -> list[str]:
    """Modules that are there after an import in a fresh interpreter."""
    code = f"import sys, {module}; print(*sys.modules)"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize(
    "module",
    [
        "beampipe",
        "beampipe.calibration",
        "beampipe.cli",
        "beampipe.fleet.monitoring.page",
        "beampipe.serving",
        "beampipe.serving.finders",
        "beampipe.tracking",
        "beampipe.tracking.data",
        "beampipe.tracking.display",
        "beampipe.tracking.evaluation",
        "beampipe.events",
        "beampipe.tracking.formats",
        "beampipe.triton",
        "beampipe.triton.client",
        "beampipe.triton.server",
        "beampipe.workflow",
    ],
)
def test_light_imports_stay_light(module: str) -> None:
    modules = loaded(module)
    assert module in modules
    assert HEAVY.isdisjoint(name.split(".")[0] for name in modules)


def test_the_served_tagger_loads_no_track_finding() -> None:
    modules = loaded("beampipe.calibration.events.scores")
    assert "beampipe.triton.client" in modules
    assert not [name for name in modules if name.startswith(("beampipe.tracking", "beampipe.serving"))]
