"""The README's "Use": each line is of a paragraph that names its extra, and is a command that there is."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import typer

from beampipe.cli import app
from tests.test_documentation import check_command

ROOT = Path(__file__).parents[2]
EXTRAS: dict[str, Any] = runpy.run_path(str(ROOT / "release/extras.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
USE = README.partition("\n## Use\n")[2].partition("\n## ")[0]
LINES = {
    extra: [line.split("  #")[0].strip() for line in block.splitlines()]
    for extra, block in re.findall(r"\(`\[(\w+)\]`\)[^\n]*:\n\n((?:    [^\n]+\n)+)", USE)
}
"""Extra that a paragraph names -> the commands below it."""


def test_every_line_names_its_extra_and_is_a_command_that_there_is() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(LINES) <= set(extras)
    lines = re.findall(r"^    (beampipe [^#\n]*)", USE, re.M)
    assert sorted(line.strip() for line in lines) == sorted(line for block in LINES.values() for line in block)
    for line in lines:
        for command in line.split("&&"):
            check_command(command.partition(" > ")[0].strip())


def test_two_extras_are_chosen_by_the_commit() -> None:
    """Each pair comes, whatever the commit; always two."""
    two_of, extras = EXTRAS["two_of"], list(EXTRAS["first_commands"]())
    pairs = {frozenset(two_of(extras, f"{number:016x}"[8:] + f"{number // 6:08x}")) for number in range(30)}
    assert len(pairs) == 15
    assert all(len(pair) == 2 for pair in pairs)


def test_every_file_that_a_line_reads_is_written_by_a_line_before_it() -> None:
    for lines in LINES.values():
        for name in set(re.findall(r"\b\w+\.(?:parquet|toml|html)\b", " ".join(lines))):
            first = next(line for line in lines if name in line)
            assert re.search(rf"(example|init|-o|>) {re.escape(name)}", first), f"{first}: nothing writes {name} before"


def test_the_first_lines_run_in_an_empty_folder(tmp_path: Path) -> None:
    quick = [line for line in LINES["tracking"] if " demo" not in line]
    assert len(quick) == 2
    for line in quick:
        words = [sys.executable, "-m", *line.split()]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"events.parquet", "tracks.parquet"}


def test_each_demo_has_a_folder_of_its_own() -> None:
    """A demo that is run after another one replaces none of its files."""
    group: Any = typer.main.get_command(app)
    with_demos = [name for name in group.commands if "demo" in getattr(group.commands[name], "commands", ())]
    assert len(with_demos) == 6
    written = {
        name: str(item.default)
        for name in with_demos
        for item in group.commands[name].commands["demo"].params
        if item.name == "output"
    }
    assert written == {name: f"demo/{name}" for name in with_demos}
