"""Write the notebooks for Colab, which opens no Markdown: `python binder/colab.py`.

Each file under `binder/colab` has the cells of a page of `docs/notebooks`, after one that installs the package.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Final

import nbformat
from myst_nb.core.read import read_myst_markdown_notebook

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = ROOT / "docs" / "notebooks"
FOLDER: Final = ROOT / "binder" / "colab"

_ROW: Final = re.compile(r"^\| \[[^\]]+\]\((\w+)\.md\) \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
"""A row of the table of notebooks: name, extras."""


def extras() -> dict[str, str]:
    """Extras that each notebook needs, separated by commas, by its name: from the table of notebooks."""
    index = (PAGES / "index.md").read_text(encoding="utf-8")
    return {name: ",".join(re.findall(r"`(\w+)`", cell)) for name, cell in _ROW.findall(index)}


def for_colab(name: str) -> str:
    """A notebook as JSON without outputs. Links to other pages of the documentation are plain text in it.

    Args:
        name: file name of the page, without its ending.
    """
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    absolute_links = runpy.run_path(str(ROOT / "release" / "forge.py"))["absolute_links"]
    notebook = read_myst_markdown_notebook(absolute_links(page, "", ""))
    notebook.metadata = nbformat.from_dict({"kernelspec": notebook.metadata["kernelspec"]})
    install = nbformat.v4.new_code_cell(f"%pip install -q 'beampipe[{extras()[name]}]'")
    notebook.cells.insert(1, install)  # below the title
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # the same each time
    return nbformat.writes(notebook) + "\n"


if __name__ == "__main__":
    for name in extras():
        (FOLDER / f"{name}.ipynb").write_text(for_colab(name), encoding="utf-8")
