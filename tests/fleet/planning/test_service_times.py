"""Sizes and service times: what is fitted, what is drawn, what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from beampipe.errors import ConfigError
from beampipe.fleet.planning.simulator import (
    ClosedLoop,
    FleetShape,
    LogNormalSizes,
    MeasuredSizes,
    ParetoSizes,
    Poisson,
    ServiceTimes,
    Sizes,
    fit_affine,
    fit_table,
    mean_service,
)
from tests.fleet.planning.closed_forms import pareto_moment

RANDOM = np.random.default_rng(3)
SIZES = RANDOM.lognormal(6.0, 1.0, 4_000)
SCATTER = RANDOM.lognormal(0.0, 0.2, 4_000)


def mean_size(sizes: Sizes) -> float:
    """Mean of many draws."""
    return float(sizes.draw(np.random.default_rng(0), 200_000).mean())


@pytest.mark.parametrize("fit", [fit_affine, fit_table])
def test_a_fit_finds_line_scatter_and_mean(fit: Callable[..., ServiceTimes]) -> None:
    seconds = (2e-3 + 1e-5 * SIZES) * SCATTER
    fitted = fit(SIZES, seconds)
    at = np.array([200.0, 1000.0])
    assert fitted.line(at) == pytest.approx((2e-3 + 1e-5 * at) * SCATTER.mean(), rel=0.05)
    assert np.std(np.log(fitted.ratios)) == pytest.approx(0.2, rel=0.1)
    assert mean_service(fitted, MeasuredSizes(SIZES)) == pytest.approx(seconds.mean(), rel=0.02)


def test_a_table_follows_what_is_no_line() -> None:
    fitted = fit_table(SIZES, 1e-9 * SIZES**2, knots=40)
    assert fitted.line(np.array([1000.0]))[0] == pytest.approx(1e-3, rel=0.2)


def test_events_of_one_size_have_one_time() -> None:
    for fit in (fit_affine, fit_table):
        fitted = fit(np.full(4, 300.0), np.array([1.0, 2.0, 3.0, 2.0]))
        assert fitted.line(np.array([300.0, 600.0])).tolist() == [2.0, 2.0]
        assert sorted(np.asarray(fitted.ratios)) == pytest.approx([0.5, 1.0, 1.0, 1.5])


def test_no_event_takes_less_than_nothing() -> None:
    fitted = fit_affine(np.array([100.0, 200.0]), np.array([0.1, 0.3]))
    assert fitted.line(np.array([0.0]))[0] == 0.0
    assert np.all(ServiceTimes(np.array([1.0, 2.0]), np.array([1.0, 3.0])).line(np.array([0.0, 0.5])) == 0.0)


def test_distributions_have_their_means() -> None:
    assert mean_size(LogNormalSizes(100.0, 0.5)) == pytest.approx(100 * np.exp(0.125), rel=0.01)
    assert mean_size(ParetoSizes(1.0, 1.5, 100.0)) == pytest.approx(pareto_moment(1.0, 1.5, 100.0, 1), rel=0.03)
    drawn = ParetoSizes(1.0, 1.5, 100.0).draw(np.random.default_rng(0), 1000)
    assert 1.0 <= drawn.min() < drawn.max() <= 100.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MeasuredSizes(np.array([])), "0 values"),
        (lambda: MeasuredSizes(np.array([np.nan])), "finite"),
        (lambda: LogNormalSizes(0.0, 1.0), "median"),
        (lambda: ParetoSizes(2.0, 1.0, 1.0), "least"),
        (lambda: ServiceTimes(np.array([1.0, 1.0]), np.array([1.0, 1.0])), "growing"),
        (lambda: ServiceTimes(np.array([1.0]), np.array([-1.0])), "negative"),
        (lambda: ServiceTimes.affine(1.0, 0.0, overhead=-1.0), "overhead"),
        (lambda: fit_affine(np.array([1.0]), np.array([0.0])), "above 0"),
        (lambda: fit_table(np.array([]), np.array([])), "0 measured times"),
        (lambda: Poisson(0.0), "load.rate"),
        (lambda: Poisson(1.0, 0), "load.together"),
        (lambda: ClosedLoop(1, think=-1.0), "load.think"),
        (lambda: FleetShape(0), "fleet.servers"),
        (lambda: FleetShape(1, queue=-1), "fleet.queue"),
    ],
)
def test_what_means_nothing_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
