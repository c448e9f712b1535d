"""`beampipe docs`: pages and examples without a clone."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from beampipe.cli import app
from beampipe.terminal import documents


def test_every_page_is_listed_and_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", "cat")
    listed = CliRunner().invoke(app, ["docs"]).output
    assert len(documents.pages()) > 40
    for name in documents.pages():
        assert name in listed
    for name in ("install", "first_event", "index"):
        shown = CliRunner().invoke(app, ["docs", name])
        assert shown.exit_code == 0
        assert len(shown.output.split()) > 30
        assert "{" + "image}" not in shown.output
        assert "toctree" not in shown.output


def test_pages_and_examples_are_copied_and_never_replaced(tmp_path: Path) -> None:
    copied = CliRunner().invoke(app, ["docs", "-o", str(tmp_path / "here")])
    assert copied.exit_code == 0, copied.output
    assert (tmp_path / "here/docs/tracking.md").exists()
    assert (tmp_path / "here/examples/own_stage.py").exists()
    assert not list((tmp_path / "here/docs").glob("*.py"))
    again = CliRunner().invoke(app, ["docs", "-o", str(tmp_path / "here")])
    assert again.exit_code != 0
    assert "exists; name another folder" in str(again.exception)
