"""The commands, as a user types them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from beampipe.chain.cli import app
from beampipe.chain.settings import load_settings
from beampipe.errors import FileError


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)


def test_init_writes_a_description_that_can_be_read(tmp_path: Path) -> None:
    config = tmp_path / "chain.toml"
    assert call("init", config).exit_code == 0
    assert load_settings(config).output == tmp_path / "chain"
    with pytest.raises(FileError, match="--force"):
        call("init", config)
    assert call("init", config, "--force").exit_code == 0


def test_files_of_others_are_not_replaced(tmp_path: Path) -> None:
    config = tmp_path / "chain.toml"
    call("init", config)
    (tmp_path / "chain").mkdir()
    (tmp_path / "chain/result.json").write_text('{"mine": 1}')
    with pytest.raises(FileError, match=r"result\.json: got a file that beampipe did not write"):
        call("run", config)
    assert not (tmp_path / "chain/store").exists()
