"""Amounts are added up here and reach Triton's counters once."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from beampipe.triton.model import backend
from beampipe.triton.model.backend import COMMON_COUNTERS, InstanceMetrics

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


def test_names_follow_prometheus(families: list[Family]) -> None:
    made(families)
    assert [family.name for family in families] == [f"beampipe_{name}_total" for name in (*COMMON_COUNTERS, *COUNTERS)]
    assert {family.kind for family in families} == {"counter"}


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


def test_nothing_observed_is_nothing_handed_over(families: list[Family]) -> None:
    counters = made(families)
    counters.start()
    counters.stop()
    assert not added(families)


def test_what_came_before_the_start_is_forgotten(families: list[Family]) -> None:
    counters = made(families)
    counters.observe("hits", 306, "")
    counters.start()
    counters.observe("hits", 1, "")
    counters.stop()
    assert added(families) == {"beampipe_hits_total": {"model,model_0": [1]}}


def test_unknown_names_are_left_out(families: list[Family]) -> None:
    counters = made(families)
    counters.start()
    counters.observe("triplets", 7, "")
    counters.stop()
    assert not added(families)


def test_it_hands_over_while_it_runs(families: list[Family], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_PERIOD", 0.01)
    counters = made(families)
    arrived = threading.Event()
    monkeypatch.setattr(counters, "_flush", arrived.set)
    counters.start()
    assert arrived.wait(60)
    counters.stop()


def test_several_threads_lose_nothing(families: list[Family]) -> None:
    counters = made(families)
    counters.start()

    def work() -> None:
        for _ in range(2000):
            counters.observe("events", 1, "")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counters.stop()
    assert sum(added(families)["beampipe_events_total"]["model,model_0"]) == 8000


def test_it_can_be_stopped_unstarted(families: list[Family]) -> None:
    made(families).stop()
