"""The picture of the layers and the table of sizes in the documentation are those of the code.

The layers themselves are import contracts in pyproject.toml; lengths of files and functions have no limit.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]


def test_the_picture_of_the_layers_is_drawn_from_the_contract() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "draw_layers.py"))
    assert script["PICTURE"].read_text() == script["drawn"](), "run python docs/draw_layers.py"


def test_the_table_of_sizes_is_complete() -> None:
    """Its numbers may lag behind; an area that is new or gone may not."""
    script = runpy.run_path(str(ROOT / "docs" / "size.py"))
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition(script["BEGIN"])[2].partition(script["END"])[0]
    listed = [line.split("|")[1].strip() for line in table.splitlines() if line]
    assert listed[2:] == [name for name, _ in script["areas"](ROOT / "src" / "beampipe")], "run python docs/size.py"
