"""One assessment from end to end, in this process and over sockets, and the same grade from its record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from beampipe.analysisops.agents.agent import Agent
from beampipe.analysisops.agents.analysis import NopAgent
from beampipe.analysisops.agents.serving import serving_agent
from beampipe.analysisops.assessment import ask_here, ask_over_a2a, assess, regrade
from beampipe.analysisops.demo import run_demo
from beampipe.analysisops.grading.judge import OfflineJudge
from beampipe.analysisops.instances import InstanceStore, PreparedInstance, oracle_of, request_of
from beampipe.analysisops.registry import make_agent
from beampipe.analysisops.runs.engine import rescore as rescore_run
from beampipe.analysisops.tasks.load import shipped_task
from tests.analysisops.redteam.target import SEED


@pytest.fixture(scope="module")
def prepared(store: InstanceStore) -> PreparedInstance:
    return store.get(shipped_task("operations"), SEED)


def test_what_is_asked_tells_nothing_hidden(prepared: PreparedInstance) -> None:
    for level in (1, 2, 3):
        message = json.dumps(request_of(prepared, level).to_json())
        for quantity in prepared.reference.quantities.values():
            assert f"{quantity.value:.4g}" not in message
        assert str(prepared.hidden.parameters) not in message


def test_who_knows_the_method_scores_and_who_does_nothing_does_not(prepared: PreparedInstance, tmp_path: Path) -> None:
    scores = {}
    agents: dict[str, Agent] = {
        "scripted": make_agent("scripted"),
        "oracle": oracle_of(prepared.task, prepared.hidden),
        "nop": NopAgent(),
    }
    for name, agent in agents.items():
        record = assess(prepared, 1, SEED, ask_here(agent), tmp_path / name, judge=OfflineJudge())
        scores[name] = record.grade["final"]["normalized_score"]
        plain = json.loads(json.dumps(record.to_json()))
        assert regrade(plain) == json.loads(json.dumps(record.grade))
    assert scores["scripted"] >= 0.95
    assert scores["oracle"] == 1.0
    assert scores["nop"] == 0.0


def test_a_record_is_graded_by_what_it_holds_and_not_by_what_it_says(
    prepared: PreparedInstance, tmp_path: Path
) -> None:
    record = assess(prepared, 1, SEED, ask_here(make_agent("scripted")), tmp_path)
    plain = json.loads(json.dumps(record.to_json()))
    plain["submission"]["words"]["cause"] = "no_cause"
    assert regrade(plain)["final"]["total_score"] < record.grade["final"]["total_score"]


def test_an_agent_over_a2a_with_tools_over_mcp(prepared: PreparedInstance, tmp_path: Path) -> None:
    with serving_agent(make_agent("scripted")) as url:
        record = assess(prepared, 2, SEED, ask_over_a2a(url), tmp_path)
    assert record.grade["final"]["normalized_score"] >= 0.95
    assert len(record.ledger) > 5


@contextmanager
def silent(_: str, __: int | None) -> Iterator[Any]:
    yield lambda: None


def test_the_demo_goes_from_sockets_to_a_page_and_can_be_graded_again(tmp_path: Path) -> None:
    result = run_demo(tmp_path, silent, tasks=("operations", "jets"), workers=1)
    assert "<title>" in result.page.read_text()
    lines = list(result.lines())
    assert any(line.startswith("2 tasks: mean 1.000") for line in lines), lines
    digests = {rescore_run(tmp_path / "run", regrade).sha256 for _ in range(3)}
    assert len(digests) == 1
