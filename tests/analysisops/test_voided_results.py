"""No answer of an agent removes its own result from a run: what cannot be read, graded or recorded scores 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from beampipe.analysisops import assessment as assessment_module
from beampipe.analysisops.agents.agent import Tools
from beampipe.analysisops.assessment import ask_here, ask_over_a2a, assess
from beampipe.analysisops.contract import Reference, TaskRequest
from beampipe.analysisops.evaluation import rescore, task_choice
from beampipe.analysisops.grading.submission import Evidence
from beampipe.analysisops.instances import PreparedInstance
from beampipe.analysisops.runs.engine import AgentChoice, Assessment, Record, RunFolder, RunPlan, run
from beampipe.analysisops.runs.statistics import scores_of, summarise
from beampipe.analysisops.seeds import Seeds
from beampipe.errors import ConfigError
from tests.analysisops.redteam.target import SEED


def nested(depth: int) -> list[Any]:
    inside: list[Any] = []
    for _ in range(depth):
        inside = [inside]
    return inside


class Hostile(Mapping[str, Any]):
    """An object that fails whenever it is read."""

    def __getitem__(self, key: str) -> Any:
        raise OverflowError(key)

    def __iter__(self) -> Iterator[str]:
        raise ZeroDivisionError

    def __len__(self) -> int:
        return 3


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __deepcopy__(self, memo: object) -> Any:
        raise RuntimeError("no copy")


CYCLE: dict[str, Any] = {"status": "ok"}
CYCLE["answers"] = CYCLE

OK = {"status": "ok", "task_id": "operations"}
HUGE = 10**401
PAYLOADS: Mapping[str, Any] = {
    "cost of 401 digits": {**OK, "usage": {"cost": HUGE}},
    "cost nan": {**OK, "usage": {"cost": math.nan}},
    "cost text": {**OK, "usage": {"cost": "9" * 500}},
    "tokens of 10,000 digits": {**OK, "usage": {"prompt_tokens": 10**10_000}},
    "usage list": {**OK, "usage": [1, 2]},
    "usage that fails": {**OK, "usage": Hostile()},
    "answer of 401 digits": {**OK, "answers": {"onset": {"value": HUGE, "uncertainty": HUGE}}},
    "nested": {**OK, "answers": {"onset": nested(100_000)}},
    "nested a little": {**OK, "comments": nested(900)},
    "cycle": CYCLE,
    "object that fails": Hostile(),
    "answers that fail": {**OK, "answers": Hostile()},
    "artifacts by numbers": {**OK, "artifacts": {1: 2, "labels": HUGE}},
    "set": {**OK, "comments": {1, 2}},
    "class": {**OK, "comments": Unprintable},
    "no text": {**OK, "comments": Unprintable()},
    "lone surrogate": {**OK, "comments": "\ud800", "\ud800": 1},
    "equal keys": {**OK, "1": 2, 1: 3},
    "complex": {**OK, "answers": {"onset": 1j}},
    "dollar": {**OK, "answers": {"onset": {"$float": "cat"}}, "$float": "cat"},
    "handle of the host": {**OK, "histograms": {"mass": "../../hidden.json"}},
    "million keys": {**OK, "words": {str(number): "x" for number in range(100_000)}},
    "status object": {**OK, "status": Hostile()},
    "usage of itself": {**OK, "usage": CYCLE},
    "usage with keys of all types": {**OK, "usage": {1: 1, None: 2, "cost": HUGE}},
    "status of a million characters": {**OK, "status": "ok" * 500_000},
    "no task": {"status": "ok"},
    "answers list": {**OK, "answers": [HUGE] * 100},
    "answer subnormal": {**OK, "answers": {"onset": {"value": 5e-324, "uncertainty": 5e-324}}},
    "answer true": {**OK, "answers": {"onset": True}},
    "answer from nowhere": {**OK, "answers": {"onset": {"value": 1.0, "from": "call_999999999999999999.x"}}},
    "answer from itself": {**OK, "answers": {"onset": {"value": 1.0, "from": CYCLE}}},
    "answer from a long path": {**OK, "answers": {"onset": {"value": 1.0, "from": "call_1" + ".x" * 100_000}}},
    "answer from digits of another script": {**OK, "answers": {"onset": {"value": 1.0, "from": "call_\u0661.x"}}},
    "name of a million characters": {**OK, "answers": {"x" * 1_000_000: 1.0}},
    "words nested": {**OK, "words": {"cause": nested(50_000)}},
    "histogram of numbers": {**OK, "histograms": {"mass": {"edges": [math.nan], "values": [HUGE]}}},
    "artifact bytes": {**OK, "artifacts": {"labels": b"\0" * 100_000}},
    "method of numbers": {**OK, "method": {"model": HUGE, "window": math.inf}},
    "generator": {**OK, "comments": (character for character in "ok")},
    "range": {**OK, "answers": range(10**9)},
    "not implemented": NotImplemented,
    "exception": OverflowError(HUGE),
    "empty": {},
    "list of submissions": [OK, OK],
    "none": None,
    "number": HUGE,
    "text": "status: ok",
    "type": int,
}


class Saying:
    """An agent that answers the same whatever it is asked."""

    def __init__(self, payload: Any) -> None:
        self.payload = payload

    def solve(self, request: TaskRequest, tools: Tools) -> Any:
        return self.payload


@pytest.fixture(scope="module")
def prepared(instance: Callable[[str], PreparedInstance]) -> PreparedInstance:
    return instance("operations")


@pytest.mark.parametrize("claim", [-1, math.nan, math.inf, 10**400, True, "12"])
def test_an_agent_cannot_claim_a_cost_that_cannot_be(prepared: PreparedInstance, tmp_path: Path, claim: object) -> None:
    usage = {"cost": claim, "prompt_tokens": claim, "answer_tokens": 3}
    record = assess(prepared, 1, SEED, ask_here(Saying({**OK, "usage": usage})), tmp_path)
    assert (record.cost, record.tokens) == (None, {"output": 3})


class Failing:
    """An agent that ends in an exception of some type."""

    def __init__(self, failure: BaseException) -> None:
        self.failure = failure

    def solve(self, request: TaskRequest, tools: Tools) -> Any:
        raise self.failure


@pytest.mark.parametrize(
    "failure", [SystemExit(0), MemoryError(), RecursionError(), OSError(28, "full"), StopIteration()]
)
def test_an_agent_that_ends_by_an_exception_has_a_result(
    prepared: PreparedInstance, tmp_path: Path, failure: BaseException
) -> None:
    record = assess(prepared, 1, SEED, ask_here(Failing(failure)), tmp_path)
    assert record.error.startswith(f"{type(failure).__name__} in the agent")
    assert record.grade["final"]["normalized_score"] == 0.0


def test_whatever_is_answered_there_is_a_result_of_0(prepared: PreparedInstance, tmp_path: Path) -> None:
    def assess_one(assessment: Assessment, folder: Path) -> Record:
        return assess(prepared, 1, SEED, ask_here(Saying(PAYLOADS[assessment.agent.name])), folder)

    plan = RunPlan((task_choice(prepared.task),), tuple(map(AgentChoice, PAYLOADS)), Seeds.first(1), (1,))
    records = run(plan, assess_one, tmp_path / "run", code="0" * 40)
    assert [record["assessment"]["agent"] for record in records] == list(PAYLOADS)
    place = RunFolder(tmp_path / "run")
    assert not place.missing()
    for record in records:
        result = record["grade"]
        assert result["final"]["normalized_score"] == 0.0, record["assessment"]["agent"]
        assert any(issue["severity"] == "error" for issue in result["issues"]), "no zero without a reason"
    figures = summarise(scores_of(place.read_results()))
    assert len(figures) == len(PAYLOADS)
    assert {summary.mean for summary in figures.values()} == {0.0}
    again = rescore(place.path)
    assert (again.records, again.differences, again.changed) == (len(PAYLOADS), (), ())


def test_failures_after_the_request_has_left_are_the_agents(
    prepared: PreparedInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Any:
        raise OverflowError("secret 1234")

    monkeypatch.setattr(assessment_module, "ask_agent", fail)
    record = assess(prepared, 1, SEED, ask_over_a2a("http://127.0.0.1:1/"), tmp_path / "a")
    assert record.grade["status"] == "error"
    assert record.error == "OverflowError while the answer was read"
    nothing = Evidence()
    monkeypatch.setattr(assessment_module, "evidence_of", lambda submission, *_: fail() if submission else nothing)
    record = assess(prepared, 1, SEED, ask_here(Saying(OK)), tmp_path / "b")
    assert (record.grade["status"], record.error) == ("error", "OverflowError while the submission was graded")


def test_what_the_host_lacks_is_found_before_an_agent_works(prepared: PreparedInstance, tmp_path: Path) -> None:
    request = []
    broken = PreparedInstance(prepared.task, prepared.data, prepared.hidden, Reference(), prepared.facts)
    with pytest.raises(ConfigError, match="reference: got no"):
        assess(broken, 1, SEED, lambda *_: request.append(1), tmp_path)  # type: ignore[arg-type]
    assert not request
