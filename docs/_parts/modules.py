"""The table of the packages and modules of an area, from the first lines of their docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"


def table(area: str) -> str:
    """The table in Markdown: modules of the area, then its packages, each with the names of its modules.

    Args:
        area: full name of a package; of `beampipe` itself, its modules only.
    """
    folder = SOURCE / area.replace(".", "/")
    rows = [f"| `{path.name}` | {first_line(path)} |" for path in modules(folder)]
    for path in sorted(folder.rglob("__init__.py")) if area != "beampipe" else ():
        package = path.parent
        if package != folder:
            names = ", ".join(f"`{module.stem}`" for module in modules(package))
            rows.append(f"| `{package.relative_to(folder)}/` | {first_line(path)} {names} |")
    return "\n".join(["| module | content |", "| --- | --- |", *rows])


def modules(folder: Path) -> Iterator[Path]:
    """The modules of a package, without those that a build writes."""
    return (path for path in sorted(folder.glob("*.py")) if path.name not in ("__init__.py", "_version.py"))


def first_line(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("::", ".").replace("|", "\\|")
