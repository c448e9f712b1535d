"""Print the size of each area of the package: files, lines of code, folders, small files, helpers that are used once.

    python docs/size.py [--write] [FOLDER]

`--write` puts the table into ``docs/architecture.md``. Size is reported, not limited: look at it when a change grows an
area. Code lines are lines with a token, without docstrings, comments and blank lines.
"""

from __future__ import annotations

import argparse
import ast
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "src" / "beampipe"
PAGE: Final = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- size:begin -->", "<!-- size:end -->"

CPP: Final = (".cpp", ".hpp", ".h")
NO_CODE: Final = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
    tokenize.ENCODING,
}


@dataclass
class Size:
    """Counts of a folder or of one file; of private functions, those whose name occurs twice in the area."""

    files: int = 0
    code: int = 0
    docstrings: int = 0
    used_once: int = 0
    cpp: int = 0


HEADS: Final = ("files", "code", "docstrings", "private functions used once", "C++ code")


def areas(source: Path = SOURCE) -> list[tuple[str, Path]]:
    """Name and path of each area, of the base layer's modules together, and of all."""
    folders = sorted(path for path in source.iterdir() if path.is_dir() and path.name != "__pycache__")
    return [*((path.name, path) for path in folders), ("modules of the base layer", source), ("all", source)]


def python_files(name: str, path: Path) -> list[Path]:
    """The Python files of an area."""
    files = sorted(path.glob("*.py") if name.startswith("modules") else path.rglob("*.py"))
    return [file for file in files if file.name != "_version.py"]


def measure(name: str, path: Path) -> Size:
    """The size of an area."""
    paths = python_files(name, path)
    texts = {file: file.read_text(encoding="utf-8") for file in paths}
    trees = {file: ast.parse(text) for file, text in texts.items()}
    size = Size(files=len(paths))
    for file in paths:
        docstrings = lines_of_docstrings(trees[file])
        size.code += len(lines_of_tokens(file) - docstrings)
        size.docstrings += len(docstrings)
    words = Counter(word for text in texts.values() for word in re.findall(r"\b[A-Za-z_]\w*\b", text))
    for tree in trees.values():
        for node in tree.body:
            private = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("_")
            size.used_once += private and words[node.name] == 2
    if not name.startswith("modules"):
        size.cpp = sum(map(cpp_lines, (file for file in path.rglob("*") if file.suffix in CPP)))
    return size


def lines_of_docstrings(tree: ast.Module) -> set[int]:
    """Numbers of the lines that are docstrings, those of constants included."""
    texts = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    )
    return {line for node in texts for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}


def lines_of_tokens(path: Path) -> set[int]:
    """Numbers of the lines that hold a token."""
    with path.open("rb") as file:
        tokens = [token for token in tokenize.tokenize(file.readline) if token.type not in NO_CODE]
    return {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}


def cpp_lines(path: Path) -> int:
    """Lines of C++ without comments and blank lines."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.S)
    return sum(bool(re.sub(r"//.*", "", line).strip()) for line in text.split("\n"))


def table(source: Path) -> Iterator[str]:
    """The table in Markdown."""
    assert len(HEADS) == len(fields(Size))
    yield f"| area | {' | '.join(HEADS)} |"
    yield "| --- |" + " --: |" * len(HEADS)
    for name, path in areas(source):
        yield f"| {name} | {' | '.join(map(str, astuple(measure(name, path))))} |"


def main() -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=SOURCE, help="package to measure")
    parser.add_argument("--write", action="store_true", help="write the table into docs/architecture.md")
    options = parser.parse_args()
    text = "\n".join(table(options.folder))
    if options.write:
        head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
