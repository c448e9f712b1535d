"""The matrix method against numbers worked out by hand, and against mixtures whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy import ndarray

from beampipe.calibration.events.variations import GLUON_REWEIGHT, UNVARIED, Variation
from beampipe.calibration.method.cases import Cases
from beampipe.calibration.method.matrix import (
    Efficiencies,
    all_flavours,
    cumulated,
    extract,
    measure_efficiencies,
    quark_fractions,
    reweighted,
    truth,
    working_point_cuts,
)
from beampipe.calibration.method.reweight import (
    LARGEST,
    FlavourName,
    Reweighting,
    apply_factors,
    measure_reweighting,
    merged_bins,
    reweighting_factors,
    shapes,
)
from beampipe.calibration.taggers import Tagger
from beampipe.errors import ConfigError

# Jets by (region, flavour, x): forward quarks 6 + 2 + 0, forward gluons 1 + 1 + 2, central quarks 2 + 2 + 0, central
# gluons 1 + 3 + 4. Worked out on paper:
#   p_q^F = (3/4, 1/4, 0)   p_q^C = (1/2, 1/2, 0)   r_q = (3/2, 1/2, 1): nothing is known of the last bin
#   p_g^F = (1/4, 1/4, 1/2) p_g^C = (1/8, 3/8, 1/2) r_g = (2, 2/3, 1)
#   re-weighted central quarks 3 + 1 + 0 = 4, gluons 3/2 + 3/2 + 4 = 7
#   f_q^F = 8/12 = 2/3, f_q^C = 4/11, D = 2/3 - 4/11 = 10/33
#   p_F = (7, 3, 2)/12, p_C = (9/2, 5/2, 4)/11
#   p_q = (7/11 p_F - 1/3 p_C) / D = (33/10) (7/11 (7, 3, 2)/12 - (9/2, 5/2, 4)/33)
#       = (7 (7, 3, 2)/40 - (9/2, 5/2, 4)/10) = (31/40, 11/40, -2/40)
#   p_g = (-4/11 p_F + 2/3 p_C) / D = (33/10) (-(7, 3, 2)/33 + (9, 5, 8)/33) = (1/5, 1/5, 3/5)
HAND = np.array([[[6.0, 2, 0], [1, 1, 2]], [[2, 2, 0], [1, 3, 4]]])


def test_factors_by_hand() -> None:
    np.testing.assert_allclose(reweighting_factors(HAND), [3 / 2, 1 / 2, 1], rtol=1e-15)
    np.testing.assert_allclose(reweighting_factors(HAND, "gluon"), [2.0, 2 / 3, 1.0], rtol=1e-15)
    both = apply_factors(HAND[:, 0], np.array([3 / 2, 1 / 2, 1]))
    np.testing.assert_array_equal(both, [[6, 2, 0], [3, 1, 0]])  # forward jets keep their weights


def test_fractions_and_inversion_by_hand() -> None:
    both = reweighted(HAND, reweighting_factors(HAND))
    mixture, fractions = all_flavours(both), quark_fractions(both)
    np.testing.assert_allclose(mixture, np.array([[7, 3, 2], [4.5, 2.5, 4]]), rtol=1e-15)
    np.testing.assert_allclose(fractions, [2 / 3, 4 / 11], rtol=1e-15)
    result = extract(mixture, fractions)
    np.testing.assert_allclose(result.quark, np.array([31, 11, -2]) / 40, rtol=1e-13)
    np.testing.assert_allclose(result.gluon, [1 / 5, 1 / 5, 3 / 5], rtol=1e-13)
    true = truth(HAND)
    np.testing.assert_array_equal(true.quark, [3 / 4, 1 / 4, 0])
    np.testing.assert_array_equal(true.gluon, [1 / 4, 1 / 4, 1 / 2])


def cases_of(simulation: ndarray, data: ndarray) -> Cases:
    """One bin of pT, nominal alone, no replicas."""
    n_x = simulation.shape[-1]
    return Cases((UNVARIED,), simulation[None, None], np.empty((0, 1, 2, 2, n_x)), data[None], np.empty((0, 1, 2, n_x)))


def measured(simulation: ndarray, data: ndarray, *working_points: float) -> Efficiencies:
    cases = cases_of(simulation, data)
    frozen = measure_reweighting(cases.simulation, cases.simulation_replicas)
    return measure_efficiencies(cases, frozen, working_points)


def test_efficiencies_by_hand() -> None:
    """At 60 % one bin counts as quark-like, as it holds 31/40 of the quarks; at 80 % two do.

    Data is p_F = (6, 4, 2)/12 and p_C = (4, 3, 4)/11 after weights (3/2, 1/2, 1) on central (8/3, 6, 4):
    p_q = 7 (6, 4, 2)/40 - (4, 3, 4)/10 = (26, 16, -2)/40 and p_g = (-(6, 4, 2) + 2 (4, 3, 4))/10 = (2, 2, 6)/10.
    """
    data = np.array([[6, 4, 2], [8 / 3, 6, 4]])
    result = measured(HAND, data, 0.6, 0.8)
    assert result.cuts.tolist() == [[1, 2]]
    assert result.names.tolist() == ["nominal", str(GLUON_REWEIGHT)]
    np.testing.assert_allclose(result.simulation[0, 0], [[31 / 40, 1 / 5], [42 / 40, 2 / 5]], rtol=1e-13)
    np.testing.assert_allclose(result.data[0, 0], [[26 / 40, 2 / 10], [42 / 40, 4 / 10]], rtol=1e-13)
    np.testing.assert_allclose(result.truth[0, 0], [[3 / 4, 1 / 4], [1, 1 / 2]], rtol=1e-13)
    np.testing.assert_allclose(result.fractions[0, 0], [2 / 3, 4 / 11], rtol=1e-13)
    assert result.shapes.shape == (3, 1, 2, 3)


def test_factors_of_gluons_are_a_case_of_their_own() -> None:
    """Weights (2, 2/3, 1): central quarks 4 + 4/3, gluons 2 + 2 + 4, so f_q^C = (16/3) / (40/3) = 2/5."""
    result = measured(HAND, HAND.sum(axis=1), 0.6)
    np.testing.assert_allclose(result.fractions[1, 0], [2 / 3, 2 / 5], rtol=1e-13)
    np.testing.assert_allclose(result.data, result.simulation, rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "working_point", "bins"),
    [
        ((0.25, 0.25, 0.5), 0.25, 1),  # a tie: the bin that just reaches it is the last
        ((0.25, 0.25, 0.5), 0.26, 2),
        ((0.25, 0.25, 0.5), 0.5, 2),
        ((0.25, 0.25, 0.5), 0.9, 3),
        ((0.0, 0.0, 1.0), 0.1, 3),  # empty bins in front
        ((0.5, 0.0, 0.5), 0.5, 1),  # an empty bin behind is not taken along
        ((0.7, -0.1, 0.4), 0.65, 1),  # extracted shapes may be negative: the first time counts
        ((0.1, 0.1, 0.1), 0.5, 3),  # never reached
        ((np.nan, np.nan, np.nan), 0.5, 3),
    ],
)
def test_the_cut_of_a_working_point(shape: tuple[float, ...], working_point: float, bins: int) -> None:
    assert working_point_cuts(np.array(shape), working_point) == bins


def test_what_cannot_be_known_is_nan() -> None:
    equal = extract(np.array([[1.0, 2], [3, 1]]), np.array([0.4, 0.4]))
    no_central = extract(np.array([[1.0, 2], [0, 0]]), np.array([0.6, 0.4]))
    for result in (
        *(shapes(np.zeros(3)), shapes(np.array([1.0, -1.0, 0.0])), quark_fractions(np.zeros((2, 2, 3)))),
        *(equal.quark, equal.gluon, no_central.quark),
    ):
        assert np.isnan(result).all()


@given(arrays(np.float64, (2, 2, 12), elements=st.integers(-2, 4).map(float)), st.sampled_from(["quark", "gluon"]))
def test_factors_are_positive_and_keep_the_forward_shape(jets: ndarray, flavour: FlavourName) -> None:
    of_flavour = jets[:, 0 if flavour == "quark" else 1]
    factors, group = reweighting_factors(jets, flavour), merged_bins(of_flavour)
    if (of_flavour.sum(axis=-1) <= 0).any():
        assert np.isnan(factors).all()
        return
    assert (factors > 0).all()
    assert (factors <= LARGEST).all()
    assert (factors[group < 0] == 1).all()
    if (factors < LARGEST).all() and (group >= 0).any():
        # The area of each group of bins is that of forward jets.
        forward, central = shapes(of_flavour)
        for number in set(group[group >= 0].tolist()):
            inside = group == number
            np.testing.assert_allclose((factors * central)[inside].sum(), forward[inside].sum(), atol=1e-12)


def test_empty_bins_and_empty_flavours_of_factors() -> None:
    no_forward = np.array([[[0.0, 4], [1, 1]], [[2, 2], [1, 1]]])
    np.testing.assert_array_equal(reweighting_factors(no_forward), [1, 1])  # merged
    one_sided = np.array([[[0.0, 4, 1, 5, 0], [1] * 5], [[2, 2, 4, 0, 0], [1] * 5]])
    np.testing.assert_allclose(reweighting_factors(one_sided), [0.8, 0.8, 1.2, 1.2, 1.0])
    no_quarks = np.array([[[0.0, 0], [1, 1]], [[2, 2], [1, 1]]])
    assert np.isnan(reweighting_factors(no_quarks)).all()
    no_central_quarks = np.array([[[1.0, 1], [1, 1]], [[0, 0], [1, 1]]])
    assert np.isnan(reweighting_factors(no_central_quarks)).all()


def test_one_empty_bin_of_pt_leaves_the_others() -> None:
    simulation = np.stack([HAND, np.zeros_like(HAND)])[None]
    data = simulation[0].sum(axis=2)
    cases = Cases((UNVARIED,), simulation, np.empty((0, 2, 2, 2, 3)), data, np.empty((0, 2, 2, 3)))
    result = measure_efficiencies(cases, measure_reweighting(cases.simulation, cases.simulation_replicas), (0.6,))
    assert np.isfinite(result.data[:, 0]).all()
    assert np.isnan(result.data[:, 1]).all()
    assert result.cuts.tolist() == [[1], [3]]


positive = st.lists(st.floats(0.05, 1.0), min_size=6, max_size=6)
fraction = st.floats(0.05, 0.95)


@settings(max_examples=60, deadline=None)
@given(positive, positive, st.tuples(fraction, fraction).filter(lambda f: abs(f[0] - f[1]) > 0.05))
def test_known_shapes_and_fractions_are_found_again(
    quark: list[float], gluon: list[float], fractions: tuple[float, float]
) -> None:
    p_q, p_g = np.array(quark) / sum(quark), np.array(gluon) / sum(gluon)
    f = np.array(fractions)[:, None]
    mixture = 1000 * (f * p_q + (1 - f) * p_g)
    result = extract(mixture, np.array(fractions))
    np.testing.assert_allclose(result.quark, p_q, atol=1e-12)
    np.testing.assert_allclose(result.gluon, p_g, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(positive, positive, positive, positive, st.tuples(fraction, fraction).filter(lambda f: f[0] - f[1] > 0.05))
def test_a_known_scale_factor_is_found_again(
    quark: list[float], gluon: list[float], data_quark: list[float], data_gluon: list[float], f: tuple[float, float]
) -> None:
    """The same shapes in both regions, so no re-weighting; data has its own shapes and the fractions of simulation."""
    p_q, p_g, d_q, d_g = (np.array(shape) / sum(shape) for shape in (quark, gluon, data_quark, data_gluon))
    jets = np.array([[900.0 * f[0], 900 * (1 - f[0])], [700 * f[1], 700 * (1 - f[1])]])
    simulation = jets[:, :, None] * np.stack([p_q, p_g])
    data = (jets[:, :, None] * np.stack([d_q, d_g])).sum(axis=1)
    result = measured(simulation, data, 0.5)
    cut = int(result.cuts[0, 0])
    assert p_q[: cut - 1].sum() < 0.5 + 1e-12
    assert p_q[:cut].sum() >= 0.5 - 1e-12
    np.testing.assert_allclose(result.data[0, 0, 0], [d_q[:cut].sum(), d_g[:cut].sum()], atol=1e-11)
    scale = result.data[0, 0, 0] / result.simulation[0, 0, 0]
    np.testing.assert_allclose(scale, [d_q[:cut].sum() / p_q[:cut].sum(), d_g[:cut].sum() / p_g[:cut].sum()], rtol=1e-9)


def test_closure_is_exact_after_reweighting_if_gluons_change_as_quarks_do() -> None:
    """Shapes that differ between the regions by the same factors for both flavours: what r_q takes away entirely."""
    p_q, p_g, tilt = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.3, 0.6]), np.array([0.8, 1.0, 1.3])
    simulation = np.stack([[600 * p_q, 400 * p_g], [300 * p_q / tilt, 500 * p_g / tilt]])
    without = extract(simulation.sum(axis=1), quark_fractions(simulation))
    assert np.abs(without.quark - p_q).max() > 0.02
    result = measured(simulation, simulation.sum(axis=1), 0.6)
    np.testing.assert_allclose(result.simulation[0], result.truth[0], atol=1e-12)


def test_cases_take_their_own_factors_and_keep_the_cuts() -> None:
    other = HAND * np.array([1.0, 1.2, 0.9])
    cases = Cases(
        (UNVARIED, Variation("sample", "other")),
        np.stack([HAND, other])[:, None],
        np.empty((0, 1, 2, 2, 3)),
        HAND.sum(axis=1)[None],
        np.empty((0, 1, 2, 3)),
    )
    frozen: Reweighting = measure_reweighting(cases.simulation, cases.simulation_replicas)
    result = measure_efficiencies(cases, frozen, (0.6, 0.8))
    alone = measured(other, HAND.sum(axis=1), 0.6, 0.8)
    np.testing.assert_array_equal(result.cuts, measured(HAND, HAND.sum(axis=1), 0.6, 0.8).cuts)
    np.testing.assert_array_equal(result.cuts, alone.cuts)
    np.testing.assert_allclose(result.data[1], alone.data[0], rtol=1e-13)
    np.testing.assert_allclose(result.simulation[1], alone.simulation[0], rtol=1e-13)
    assert not np.allclose(result.data[0], result.data[1])


@pytest.mark.parametrize(
    ("cut", "expected", "share"), [("at_least", 2, 0.69), ("nearest", 1, 0.4), ("inside", 1 + 0.1 / 0.29, 0.5)]
)
def test_a_cut_lies_at_the_edge_above_at_the_nearest_or_inside(cut: str, expected: float, share: float) -> None:
    shape = np.array([[0.40, 0.29, 0.31]])
    result = working_point_cuts(shape, 0.5, cut)
    np.testing.assert_allclose(result, [expected])
    np.testing.assert_allclose(cumulated(shape, result[:, None]), [[share]])
    both = cumulated(np.array([[[0.1, 0.2, 0.7]], [[0.3, 0.3, 0.4]]]), np.array([[1, 3, 2]]))
    np.testing.assert_allclose(both[:, 0], [[0.1, 1.0, 0.3], [0.3, 1.0, 0.6]])


def test_a_cut_inside_of_a_bin_gives_the_share_that_was_asked_for() -> None:
    rng = np.random.default_rng(2)
    shape = rng.random((5, 20))
    shape /= shape.sum(axis=1, keepdims=True)
    points = (0.02, 0.5, 0.7, 0.99)
    cuts = np.stack([working_point_cuts(shape, point, "inside") for point in points], axis=-1)
    np.testing.assert_allclose(cumulated(shape, cuts), np.tile(points, (5, 1)), rtol=1e-12)
    scores = np.concatenate([rng.uniform(k, k + 1, round(1e4 * share)) for k, share in enumerate(shape[0])])
    np.testing.assert_allclose(np.quantile(scores, points), cuts[0], atol=0.1)  # of jets that were never in bins


def test_a_shape_that_never_reaches_the_share_counts_whole() -> None:
    for cut in ("at_least", "nearest", "inside"):
        assert working_point_cuts(np.array([0.1, np.nan, 0.2]), 0.5, cut) == 3
        assert working_point_cuts(np.array([0.1, 0.1]), 0.5, cut) == 2
        assert working_point_cuts(np.array([0.9, 0.1]), 0.5, cut) <= 1


def test_whole_numbers_are_not_cut_inside() -> None:
    with pytest.raises(ConfigError, match="take bins of width 1"):
        Tagger("n_trk", cut="inside")
