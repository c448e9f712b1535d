"""The extraction `topics`: closure on tilted shapes, wrong fractions, sample dependence, and as a systematic."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy import ndarray

from beampipe.calibration.config import Systematic
from beampipe.calibration.events.variations import UNVARIED
from beampipe.calibration.method.cases import Cases
from beampipe.calibration.method.extractions import extraction_named
from beampipe.calibration.method.matrix import (
    Efficiencies,
    all_flavours,
    efficiencies_at,
    inverted,
    measure_efficiencies,
    truth,
)
from beampipe.calibration.method.reweight import Reweighting, measure_reweighting
from beampipe.calibration.method.topics import topic_fractions, topics, topics_narrow, topics_wide
from beampipe.calibration.method.uncertainties import shifts_of

N_X = 60
FRACTIONS = (0.62, 0.44)
TILTS = (-0.0233, 0.0, 0.0233)
"""Change of the logarithm of a shape per track; quark efficiencies at 50 % change by 0.89 to 1.11."""

CUTS = np.array([[16]])


def gamma_shape(mean: float, width: float, tilt: float = 0.0) -> ndarray:
    """Shape of a number of tracks: a gamma distribution, times exp(tilt x)."""
    x = np.arange(N_X) + 0.5
    shape: ndarray = x ** ((mean / width) ** 2 - 1) * np.exp(-x * mean / width**2 + tilt * x)
    shape /= shape.sum()
    return shape


def jets_of(
    tilts: tuple[float, float] = (0.0, 0.0),
    fractions: tuple[float, float] = FRACTIONS,
    forward_scale: float = 1.0,
    number: float = 1e5,
) -> ndarray:
    """(1 bin of pT, 2 regions, 2 flavours, x) expected jets; `forward_scale` changes the means of forward jets."""
    regions = []
    for fraction, scale in zip(fractions, (forward_scale, 1.0), strict=True):
        quark = gamma_shape(15.6 * scale, 6.3 * scale, tilts[0])
        gluon = gamma_shape(26.2 * scale, 8.0 * scale, tilts[1])
        regions.append([number * fraction * quark, number * (1 - fraction) * gluon])
    return np.array([regions])


def measured(data: ndarray, simulation: ndarray, *, reweighting: bool = True) -> Efficiencies:
    """Efficiencies by `topics`, with pass 1 or without it."""
    cases = Cases((UNVARIED,), simulation[None], simulation[None][:0], all_flavours(data), all_flavours(data)[None][:0])
    factors = measure_reweighting(cases.simulation, cases.simulation_replicas)
    if not reweighting:
        factors = Reweighting(*(np.ones_like(each) for each in vars(factors).values()))
    return measure_efficiencies(cases, factors, (0.5,), extraction=topics)


def deviation(data: ndarray, simulation: ndarray, *, reweighting: bool = True) -> float:
    """SF_q minus that by label."""
    result = measured(data, simulation, reweighting=reweighting)
    true = [efficiencies_at(truth(each), result.cuts)[0, 0, 0] for each in (data, simulation)]
    return float(result.data[0, 0, 0, 0] / result.simulation[0, 0, 0, 0] - true[0] / true[1])


@pytest.mark.parametrize("tilts", list(product(TILTS, TILTS)))
def test_closure_on_tilted_shapes(tilts: tuple[float, float]) -> None:
    """Without statistics; the scale factors are 0.89 to 1.11. Without rounds of tilts it is up to 0.05."""
    assert abs(deviation(jets_of(tilts), jets_of())) <= 0.01


def test_fractions_of_simulation_do_not_matter() -> None:
    """Those of the matrix method do."""
    data, simulation = jets_of(fractions=(0.65, 0.41)), jets_of()
    assert abs(deviation(data, simulation)) < 1e-6
    np.testing.assert_allclose(topic_fractions(all_flavours(data), simulation, simulation), [[0.65, 0.41]], atol=1e-6)
    wrong = inverted(all_flavours(data), simulation, CUTS, simulation)[0, 0, 0]
    assert abs(wrong / efficiencies_at(truth(simulation), CUTS)[0, 0, 0] - 1) > 0.05


@pytest.mark.parametrize("tilts", [(0.0, 0.0), (0.0233, -0.0233), (-0.0233, 0.0233)])
def test_sample_dependence_needs_reweighting(tilts: tuple[float, float]) -> None:
    """Means 2 % higher in forward jets, in data and simulation: closure with pass 1, and not without it."""
    data, simulation = jets_of(tilts, forward_scale=1.02), jets_of(forward_scale=1.02)
    ratios = []
    for reweighting in (True, False):
        result = measured(data, simulation, reweighting=reweighting)
        ratios.append(result.data[0, 0, 0, 0] / efficiencies_at(truth(data), result.cuts)[0, 0, 0])
    assert abs(ratios[0] - 1) <= 0.01
    assert abs(ratios[1] - 1) > 0.03


def test_toys_are_unbiased() -> None:
    """300 toys of 1e5 jets in each region; the spread is more than that of the matrix, which has exact fractions."""
    simulation = jets_of()
    jets = np.random.default_rng(1).poisson(all_flavours(simulation), (300, 1, 2, N_X)).astype(float)
    want, spreads = efficiencies_at(truth(simulation), CUTS), []
    for extraction in (inverted, topics_wide, topics, topics_narrow):
        result = extraction(jets, simulation, CUTS, simulation)
        assert (np.abs(result.mean(axis=0) - want) < 4 * result.std(axis=0) / 300**0.5).all()
        spreads.append(result[..., 0].std())
    assert spreads == sorted(spreads)


def test_no_value_in_empty_regions_and_for_equal_flavours() -> None:
    empty, simulation = all_flavours(jets_of()), jets_of()
    empty[0, 1] = 0
    assert np.isnan(topics(empty, simulation, CUTS, simulation)).all()
    simulation[:, :, 1] = simulation[:, :, 0]
    assert np.isnan(topics(all_flavours(jets_of()), simulation, CUTS, simulation)).all()


def test_other_extractions_are_systematics() -> None:
    """Each is a case with nominal simulation, also without groups of events."""
    simulation = jets_of()
    rng = np.random.default_rng(2)
    groups = rng.poisson(simulation / 5, (5, 1, *simulation.shape)).astype(float)
    data_groups = rng.poisson(all_flavours(jets_of((0.01, -0.01))) / 5, (5, 1, 2, N_X)).astype(float)
    of_simulation, data = groups.sum(axis=0), data_groups.sum(axis=0)
    cases = Cases(
        (UNVARIED,), of_simulation, of_simulation[:0], data, data[None][:0], groups=groups, data_groups=data_groups
    )
    frozen = measure_reweighting(cases.simulation, cases.simulation_replicas)
    others = {name: extraction_named(name) for name in ("topics_narrow", "matrix")}
    both = measure_efficiencies(cases, frozen, (0.5,), extraction=topics, others=others)
    assert list(map(str, both.variations)) == [
        *("nominal", "gluon_reweight", "extraction:topics_narrow", "extraction:matrix")
    ]
    alone = measure_efficiencies(cases, frozen, (0.5,), extraction=inverted)
    np.testing.assert_array_equal(both.data[3], alone.data[0])
    np.testing.assert_array_equal(both.data_without[:, 3], alone.data_without[:, 0])
    source = Systematic("tails", "envelope", extractions=("topics_*",))
    shifts = shifts_of(both, (0, 0), "efficiency", source)
    ratios = both.data[:, 0, 0, 0] / both.simulation[:, 0, 0, 0]
    assert shifts.members == ("extraction:topics_narrow",)
    np.testing.assert_allclose(shifts.values, [[ratios[2] - ratios[0]]])
    assert np.isfinite(shifts.errors).all()
