"""The demo, whole but small: it must score, draw, compare every label and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from beampipe.errors import BeampipeError
from beampipe.files import check_folder_outputs
from beampipe.serving import demo
from beampipe.serving.demo import DEMO_FILES, demo_table, run_serving_demo
from beampipe.serving.load import Workload
from beampipe.tracking import Hits, Tracks
from beampipe.tracking.evaluation.results import EVALUATION_MARK
from beampipe.triton.engine import Engine


def test_the_demo_scores_draws_and_stops(engine: Engine, tmp_path: Path) -> None:
    output: list[str] = []
    result = run_serving_demo(tmp_path, ("module_map",), clients=2, events=4, mu=0, progress=output.append)
    assert output[0] == "starting Triton"
    assert output[-1] == "stopping"
    (scored,) = result.evaluation.finders
    assert scored.double.efficiency.value > 0.9
    assert {time.stage for time in scored.stages} >= {"building", "filtering", "labelling"}
    assert [throughput.clients for throughput in result.throughputs] == [1, 2]
    assert all(
        throughput.events >= 4 and 0 < throughput.p50 <= throughput.p95 < throughput.seconds
        for throughput in result.throughputs
    )
    assert result.stopped_clean
    assert {path.name for path in tmp_path.iterdir()} == set(DEMO_FILES)
    check_folder_outputs(tmp_path, DEMO_FILES, marks=[EVALUATION_MARK])  # a second demo may replace them
    console = Console(width=120, record=True)
    console.print(demo_table(result))
    assert "module_map" in console.export_text()


def test_a_label_that_differs_ends_it(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong_workload(hits: Sequence[Hits], find: Callable[[Hits], Tracks]) -> Workload:
        return Workload(tuple(hits), tuple(np.zeros(len(event), np.int64) for event in hits))

    monkeypatch.setattr(demo, "direct_workload", wrong_workload)
    with pytest.raises(BeampipeError, match="labels from the server that the direct pipeline does not give"):
        run_serving_demo(tmp_path, ("module_map",), clients=1, events=2, mu=0)
