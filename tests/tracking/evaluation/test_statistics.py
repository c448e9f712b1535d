"""Intervals and fits against closed forms and published numbers."""

from __future__ import annotations

from math import isnan, sqrt

import numpy as np
import pytest

from beampipe.errors import InputError
from beampipe.tracking.evaluation.results import (
    Proportion,
    bootstrap,
    clopper_pearson,
    errors_of,
    stage_time,
)


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


def test_nothing_tried_has_no_value_and_says_so() -> None:
    nothing = Proportion()
    assert isnan(nothing.value)
    assert nothing.interval == (0.0, 1.0)
    assert str(nothing) == "-"
    assert Proportion(1, 2) + Proportion(2, 2) == Proportion(3, 4)
    with pytest.raises(InputError, match="3 of 2"):
        clopper_pearson(3, 2)


def test_stage_time_interpolates_percentiles() -> None:
    time = stage_time("gnn", [float(i) for i in range(101)])
    assert (time.median, time.p95, time.mean, time.n_events) == (50.0, 95.0, 50.0, 101)
    assert isnan(stage_time("gnn", []).median)


def test_bootstrap_of_one_trial_per_event_is_binomial() -> None:
    passed = (np.arange(1000) < 900).astype(np.int64)[:, np.newaxis]
    (proportion,) = bootstrap(passed, np.ones((1000, 1), np.int64))
    assert proportion == Proportion(900, 1000)
    assert proportion.spread is not None
    low, high = proportion.spread
    assert (high - low) / 2 == pytest.approx(sqrt(0.9 * 0.1 / 1000), rel=0.1)


def test_a_lost_vertex_widens_the_error_of_all_its_tracks() -> None:
    total = np.full((40, 1), 100, np.int64)
    passed = total.copy()
    passed[7] = 0  # one event of forty: 100 tracks at once
    (proportion,) = bootstrap(passed, total)
    low, high = proportion.interval
    binomial = proportion.binomial
    # Events are the trials: 1 of 40 lost, sigma = sqrt(p (1 - p) / 40).
    assert (high - low) / 2 == pytest.approx(sqrt(0.975 * 0.025 / 40), rel=0.3)
    assert high - low > 8 * (binomial[1] - binomial[0])
    assert bootstrap(passed, total)[0].spread == proportion.spread


def test_an_error_is_never_narrower_than_binomial() -> None:
    alike = np.full((10, 1), 99, np.int64)
    (proportion,) = bootstrap(alike, np.full((10, 1), 100, np.int64))
    assert proportion.spread == (0.99, 0.99)
    assert proportion.interval == proportion.binomial
    (nothing,) = bootstrap(np.zeros((3, 1), np.int64), np.zeros((3, 1), np.int64))
    assert nothing.spread is None
    assert nothing.interval == (0.0, 1.0)


def test_few_events_are_called_unreliable() -> None:
    assert "unreliable: got 3 event(s), expected 4 or more" in errors_of(3)
    assert "unreliable" not in errors_of(4)
    assert "bootstrap over events" in errors_of(4)
