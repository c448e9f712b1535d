"""Every result of a run, of whatever submission, is a function of its record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from beampipe.analysisops.agents.agent import Answer
from beampipe.analysisops.assessment import assess, regrade
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.evaluation import rescore, task_choice
from beampipe.analysisops.instances import PreparedInstance
from beampipe.analysisops.registry import make_agent
from beampipe.analysisops.runs.engine import AgentChoice, Assessment, Record, RunFolder, RunPlan, run
from beampipe.analysisops.seeds import Seeds
from beampipe.analysisops.tools.session import LocalTools, Session
from tests.analysisops.redteam.target import SEED

MANY: Final = list(range(30_000))

SUBMISSIONS: Final[Mapping[str, Callable[[dict[str, Any]], object]]] = {
    "as it is": lambda honest: honest,
    "many values last, under a name that is first in the alphabet": lambda honest: {**honest, "Aa": MANY},
    "many values first, under a name that is last": lambda honest: {"zz": MANY, **honest},
    "keys in another order": lambda honest: dict(reversed(honest.items())),
    "no finite numbers": lambda honest: {"A": [math.nan, math.inf], **honest, "z": -math.inf, "big": 10**400},
    "a lone surrogate": lambda honest: {**honest, "\ud800": "\udfff", "?": "a question mark"},
}


@pytest.fixture(scope="module")
def folder(instance: Callable[[str], PreparedInstance], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of agents that did the same honest work and answer with the submissions above."""
    prepared = instance("operations")

    def work(assessment: Assessment, place: Path) -> Record:
        def ask(request: TaskRequest, session: Session) -> Answer:
            honest = make_agent("scripted").solve(request, LocalTools(session))
            return Answer(SUBMISSIONS[assessment.agent.name](honest))

        return assess(prepared, 3, SEED, ask, place)

    result = tmp_path_factory.mktemp("regraded") / "run"
    agents = tuple(map(AgentChoice, SUBMISSIONS))
    run(RunPlan((task_choice(prepared.task),), agents, Seeds((SEED,)), (3,)), work, result)
    return result


def test_results_are_functions_of_their_records(folder: Path) -> None:
    records = {record["assessment"]["agent"]: record for record in RunFolder(folder).records()}
    assert records.keys() == SUBMISSIONS.keys()
    for name, record in records.items():
        assert regrade(record) == record["grade"], name
    scores = {name: record["grade"]["final"]["normalized_score"] for name, record in records.items()}
    assert scores["as it is"] == scores["many values last, under a name that is first in the alphabet"] == 1.0
    assert scores["many values first, under a name that is last"] == 0.0
    assert [score for score in scores.values() if score not in (0.0, 1.0)] == []


def test_a_run_with_such_submissions_is_graded_again_to_the_same_bytes(folder: Path) -> None:
    before = RunFolder(folder).results.read_bytes()
    again = rescore(folder)
    assert (again.records, again.differences, again.changed) == (len(SUBMISSIONS), (), ())
    assert RunFolder(folder).results.read_bytes() == before
