"""The commands that are told of a detector."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from beampipe.errors import ConfigError, InputError
from beampipe.simulation.detector import detector_modules, read_layout
from beampipe.tracking.cli import app
from beampipe.tracking.formats import open_events

from .layouts import COMPACT, SMALL


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.mark.acts
def test_simulate_and_evaluate(tmp_path: Path, layout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = tmp_path / "events.parquet"
    arguments = ["-o", str(events), "-n", "2", "--mu", "0", "--hard", "gun"]
    done = CliRunner().invoke(app, ["simulate", *arguments, "--detector", str(layout)])
    assert done.exception is None, done.output
    table = detector_modules(read_layout(layout))
    for event in open_events(events):
        assert len(event.hits) > 10
        assert event.hits.geometry_id is not None
        table.rows(event.hits.geometry_id)
    # Noise of another detector would be no noise but a mistake.
    refused = CliRunner().invoke(app, ["evaluate", str(events), "--degradation", "default"])
    assert isinstance(refused.exception, InputError)
    assert "expected one of the 18728 modules of the detector 'generic'" in str(refused.exception)
    wrong = ["evaluate", str(events), "--degradation", "default", "--detector", str(COMPACT)]
    assert "modules of the detector 'compact'" in str(CliRunner().invoke(app, wrong).exception)


def test_a_mistake_in_the_file_is_found_before_anything_starts(tmp_path: Path, layout: Path) -> None:
    layout.write_text(SMALL.replace("pitch_mm", "pich_mm", 1))
    refused = CliRunner().invoke(app, ["simulate", "-o", str(tmp_path / "events.parquet"), "--detector", str(layout)])
    assert isinstance(refused.exception, ConfigError)
    assert "did you mean 'pitch_mm'?" in str(refused.exception)
    assert not (tmp_path / "events.parquet").exists()


@pytest.mark.acts
def test_clusters_are_simulated_where_the_file_has_sensors(tmp_path: Path, layout: Path) -> None:
    events = tmp_path / "events.parquet"
    command = ["simulate", "-o", str(events), "-n", "1", "--mu", "0", "--hard", "gun", "--clusters"]
    for arguments in (command, [*command, "--detector", str(layout)]):
        refused = CliRunner().invoke(app, arguments)
        assert isinstance(refused.exception, ConfigError)
        assert "expected sensor_mm in each" in str(refused.exception)
    assert not events.exists()
    layout.write_text(SMALL.replace("thickness_x0 = ", "sensor_mm = 0.2\nthickness_x0 = "))
    done = CliRunner().invoke(app, [*command, "--detector", str(layout)])
    assert done.exception is None, done.output
    variance = open_events(events)[0].hits.variance
    assert variance is not None
    assert len(np.unique(variance[:, 0])) > 1
