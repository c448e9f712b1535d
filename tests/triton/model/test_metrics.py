"""Amounts are added up here and reach Triton's counters once."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from beampipe.triton.model import backend
from beampipe.triton.model.backend import InstanceMetrics

COUNTERS = {"hits": "Hits of the events answered.", "tracks": "Tracks found."}


class Family:
    """Stands for Triton's; knows what was added under which labels."""

    COUNTER = "counter"
    made: list[Family]

    def __init__(self, name: str, description: str, kind: str) -> None:
        self.name, self.kind = name, kind
        self.added: dict[str, list[float]] = {}
        self.made.append(self)

    def Metric(self, labels: dict[str, str]) -> Any:
        amounts = self.added.setdefault(",".join(labels.values()), [])
        return SimpleNamespace(increment=amounts.append)


@pytest.fixture
def families() -> list[Family]:
    Family.made = []
    return Family.made


def made(families: list[Family]) -> InstanceMetrics:
    return InstanceMetrics(SimpleNamespace(MetricFamily=Family), "model", "model_0", COUNTERS)


def added(families: list[Family]) -> dict[str, dict[str, list[float]]]:
    return {family.name: family.added for family in families if family.added}


def test_amounts_are_added_up_and_handed_over_once(families: list[Family]) -> None:
    counters = made(families)
    counters.start()
    for _ in range(1000):
        counters.observe("hits", 2, "")
        counters.observe("stage_seconds", 0.5, "gnn")
        counters.observe("stage_seconds", 0.25, "embedding")
    counters.stop()
    result = added(families)
    assert sum(result["beampipe_hits_total"]["model,model_0"]) == 2000
    assert sum(result["beampipe_stage_seconds_total"]["model,model_0,gnn"]) == 500
    assert sum(result["beampipe_stage_seconds_total"]["model,model_0,embedding"]) == 250
    assert len(result["beampipe_hits_total"]["model,model_0"]) < 10


def test_what_came_before_the_start_is_forgotten(families: list[Family]) -> None:
    counters = made(families)
    counters.observe("hits", 306, "")
    counters.start()
    counters.observe("hits", 1, "")
    counters.stop()
    assert added(families) == {"beampipe_hits_total": {"model,model_0": [1]}}


def test_it_hands_over_while_it_runs(families: list[Family], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_PERIOD", 0.01)
    counters = made(families)
    arrived = threading.Event()
    monkeypatch.setattr(counters, "_flush", arrived.set)
    counters.start()
    assert arrived.wait(60)
    counters.stop()
