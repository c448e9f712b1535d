"""Draw the layers of the package, ``docs/_static/layers.svg``, from the import contract in ``pyproject.toml``.

    python docs/draw_layers.py

A row is a layer, a box is an area or a module of the base layer. A box shows the first line of the docstring and the
names of the sub-packages. Modules may import from lower rows only.
"""

from __future__ import annotations

import ast
import textwrap
import tomllib
from html import escape
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "src" / "beampipe"
PICTURE: Final = ROOT / "docs" / "_static" / "layers.svg"

WIDTH: Final = 960
GAP: Final = 14
LINE: Final = 16
CHARACTER: Final = 6.4
"""Mean width of a character of the text [px]."""

STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #1d2733 }
.name { font-weight: 600; font-size: 14px }
.packages { fill: #5b6b7c }
rect { fill: #f2f5f9; stroke: #b6c3d1 }
"""


def layers() -> list[list[str]]:
    """Rows from the top down, each a list of areas or modules."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    rows = next(contract["layers"] for contract in contracts["contracts"] if contract["type"] == "layers")
    return [[name.strip() for name in row.split("|")] for row in rows if row != "__main__"]


def first_line(name: str) -> str:
    """First line of the docstring of an area or module."""
    path = SOURCE / f"{name}.py"
    if not path.is_file():
        path = SOURCE / name / "__init__.py"
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.splitlines()[0].replace("`", "")


def packages(name: str) -> str:
    """Names of the sub-packages of an area."""
    result = sorted(path.parent.name for path in (SOURCE / name).glob("*/__init__.py") if path.parent.name != "data")
    return ", ".join(result)


def box(name: str, width: float) -> list[tuple[str, str]]:
    """Lines of the text in a box, each with its style."""
    columns = int((width - 20) / CHARACTER)
    lines = [("name", name)]
    lines += [("text", line) for line in textwrap.wrap(first_line(name), columns)]
    return lines + [("packages", line) for line in textwrap.wrap(packages(name), columns)]


def drawn() -> str:
    """The picture as SVG."""
    parts, top = [], float(GAP)
    for row in layers():
        width = (WIDTH - GAP * (len(row) + 1)) / len(row)
        boxes = [box(name, width) for name in row]
        height = LINE * max(map(len, boxes)) + 16
        for column, lines in enumerate(boxes):
            left = GAP + column * (width + GAP)
            parts.append(f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6"/>')
            for number, (style, text) in enumerate(lines, 1):
                y = top + 4 + LINE * number
                parts.append(f'<text x="{left + 10:.1f}" y="{y:.1f}" class="{style}">{escape(text)}</text>')
        top += height + GAP
    view = f'viewBox="0 0 {WIDTH} {top:.0f}" width="{WIDTH}" height="{top:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {view} role="img" aria-label="Layers of beampipe">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(drawn(), encoding="utf-8")
    print(PICTURE)
