"""NVIDIA's own load generator against the real server."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.serving.clients import RawPoint, perf_analyze

from beampipe.errors import BeampipeError
from beampipe.serving.models import ServingSettings, named_models
from beampipe.tracking import Hits, shipped_events
from beampipe.triton.engine import Engine
from beampipe.triton.model.repository import export_repository
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer

pytest.importorskip("perf_analyzer", reason="no perf_analyzer: pip install perf-analyzer")


def test_perf_analyzer_measures_a_model(engine: Engine, tmp_path: Path) -> None:
    (name,) = export_repository(tmp_path / "models", named_models(ServingSettings(("module_map_ragged",))))
    event = next(event.hits for event in shipped_events(0) if len(event.hits) > 300)
    with TritonServer(ServerSettings(tmp_path / "models", (name,))) as server:
        if (point := measured(server.grpc_url, name, event)) is not None:
            assert point.throughput > 0
            assert 0 < point.p50 < 1
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
