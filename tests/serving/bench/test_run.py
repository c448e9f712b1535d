"""A load test against the real server: small, but every way, and a wrong label stops it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from beampipe.errors import BeampipeError, ConfigError
from beampipe.files import check_folder_outputs
from beampipe.serving import load
from beampipe.serving.bench import (
    REPORT_FILES,
    REPORT_MARK,
    BenchPlan,
    BenchPoint,
    bench_table,
    run_bench,
    write_report,
)
from beampipe.serving.load import Workload, direct_workload
from beampipe.serving.models import ServingSettings
from beampipe.tracking import Hits, Tracks
from beampipe.tracking.data import shipped_events
from beampipe.triton.engine import Engine

WAYS = ("direct", "module_map shm", "module_map_ragged http")


def test_every_way_is_measured_and_drawn(engine: Engine, tmp_path: Path) -> None:
    plan = BenchPlan("module_map", WAYS, concurrency=(1, 3), instances=(2,), seconds=0.1, rates=(0.5,))
    events = list(shipped_events(0))[:6]
    seen: list[BenchPoint] = []
    result = run_bench(plan, {"mu = 0": events}, ["beampipe", "serving", "bench"], seen.append)
    assert list(result.points) == seen
    closed = [point for point in result.points if point.rate is None]
    keys = {(point.way, point.concurrency, point.instances) for point in closed}
    assert keys == {(way, *rest) for way in WAYS for rest in ((1, 1), (3, 1), (3, 2))}
    assert {point.way for point in result.points if point.rate is not None} == set(WAYS)
    for point in result.points:
        assert point.summary.throughput > 0
        assert point.summary.faults == point.summary.wrong == 0
        assert point.utilisation > 0
        assert (point.batch is None) == (point.way == "direct")
    assert result.samples[0].efficiency is not None
    assert result.samples[0].efficiency > 0.9

    console = Console(width=200, record=True)
    console.print(bench_table(result, "mu = 0"))
    assert "module_map_ragged http" in console.export_text()
    written = write_report(result, tmp_path)
    assert [path.name for path in written] == list(REPORT_FILES)
    check_folder_outputs(tmp_path, REPORT_FILES, marks=[REPORT_MARK])  # a second one may replace them


def test_nothing_is_measured_where_labels_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong_workload(hits: Sequence[Hits], find: Callable[[Hits], Tracks]) -> Workload:
        workload = direct_workload(hits, find)
        assert any((labels >= 0).any() for labels in workload.labels)
        return replace(workload, labels=tuple(np.where(labels >= 0, labels + 1, -1) for labels in workload.labels))

    monkeypatch.setattr(load, "direct_workload", wrong_workload)
    plan = BenchPlan("module_map", ("direct",), ServingSettings(threads=1), seconds=0.1)
    with pytest.raises(BeampipeError, match="labels differ from the direct ones; nothing was measured"):
        run_bench(plan, {"mu = 0": list(shipped_events(0))[:3]}, ["beampipe"])


def test_a_plan_without_ways_is_refused() -> None:
    with pytest.raises(ConfigError, match="ways: got none"):
        BenchPlan("module_map", ())
