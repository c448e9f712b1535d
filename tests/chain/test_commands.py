"""The commands, as a user types them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from beampipe.chain.cli import _print, app
from beampipe.chain.fit import FractionInBin, Measurement
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


def measurement(shares: str, *left_out: str) -> Measurement:
    return Measurement(shares, (FractionInBin(300.0, 420.0, 0.4, 0.1, 0.5, 100.0),), 0.4, 0.1, 0.5, left_out)


def printed(folder: Path, capsys: pytest.CaptureFixture[str], *measurements: Measurement) -> str:
    (folder / "result.json").write_text("{}")
    result: Any = SimpleNamespace(settings=SimpleNamespace(output=folder), measurements=list(measurements))
    _print(result, as_json=False)
    return " ".join(capsys.readouterr().out.split())


def test_a_fit_with_shares_of_simulation_alone_does_not_close(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = printed(tmp_path, capsys, measurement("simulation"), measurement("calibrated"))
    assert "The fit closes within 2 standard deviations" in both
    assert "no valid scale factors" not in both
    one = printed(tmp_path, capsys, measurement("simulation"))
    assert "calibrated │ no bin │ no valid scale factors" in one
    assert "No bin of pT has valid scale factors" in one
    assert "closes" not in one
    vague = printed(tmp_path, capsys, measurement("simulation"), replace(measurement("calibrated"), error=0.29))
    assert "its uncertainty is 0.29. Generate more events" in vague
    assert "closes" not in vague


def test_bins_that_were_left_out_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(tmp_path, capsys, measurement("simulation"), measurement("calibrated", "420-580 GeV", "580-800 GeV"))
    assert "simulation │ all bins │ 0.400" in out
    assert "calibrated │ all but 420-580 GeV, 580-800 GeV │ 0.400" in out
