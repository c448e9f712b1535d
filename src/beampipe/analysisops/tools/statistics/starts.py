"""Where a fit of a peak begins: places and widths are tried on a grid, yields follow for each by a few steps of EM."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.tools.statistics.likelihood import Parameter
from beampipe.analysisops.tools.statistics.shapes import SIGNALS, Shape, Window

__all__ = ["PeakStart", "background_parameters", "parameters_from", "peak_starts"]

_PLACES: Final = 41
"""Places of the peak that are tried."""

_WIDTHS: Final = (0.008, 0.015, 0.03, 0.06, 0.12, 0.2)
"""Widths of the peak that are tried, as parts of the window."""

_STEPS: Final = 25
"""Steps of EM for the share of the signal."""

_HOPELESS: Final = 12.0
"""A start whose logarithm of the likelihood is worse than the best by this is not tried."""

_STARTS: Final = 3
"""So many fits are made, from starts at different places or of different widths."""


@dataclass(frozen=True)
class PeakStart:
    """A first guess of a peak.

    Attributes:
        mu: its place.
        sigma: its width as that of a Gaussian.
        signal: number of events in it.
        background: parameters of the background's shape.
    """

    mu: float
    sigma: float
    signal: float
    background: tuple[float, ...]


def peak_starts(
    counts: ndarray, window: Window, background: Shape | None, fixed: Mapping[str, float]
) -> list[PeakStart]:
    """The most likely first guesses, the best first."""
    if background is None:
        return [_moments(counts, window, fixed)]
    total = float(counts.sum())
    guess = _background_guess(counts, window, background, fixed)
    below = background.in_bins(window, guess)
    places = [fixed["mu"]] if "mu" in fixed else list(np.linspace(window.low, window.high, _PLACES)[1:-1])
    spread = _fixed_width(fixed)
    smallest = 0.5 * float(np.diff(window.edges).min())
    widths = [spread] if spread else [max(part * window.length, smallest) for part in _WIDTHS]
    tried = [(float(mu), float(sigma)) for sigma in widths for mu in places]
    peaks = np.array([SIGNALS["gauss"].in_bins(window, one) for one in tried])
    shares, values = _expectation_maximisation(counts, peaks, below)
    chosen: list[PeakStart] = []
    for i in np.argsort(values, kind="stable"):
        mu, sigma = tried[int(i)]
        start = PeakStart(mu, sigma, float(shares[i]) * total, guess)
        if chosen and values[i] > values.min() + _HOPELESS:
            break
        if all(abs(start.mu - other.mu) > 2 * other.sigma or _differ(start, other) for other in chosen):
            chosen.append(start)
        if len(chosen) == _STARTS:
            break
    return chosen


def parameters_from(
    start: PeakStart, signal: Shape, background: Shape | None, window: Window, total: float, fixed: Mapping[str, float]
) -> list[Parameter]:
    """The parameters of a model, beginning at a first guess: those of the signal, yields, those of the background."""
    known = _signal_parameters(start, signal, window, fixed)
    loose, most = math.sqrt(max(total, 1.0)), 3 * total + 10
    inside = fixed.get("signal_yield", start.signal if background else total)
    # A peak whose place is known may be lacking; one that is looked for is not to be found where events are missing.
    fewest = -total if background and "mu" in fixed else 0.0
    known.append(Parameter("signal_yield", inside, loose, fewest, most))
    if background:
        known.append(Parameter("background_yield", max(total - inside, 0.05 * total), loose, 0.0, most))
        known += background_parameters(start.background, background, window)
    return [_held(one, fixed[one.name]) if one.name in fixed else one for one in known]


def _signal_parameters(start: PeakStart, signal: Shape, window: Window, fixed: Mapping[str, float]) -> list[Parameter]:
    size, length, bin_width = start.sigma, window.length, float(np.diff(window.edges).min())
    # A folded peak: some of its width is the Gaussian's, some its own.
    folded = "width" in signal.parameters
    sigma = math.sqrt(max(size**2 - (0.5 * fixed["width"]) ** 2, 0.1 * size**2)) if "width" in fixed else 0.7 * size
    width = max(2 * (size - fixed["sigma"]), 0.3 * size) if "sigma" in fixed else 0.9 * size
    every = {
        "mu": Parameter("mu", start.mu, 0.2 * size, window.low, window.high),
        "sigma": Parameter("sigma", sigma if folded else size, 0.1 * size, 0.05 * bin_width, length),
        "width": Parameter("width", width, 0.1 * size, 1e-3 * bin_width, 2 * length),
        "sigma_ratio": Parameter("sigma_ratio", 2.0, 0.3, 1.0, 20.0),
        "core_fraction": Parameter("core_fraction", 0.7, 0.1, 0.0, 1.0),
        "tail_start": Parameter("tail_start", 1.5, 0.2, 0.1, 6.0),
        # How steep a tail is and where it begins can hardly be told apart: it floats for nobody.
        "tail_power": Parameter("tail_power", 3.0, 0.3, 1.05, 60.0, fixed=True),
    }
    return [every[name] for name in signal.parameters]


def background_parameters(values: Sequence[float], background: Shape, window: Window) -> list[Parameter]:
    """The parameters of a background's shape, with steps and limits in the unit of the window."""
    if not background.steep:
        return [
            Parameter(name, value, 0.05, -1.5, 1.5) for name, value in zip(background.parameters, values, strict=True)
        ]
    scales = (1.0 / window.length, 1.0)
    return [
        Parameter(name, value, 0.1 * scale, -60 * scale, 60 * scale)
        for name, value, scale in zip(background.parameters, values, scales, strict=False)
    ]


