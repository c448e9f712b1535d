"""Where numbers come from: what a ledger can vouch for, and what it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beampipe.analysisops.grading.grade import grade
from beampipe.analysisops.grading.provenance import label_answers, origin_of
from beampipe.analysisops.grading.submission import read_submission
from beampipe.analysisops.ledger import Entry
from beampipe.analysisops.references import number_at
from beampipe.errors import InputError
from tests.analysisops.grading.examples import (
    ERROR,
    MASS,
    REFERENCE,
    entry,
    example_task,
    honest_entries,
    mass_from,
    right_submission,
)


def label(number: float, reference: object, *more: Entry) -> str:
    return origin_of(number, reference, [*honest_entries(), *more]).label


@pytest.mark.parametrize("number", [MASS, 90.123, 90.124, 90.12, 90.1])
def test_numbers_of_a_call_may_be_rounded(number: float) -> None:
    origin = origin_of(number, "call_4.mu", honest_entries())
    assert (origin.label, origin.entry, origin.tool, origin.path) == ("traceable", 4, "fit_peak_tool", "mu")
    assert origin.number == MASS, "the number of the call counts"


@pytest.mark.parametrize("number", [90.0, 90.3, 90.125, 90.1235, 90.12341, 90123.4, -MASS, 0.0])
def test_another_number_than_that_of_the_call(number: float) -> None:
    assert label(number, "call_4.mu") == "differs"


@pytest.mark.parametrize(
    "reference",
    [
        None,
        "",
        "call_4",
        "call_4.",
        "call_4.mus",
        "call_4.mu.more",
        "call_4.valid",
        "call_4.window.0",
        "call_0.mu",
        "call_5.mu",
        "call_04.mu",
        "call_4.mu ",
        "Call_4.mu",
        "call_\u0664.mu",
        "call_999999999999.mu",
        "call_3.handle",
        "call_3.edges.2",
        "call_3.values.40",
        "call_3.values.-1",
        "call_4" + ".mu" * 100,
        4,
        4.0,
        True,
        ["call_4.mu"],
        {"call": "call_4.mu"},
    ],
)
def test_what_is_no_reference(reference: object) -> None:
    assert label(MASS, reference) == "no_reference"


def test_the_number_of_the_call_is_graded() -> None:
    rounded = {**right_submission(), "answers": {"mass": mass_from(90.1, 0.03)}}
    result = grade(example_task(), rounded, REFERENCE, honest_entries())
    assert result.normalized == 1.0
    off = {**right_submission(), "answers": {"mass": mass_from(90.2, 0.032)}}
    result = grade(example_task(), off, REFERENCE, honest_entries(mass=MASS + 2 * ERROR))
    assert result.rules[0].points == pytest.approx(30.0), "two errors off, whatever the submission says"


@given(st.floats(1e-6, 1e9), st.integers(3, 15))
def test_a_rounded_number_is_that_of_its_call(number: float, digits: int) -> None:
    entries = [entry(1, "fit_peak_tool", {}, {"mu": number})]
    assert origin_of(float(f"{number:.{digits - 1}e}"), "call_1.mu", entries).label == "traceable"


@given(st.floats(1e-6, 1e9), st.floats(1.006, 900.0))
def test_another_number_differs(number: float, factor: float) -> None:
    entries = [entry(1, "fit_peak_tool", {}, {"mu": number})]
    assert origin_of(number * factor, "call_1.mu", entries).label == "differs"


def test_an_argument_handed_back_is_no_result() -> None:
    output = entry(
        5, "fit_peak_tool", {"window": [91.1, 91.7], "fixed": {"mu": 91.55}}, {"mu": 91.55, "window": [91.1, 91.7]}
    )
    assert label(91.55, "call_5.mu", output) == "no_reference"
    assert label(91.7, "call_5.window.1", output) == "no_reference"


def test_facts_about_the_data_are_no_results() -> None:
    assert label(812345.0, "call_1.files.0.bytes") == "computed_from_nothing"
    assert label(8123.0, "call_2.n_events") == "computed_from_nothing"


def test_columns_are_described_and_not_measured() -> None:
    described = {"handle": "events_2", "columns": {"x": {"min": 1.111, "max": 95.55, "mean": 33.33}}}
    entries = [entry(1, "derive_tool", {}, described), entry(2, "load_kinematics_tool", {}, described)]
    with pytest.raises(InputError, match="chosen, not measured"):
        number_at(entries, "call_1.columns.x.max")
    assert number_at(entries, "call_2.columns.x.max")[0] == 95.55, "as it is in the file"


def test_errors_say_what_there_is() -> None:
    for reference, text in (
        ("call_4.nu", "did you mean 'mu'"),
        ("call_9.mu", "one of the 4 calls"),
        ("call_3.values.99", "indices below 40"),
        ("91.2", "such as call_7.mu"),
    ):
        with pytest.raises(InputError, match=text):
            number_at(honest_entries(), reference)


def test_labels_of_a_submission() -> None:
    answers: dict[str, Any] = {
        "both": mass_from(MASS, ERROR),
        "half": {"value": MASS, "from": "call_4.mu", "uncertainty": 0.777},
        "alone": {"value": 90.12, "from": "call_4.mu"},
        "bare": 90.12,
        "recalled": mass_from(91.1876, 0.0021),
        "text": {"value": "90.12", "from": "call_4.mu"},
    }
    labels = label_answers(read_submission({"answers": answers}), honest_entries())
    assert {name: answer["label"] for name, answer in labels.items()} == {
        "both": "traceable",
        "half": "no_reference",
        "alone": "traceable",
        "bare": "no_reference",
        "recalled": "differs",
        "text": "no_reference",
    }
    assert (labels["both"]["entry"], labels["both"]["tool"], labels["both"]["path"]) == (4, "fit_peak_tool", "mu")
