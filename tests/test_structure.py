"""Checks of the package's structure beyond the import contracts: long functions, and the picture of the layers.

Sizes of files and folders have no limit; `benchmarks/size.py` prints them.
"""

from __future__ import annotations

import ast
import runpy
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
FOLDERS: Final = ("src", "tests", "benchmarks", "examples")
MOST_LINES_OF_A_FUNCTION: Final = 60


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_function_is_long(folder: str) -> None:
    """Like the limit on complexity in pyproject.toml: a longer function does several things."""
    paths = list((ROOT / folder).rglob("*.py"))
    assert paths
    long = {}
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > MOST_LINES_OF_A_FUNCTION:
                long[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = length(node)
    assert not long


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, docstring included."""
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def test_the_picture_of_the_layers_is_drawn_from_the_contract() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "draw_layers.py"))
    assert script["PICTURE"].read_text() == script["drawn"](), "run python docs/draw_layers.py"


def test_the_table_of_sizes_is_complete() -> None:
    """Its numbers may lag behind; an area that is new or gone may not."""
    script = runpy.run_path(str(ROOT / "benchmarks" / "size.py"))
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition(script["BEGIN"])[2].partition(script["END"])[0]
    listed = [line.split("|")[1].strip() for line in table.splitlines() if line]
    assert listed[2:] == [name for name, _ in script["areas"](ROOT / "src" / "beampipe")], (
        "run python benchmarks/size.py"
    )