def _held(one: Parameter, value: float) -> Parameter:
    return Parameter(one.name, value, one.step, min(one.low, value), max(one.high, value), fixed=True)


def _moments(counts: ndarray, window: Window, fixed: Mapping[str, float]) -> PeakStart:
    """Middle and width of a peak that stands alone, from quantiles, which far tails do not move."""
    centres = (window.edges[:-1] + window.edges[1:]) / 2
    share = np.cumsum(np.maximum(counts, 0)) / max(float(np.maximum(counts, 0).sum()), 1e-9)
    low, middle, high = (float(np.interp(level, share, centres)) for level in (0.16, 0.5, 0.84))
    sigma = max((high - low) / 2, float(np.diff(window.edges).min()))
    return PeakStart(fixed.get("mu", middle), sigma, float(counts.sum()), ())


def _background_guess(
    counts: ndarray, window: Window, background: Shape, fixed: Mapping[str, float]
) -> tuple[float, ...]:
    """The slope that the first and the last fifth of the window show; a curve begins straight."""
    guess = [0.0] * len(background.parameters)
    if guess:
        fifth = max(1, len(counts) // 5)
        first, last = float(counts[:fifth].sum()) + 1.0, float(counts[-fifth:].sum()) + 1.0
        centres = (window.edges[:-1] + window.edges[1:]) / 2
        distance = float(centres[-fifth:].mean() - centres[:fifth].mean())
        if background.steep:
            guess[0] = math.log(first / last) / distance
        else:
            guess[0] = float(np.clip((last - first) / (last + first) * window.length / distance, -0.95, 0.95))
    return tuple(fixed.get(name, value) for name, value in zip(background.parameters, guess, strict=True))


def _expectation_maximisation(counts: ndarray, peaks: ndarray, below: ndarray) -> tuple[ndarray, ndarray]:
    """For each peak (n, bins) its share in a mixture with the background, and the negative log-likelihood of it."""
    total = max(float(counts.sum()), 1e-9)
    share = np.full((len(peaks), 1), 0.1)
    for _ in range(_STEPS):
        mixed = np.maximum(share * peaks + (1 - share) * below, 1e-300)
        share = np.clip((counts * share * peaks / mixed).sum(1, keepdims=True) / total, 1e-4, 0.999)
    mixed = np.maximum(share * peaks + (1 - share) * below, 1e-300)
    return share[:, 0], -(counts * np.log(mixed)).sum(1)


def _fixed_width(fixed: Mapping[str, float]) -> float:
    """Width of a peak whose widths are all fixed; 0 if one floats."""
    if "sigma" not in fixed:
        return 0.0
    return fixed["sigma"] + 0.5 * fixed.get("width", 0.0)


def _differ(one: PeakStart, other: PeakStart) -> bool:
    return max(one.sigma, other.sigma) > 2.5 * min(one.sigma, other.sigma)
