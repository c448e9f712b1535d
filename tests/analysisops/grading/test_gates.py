"""What must hold before anything counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from beampipe.analysisops.grading.checks import CallsMade, FromLedger, StatusOk, Traceable
from beampipe.analysisops.grading.grade import grade
from beampipe.analysisops.grading.provenance import label_answers, label_trace
from beampipe.analysisops.grading.submission import Case, read_submission
from beampipe.analysisops.ledger import Entry
from beampipe.analysisops.tasks.load import load_task
from beampipe.errors import ConfigError
from tests.analysisops.grading.examples import ERROR, MASS, PROMPT, entry, honest_entries, mass_from
from tests.analysisops.tasks.folders import PUBLIC, written


def case_of(answers: Any, entries: list[Entry] | None = None) -> Case:
    submission = read_submission({"status": "ok", "answers": answers})
    entries = honest_entries() if entries is None else entries
    return Case(submission, {}, entries, provenance=label_answers(submission, entries), prompt=PROMPT)


@pytest.mark.parametrize(
    ("status", "passes"),
    [("ok", True), ("OK", False), ("success", False), ("error", False), (None, False), (True, False), (["ok"], False)],
)
def test_status(status: object, passes: bool) -> None:
    assert (StatusOk()(Case(read_submission({"status": status}))).fraction == 1.0) is passes


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
        ({"mass": mass_from(MASS, ERROR)}, True),
        ({"mass": mass_from(90.12, 0.032)}, True),
        ({"mass": {"value": MASS, "from": "call_4.mu"}}, True),
        ({"mass": MASS}, False),
        ({"mass": {"value": MASS, "uncertainty": ERROR}}, False),
        ({"mass": mass_from(91.1876, 0.0021)}, False),
        ({"mass": mass_from(MASS, 0.01)}, False),
        ({"mass": mass_from(str(MASS), ERROR)}, False),
        ({"mass": mass_from(None, None)}, False),
        ({"other": mass_from(MASS, ERROR)}, False),
        ({"mass": mass_from(MASS, ERROR), "other": 12.3456}, False),
        ({}, False),
        (None, False),
        ([MASS], False),
        ({"mass": mass_from(MASS, ERROR), **{f"x{step}": mass_from(MASS, ERROR) for step in range(200)}}, False),
    ],
)
def test_every_number_stands_in_the_ledger(answers: Any, passes: bool) -> None:
    assert (Traceable(("mass",))(case_of(answers)).fraction == 1.0) is passes


TRACE = {
    "status": "ok",
    "fit_result": {"mu": 3.097},
    "fit_method": {"model": "x", "window": "x"},
    "cuts": [{"cut_id": "two_muons"}, {"cut_id": "charge"}],
    "from": {"fit_result.mu": "call_2.mu"},
}
LOOKED = entry(1, "inspect_root_schema_tool", {"file_path": "data.root"}, {"trees": {"mini": {"n_entries": 4000}}})
FITTED = entry(2, "fit_peak_tool", {"events": "events_1", "window": [2.5, 3.7]}, {"mu": 3.0974, "mu_error": 0.0012})
CLAIMED = entry(2, "calculate_tool", {"expression": "3"}, {"mu": 3.0}, sources=())


@pytest.mark.parametrize(
    ("entries", "score"),
    [((), 0.0), ((LOOKED,), 0.0), ((LOOKED, CLAIMED), 0.0), ((LOOKED, FITTED), 1.0)],
    ids=["no call", "a look at the files", "a number through the calculator", "a fit"],
)
def test_traces_of_the_public_benchmark_need_the_ledger(
    tmp_path: Path, entries: tuple[Entry, ...], score: float
) -> None:
    task = load_task(written(tmp_path, PUBLIC))
    result = grade(task, TRACE, entries=entries)
    assert result.normalized == score
    assert ("from_ledger" in result.to_json()["hard_failures"]) is (score == 0.0)
    assert all(issue.code != "not_verified" for issue in result.issues)


def test_traces_without_tools_are_not_verified(tmp_path: Path) -> None:
    result = grade(load_task(written(tmp_path, PUBLIC)), TRACE)
    assert result.normalized == 1.0
    assert [issue.code for issue in result.issues] == ["not_verified"]


def test_every_number_that_a_rubric_reads_names_a_call() -> None:
    entries = [LOOKED, FITTED]
    submission = read_submission({"mu": 3.0974, "n": 4321, "from": {"mu": "call_2.mu"}})
    case = Case(submission, {}, entries, provenance=label_trace(submission, ("mu", "n"), entries))
    assert FromLedger(("mu",))(case).fraction == 1.0
    assert FromLedger(())(case).fraction == 1.0
    assert FromLedger(("files",))(case).reason == "not from the tools: no number that the rubric reads: files"
    assert FromLedger(("mu", "n"))(case).reason == "not from the tools: n: it names no call"
