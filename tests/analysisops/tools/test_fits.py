"""Fits: shapes against integrals, pulls of toys, and a closed form where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.analysisops.tools.events import fill
from beampipe.analysisops.tools.fits import (
    BACKGROUNDS,
    SIGNALS,
    Parameter,
    PeakFit,
    Shape,
    Window,
    goodness,
    minimise,
    poisson,
)
from beampipe.analysisops.tools.handles import Histogram
from beampipe.analysisops.tools.session import LocalTools

EDGES = np.linspace(70.0, 110.0, 41)
SHAPES: list[tuple[Shape, tuple[float, ...]]] = [
    (SIGNALS["gauss"], (91.0, 2.0)),
    (SIGNALS["voigt"], (91.0, 1.0, 2.5)),
    (SIGNALS["breit_wigner_gauss"], (91.0, 1.5, 2.5)),
    (BACKGROUNDS["const"], ()),
    (BACKGROUNDS["linear"], (-0.7,)),
    (BACKGROUNDS["quadratic"], (-0.5, 0.4)),
    (BACKGROUNDS["exponential"], (0.08,)),
    (BACKGROUNDS["exponential_curved"], (0.05, 0.7)),
]


@pytest.mark.parametrize(("shape", "parameters"), SHAPES)
def test_shares_of_bins_are_integrals(shape: Shape, parameters: tuple[float, ...]) -> None:
    window = Window(EDGES)
    fine = np.linspace(70.0, 110.0, 80_001)
    density = shape.density(fine, window, parameters)
    middles = (density[1:] + density[:-1]) / 2
    truth = middles.reshape(40, -1).sum(1)
    np.testing.assert_allclose(shape.in_bins(window, parameters), truth / truth.sum(), rtol=1e-4, atol=1e-12)
    at = shape.at(fine, window, parameters)
    assert np.trapezoid(at, fine) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("name", ["voigt", "breit_wigner_gauss"])
def test_folded_peaks_are_folded(name: str) -> None:
    mu, sigma, width = 91.0, 1.5, 2.5
    x = np.array([75.0, 88.0, 91.0, 93.0, 105.0])
    t = np.linspace(-9, 9, 20_001)
    at = x[:, None] + sigma * t
    if name == "voigt":
        line = width / 2 / np.pi / ((at - mu) ** 2 + width**2 / 4)
    else:
        line = 1 / ((at**2 - mu**2) ** 2 + mu**2 * width**2) * mu * width
    truth = np.trapezoid(line * np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi), t, axis=1)
    np.testing.assert_allclose(SIGNALS[name].density(x, Window(EDGES), (mu, sigma, width)), truth, rtol=1e-6)


def exponential(rng: np.random.Generator, n: int, low: float, high: float, slope: float) -> ndarray:
    return np.asarray(low - np.log(1 - rng.uniform(size=n) * (1 - np.exp(-slope * (high - low)))) / slope)


def filled(values: ndarray, low: float, high: float, bins: int) -> Histogram:
    return fill(values, np.ones(len(values)), np.linspace(low, high, bins + 1), "x")


def test_pulls_of_toys() -> None:
    """A peak of 300 on 3000: value and error of each parameter belong together."""
    rng = np.random.default_rng(5)
    truth = {"mu": 125.0, "sigma": 1.6, "signal_yield": 300.0, "background_slope": 0.025}
    pulls: dict[str, list[float]] = {name: [] for name in truth}
    p_values = []
    for _ in range(60):
        peak = rng.normal(125.0, 1.6, rng.poisson(300))
        toy = filled(np.concatenate([peak, exponential(rng, rng.poisson(3000), 105, 160, 0.025)]), 105, 160, 55)
        fit = PeakFit(toy, "gauss_plus_exponential", {})
        result, _ = fit.fit()
        assert result.valid
        for name, value in truth.items():
            pulls[name].append((result.values[name] - value) / result.errors[name])
        expected = fit.expected([result.values[name] for name in fit.names])
        p_values.append(goodness(toy.values, toy.variances, expected, 5).p_value or 0.0)
    for name, values in pulls.items():
        assert abs(np.mean(values)) < 0.45, name
        assert 0.75 < np.std(values) < 1.3, name
    assert 0.35 < np.mean(p_values) < 0.65


@pytest.mark.parametrize("unbinned", [False, True])
@pytest.mark.parametrize(
    ("model", "fixed", "near"),
    [
        ("voigt", {}, {"mu": (91.2, 0.1), "width": (2.5, 0.25), "sigma": (1.5, 0.15)}),
        ("voigt_plus_exponential", {"sigma": 1.5}, {"width": (2.5, 0.25)}),
        ("voigt_plus_linear", {"width": 2.5}, {"sigma": (1.5, 0.15)}),
    ],
)
def test_a_line_with_its_width(model: str, fixed: dict[str, float], near: dict[str, Any], unbinned: bool) -> None:
    rng = np.random.default_rng(7)
    line = 91.2 + 1.25 * np.tan(rng.uniform(-np.pi / 2, np.pi / 2, 8000)) + rng.normal(0, 1.5, 8000)
    values = np.concatenate([line, exponential(rng, 400, 70, 110, 0.03)]) if "_plus_" in model else line
    values = values[(values > 70) & (values < 110)]
    result, _ = PeakFit(filled(values, 70, 110, 80), model, fixed, values if unbinned else None).fit()
    assert result.valid
    for name, (value, within) in near.items():
        assert result.values[name] == pytest.approx(value, abs=within)
    for name, value in fixed.items():
        assert (result.values[name], result.errors[name]) == (value, 0.0)


def test_a_polynomial_that_reaches_zero_has_no_kink_there() -> None:
    """At a kink, second differences grow as one over the step, and errors from them say nothing."""
    shape, window, slope, curve = BACKGROUNDS["quadratic"], Window(EDGES), -1.035, -0.717
    x = np.linspace(70.0, 110.0, 400_001)
    t = (x - 90.0) / 20.0
    polynomial = 1 + slope * t + curve * (3 * t**2 - 1) / 2
    zero = x[polynomial > 0][-1:]
    bends = []
    for step in (1e-3, 1e-4):
        below, at, above = (shape.at(zero, window, (slope + way * step, curve))[0] for way in (-1, 0, 1))
        bends.append((below - 2 * at + above) / step**2)
    assert bends[1] == pytest.approx(bends[0], rel=0.05)
    density = shape.density(x, window, (slope, curve))
    assert (density > 0).all()
    np.testing.assert_allclose(density[polynomial > 0.81], polynomial[polynomial > 0.81], rtol=1e-14)
    np.testing.assert_allclose(density, np.maximum(polynomial, 0.0), atol=0.015)


def test_weights_widen_the_errors() -> None:
    """Events of weight w each count as n / w of them: errors grow by sqrt(w), values stay."""
    rng = np.random.default_rng(10)
    plain = filled(rng.normal(91.0, 2.0, 4000), 80, 102, 44)
    heavy = Histogram(plain.edges, 4 * plain.values, 16 * plain.variances, 0.0, 0.0, plain.n, "x")
    (one, _), (four, _) = (PeakFit(histogram, "gauss", {}).fit() for histogram in (plain, heavy))
    assert four.values["mu"] == pytest.approx(one.values["mu"], abs=1e-4)
    assert four.errors["mu"] == pytest.approx(one.errors["mu"], rel=0.01)
    assert four.values["signal_yield"] == pytest.approx(4 * one.values["signal_yield"], rel=1e-3)
    assert four.errors["signal_yield"] == pytest.approx(4 * one.errors["signal_yield"], rel=0.01)
    expected = np.full(44, plain.values.sum() / 44)
    light, loaded = (
        goodness(item.values, item.variances, scale * expected, 1) for item, scale in ((plain, 1.0), (heavy, 4.0))
    )
    assert loaded.chi2 == pytest.approx(light.chi2)


def test_one_yield_is_the_count() -> None:
    counts = np.array([3.0, 8.0, 5.0, 0.0])
    share = np.array([0.25, 0.25, 0.25, 0.25])
    likelihood = poisson(counts, counts)
    result = minimise(lambda values: likelihood(values[0] * share), [Parameter("n", 5.0, 1.0)])
    assert result.values["n"] == pytest.approx(16.0, abs=0.02)
    assert result.errors["n"] == pytest.approx(4.0, rel=1e-2)
    assert result.valid


def test_chi2_of_merged_bins() -> None:
    counts, expected = np.array([6.0, 1.0, 1.0, 4.0, 12.0, 1.0]), np.array([5.0, 2.0, 2.0, 2.0, 10.0, 1.0])
    good = goodness(counts, counts, expected, 1)
    assert good.chi2 == pytest.approx(1 / 5 + 0.0 + 4 / 11)
    assert good.ndf == 2
    assert goodness(counts, counts, expected, 3).p_value is None


def test_the_tool_by_either_handle_and_what_it_refuses(tools: LocalTools) -> None:
    loaded = tools.call("load_kinematics_tool", file_path="data.root", tree_name="mini", branches={"met": "met"})
    met = {"events": loaded["handle"], "column": "met"}
    filled = tools.call("histogram_tool", **met, bins=50, low=0, high=100_000)
    given = {"window": [0, 100_000], "model": "gauss_plus_exponential", "fixed": {"mu": 50_000, "sigma": 5_000}}
    by_events = tools.call("fit_peak_tool", **met, **given, bins=50)
    by_histogram = tools.call("fit_peak_tool", histogram=filled["handle"], **given)
    by_handle = tools.call("fit_peak_tool", events=filled["handle"], **given)
    assert [fit.pop("call") for fit in (by_events, by_histogram, by_handle)] == ["call_3", "call_4", "call_5"]
    assert by_events == by_histogram == by_handle
    assert by_events["background_slope"] == pytest.approx(1 / 20_000, rel=0.1)
    assert abs(by_events["signal_yield"]) < 4 * by_events["signal_yield_error"]
    assert by_events["covariance"]["names"] == ["signal_yield", "background_yield", "background_slope"]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({**given}, "neither"),
        ({**given, "events": loaded["handle"]}, "column"),
        ({**given, **met, "window": [3, 1]}, "low < high"),
        ({**given, **met, "window": [0, 20]}, "MeV or GeV"),
        ({**given, **met, "bins": 4}, "bins"),
        ({**given, **met, "fixed": {"sigmas": 1}}, "did you mean 'sigma'"),
        ({**given, **met, "model": "gauss_plus_exponentiall"}, "did you mean 'gauss_plus_exponential'"),
        ({**given, "histogram": filled["handle"], "unbinned": True}, "fit bins"),
        ({**given, "histogram": filled["handle"], "window": [0, 5_000]}, "at least 5"),
    ]
    for arguments, says in wrong:
        with pytest.raises(ToolRefusedError, match=says):
            tools.call("fit_peak_tool", **arguments)
