"""Entries for the tracking tasks of ColliderML, read by its own package where that is installed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from beampipe.cli import app
from beampipe.events import Event
from beampipe.simulation.detector import Modules, detector_modules, read_layout
from beampipe.tracking import load_model
from beampipe.tracking.submission import n_parameters
from tests.simulation.layouts import shot

ODD = read_layout(Path("odd"))

# The muons leave the discs at the ends empty.
pytestmark = [pytest.mark.acts, pytest.mark.filterwarnings("ignore::beampipe.errors.LayoutWarning")]


@pytest.fixture(scope="module")
def muons() -> Event:
    return shot(ODD, 3, 400, (2.0, 10.0), 2.5)


def as_strips(event: Event, modules: Modules) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions as ColliderML gives them: two hits for each space point of a particle, in the middle of the strips.

    Returns:
        x, y, z [mm] of each hit, its row in `modules`, and its particle.
    """
    hits, truth = event.hits, event.truth
    assert truth is not None
    assert hits.geometry_id is not None
    assert hits.local is not None
    assert modules.stereo is not None
    row = modules.rows(hits.geometry_id)
    is_point = np.isfinite(modules.stereo[row])
    points = np.flatnonzero(is_point & (truth.particle_id > 0))
    xyz, rows, particle = [hits.xyz[~is_point]], [row[~is_point]], [truth.particle_id[~is_point]]
    for sensor in (0, 1):
        middle = np.column_stack([hits.local[points, sensor], np.zeros(len(points))]).astype(np.float64)
        xyz.append(modules.to_global(row[points] + sensor, middle))
        rows.append(row[points] + sensor)
        particle.append(truth.particle_id[points])
    return np.concatenate(xyz), np.concatenate(rows), np.concatenate(particle)


@pytest.fixture(scope="module")
def tracker_hits(muons: Event, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two equal events of the data set, as its release 1 has them."""
    xyz, row, particle = as_strips(muons, detector_modules(ODD))
    folder = tmp_path_factory.mktemp("colliderml")
    columns: dict[str, Any] = {
        "event_id": pa.array([99_000, 99_001], pa.uint32()),
        **{name: pa.array([xyz[:, k]] * 2, pa.list_(pa.float32())) for k, name in enumerate("xyz")},
        "particle_id": pa.array([particle.astype(np.uint64)] * 2, pa.list_(pa.uint64())),
        **{name: pa.array([row % 200] * 2, pa.list_(pa.uint32())) for name in ("volume_id", "layer_id", "surface_id")},
    }
    pq.write_table(pa.table(columns), folder / "tracker_hits.parquet")
    return folder / "tracker_hits.parquet"


def submitted(tracker_hits: Path, folder: Path, *words: str) -> tuple[dict[str, Any], pa.Table]:
    arguments = ["tracking", "submit", str(tracker_hits), "-o", str(folder), *words]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return json.loads((folder / "manifest.json").read_text()), pq.read_table(folder / "predictions.parquet")


def test_an_entry_for_tracking(tracker_hits: Path, tmp_path: Path) -> None:
    manifest, table = submitted(tracker_hits, tmp_path / "entry")
    assert table.column_names == ["event_id", "hit_id", "track_id"]
    assert manifest["post"] == "/v1/benchmark/tracking/submit"
    assert (manifest["events"], manifest["events_of_task"], manifest["enough_events"]) == (2, 10_000, False)
    assert manifest["rows"] == table.num_rows
    events, hits = table.column("event_id").to_numpy(), table.column("hit_id").to_numpy()
    assert len(np.unique(np.stack([events, hits]), axis=1)[0]) == len(hits)
    tasks = pytest.importorskip("colliderml.tasks", exc_type=ImportError)
    task = tasks.get("tracking")
    with pytest.raises(ValueError, match="miss too many eval events"):
        task.validate_predictions(table)
    task.eval_event_range = (99_000, 99_002)
    task.validate_predictions(table)


def test_an_entry_with_parameters_and_one_with_times(tracker_hits: Path, tmp_path: Path) -> None:
    manifest, table = submitted(tracker_hits, tmp_path / "small", "--for-task", "tracking_small")
    number = n_parameters(load_model("odd"), "module_map")
    assert set(table.column("n_params").to_pylist()) == {manifest["n_params"]} == {number}
    timed, times = submitted(tracker_hits, tmp_path / "latency", "--for-task", "tracking_latency")
    assert times.to_pydict()["n_events"] == [2]
    assert timed["wallclock_s"] == pytest.approx(times.column("wallclock_s")[0].as_py(), abs=1e-3)
    tasks = pytest.importorskip("colliderml.tasks", exc_type=ImportError)
    tasks.get("tracking_small").validate_predictions(table)
    tasks.get("tracking_latency").validate_predictions(times)
    assert tasks.get("tracking_latency").score(times)["events_per_sec"] > 0


def test_what_is_no_entry_is_refused(tracker_hits: Path, tmp_path: Path) -> None:
    def refusal(*words: str) -> str:
        return str(CliRunner().invoke(app, ["tracking", "submit", *words, "-o", str(tmp_path / "out")]).exception)

    assert "unknown task" in refusal(str(tracker_hits), "--for-task", "jets")
    again = str(tracker_hits)
    assert "event 99000 twice" in refusal(again, again)
    table = pq.read_table(tracker_hits)
    early = tmp_path / "early.parquet"
    pq.write_table(table.set_column(0, "event_id", pa.array([5, 6], pa.uint32())), early)
    assert "got event 5, expected events 90000 to 99999 of ttbar_pu200" in refusal(str(early))
    assert not (tmp_path / "out" / "predictions.parquet").exists()
