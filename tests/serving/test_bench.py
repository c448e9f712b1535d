"""A load test against the real server, its samples, and NVIDIA's own load generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.serving.perf_points import RawPoint, perf_analyze
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
    load_samples,
    run_bench,
    write_report,
)
from beampipe.serving.load import Workload, direct_workload
from beampipe.serving.models import ServingSettings, named_models
from beampipe.tracking import Hits, Tracks, shipped_events
from beampipe.tracking.data import shipped_path
from beampipe.triton.engine import Engine
from beampipe.triton.model.repository import export_repository
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer

WAYS = ("direct", "module_map shm", "module_map_ragged http")


def test_every_way_is_measured_and_drawn(engine: Engine, tmp_path: Path) -> None:
    plan = BenchPlan("module_map", WAYS, concurrency=(1, 3), instances=(2,), seconds=0.1)
    events = list(shipped_events(0))[:6]
    seen: list[BenchPoint] = []
    result = run_bench(plan, {"mu = 0": events}, ["beampipe", "serving", "bench"], seen.append)
    assert list(result.points) == seen
    keys = {(point.way, point.concurrency, point.instances) for point in result.points}
    assert keys == {(way, *rest) for way in WAYS for rest in ((1, 1), (3, 1), (3, 2))}
    for point in result.points:
        assert point.summary.throughput > 0
        assert point.summary.faults == point.summary.wrong == 0
        assert point.utilisation > 0
        assert (point.batch is None) == (point.way == "direct")
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


def test_shipped_events_by_pile_up() -> None:
    samples = load_samples((), 3, (0, 60))
    assert list(samples) == ["mu = 0", "mu = 60"]
    assert len(samples["mu = 0"]) == len(list(shipped_events(0))), "the limit is for files"


def test_events_of_files_up_to_a_limit() -> None:
    path = shipped_path(0)
    samples = load_samples((path,), 3, (0, 60))
    assert [(name, len(events)) for name, events in samples.items()] == [(path.stem, 3)]


pytest.importorskip("perf_analyzer", reason="no perf_analyzer: pip install perf-analyzer")


def test_perf_analyzer_measures_a_model(engine: Engine, tmp_path: Path) -> None:
    (name,) = export_repository(tmp_path / "models", named_models(ServingSettings(("module_map_ragged",))))
    event = next(event.hits for event in shipped_events(0) if len(event.hits) > 300)
    with TritonServer(ServerSettings(tmp_path / "models", (name,))) as server:
        if (point := measured(server.grpc_url, name, event)) is not None:
            assert point.model == name
            assert point.throughput > 0
            assert 0 < point.p50 <= point.p95 <= point.p99
        with pytest.raises(BeampipeError, match="perf_analyzer: got no result"):
            perf_analyze(server.grpc_url, "no_such_model", [event], 1, timeout=20.0)


def measured(url: str, name: str, event: Hits) -> RawPoint | None:
    """A point, or None: on a busy machine it may not become stable, but never for lack of answers."""
    try:
        return perf_analyze(url, name, [event], 1, requests=300, batches=True)
    except BeampipeError as error:
        if "Failed to obtain stable measurement" in str(error):
            return None
        raise
