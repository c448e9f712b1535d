"""Grading as a whole: gates, then rules, then a judge beside them; the same bytes each time."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beampipe.analysisops.grading.grade import grade
from beampipe.analysisops.grading.judge import OfflineJudge
from beampipe.analysisops.grading.result import Result
from tests.analysisops.grading.examples import (
    ERROR,
    MASS,
    REFERENCE,
    example_task,
    honest_entries,
    mass_from,
    right_submission,
)
from tests.analysisops.grading.test_submission import anything

TASK = example_task()


def graded(submission: object, **more: Any) -> Result:
    return grade(TASK, submission, REFERENCE, more.pop("entries", honest_entries()), **more)


def text_of(result: Result) -> str:
    """JSON text without NaN or infinity."""
    return json.dumps(result.to_json(), sort_keys=True, allow_nan=False)


def test_a_right_submission_gets_all() -> None:
    result = graded(right_submission())
    assert (result.status, result.score, result.max_score, result.normalized) == ("ok", 100.0, 100.0, 1.0)
    assert all(check.passed for check in (*result.gates, *result.rules))


@pytest.mark.parametrize("off", [4.9, 20.0, 1e6])
def test_rules_without_points_are_issues_without_numbers_of_the_reference(off: float) -> None:
    mass = MASS + off * ERROR
    submission = {**right_submission(), "answers": {"mass": mass_from(mass, ERROR)}}
    result = graded(submission, entries=honest_entries(mass=mass))
    assert result.normalized < 1e-3
    assert [(issue.code, issue.message) for issue in result.issues] == [
        ("no_points", "mass: no points, since it is too far from the reference"),
        *(("no_points", f"{name}: no points, since mass earned none") for name in ("error", "spectrum")),
    ]


def test_the_shape_of_a_result() -> None:
    result = graded(right_submission(), judge=OfflineJudge(), level=1, seed=7).to_json()
    assert result["final"] == {"total_score": 100.0, "max_score": 100.0, "normalized_score": 1.0}
    assert result["rule"] == {"score": 100.0, "max": 100.0}
    assert (result["task_id"], result["type"], result["level"], result["seed"]) == ("example", "zmumu", 1, 7)
    assert (result["status"], result["hard_checks_passed"], result["hard_failures"]) == ("ok", True, [])
    assert result["provenance"]["mass"]["label"] == "traceable"
    assert result["signals"]["mass.pull"] == 0.0
    assert [check["id"] for check in result["checks"]] == [
        "finished",
        "worked",
        "evidence",
        "mass",
        "error",
        "spectrum",
    ]
    assert (result["llm"]["status"], result["llm"]["max"]) == ("scored", 20.0)
    assert set(result["llm"]["meta"]) == {"reasoning", "judge"}


def test_a_gate_that_fails_leaves_nothing_and_names_itself() -> None:
    result = graded(right_submission(), entries=[])
    assert (result.status, result.score, result.max_score) == ("fail", 0.0, 100.0)
    assert result.to_json()["hard_failures"] == ["worked", "evidence"]
    assert not any(rule.passed for rule in result.rules)


@pytest.mark.parametrize("status", ["error", "Error", " failed ", "FAIL"])
def test_an_error_is_an_error(status: str) -> None:
    result = graded({**right_submission(), "status": status, "comments": "no tree of that name"})
    assert (result.status, result.score) == ("error", 0.0)
    (message,) = (issue.message for issue in result.issues if issue.code == "agent_error")
    assert message.endswith(": no tree of that name")


def test_rules_are_scaled_by_others() -> None:
    mass = MASS + 2 * ERROR
    submission = right_submission()
    submission["answers"]["mass"]["value"] = mass
    result = graded(submission, entries=honest_entries(mass))
    assert [rule.points for rule in result.rules] == pytest.approx([30.0, 10.0, 10.0])
    assert [rule.outcome.fraction for rule in result.rules] == pytest.approx([0.5, 1.0, 1.0])


def test_no_judge_changes_no_score() -> None:
    class Harsh:
        name, samples = "harsh", 1

        def ask(self, question: Any, sample: int) -> Any:
            raise RuntimeError("out of order")

    alone, judged, harsh = (graded(right_submission(), judge=judge) for judge in (None, OfflineJudge(), Harsh()))
    assert alone.to_json()["final"] == judged.to_json()["final"] == harsh.to_json()["final"]
    assert [item.judge.status for item in (alone, judged, harsh)] == ["unscored", "scored", "unscored"]
    assert "out of order" in harsh.judge.meta["judge"]["reason"]


def test_no_judge_is_asked_where_a_gate_failed() -> None:
    result = graded(right_submission(), entries=[], judge=OfflineJudge())
    assert (result.judge.status, result.judge.meta["judge"]["reason"]) == ("unscored", "a gate did not hold")


def test_the_same_submission_gives_the_same_bytes() -> None:
    backwards = dict(reversed(right_submission().items()))
    texts = {text_of(graded(item, judge=OfflineJudge(), seed=3)) for item in [right_submission()] * 20 + [backwards]}
    assert len(texts) == 1
    assert json.loads(texts.pop())["final"]["normalized_score"] == 1.0


@given(anything)
@settings(max_examples=40)
def test_any_submission_has_a_result(raw: object) -> None:
    result = graded(raw, judge=OfflineJudge())
    assert 0.0 <= result.normalized <= 0.05
    text_of(result)


fields = st.sampled_from(["status", "answers", "words", "histograms", "artifacts", "method", "comments"])


@given(st.dictionaries(fields, anything, max_size=4), anything)
@settings(max_examples=40)
def test_a_spoilt_submission_has_a_result(spoilt: dict[str, object], value: object) -> None:
    for submission in (
        {**right_submission(), **spoilt},
        {**right_submission(), "answers": {"mass": {"value": value, "uncertainty": ERROR}}},
        {**right_submission(), "answers": {"mass": {"value": MASS, "uncertainty": value}}},
    ):
        result = graded(submission, judge=OfflineJudge())
        assert 0.0 <= result.normalized <= 1.0
        text_of(result)
