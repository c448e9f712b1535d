"""Arrows point down only, and importing one area imports nothing of another's dependencies."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import beampipe

SOURCE = Path(beampipe.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

GROUND = {"errors", "units", "files", "figures", "lazy", "processes", "pythia", "settings", "terminal"}
"""What every area stands on."""

ALLOWED = {
    "errors": set(),
    "units": set(),
    "lazy": set(),
    "processes": set(),
    "files": {"errors", "processes"},
    "figures": {"errors", "files"},
    "pythia": {"errors"},
    "settings": {"errors"},
    "terminal": set(),
    "tracking": {*GROUND, "tracking"},
    "triton": {*GROUND, "triton"},
    "serving": {*GROUND, "triton", "tracking", "serving"},
    "workflow": {*GROUND, "workflow"},
    "calibration": {*GROUND, "workflow", "triton", "calibration"},
    "cli": {"errors", "tracking", "triton", "serving", "calibration"},
    "__main__": {"cli"},
}
"""First-level part of the package -> the parts that it may import."""

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
}


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, top_level: bool = False) -> Iterator[str]:
    """Absolute names that a module imports, those for the type checker left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in tree.body if top_level else ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_arrows_point_down(path: Path) -> None:
    part = ".".join(name_of(path).split(".")[1:2])
    known = {child.stem for child in SOURCE.iterdir()}
    for name in imports(path):
        target = name.split(".")[1:2] if name.split(".")[0] == "beampipe" else []
        if target and target[0] in known and part:
            assert target[0] in ALLOWED[part], f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_inference_does_not_import_training(path: Path) -> None:
    if "training" in path.parts or path.name == "cli.py":
        return
    assert not [name for name in imports(path) if name.startswith("beampipe.tracking.training")]


@pytest.mark.parametrize(
    "module",
    [
        "beampipe",
        "beampipe.cli",
        "beampipe.serving.finders",
        "beampipe.tracking",
        "beampipe.tracking.formats",
        "beampipe.tracking.data",
        "beampipe.workflow",
    ],
)
def test_light_imports_stay_light(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert module in loaded
    assert HEAVY.isdisjoint(name.split(".")[0] for name in loaded)
