"""The demos are what a stranger runs first: they compare every label, lose nothing and leave nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from beampipe.errors import BeampipeError
from beampipe.files import check_folder_outputs
from beampipe.serving import DirectTrackFinder, demo, fleet_demo
from beampipe.serving.demo import DEMO_FILES, demo_table, run_serving_demo
from beampipe.serving.fleet_demo import run_fleet_demo
from beampipe.serving.load import Workload
from beampipe.tracking import shipped_events
from beampipe.triton.engine import Engine


def test_the_demo_measures_draws_and_stops(engine: Engine, tmp_path: Path) -> None:
    output: list[str] = []
    result = run_serving_demo(tmp_path, ("module_map",), in_flight=2, events=4, mu=0, progress=output.append)
    assert output[0] == "starting Triton"
    assert output[-1] == "stopping"
    assert [point.in_flight for point in result.points] == [1, 2]
    assert all(point.summary.requests >= 4 and point.summary.failed == 0 for point in result.points)
    assert all(0 < point.summary.p50 <= point.summary.p95 and point.summary.throughput > 0 for point in result.points)
    assert result.stopped_clean
    assert {path.name for path in tmp_path.iterdir()} == set(DEMO_FILES)
    check_folder_outputs(tmp_path, DEMO_FILES)  # a second demo may replace them
    console = Console(width=120, record=True)
    console.print(demo_table(result))
    assert "module_map" in console.export_text()


def test_a_label_that_differs_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hits = tuple(event.hits for event in list(shipped_events(0))[:2])
    wrong = Workload(hits, tuple(np.zeros(len(event), np.int64) for event in hits))
    monkeypatch.setattr(demo, "_SPAN", 0.1)
    monkeypatch.setattr(demo, "TritonTrackFinder", lambda url, model, in_flight: DirectTrackFinder(model))
    with pytest.raises(BeampipeError, match="labels from the server that the direct pipeline does not give"):
        demo._measure("grpc://nowhere:1", "module_map", wrong, 1, 2)


def test_events_flow_while_servers_are_killed_hung_and_taken_out(engine: Engine, tmp_path: Path) -> None:
    result = run_fleet_demo(tmp_path)
    assert [fault.what for fault in result.faults] == [
        "killed",
        "hung",
        "taken out and in",
    ]
    assert len(result.answered) > 36
    assert result.faults[-1].begin < max(result.answered)
    assert [path.name for path in tmp_path.iterdir()] == list(fleet_demo.DEMO_FILES)
    check_folder_outputs(tmp_path, fleet_demo.DEMO_FILES)
    assert (result.lost, result.wrong, result.left) == ([], 0, [])
