"""What a dry run of a release types: every command of the pages, with the extra that they name, or a reason."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOLD: dict[str, Any] = runpy.run_path(str(ROOT / "release/told.py"))
PAGES: dict[str, str] = TOLD["EXTRA_OF"]
PARTS: dict[str, dict[str, str]] = TOLD["PARTS"]
SESSIONS = TOLD["sessions"]()


def text_of(page: str) -> str:
    return (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")


def test_every_page_with_commands_is_there() -> None:
    with_commands = {path.stem for path in (ROOT / "docs").glob("*.md") if TOLD["page_lines"](path.stem)}
    assert with_commands == PAGES.keys()
    assert {session.text for session in SESSIONS} == {"README.md", *(f"docs/{page}.md" for page in PAGES)}


def test_every_command_of_a_page_is_typed() -> None:
    typed = "\n".join(line for session in SESSIONS for line in session.lines)
    commands = [line for page in PAGES for line in re.findall(r"^    (beampipe \w[^#\\\n]*)", text_of(page), re.M)]
    assert len(commands) > 80
    for command in commands:
        (seen,) = TOLD["as_run"](command.strip())[-1:]
        assert seen in typed, command


def test_extras_are_those_that_the_pages_name() -> None:
    """The page on installing has a table of pages and extras; for a part of a page, its own text says it."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    rows = re.findall(r"^\| (\[.*?)\| `(\w+)` \|", text_of("install"), re.M)
    named = {page: extra for links, extra in rows for page in re.findall(r"\((\w+)\.md\)", links)}
    assert len(named) > 5
    for page, extra in PAGES.items():
        area = "fleet" if page.startswith("clients_") else page.partition("_")[0]
        assert extra == named.get(page, named.get(area, "tracking")), page
    for page, parts in PARTS.items():
        for extra in {item for several in parts.values() for item in several.split(",")}:
            assert extra in extras
            assert re.search(rf"`{extra}`|\[[\w,]*\b{extra}\b[\w,]*\]", text_of(page)), f"{page}: {extra} is not named"


@pytest.mark.parametrize("table", ["GIVEN", "SMALLER", "NOT_HERE"])
def test_no_row_of_a_table_is_left_over(table: str) -> None:
    texts = [*map(TOLD["page_lines"], PAGES), *TOLD["readme_lines"]().values()]
    lines = [line for text in texts for line in text]
    for part in TOLD[table]:
        assert any(part in line for line in lines), f"{table}: no line has {part}"


def test_no_row_of_the_parts_is_left_over() -> None:
    for page, parts in PARTS.items():
        for part in parts:
            assert any(part in line for line in TOLD["page_lines"](page)), f"{page}: no line has {part}"
