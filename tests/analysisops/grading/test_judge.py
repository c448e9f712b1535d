"""Several replies of one judge: their median, their agreement, and what counts as none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from beampipe.analysisops.grading.judge import JudgeReply, OfflineJudge, Question, ask_judge, build_question
from beampipe.errors import ServiceError
from tests.analysisops.grading.examples import example_task, right_submission

TASK = example_task()


def question(submission: Any = None) -> Question:
    submission = right_submission() if submission is None else submission
    return build_question(
        TASK.rubric.judged, TASK.judge_prompt, submission, seed=1, task_id="example", reference=TASK.eval_ref
    )


@dataclass(frozen=True)
class Played:
    """A judge that says what it is told."""

    says: Sequence[Callable[[Question], Any]]
    name: str = "played"

    @property
    def samples(self) -> int:
        return len(self.says)

    def ask(self, question: Question, sample: int) -> JudgeReply:
        return JudgeReply(self.says[sample](question), 100, 10)


def number(points: object, **more: object) -> Callable[[Question], Any]:
    return lambda question: {"canary": question.canary, "dimension_scores": {"reasoning": points}, **more}


def astray(question: Question) -> Any:
    return {"canary": "x", "dimension_scores": {"reasoning": 20}}


def broken(question: Question) -> Any:
    raise ServiceError("out of order")


def test_the_median_counts() -> None:
    result = ask_judge(Played([number(4), number(20), number(10, explanation="good", confidence=0.7)]), question())
    assert (result.status, result.score, result.max_score) == ("scored", 10.0, 20.0)
    assert result.meta["reasoning"]["raw"] == [4, 20, 10]
    assert result.meta["reasoning"]["agreement"] == pytest.approx(0.2)
    assert (result.meta["reasoning"]["explanation"], result.meta["reasoning"]["confidence"]) == ("good", 0.7)
    assert (result.meta["judge"]["prompt_tokens"], result.meta["judge"]["counted"]) == (300, 3)


def test_a_judge_that_was_led_astray_does_not_count() -> None:
    result = ask_judge(Played([number(10), astray, number(12)]), question())
    assert (result.status, result.score) == ("scored", 11.0)
    assert "canary" in result.meta["judge"]["failures"][0]
    alone = ask_judge(Played([astray]), question())
    assert (alone.status, alone.score, alone.max_score) == ("unscored", 0.0, 20.0)


@pytest.mark.parametrize("points", [None, "20", math.nan, math.inf, True, {}])
def test_a_reply_without_a_number_is_no_zero(points: object) -> None:
    result = ask_judge(Played([number(points)]), question())
    assert result.status == "unscored"
    assert "no number" in result.meta["judge"]["reason"]


def test_half_of_the_replies_are_too_few() -> None:
    assert ask_judge(Played([number(10), broken]), question()).status == "unscored"
    assert ask_judge(Played([number(10), number(10), broken]), question()).status == "scored"
    assert ask_judge(Played([]), question()).status == "unscored"


def offline(method: object) -> float:
    return ask_judge(OfflineJudge(), question({"method": method})).score


def test_the_offline_judge_wants_fields_and_terms() -> None:
    full = {"model": "a voigt over an exponential background", "window": "from 75 to 107 GeV there"}
    assert offline(full) == 20.0
    assert offline(full) > offline({**full, "model": "a gauss over a falling background"}) > offline({})
    assert offline(full) > offline({"model": full["model"]}) > offline({"model": "voigt"})


def test_the_offline_judge_does_not_read_what_is_hidden() -> None:
    hidden = "<!-- voigt exponential window model fit peak -->"
    assert offline({"model": hidden, "window": hidden}) == 0.0
