"""What a command loads before it does its work: its own area only, and nothing that converts or draws for others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from beampipe.cli import app

AREAS: Final = {"analysisops", "calibration", "chain", "fleet", "serving", "tracking", "triton", "workflow"}


def loaded_by(folder: Path, *words: str) -> set[str]:
    """Modules that are there when a command has ended well."""
    code = f"""
import sys
from beampipe.cli import main
sys.argv = ["beampipe", *{list(words)!r}]
try:
    main()
except SystemExit as end:
    print(*sys.modules, file=sys.stderr)
    raise
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def areas(modules: set[str]) -> set[str]:
    return {name.split(".")[1] for name in modules if name.startswith("beampipe.")} & AREAS


@pytest.mark.parametrize("words", [["--help"], ["--version"], []])
def test_a_word_of_help_loads_no_area(words: list[str], tmp_path: Path) -> None:
    modules = loaded_by(tmp_path, *words)
    assert "beampipe.cli" in modules
    assert not areas(modules)
    assert not {"numpy", "rich", "pydantic", "jaxtyping", "asyncio"} & modules


@pytest.mark.parametrize(("words", "own"), [("calibration", "calibration"), ("analysisops", "analysisops")])
def test_the_help_of_an_area_loads_it_alone(words: str, own: str, tmp_path: Path) -> None:
    modules = loaded_by(tmp_path, words, "--help")
    assert areas(modules) == {own}
    assert not {"numpy", "rich", "pydantic"} & modules


def test_simple_values_need_no_pydantic(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    modules = loaded_by(tmp_path, "calibration", "init", str(config))
    assert config.exists()
    assert "pydantic" not in modules


def test_the_help_of_a_command_is_the_same_before_it_is_loaded() -> None:
    commands: Any = typer.main.get_command(app)
    before = dict(commands.summaries())
    names = ("tracking", "serving", "triton", "fleet", "calibration", "chain", "analysisops", "docs")
    assert list(before) == ["serve", "track", *names]
    own = {name: " ".join((item.help or "").partition("\n\n")[0].split()) for name, item in commands.commands.items()}
    assert before == own
    assert {name for name, item in commands.commands.items() if item.name != name} == set()
