"""Where numbers come from: what a ledger can vouch for, and what it cannot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beampipe.analysisops.grading.provenance import NumberIndex, label_answers, significant_digits
from beampipe.analysisops.grading.submission import read_submission
from tests.analysisops.grading.examples import MASS, PROMPT, entry, honest_entries


def label(number: float, *more: object) -> str:
    trail = NumberIndex([*honest_entries(), *more], PROMPT)  # type: ignore[list-item]
    return trail.origin(number).label


@pytest.mark.parametrize(
    ("number", "digits"), [(91.190, 4), (2400.0, 2), (0.05, 1), (0.0, 0), (1e22, 1), (-1.25e-7, 3)]
)
def test_significant_digits(number: float, digits: int) -> None:
    assert significant_digits(number) == digits


@pytest.mark.parametrize("number", [MASS, 90.12, 90.1, 90123.4, 0.0321, 71.23])
def test_numbers_of_the_ledger_in_their_own_digits_and_units(number: float) -> None:
    assert label(number) == "traceable"


@pytest.mark.parametrize("number", [90.13, 90.2, 90.0, 0.033, 42.0, 91.5])
def test_numbers_of_nobody(number: float) -> None:
    assert label(number) == "fabricated"


@pytest.mark.parametrize("number", [91.1876, 91.19, 125.09, 172.5, 25.0, 110.0])
def test_numbers_that_everybody_knows(number: float) -> None:
    assert label(number) == "copied"


@given(st.floats(1e-6, 1e9), st.integers(3, 15))
def test_a_rounded_number_is_found(number: float, digits: int) -> None:
    trail = NumberIndex([entry(1, "fit_peak_tool", {}, {"mu": number})])
    assert trail.origin(float(f"{number:.{digits - 1}e}")).label == "traceable"


@given(st.floats(1e-6, 1e9), st.floats(1.006, 900.0))
def test_another_number_is_not_found(number: float, factor: float) -> None:
    trail = NumberIndex([entry(1, "fit_peak_tool", {}, {"mu": number})])
    assert trail.origin(number * factor).label not in ("traceable", "partially")


def test_two_digits_are_too_few() -> None:
    assert label(90.0) == "fabricated"
    assert label(0.03) == "fabricated"


def test_an_argument_handed_back_is_no_result() -> None:
    told = entry(
        5, "fit_peak_tool", {"window": [91.1, 91.7], "fixed": {"mu": 91.55}}, {"mu": 91.55, "window": [91.1, 91.7]}
    )
    assert label(91.55, told) == "computed_from_nothing"
    assert label(91.7, told) == "fabricated"


def test_a_count_that_equals_a_cut_is_no_echo() -> None:
    counted = entry(5, "count_tool", {"events": "events_1", "expression": "met > 152.0"}, {"n": 152})
    assert label(152.0, counted) == "traceable"


def test_bins_of_a_histogram_are_no_results() -> None:
    assert label(77.0) == "fabricated"
    assert label(float(honest_entries()[2].result["values"][20])) == "fabricated"  # type: ignore[index]


def test_facts_about_the_data_are_no_results() -> None:
    assert label(812345.0) == "fabricated"
    schema = entry(5, "inspect_root_schema_tool", {}, {"trees": {"mini": {"branches": {"x": {"median": 93.21}}}}})
    assert label(93.21, schema) == "fabricated"


def test_what_was_refused_or_has_no_source_vouches_for_nothing() -> None:
    assert label(95.55, entry(5, "fit_peak_tool", {}, None, error="too few events")) == "fabricated"
    assert label(95.55, entry(5, "fit_peak_tool", {}, {"mu": 95.55}, sources=())) == "computed_from_nothing"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"m": MASS, "n": 2}, "traceable"),
        ({"m": 90.12, "n": 25}, "traceable"),  # rounded, and a number of the prompt
        ({"m": MASS, "n": 0.9876}, "partially"),
        ({"m": 91.1876, "n": 2}, "computed_from_nothing"),
        ({"n": 2}, "computed_from_nothing"),
    ],
)
def test_a_calculation_is_worth_what_goes_in(values: dict[str, float], expected: str) -> None:
    # Its own sources are not believed: whoever calculates with made-up numbers has no data.
    calculated = entry(5, "calculate_tool", {"expression": "m * n", "values": values}, {"value": 180.7654})
    assert label(180.7654, calculated) == expected


def test_a_calculation_that_its_tool_could_not_tie_to_data_is_traced_in_part() -> None:
    values = {"expression": "m * n", "values": {"m": MASS, "n": 2}}
    assert label(180.7654, entry(5, "calculate_tool", values, {"value": 180.7654}, sources=())) == "partially"


def test_a_number_inside_an_expression_counts_as_made_up() -> None:
    calculated = entry(5, "calculate_tool", {"expression": "m * 0 + 91.55", "values": {"m": MASS}}, {"value": 91.55})
    assert label(91.55, calculated) == "computed_from_nothing"
    shifted = entry(5, "calculate_tool", {"expression": "m + 1.4327", "values": {"m": MASS}}, {"value": 91.5561})
    assert label(91.5561, shifted) == "partially"


@pytest.mark.parametrize("expression", ["45.775 * 2 + 0 * n", "(9 * 10 + 1) + 11 / 20 + 0 * n"])
def test_a_calculation_that_does_not_depend_on_data_is_from_nothing(expression: str) -> None:
    arguments = {"expression": expression, "values": {"n": MASS}}
    given = {"value": 91.55, "uncertainty": 0.0, "depends_on": []}
    assert label(91.55, entry(5, "calculate_tool", arguments, given, sources=())) == "computed_from_nothing"


def test_a_factor_of_a_formula_is_no_count() -> None:
    counted = entry(5, "count_tool", {"events": "events_1", "expression": "count(pt) > 2"}, {"n": 2})
    doubled = entry(6, "calculate_tool", {"expression": "2 * 45.775"}, {"value": 91.55, "depends_on": []}, sources=())
    assert label(91.55, counted, doubled) == "computed_from_nothing"
    share = entry(6, "efficiency_tool", {"passed": 2, "total": 3}, {"efficiency": 0.6667})
    assert label(0.6667, counted, share) == "traceable"


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("limit_tool", {"observed": 8123, "background": 71.23, "background_error": 7.7, "signal": 1}, "partially"),
        ("limit_tool", {"observed": 8123, "background": 8100.0, "background_error": 80.0, "signal": 1}, None),
        ("efficiency_tool", {"passed": 7123, "total": 8123}, None),
        ("solve_linear_tool", {"matrix": [[2.0]], "right": [33.3], "right_errors": [MASS]}, None),
    ],
)
def test_a_result_is_made_up_where_what_decides_it_is(
    tool: str, arguments: dict[str, object], expected: str | None
) -> None:
    assert label(16.65, entry(5, tool, arguments, {"limit": 16.65})) == (expected or "computed_from_nothing")


def test_columns_are_described_and_not_measured() -> None:
    described = {"handle": "events_2", "columns": {"x": {"min": 1.111, "max": 95.55, "mean": 33.33}}}
    made = entry(5, "derive_tool", {"expression": "2 * pt"}, described)
    assert label(95.55, made) == "fabricated"
    doubled = entry(6, "calculate_tool", {"expression": "m * 2", "values": {"m": 95.55}}, {"value": 191.1})
    assert label(191.1, made, doubled) == "traceable", "a calculation may start from it"


def test_a_column_that_is_constant_says_nothing_of_data() -> None:
    constant = {"handle": "events_2", "columns": {"x": {"min": 95.55, "max": 95.55, "mean": 95.55}}}
    made = entry(5, "derive_tool", {"expression": "47.775 * 2 + 0 * pt"}, constant)
    halved = entry(6, "calculate_tool", {"expression": "m / 2", "values": {"m": 95.55}}, {"value": 47.775})
    assert label(47.775, made, halved) == "computed_from_nothing"


def test_a_fact_may_go_into_a_calculation() -> None:
    files = entry(5, "list_local_root_files_tool", {}, {"files": [{"name": "mc.root", "cross_section_pb": 831.76}]})
    scaled = entry(
        6, "calculate_tool", {"expression": "m * x", "values": {"m": MASS, "x": 831.76}}, {"value": 74961.04}
    )
    assert label(74961.04, files, scaled) == "traceable"


def test_labels_of_a_submission() -> None:
    answers = {
        "both": {"value": MASS, "uncertainty": 0.0321},
        "half": {"value": MASS, "uncertainty": 0.777},
        "alone": 90.12,
        "recalled": {"value": 91.1876, "uncertainty": 0.0021},
        "text": {"value": "90.12"},
    }
    found = label_answers(read_submission({"answers": answers}), NumberIndex(honest_entries(), PROMPT))
    assert {name: one["label"] for name, one in found.items()} == {
        "both": "traceable",
        "half": "partially",
        "alone": "traceable",
        "recalled": "copied",
        "text": "fabricated",
    }
    assert (found["both"]["entry"], found["both"]["tool"], found["both"]["path"]) == (4, "fit_peak_tool", "mu")
