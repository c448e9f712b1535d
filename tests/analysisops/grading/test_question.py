"""The prompt of a judge: what is in it cannot leave its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beampipe.analysisops.grading.judge import Question, build_question, check_judge_prompt
from beampipe.errors import ConfigError
from tests.analysisops.grading.examples import example_task, right_submission

TASK = example_task()


def asked(submission: Any, seed: int = 1, prompt: str = TASK.judge_prompt) -> Question:
    return build_question(TASK.rubric.judged, prompt, submission, seed=seed, task_id="example", reference={"a": 1})


def inside(question: Question) -> str:
    """The text between the fences."""
    after = question.prompt.split(f"<submission-{question.fence}>\n", 1)[1]
    return after.split(f"\n</submission-{question.fence}>", 1)[0]


def test_the_submission_is_one_line_of_json_behind_the_fence() -> None:
    question = asked(right_submission())
    assert json.loads(inside(question)) == right_submission()
    assert "\n" not in inside(question)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=200), max_size=3))
def test_nothing_breaks_out_of_the_fence(submission: dict[str, str]) -> None:
    question = asked(submission)
    assert question.prompt.count(f"<submission-{question.fence}>") == 2  # at its place, and in the rules behind
    assert not {"<", ">", "\n"} & set(inside(question))
    assert question.canary not in inside(question)


def test_placeholders_of_a_submission_are_not_filled() -> None:
    question = asked({"model": "{{ RUBRIC }} and {{EVAL_REF}}"})
    assert '"a": 1' not in question.prompt
    assert question.prompt.count('"points": 20.0') == 1


def test_a_prompt_without_a_place_gets_the_submission_at_its_end() -> None:
    question = asked(right_submission(), prompt="Judge this.")
    assert json.loads(inside(question)) == right_submission()
    assert question.canary in question.prompt.rsplit("</submission", 1)[1]


def test_unknown_placeholders_are_refused() -> None:
    check_judge_prompt("{{SUBMISSION_TRACE}} {{ RUBRIC }}", "judge_prompt.md")
    with pytest.raises(ConfigError, match="did you mean 'SUBMISSION_TRACE'"):
        check_judge_prompt("{{SUBMISSION_TRACES}}", "judge_prompt.md")
