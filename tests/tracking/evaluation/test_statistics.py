"""Intervals and fits against closed forms and published numbers."""

from __future__ import annotations

from math import isnan

import pytest

from beampipe.errors import InputError
from beampipe.tracking.evaluation.statistics import Proportion, clopper_pearson, fit_power_law, stage_time


@pytest.mark.parametrize(
    ("passed", "total", "low", "high"),
    [
        # 95 % intervals of n = 10, as in printed tables of the Clopper-Pearson interval.
        (0, 10, 0.0, 0.3085),
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (10, 10, 0.6915, 1.0),
    ],
)
def test_clopper_pearson_equals_printed_tables(passed: int, total: int, low: float, high: float) -> None:
    assert clopper_pearson(passed, total, 0.95) == pytest.approx((low, high), abs=5e-5)


def test_clopper_pearson_closed_form_at_the_end() -> None:
    assert clopper_pearson(500, 500)[0] == pytest.approx(((1 - 0.682689492137086) / 2) ** (1 / 500), rel=1e-12)


def test_nothing_tried_has_no_value_and_says_so() -> None:
    nothing = Proportion()
    assert isnan(nothing.value)
    assert nothing.interval == (0.0, 1.0)
    assert str(nothing) == "-"
    assert Proportion(1, 2) + Proportion(2, 2) == Proportion(3, 4)
    with pytest.raises(InputError, match="3 of 2"):
        clopper_pearson(3, 2)


def test_power_law_is_recovered() -> None:
    hits = [300.0, 3e3, 3e4, 3e5]
    law = fit_power_law(hits, [2e-6 * n**1.2 for n in hits])
    assert law.exponent == pytest.approx(1.2)
    assert law.error == pytest.approx(0, abs=1e-9)
    assert law(1e4) == pytest.approx(2e-6 * 1e4**1.2)
    with pytest.raises(InputError, match="distinct x"):
        fit_power_law([5.0, 5.0], [1.0, 2.0])


def test_stage_time_interpolates_percentiles() -> None:
    time = stage_time("gnn", [float(i) for i in range(101)])
    assert (time.median, time.p95, time.mean, time.n_events) == (50.0, 95.0, 50.0, 101)
    assert isnan(stage_time("gnn", []).median)
