"""Replicas: Poisson numbers that are functions of the event alone."""

from __future__ import annotations

from dataclasses import replace
from math import exp, factorial

import numpy as np
import pytest
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.calibration.config import Bootstrap
from beampipe.calibration.events.dijets import Dijets, WeightUnits
from beampipe.calibration.events.fill import Cells, fill_replicas, fill_table
from beampipe.calibration.events.histograms import Filled
from beampipe.calibration.events.scores import Scores
from beampipe.calibration.events.variations import POISSON, dataset_key, event_keys
from tests.calibration.random_dijets import fill_settings, random_dijets, taken

N_EVENTS, N_REPLICAS = 4000, 40


def test_the_table_has_mean_and_variance_of_poisson() -> None:
    """A table of 65536 places can give each probability within half of 1 / 65536."""
    numbers = POISSON.astype(float)
    assert numbers.mean() == pytest.approx(1, abs=2e-5)
    assert numbers.var() == pytest.approx(1, abs=2e-4)
    for k in range(10):
        share = exp(-1) / factorial(k) if k < 9 else 0.0
        assert np.mean(k == POISSON) == pytest.approx(share, abs=1 / 65536)
    assert (np.diff(POISSON.astype(int)) >= 0).all()
    assert POISSON.max() <= 8, "the bound of `fill` counts on it"


def multiplicities(dataset: str, events: ndarray, seed: int = 1, run: int = 1) -> Int64[ndarray, "n b"]:
    """How often each event is in each replica: every event in a row of its own, with weight 1."""
    n = len(events)
    keys = event_keys(np.uint64(dataset_key(dataset)), np.full(n, run, np.uint32), events.astype(np.uint64))
    rows = np.stack([np.arange(n), np.full(n, -1)], axis=1)
    out = np.zeros((n, N_REPLICAS), np.int64)
    bins, ones = np.zeros((n, 2, 1), np.int64), np.ones(n, np.int64)
    fill_replicas(Cells(rows, bins), ones, keys, np.uint64(seed << 32), POISSON, out)
    return out


def test_multiplicities_are_distributed_as_poisson_numbers() -> None:
    """Chi-squared of six classes over 160000 numbers; also of neighbours together, which must be independent."""
    times = multiplicities("toy", np.arange(N_EVENTS))
    share = np.array([exp(-1) / factorial(k) for k in range(5)])
    share = np.append(share, 1 - share.sum())
    classes = np.minimum(times, 5)
    got, want = np.bincount(classes.ravel(), minlength=6), share * times.size
    assert ((got - want) ** 2 / want).sum() < 20.5  # 99.9 % of 5 degrees of freedom
    for one, other in ((classes[:, :-1], classes[:, 1:]), (classes[:-1], classes[1:])):
        both = np.bincount((6 * one + other).ravel(), minlength=36)
        want = np.outer(share, share).ravel() * one.size
        assert ((both - want) ** 2 / want).sum() < 66.6  # 99.9 % of 35


@pytest.mark.parametrize("other", [{"dataset": "other"}, {"seed": 2}, {"run": 2}, {"first": N_EVENTS}])
def test_other_dataset_seed_run_or_event_is_independent(other: dict[str, object]) -> None:
    given: dict[str, object] = {"dataset": "toy", "seed": 1, "run": 1, "first": 0} | other
    events = np.arange(N_EVENTS) + int(str(given["first"]))
    one = multiplicities("toy", np.arange(N_EVENTS))
    two = multiplicities(str(given["dataset"]), events, int(str(given["seed"])), int(str(given["run"])))
    correlation = np.corrcoef(one.ravel(), two.ravel())[0, 1]
    assert abs(correlation) < 4 / one.size**0.5


def replicated(dijets: Dijets, **changes: object) -> Filled:
    settings = fill_settings(kinematics=(), bootstrap=Bootstrap(N_REPLICAS, 1))
    return fill_table(dijets, Scores(), replace(settings, **changes))  # type: ignore[arg-type]


def test_both_jets_of_an_event_are_drawn_together() -> None:
    """One event, its two jets in two cells: each replica has both equally often."""
    dijets = random_dijets(600, 4)
    kept = 0
    for k in range(100):
        one = replicated(taken(dijets, slice(k, k + 1)))
        rows = np.flatnonzero(one.entries)
        if len(rows) == 2:
            kept += 1
            np.testing.assert_array_equal(one.replicas[rows[0]], one.replicas[rows[1]])
    assert kept > 20


def test_replicas_do_not_depend_on_order_or_company() -> None:
    dijets = random_dijets(500, 6)
    whole = replicated(dijets)
    backwards = replicated(taken(dijets, slice(None, None, -1)))
    np.testing.assert_array_equal(whole.replicas, backwards.replicas)
    halves = [replicated(taken(dijets, part)) for part in (slice(0, 123), slice(123, 500))]
    np.testing.assert_array_equal(whole.replicas, halves[0].replicas + halves[1].replicas)
    assert not np.array_equal(whole.replicas, replicated(dijets, dataset="other").replicas)
    assert not np.array_equal(whole.replicas, replicated(dijets, bootstrap=Bootstrap(N_REPLICAS, 2)).replicas)


def test_more_replicas_keep_the_first_ones() -> None:
    dijets = random_dijets(300, 7)
    few = replicated(dijets, bootstrap=Bootstrap(5, 1))
    np.testing.assert_array_equal(few.replicas, replicated(dijets).replicas[:, :5])
    assert replicated(dijets, bootstrap=Bootstrap(0, 1)).replicas.shape[1] == 0


def test_spread_of_a_sum_is_the_root_of_the_sum_of_squares() -> None:
    """Of all jets of one region, one per event: sqrt(sum of w**2), within 4 errors of the spread of 1000 replicas."""
    dijets = random_dijets(3000, 8)
    filled = replicated(dijets, bootstrap=Bootstrap(1000, 1), units=WeightUnits(24))
    forward = filled.replicas.reshape(*filled.axes.shape, -1)[:, 0].sum(axis=(0, 1, 2)) * 2.0**-24
    nominal = filled.sumw[:, 0].reshape(filled.axes.shape)[:, 0].sum() * 2.0**-24
    spread = (filled.sumw2[:, 0].reshape(filled.axes.shape)[:, 0].sum() * 2.0**-24) ** 0.5
    assert filled.entries.reshape(filled.axes.shape)[:, 0].sum() > 1000
    assert forward.std() == pytest.approx(spread, rel=4 / 2000**0.5)
    assert forward.mean() == pytest.approx(nominal, abs=4 * spread / 1000**0.5)
