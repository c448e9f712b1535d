"""What must hold before anything counts."""

from __future__ import annotations

from typing import Any

import pytest

from beampipe.analysisops.grading.gates import CallsMade, StatusOk, Traceable
from beampipe.analysisops.grading.provenance import NumberIndex, label_answers
from beampipe.analysisops.grading.submission import Case, read_submission
from beampipe.analysisops.ledger import Entry
from beampipe.errors import ConfigError, UnknownNameError
from tests.analysisops.grading.examples import ERROR, MASS, PROMPT, entry, honest_entries


def case_of(answers: Any, entries: list[Entry] | None = None) -> Case:
    submission = read_submission({"status": "ok", "answers": answers})
    entries = honest_entries() if entries is None else entries
    return Case(
        submission, {}, entries, provenance=label_answers(submission, NumberIndex(entries, PROMPT)), prompt=PROMPT
    )


@pytest.mark.parametrize(
    ("status", "passes"),
    [("ok", True), ("OK", False), ("success", False), ("error", False), (None, False), (True, False), (["ok"], False)],
)
def test_status(status: object, passes: bool) -> None:
    assert (StatusOk()(Case(read_submission({"status": status}))).fraction == 1.0) is passes


def test_a_missing_status_is_not_ok() -> None:
    assert StatusOk()(Case(read_submission({}))).fraction == 0.0


def test_calls_count_when_they_gave_something_of_the_data() -> None:
    assert CallsMade(4)(case_of({})).fraction == 1.0
    assert CallsMade(5)(case_of({})).fraction == 0.0
    empty = [
        entry(1, "calculate_tool", {}, {"value": 1.0}, sources=()),
        entry(2, "fit_peak_tool", {}, None, error="no"),
    ]
    assert CallsMade(1)(case_of({}, empty)).fraction == 0.0
    assert CallsMade(1)(case_of({}, [])).fraction == 0.0


def test_some_tools_must_be_among_the_calls() -> None:
    assert CallsMade(1, ("fit_peak_tool",))(case_of({})).fraction == 1.0
    assert CallsMade(1, ("fit_peak_tool", "limit_tool"))(case_of({})).fraction == 0.0
    with pytest.raises(ConfigError, match="at least 1"):
        CallsMade(0)


@pytest.mark.parametrize(
    ("answers", "passes"),
    [
        ({"mass": {"value": MASS, "uncertainty": ERROR}}, True),
        ({"mass": {"value": 90.12, "uncertainty": ERROR}}, True),
        ({"mass": MASS}, True),
        ({"mass": {"value": 91.1876, "uncertainty": 0.0021}}, False),
        ({"mass": {"value": MASS, "uncertainty": 0.01}}, False),
        ({"mass": {"value": str(MASS), "uncertainty": ERROR}}, False),
        ({"mass": {"value": None}}, False),
        ({"other": MASS}, False),
        ({"mass": MASS, "other": 12.3456}, False),
        ({}, False),
        (None, False),
        ([MASS], False),
        ({"mass": MASS, **{f"x{step}": MASS for step in range(200)}}, False),
    ],
)
def test_every_number_stands_in_the_ledger(answers: Any, passes: bool) -> None:
    assert (Traceable(("mass",))(case_of(answers)).fraction == 1.0) is passes


def test_a_part_that_the_agent_calculated_is_accepted_unless_the_rubric_says_no() -> None:
    half = entry(5, "calculate_tool", {"expression": "m * n", "values": {"m": MASS, "n": 0.9876}}, {"value": 89.00587})
    case = case_of({"mass": 89.00587}, [*honest_entries(), half])
    assert Traceable(("mass",))(case).fraction == 1.0
    assert Traceable(("mass",), accept=("traceable",))(case).fraction == 0.0
    with pytest.raises(UnknownNameError, match="fabricated"):
        Traceable(accept=("fabricated",))
