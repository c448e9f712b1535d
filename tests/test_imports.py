"""What importing an area loads: no area that it may not depend on, and no heavy package; and no import cycles.

The layers themselves are contracts of import-linter in pyproject.toml (`make check`). These tests check what it does
not see: what the ``__init__`` of a package imports, and cycles between a package and its own modules.
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
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.parent.parent != SOURCE / "analysisops" / "tasks")
"""All but the code of tasks, which is loaded by path."""

BASE = {
    "arrays",
    "errors",
    "columns",
    "expressions",
    "extras",
    "figures",
    "files",
    "identity",
    "lazy",
    "notebook",
    "plugins",
    "processes",
    "provenance",
    "random_numbers",
    "settings",
    "tables",
    "terminal",
    "units",
}
"""The base layer, which every area may import."""

MAY_LOAD = {
    **dict.fromkeys(sorted(BASE), BASE),
    "events": {*BASE, "events"},
    "jets": {*BASE, "jets"},
    "simulation": {*BASE, "events", "jets", "simulation"},
    "tracking": {*BASE, "events", "simulation", "tracking"},
    "triton": {*BASE, "triton"},
    "workflow": {*BASE, "workflow"},
    "serving": {*BASE, "events", "simulation", "triton", "tracking", "fleet", "serving"},
    # The commands that simulate load the simulation; the contract in pyproject.toml keeps it from all others.
    "calibration": {*BASE, "events", "jets", "simulation", "workflow", "triton", "calibration"},
    "fleet": {*BASE, "triton", "fleet"},
    "analysisops": {*BASE, "events", "jets", "simulation", "workflow", "tracking", "analysisops"},
    "chain": {
        *BASE,
        *("events", "jets", "simulation", "workflow", "triton", "tracking", "fleet", "serving", "calibration", "chain"),
    },
}
"""Area of the package -> the areas that importing any of its modules may load, directly or indirectly."""

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
    result: set[str] = set()
    waiting = {module}
    while waiting:
        name = waiting.pop()
        result.add(name)
        waiting |= (imports()[name] | parents(name)) - result
    return result


def area_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_the_graph_is_there() -> None:
    written_by_the_build = {"beampipe._version"}
    assert set(map(name_of, MODULES)) == set(imports()) - written_by_the_build
    assert "beampipe.errors" in loaded_by("beampipe.tracking.pipeline")


@pytest.mark.parametrize("area", MAY_LOAD)
def test_an_area_loads_only_what_it_may(area: str) -> None:
    for module in imports():
        if area_of(module) == area:
            unexpected = {name for name in loaded_by(module) if area_of(name) not in {"", *MAY_LOAD[area]}}
            assert not unexpected, f"{module} can load {sorted(unexpected)}"


def test_every_area_is_listed() -> None:
    assert {area_of(module) for module in imports()} - {"_version"} == {*MAY_LOAD, "", "cli", "__main__"}


def test_there_are_no_import_cycles() -> None:
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_only_training_and_commands_import_training() -> None:
    training = "beampipe.tracking.training"
    importing = {module for module, names in imports().items() if any(name.startswith(training) for name in names)}
    assert importing
    assert not {name for name in importing if not (name.startswith(training) or name.endswith("cli"))}


def loaded(*modules: str) -> list[set[str]]:
    """Modules that are there after each of some imports, one after the other, in a fresh interpreter."""
    code = "import sys; " + "; ".join(f"import {module}; print(*sys.modules)" for module in modules)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return [set(line.split()) for line in done.stdout.splitlines()]


def test_light_imports_stay_light() -> None:
    light = [
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
    ]
    for module, modules in zip(light, loaded(*light), strict=True):
        assert module in modules
        assert HEAVY.isdisjoint(name.split(".")[0] for name in modules), module


def test_the_served_tagger_loads_no_track_finding() -> None:
    scores = "beampipe.calibration.events.scores"
    client = "beampipe.triton.client.model_client"
    assert client in loaded_by(scores)
    without, both = loaded(scores, client)
    assert client not in without, "workers without a served tagger start faster"
    assert not [name for name in both if name.startswith(("beampipe.tracking", "beampipe.serving"))]
