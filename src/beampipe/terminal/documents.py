"""The documentation and the examples that come with the package."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated, Final

import typer

from beampipe.errors import FileError, look_up
from beampipe.files import make_folder
from beampipe.terminal import console, make_table, say

INSTALLED: Final = Path(__file__).parents[1] / "documents"
FOLDERS: Final = ("docs", "examples")


def documents() -> Path:
    """The folder with `FOLDERS`: in the package, or the root of a clone that is installed with `pip install -e`.

    Raises:
        FileError: the package was built without them.
    """
    for folder in (INSTALLED, Path(__file__).parents[3]):
        if (folder / "docs/index.md").exists():
            return folder
    raise FileError(f"{INSTALLED}: not found; install a wheel, or from the whole source", path=INSTALLED)


def pages() -> dict[str, Path]:
    """Name of a page -> its file, in alphabetical order."""
    folder = documents() / "docs"
    files = [*folder.glob("*.md"), *folder.glob("notebooks/*.md")]
    return {path.stem: path for path in sorted(files, key=lambda path: path.stem)}


def docs_command(
    page: Annotated[
        str | None, typer.Argument(help="Name of a page; none: list the pages.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Copy all pages, and the folder `examples`, into this folder instead."),
    ] = None,
) -> None:
    """Read a page of the documentation, or copy all pages and the examples.

    Raises:
        ConfigError: there is no such page.
        FileError: the output cannot be written, or is there already.
    """
    if output is not None:
        for name in FOLDERS:
            if (output / name).exists():
                raise FileError(f"{output / name}: exists; name another folder, or remove it", path=output / name)
        make_folder(output)
        for name in FOLDERS:
            left_out = shutil.ignore_patterns("_build", "_parts", "__pycache__", "*.py" if name == "docs" else "")
            shutil.copytree(documents() / name, output / name, ignore=left_out)
        say(f"{output}: the commands of the pages run in this folder; those with benchmarks/ need a clone")
    elif page is None:
        table = make_table("read one by: beampipe docs PAGE", ("page", "title"))
        for name, path in pages().items():
            title = re.search(r"^# (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            table.add_row(name, title[1] if title else "")
        console().print(table)
    else:
        from rich.markdown import Markdown

        text = look_up("page", page, pages()).read_text(encoding="utf-8")
        text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
        # Blocks that only Sphinx fills: pictures, tables, listings.
        text = re.sub(r"^(`{3,}|:{3,})\{(?!code-cell)[^}]*\}.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
        out = console()
        with out.pager(styles=True):
            out.print(Markdown(text.replace("{code-cell} ipython3", "python")))
