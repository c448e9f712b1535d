"""The public benchmark's checks: its semantics where they are sound, ours where they reward silence or have cliffs."""

from __future__ import annotations

import math
from typing import Any

import pytest

from beampipe.analysisops.grading.checks import (
    CheckCutIds,
    LlmReasoning,
    NumericInRange,
    RequiredFields,
    RequiredKeysInDict,
    TargetSoft,
    ThresholdGe,
)
from beampipe.analysisops.grading.submission import Case, Outcome, read_submission
from beampipe.errors import ConfigError

KNOWN = {"fit": {"target": 91.0, "tolerance": 2.0, "range": [1.0, 6.0], "least": 0.01, "keys": ["model", "window"]}}
NO_NUMBERS: tuple[object, ...] = (None, True, "91", math.nan, [91.0])


def graded(check: Any, trace: Any) -> float:
    outcome: Outcome = check(Case(read_submission(trace), KNOWN))
    return outcome.fraction


def test_required_fields() -> None:
    check = RequiredFields(("status", "fit"))
    assert graded(check, {"status": "ok", "fit": {}}) == 1.0
    assert graded(check, {"status": "ok"}) == 0.0
    assert graded(check, {"status": "ok", "fit": None}) == 0.0


@pytest.mark.parametrize(
    ("value", "points"), [(1.0, 20), (6.0, 20), (6.001, 5), (-3, 5), *((no_number, 0) for no_number in NO_NUMBERS)]
)
def test_numeric_in_range(value: object, points: float) -> None:
    check = NumericInRange("fit.sigma", range_path="fit.range", out_of_range_points=5.0, points=20.0)
    assert 20 * graded(check, {"fit": {"sigma": value}}) == pytest.approx(points)


@pytest.mark.parametrize(
    ("value", "fraction"), [(0.01, 1), (0.5, 1), (1e-6, 0), *((no_number, 0) for no_number in NO_NUMBERS)]
)
def test_threshold_ge_gives_nothing_for_silence(value: object, fraction: float) -> None:
    check = ThresholdGe("p", threshold_path="fit.least", missing_points=10.0)
    assert graded(check, {"p": value}) == fraction
    assert graded(check, {}) == 0.0


@pytest.mark.parametrize(
    ("value", "fraction"),
    [(91, 1), (93, 1), (89, 1), (95, 0.5), (87, 0.5), (97, 0), (180, 0), *((no_number, 0) for no_number in NO_NUMBERS)],
)
def test_target_soft(value: object, fraction: float) -> None:
    check = TargetSoft("fit.mu", target_path="fit.target", tolerance_path="fit.tolerance", soft_factor=3.0)
    assert graded(check, {"fit": {"mu": value}}) == pytest.approx(fraction)


@pytest.mark.parametrize(
    ("method", "points"),
    [
        ({"model": "gauss", "window": [70, 110]}, 20),
        ({"model": "gauss"}, 15),
        ({"model": "gauss", "window": "  "}, 15),
        ({"model": "gauss", "window": None}, 15),
        ({"model": "", "window": []}, 0),
        ({}, 0),
        (None, 0),
        ("model window", 0),
        (["model", "window"], 0),
    ],
)
def test_required_keys_in_dict(method: object, points: float) -> None:
    check = RequiredKeysInDict("method", required_keys_path="fit.keys", points=20.0)
    assert 20 * graded(check, {"method": method}) == pytest.approx(points)


def test_check_cut_ids() -> None:
    check = CheckCutIds(("a", "b"))
    assert graded(check, {"cuts": [{"cut_id": "b"}, {"cut_id": "a"}, {"cut_id": "c"}]}) == 1.0
    assert graded(check, {"cuts": [{"cut_id": "a"}]}) == 0.0
    for cuts in (None, "a b", {"a": 1, "b": 2}, ["a", "b"], [{"cut_id": ["a", "b"]}], [None]):
        assert graded(check, {"cuts": cuts}) == 0.0


def test_llm_reasoning_uses_its_own_scale() -> None:
    check = LlmReasoning("scores.method", (0.0, 40.0))
    assert check.fraction({"scores": {"method": 40}}) == 1.0
    assert check.fraction({"scores": {"method": 10}, "confidence": 0.1}) == 0.25
    assert check.fraction({"scores": {"method": 1e9}}) == 1.0
    assert check.fraction({"scores": {"method": -5}}) == 0.0
    for reply in ({}, {"scores": 3}, {"scores": {"method": "40"}}, {"scores": {"method": math.nan}}):
        assert check.fraction(reply) is None


def test_a_reference_that_lacks_the_path_is_the_hosts_fault() -> None:
    for check in (NumericInRange("p", range_path="fit.nowhere"), ThresholdGe("p", threshold_path="fit.range")):
        with pytest.raises(ConfigError, match="reference: got"):
            graded(check, {"p": 1.0})
