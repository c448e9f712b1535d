"""The chi2 of the refolded data: of toys whose distribution is known, and of extractions whose assumptions fail."""

from __future__ import annotations

import numpy as np
import pytest
from numpy import ndarray
from scipy.stats import chi2 as chi2_distribution

from beampipe.calibration.events.variations import UNVARIED
from beampipe.calibration.method.cases import Cases
from beampipe.calibration.method.extractions import extraction_named, refolding_of
from beampipe.calibration.method.goodness import IMPROBABLE, first_bins, goodness, probability
from beampipe.calibration.method.matrix import measure_efficiencies
from beampipe.calibration.method.reweight import measure_reweighting
from tests.calibration.method.test_template_fit import simulation


@pytest.mark.parametrize("ndf", [2.0, 7.5, 40.0])
def test_probabilities_are_those_of_chi2(ndf: float) -> None:
    for chi2 in (0.3 * ndf, ndf, 2 * ndf, 3 * ndf):
        assert probability(chi2, ndf) == pytest.approx(chi2_distribution.sf(chi2, ndf), rel=0.1, abs=1e-3)
    assert probability(0.0, 0.0) == 1
    assert np.isnan(probability(np.nan, np.nan))


def test_groups_of_bins_have_enough_jets() -> None:
    data = np.full((2, 50), 4.0)
    data[:, 10:20] = 100.0
    expected = np.stack([data[0], data[0] * 3])
    firsts = first_bins(data, expected)
    groups = np.add.reduceat(data[0], firsts)
    assert firsts[0] == 0
    assert 5 < len(firsts) <= 12
    assert groups.min() >= max(20, 0.08 * data[0].sum() * (1 - 1e-12))


def test_chi2_and_ndf_of_normal_numbers() -> None:
    """300 numbers of known correlation: the mean of chi2 / ndf is 1, and 5 % have a probability below 5 %."""
    rng = np.random.default_rng(1)
    flat = np.full((1, 2, 12), 1e5)
    mixing = np.eye(24) + 0.1
    chances, ratios = [], []
    for _ in range(300):
        numbers = (rng.normal(size=24) @ mixing).reshape(1, 1, 2, 12)
        replicas = numbers + (rng.normal(size=(150, 24)) @ mixing).reshape(150, 1, 1, 2, 12)
        ((found, ndf),) = goodness(numbers, replicas, flat, flat, one_sided=False)[0].tolist()
        chances.append(probability(found, ndf))
        ratios.append(found / ndf)
    assert np.mean(ratios) == pytest.approx(1, abs=0.06)
    assert np.mean(np.array(chances) < 0.05) == pytest.approx(0.05, abs=0.035)


def chances_of(name: str, data: ndarray, seed: int) -> ndarray:
    """Probabilities in both bins of pT of a toy with expected data."""
    rng = np.random.default_rng(seed)
    simulated = rng.poisson(8 * simulation()) / 2
    seen = rng.poisson(4 * data.sum(axis=-2)).astype(float)
    drawn = rng.poisson(2 * simulated, (80, *simulated.shape)) / 2
    cases = Cases((UNVARIED,), simulated[None], drawn, seen, rng.poisson(seen, (80, *seen.shape)).astype(float))
    frozen = measure_reweighting(cases.simulation, cases.simulation_replicas)
    measured = measure_efficiencies(
        cases, frozen, (0.5,), extraction=extraction_named(name), refolded=refolding_of(name)
    )
    return np.array([probability(*each) for each in measured.described[:, 0].tolist()])


def negative_somewhere() -> ndarray:
    """Central jets without those below x = 3: no mixture of the same shapes has that."""
    data = simulation()
    data[:, 1, :, :3] = 0
    return data


@pytest.mark.parametrize(
    ("name", "data", "fails"),
    [
        ("template", simulation(), False),
        ("template", simulation(0.96), True),
        ("matrix", simulation(), False),
        ("matrix", simulation(0.96), False),
        ("matrix", negative_somewhere(), True),
        ("topics", simulation(), False),
    ],
    ids=["template", "template, other shapes", "matrix", "matrix, other shapes", "matrix, no mixture", "topics"],
)
def test_a_failed_assumption_is_flagged(name: str, data: ndarray, fails: bool) -> None:
    flagged = [(chances_of(name, data, seed) < IMPROBABLE).any() for seed in range(3)]
    assert flagged == [fails] * 3


def test_without_enough_replicas_or_for_a_plug_in_it_is_not_known() -> None:
    flat = np.full((1, 2, 12), 1e5)
    assert np.isnan(goodness(np.ones((1, 1, 2, 12)), np.ones((5, 1, 1, 2, 12)), flat, flat, one_sided=False)).all()
    assert refolding_of("a_plug_in") is None
