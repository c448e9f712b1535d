"""How well shifts are known, and which of them count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beampipe.calibration.config import Configuration, Rule, ShiftSettings, Systematic
from beampipe.calibration.events.variations import UNVARIED, Variation
from beampipe.calibration.method.cases import Cases
from beampipe.calibration.method.factors import Factors
from beampipe.calibration.method.joint import joint_uncertainties
from beampipe.calibration.method.matrix import Efficiencies, measure_efficiencies
from beampipe.calibration.method.reweight import measure_reweighting
from beampipe.calibration.method.uncertainties import (
    Shifts,
    combine,
    factors_of,
    jackknife,
    pruned,
    shift_vectors,
    shifts_of,
    smoothed,
)
from beampipe.calibration.run import run_calibration
from beampipe.calibration.tasks.runtime import FACTORS
from beampipe.errors import ConfigError
from tests.calibration.campaign import INLINE, SYSTEMATICS, Toys, configuration_of
from tests.calibration.method.test_factors import configuration, measured

GROUPS = 20
X = np.log(np.array([550.0, 700.0, 900.0, 1100.0, 1350.0, 1750.0]))


def shifts(values: np.ndarray, errors: np.ndarray, seed: int = 0, members: tuple[str, ...] = ()) -> Shifts:
    """Shifts whose values without a group have just these errors."""
    noise = np.random.default_rng(seed).normal(size=(GROUPS, *values.shape))
    noise -= noise.mean(axis=0)
    noise *= errors / np.sqrt((GROUPS - 1) / GROUPS * (noise**2).sum(axis=0))
    return Shifts(members or tuple(f"v{m}" for m in range(len(values))), values, values + noise)


def test_the_error_of_a_mean_by_groups_is_that_of_its_events() -> None:
    """Without a group, the mean is (sum - sum of the group) / (n - n of the group): the closed form is s / sqrt(K)."""
    means = np.random.default_rng(1).normal(size=(GROUPS, 3))
    without = (means.sum(axis=0) - means) / (GROUPS - 1)
    np.testing.assert_allclose(jackknife(without), means.std(axis=0, ddof=1) / np.sqrt(GROUPS), rtol=1e-12)
    assert np.isnan(jackknife(without[:1])).all()
    without[3, 1] = np.nan
    assert np.isfinite(jackknife(without)).tolist() == [True, False, True]


CONSTANT, WAVE = np.array([0.04, 0.06, 0.05, 0.05, 0.04, 0.06]), np.array([0.1, -0.1, 0.1, -0.1, 0.1, -0.1])
LINE = 0.1 * (X - X.mean()) + 0.03
KNOWN = np.array([0.01, 0.01, 0.02, 0.01, 0.02, 0.01])


@pytest.mark.parametrize(
    ("values", "errors", "wanted", "smooth"),
    [
        pytest.param(CONSTANT, KNOWN, np.average(CONSTANT, weights=KNOWN**-2), 1, id="the weighted mean"),
        pytest.param(LINE, np.full(6, 0.004), LINE, 1, id="a slope that errors resolve stays"),
        pytest.param(WAVE, np.full(6, 0.005), WAVE, 0, id="what no polynomial describes stays"),
    ],
)
def test_shifts_are_smoothed(values: np.ndarray, errors: np.ndarray, wanted: np.ndarray, smooth: int) -> None:
    result = smoothed(shifts(values[None], errors[None]), X)
    np.testing.assert_allclose(result.values, np.broadcast_to(wanted, (1, 6)), atol=1e-14)
    assert (result.smooth, result.remark()) == (smooth, "1 of 1 smooth" if smooth else "")
    if values is CONSTANT:
        assert (result.errors < errors.min()).all(), "a mean of six bins is known better than each of them"


def test_bins_that_are_not_known_are_left_out_of_the_fit() -> None:
    values, errors = np.array([[0.04, np.nan, 0.05, 0.05, 0.04, 0.06]]), np.full((1, 6), 0.01)
    result = smoothed(shifts(values, errors), X)
    assert np.isfinite(result.values[0]).tolist() == [True, False, True, True, True, True]
    np.testing.assert_allclose(result.values[0, 0], 0.048)
    nothing = smoothed(Shifts(("v",), values, np.zeros((0, 1, 6))), X)
    np.testing.assert_array_equal(nothing.values, values)


def test_small_shifts_are_left_out_and_large_ones_are_not() -> None:
    noise = np.random.default_rng(3).normal(0, 0.002, (30, 6))
    sources = {
        "many": shifts(noise, np.full((30, 6), 0.002)),
        "one": shifts(np.full((1, 6), 0.05), np.full((1, 6), 0.005)),
        "vague": shifts(np.full((1, 6), 0.01), np.full((1, 6), 0.05)),
        "small": shifts(np.full((1, 6), 0.003), np.full((1, 6), 0.0005)),
    }
    rules = dict.fromkeys(sources, "quadrature")
    result = pruned(sources, rules, np.full(6, 0.1), 0.01)  # type: ignore[arg-type]
    assert 5 < result["many"].pruned < 30, "the smallest first, until the share is used up"
    assert result["one"].pruned == 0
    assert result["vague"].pruned == 0, "compatible with 0, but it could be half as large as all others"
    assert result["small"].pruned == 0, "small, but there"
    assert (result["many"].values == 0).all(axis=1).sum() == result["many"].pruned
    assert (result["many"].errors == 0).all(axis=1).sum() == result["many"].pruned


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05])
def test_no_total_falls_by_more_than_the_share(share: float) -> None:
    """300 sets of random shifts: whatever is left out, no bin loses more than it may."""
    rng, lost = np.random.default_rng(11), 0
    for seed in range(300):
        sizes = rng.lognormal(-5, 1.5, (12, 1)) * np.ones((12, 6))
        one = shifts(
            rng.normal(0, sizes), sizes, seed, tuple(f"{k // 2}_{'up' if k % 2 else 'down'}" for k in range(12))
        )
        statistical = rng.uniform(0.02, 0.2, 6)
        after = pruned({"s": one}, {"s": "up_down"}, statistical, share)["s"]
        totals = [np.sqrt(statistical**2 + combine("up_down", each.members, each.values) ** 2) for each in (one, after)]
        assert (totals[1] >= (1 - share) * totals[0] * (1 - 1e-12)).all()
        lost += after.pruned
        gone = (after.values == 0).all(axis=1)
        assert (gone[::2] == gone[1::2]).all(), "both ways of a parameter, or none"
    assert lost > 100


def jackknifed(seed: int = 5) -> Efficiencies:
    """Efficiencies whose values without a group differ by a little."""
    whole = measured()
    rng = np.random.default_rng(seed)

    def without(values: np.ndarray) -> np.ndarray:
        return values + rng.normal(0, 0.0005, (GROUPS, *values.shape))

    return replace(
        whole,
        data_without=without(whole.data),
        simulation_without=without(whole.simulation),
        truth_without=without(whole.truth),
    )


def test_errors_and_remarks_reach_the_file_and_the_joint_covariance(tmp_path: Path) -> None:
    sources = (
        Systematic("pdf", "quadrature", weights=("pdf_*",)),
        Systematic("shower", samples=("one", "two")),
        Systematic("gluon", method="gluon_reweight", smooth=True),
        Systematic("closure", method="nonclosure"),
    )
    settings = replace(configuration(tmp_path), systematics=sources, shifts=ShiftSettings(GROUPS, 0.05))
    efficiencies = {"n_trk": jackknifed()}
    factors = factors_of(settings, efficiencies)
    factors.write(tmp_path / "factors.json")
    one = Factors.read(tmp_path / "factors.json").at(
        tagger="n_trk", working_point=0.5, flavour="quark", quantity="efficiency", pt=600.0
    )
    assert set(one.source_errors) == {"pdf", "shower", "gluon", "closure"}
    assert all(0 < error < 0.05 for error in one.source_errors.values())
    whole = factors.against_pt(tagger="n_trk", working_point=0.5, flavour="quark", quantity="efficiency")
    shower = shifts_of(efficiencies["n_trk"], (0, 0), "efficiency", sources[1])
    np.testing.assert_allclose(whole.source_errors["shower"], shower.errors[0])
    joint = joint_uncertainties(settings, efficiencies, factors)
    for key, each in factors.by_name.items():
        block = joint.covariance[joint.part(key), joint.part(key)]
        np.testing.assert_allclose(np.diagonal(block), each.total**2, rtol=1e-9)


def test_the_error_of_a_shift_is_its_spread_over_toys() -> None:
    """The whole method on histograms: a shift of simulation whose events are in part the nominal ones."""
    rng = np.random.default_rng(2)
    x = np.arange(8)
    quark, gluon = (np.exp(-0.5 * ((x - mean) / 1.5) ** 2) for mean in (2.5, 4.5))
    shape = np.stack([quark / quark.sum(), gluon / gluon.sum()])
    yields = np.array([[700.0, 300.0], [400.0, 600.0]])  # forward, central
    mean = 30.0 * yields[:, :, None] * shape / GROUPS
    result, quoted = [], []
    for _ in range(60):
        nominal = rng.poisson(mean, (GROUPS, *mean.shape)).astype(np.float64)
        kept = rng.binomial(nominal.astype(np.int64), 0.8)
        moved = rng.binomial(nominal.astype(np.int64) - kept, 0.9)
        varied = kept + np.roll(moved, 1, axis=-1).astype(np.float64)
        data = rng.poisson(mean.sum(axis=1), (GROUPS, 2, 8)).astype(np.float64)
        groups = np.stack([nominal, varied], axis=1)[:, :, None]
        cases = Cases(
            (UNVARIED, Variation("weight", "v")),
            groups.sum(axis=0),
            np.empty((0, 1, 2, 2, 8)),
            data.sum(axis=0)[None],
            np.empty((0, 1, 2, 8)),
            groups=groups,
            data_groups=data[:, None],
        )
        frozen = measure_reweighting(cases.simulation, cases.simulation_replicas)
        one = shifts_of(
            measure_efficiencies(cases, frozen, (0.5,)), (0, 0), "efficiency", Systematic("s", weights=("v",))
        )
        result.append(one.values[0, 0])
        quoted.append(one.errors[0, 0])
    assert np.mean(quoted) == pytest.approx(np.std(result), rel=0.3)
    assert np.std(result) > 0.003


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"groups": 4}, "got 4 groups, expected 0"),
        ({"groups": 101}, "got 101 groups"),
        ({"groups": 20, "prune": 0.2}, "got prune 0.2, expected 0 to 0.1"),
        ({"prune": 0.01}, "got prune, but no groups"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ShiftSettings(**settings)  # type: ignore[arg-type]


def test_smoothing_needs_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="systematic s: got smooth, but errors of shifts are not known"):
        configuration(tmp_path, Systematic("s", method="nonclosure", smooth=True))


def test_a_run_works_them_out(toys: Toys, base: Configuration, tmp_path: Path) -> None:
    """Groups of events change no number but those that they are for."""
    smooth = tuple(replace(source, smooth=source.name == "energy") for source in SYSTEMATICS)
    settings = {"shifts": ShiftSettings(6), "systematics": smooth, "chunk_events": 2000}
    configured = configuration_of(toys, tmp_path, taggers=base.taggers[:1], **settings)
    run_calibration(configured, INLINE)
    factors, plain = Factors.read(configured.output / FACTORS), Factors.read(base.output / FACTORS)
    for key, one in factors.by_name.items():
        np.testing.assert_array_equal(one.nominal, plain.by_name[key].nominal)
        np.testing.assert_array_equal(one.statistical, plain.by_name[key].statistical)
        np.testing.assert_array_equal(one.sources["shower"], plain.by_name[key].sources["shower"])
        assert all((values[one.valid] > 0).all() for values in one.source_errors.values())
        assert "smooth" in one.remarks["energy"]


WAYS = ("a_up", "a_down", "b_up", "b_down")
SHIFTS = np.array([[0.3, 0.0, -0.1], [-0.1, 0.2, -0.4], [-0.4, 0.0, 0.2], [0.1, -0.1, 0.3]])


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 0, 2, 1]])
@pytest.mark.parametrize(
    ("rule", "want"),
    [
        ("envelope", [0.4, 0.2, 0.4]),
        ("quadrature", [0.27**0.5, 0.05**0.5, 0.30**0.5]),
        # ups (0.3, 0.4), (0, 0), (0.1, 0.2); downs (0.1, 0.1), (0.2, 0.1), (0.4, 0.3)
        ("up_down", [0.5, 0.05**0.5, 0.5]),
    ],
)
def test_rules_by_hand_whatever_the_order(rule: Rule, want: list[float], order: list[int]) -> None:
    np.testing.assert_allclose(combine(rule, [WAYS[k] for k in order], SHIFTS[order]), want, rtol=1e-14)


def test_difference_is_the_size_of_its_one_shift() -> None:
    np.testing.assert_allclose(combine("difference", ["x"], np.array([[0.2, -0.3]])), [0.2, 0.3])


@pytest.mark.parametrize(
    ("rule", "names", "message"),
    [
        ("difference", ["x", "y"], "got 2 variations, expected one; take envelope or quadrature"),
        ("up_down", ["a_up", "a_down", "b"], "got a_up, a_down, b, expected as many names ending _up as _down"),
        ("up_down", ["a_up", "b_up", "a_down"], "as many names"),
        ("envelope", [], "got no variation"),
        ("quadrature", [], "got no variation"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(rule: Rule, names: list[str], message: str) -> None:
    shifts = np.zeros((len(names), 3))
    with pytest.raises(ConfigError, match=message):
        combine(rule, names, shifts)
    with pytest.raises(ConfigError, match=message):
        shift_vectors(rule, names, shifts)


def test_what_is_not_known_stays_unknown() -> None:
    shifts = np.array([[0.1, np.nan], [0.2, 0.1]])
    for rule in ("envelope", "quadrature", "up_down"):
        result = combine(rule, ["a_up", "a_down"], shifts)
        assert np.isfinite(result).tolist() == [True, False], rule


shift = st.lists(st.floats(-2, 2).filter(lambda x: x == 0 or abs(x) > 1e-6), min_size=5, max_size=5)


@pytest.mark.parametrize("rule", ["envelope", "quadrature", "up_down", "difference"])
@given(data=st.data())
def test_squares_of_the_vectors_add_up_to_the_uncertainty(rule: Rule, data: st.DataObject) -> None:
    pairs = 1 if rule == "difference" else data.draw(st.integers(1, 4))
    names = ["only"] if rule == "difference" else [f"{k}_{way}" for k in range(pairs) for way in ("up", "down")]
    shifts = np.array([data.draw(shift) for _ in names])
    vectors = shift_vectors(rule, names, shifts)
    np.testing.assert_allclose((vectors**2).sum(axis=0), combine(rule, names, shifts) ** 2, rtol=1e-12, atol=1e-15)


def test_vectors_keep_the_sign_between_bins() -> None:
    """What moves one bin up and another down is anticorrelated between them."""
    assert shift_vectors("envelope", ["x", "y"], np.array([[0.1, -0.5], [0.3, 0.2]])).tolist() == [[0.3, -0.5]]
    assert shift_vectors("difference", ["x"], np.array([[0.1, -0.5]])).tolist() == [[0.1, -0.5]]
