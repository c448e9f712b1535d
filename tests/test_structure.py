"""What keeps the house readable: short files, short functions, folders that can be taken in at a glance."""

from __future__ import annotations

import ast
import runpy
from pathlib import Path
from typing import Final

import pytest

from tests.test_imports import SOURCE

ROOT: Final = Path(__file__).parents[1]
FOLDERS: Final = ("src", "tests", "benchmarks", "examples")
CODE: Final = (".py", ".cpp", ".hpp", ".js")
FILES: Final = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in CODE)

MOST_LINES: Final = 400
MOST_LINES_OF_A_FUNCTION: Final = 60
MOST_FILES: Final = 12


def test_there_is_something_to_look_at() -> None:
    assert {path.suffix for path in FILES} == set(CODE)


def test_no_file_is_long() -> None:
    lines = {str(path.relative_to(ROOT)): path.read_bytes().count(b"\n") for path in FILES}
    assert not {name: n for name, n in lines.items() if n > MOST_LINES}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_function_is_long(folder: str) -> None:
    long = {}
    for path in (path for path in FILES if path.suffix == ".py" and path.is_relative_to(ROOT / folder)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > MOST_LINES_OF_A_FUNCTION:
                long[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = length(node)
    assert not long


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from ``def`` to the end, docstring included."""
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def test_no_folder_is_crowded() -> None:
    folders = [SOURCE, *(path for path in SOURCE.rglob("*") if path.is_dir() and path.name != "__pycache__")]
    files = {folder: [path for path in folder.iterdir() if path.suffix in CODE] for folder in folders}
    assert not {str(folder): len(found) for folder, found in files.items() if len(found) > MOST_FILES}


def test_the_picture_of_the_house_is_the_contract() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "draw_house.py"))
    assert script["PICTURE"].read_text() == script["drawn"](), "run python docs/draw_house.py"
