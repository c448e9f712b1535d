"""Rubrics that are refused, with the nearest name that would do."""

from __future__ import annotations

from typing import Any

import pytest

from beampipe.analysisops.grading.rubric import read_rubric
from beampipe.errors import ConfigError, UnknownNameError
from tests.analysisops.grading.examples import RUBRIC

OLD = {
    "version": 1,
    "total": 100,
    "gates": [{"id": "present", "type": "required_fields", "required_fields": ["status"], "fail_total_score": 0}],
    "rule_checks": [
        {"id": "mass", "type": "numeric_in_range", "points": 60, "value_path": "fit.mu", "lo": 80, "hi": 100},
    ],
    "llm_checks": [{"id": "words", "type": "llm_reasoning", "points": 40, "output_key": "s", "clamp": [0, 40]}],
}


def with_rule(**changes: Any) -> dict[str, Any]:
    first = {**RUBRIC["rule_checks"][0], **changes}
    return {**RUBRIC, "rule_checks": [first, *RUBRIC["rule_checks"][1:]]}


def test_the_maximum_is_computed() -> None:
    rubric = read_rubric(RUBRIC, "rubric.yaml")
    assert (rubric.max_points, rubric.max_judged) == (100.0, 20.0)
    assert [check.scaled_by for check in rubric.rules] == [(), ("mass",), ("mass",)]


@pytest.mark.parametrize(("total", "warnings"), [(60, 0), (100, 0), (None, 0), (70, 1)])
def test_old_totals_may_count_the_judge(total: float | None, warnings: int) -> None:
    given = read_rubric({**OLD, "total": total}, "rubric.yaml").warnings
    assert len(given) == warnings
    assert all("got total = 70, but the rules sum to 60" in warning for warning in given)


def test_a_new_total_that_is_not_the_sum_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"got total = 120, but the rules sum to 100"):
        read_rubric({**RUBRIC, "total": 120}, "rubric.yaml")


def test_points_for_silence_are_a_warning() -> None:
    rule = {"id": "p", "type": "threshold_ge", "points": 60, "value_path": "p", "threshold": 0.1, "missing_points": 10}
    (warning,) = read_rubric({**OLD, "rule_checks": [rule]}, "rubric.yaml").warnings
    assert "missing_points = 10" in warning


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({**RUBRIC, "rule_check": []}, ConfigError, "did you mean 'rule_checks'"),
        ({**RUBRIC, "version": 3}, ConfigError, "expected 1 or 2"),
        (with_rule(type="pul"), UnknownNameError, "did you mean 'pull'"),
        (with_rule(type="status_ok"), UnknownNameError, "wrong list"),
        (with_rule(answr="mass"), ConfigError, "did you mean 'answer'"),
        (with_rule(half="wide"), ConfigError, "expected float"),
        (with_rule(half=-1), ConfigError, "expected more than 0"),
        (with_rule(points=0), ConfigError, "more than 0"),
        (with_rule(points=True), ConfigError, "more than 0"),
        (with_rule(points=float("nan")), ConfigError, "more than 0"),
        (with_rule(id="error"), ConfigError, "'error' twice"),
        (with_rule(scaled_by="spectrum"), UnknownNameError, "rule before it"),
        (with_rule(id=None), ConfigError, "with id and type"),
        ({**RUBRIC, "rule_checks": "pull"}, ConfigError, "expected a list"),
        ({**RUBRIC, "total": "100"}, ConfigError, "expected a number"),
        ({**RUBRIC, "gates": RUBRIC["gates"][1:]}, ConfigError, "no status_ok"),
        ({**RUBRIC, "gates": RUBRIC["gates"][:2]}, ConfigError, "no traceable"),
        ({**RUBRIC, "gates": []}, ConfigError, "no status_ok, no calls_made, no traceable"),
    ],
)
def test_what_does_not_fit_is_refused(table: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_rubric(table, "rubric.yaml")
