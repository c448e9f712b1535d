"""The tool that fits a background beside a window, and says what it expects within."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from beampipe.analysisops.tools.bench import Bench
from beampipe.analysisops.tools.contents import Events
from beampipe.analysisops.tools.refusal import ToolRefusedError
from beampipe.analysisops.tools.statistics.histograms import MOST_BINS, fill, values_of
from beampipe.analysisops.tools.statistics.likelihood import Minimum, Parameter, goodness, minimise, poisson
from beampipe.analysisops.tools.statistics.shapes import BACKGROUNDS, Window
from beampipe.errors import nearest

__all__ = ["fit_background_tool"]

_STEP = 1e-4
"""Of a parameter's error, by which derivatives are taken."""


def fit_background_tool(
    bench: Bench,
    events: str,
    column: str,
    window: list[float],
    exclude: list[float],
    model: str = "exponential",
    bins: int = 110,
) -> Mapping[str, Any]:
    """Fit a smooth background beside a window of a column, and give the number of events that it expects within it.

    The error is that of the fit, propagated with its covariance; the count within the window has no part in it.

    Args:
        events: handle of events.
        column: what to fit.
        window: lower and upper end of the fit.
        exclude: lower and upper end of what is left out, inside the window.
        model: const, linear, quadratic, exponential or exponential_curved.
        bins: number of bins of the window, at most 400; those that reach into what is left out are not fitted.
    """
    _check(model, window, exclude, bins)
    content = bench.content(events)
    if not isinstance(content, Events):
        raise ToolRefusedError(f"handle {events}: got no events, expected events")
    values, weights = values_of(content, column, None)
    edges = _bins(window, exclude, bins)
    histogram = fill(values, weights, edges, column)
    beside = (edges[1:] <= exclude[0]) | (edges[:-1] >= exclude[1])
    counts, variances = histogram.values[beside], histogram.variances[beside]
    if counts.sum() < 20:
        raise ToolRefusedError(f"window: got {counts.sum():g} events beside {exclude}, expected at least 20")
    shape, whole = BACKGROUNDS[model], Window(edges)
    likelihood = poisson(counts, variances)

    def expected(parameters: Sequence[float]) -> np.ndarray:
        return np.asarray(parameters[0] * shape.in_bins(whole, parameters[1:]))

    def function(parameters: Sequence[float]) -> float:
        bench.check_time()
        return likelihood(expected(parameters)[beside])

    total = float(counts.sum()) * whole.length / (whole.length - (exclude[1] - exclude[0]))
    start = [Parameter("background_yield", total, total**0.5, 0.0, 10 * total)]
    start += [Parameter(name, 0.0, 0.01) for name in shape.parameters]
    minimum = minimise(function, start)
    found = [minimum.values[one.name] for one in start]
    inside, error = _within(lambda values: float(expected(values)[~beside].sum()), found, minimum)
    return {
        "expected": inside,
        "expected_error": error,
        **goodness(counts, variances, expected(found)[beside], len(minimum.names)).to_json(),
        "valid": minimum.valid,
        "parameters": dict(minimum.values),
        "errors": dict(minimum.errors),
        "n_beside": int(histogram.n - histogram.values[~beside].sum()),
        "window": list(window),
        "exclude": list(exclude),
        "model": model,
    }


def _check(model: str, window: Sequence[float], exclude: Sequence[float], bins: int) -> None:
    if model not in BACKGROUNDS:
        raise ToolRefusedError(
            f"model: got {model[:40]!r}, expected one of {', '.join(BACKGROUNDS)}{nearest(model, BACKGROUNDS)}"
        )
    if len(window) != 2 or len(exclude) != 2 or not window[0] < exclude[0] < exclude[1] < window[1]:
        raise ToolRefusedError(
            f"exclude: got {exclude[:4]} in {window[:4]}, expected [low, high] inside of the window's [low, high]"
        )
    if not 10 <= bins <= MOST_BINS:
        raise ToolRefusedError(f"bins: got {bins}, expected 10 to {MOST_BINS}")


def _bins(window: Sequence[float], exclude: Sequence[float], bins: int) -> np.ndarray:
    """Edges of bins, some at those of what is left out, so that no bin lies across; what is left out is one bin."""
    width = (window[1] - window[0]) / bins
    sides = [
        np.linspace(low, high, max(2, round((high - low) / width)) + 1)
        for low, high in ((window[0], exclude[0]), (exclude[1], window[1]))
    ]
    return np.concatenate(sides)


def _within(
    inside: Callable[[Sequence[float]], float], found: Sequence[float], minimum: Minimum
) -> tuple[float, float | None]:
    """What is expected within, and its error by the covariance; None if a parameter was held."""
    if len(minimum.names) != len(found):
        return inside(found), None
    slopes = []
    for place, name in enumerate(minimum.names):
        step = _STEP * (minimum.errors[name] or 1.0)
        above, below = ([value + side * (at == place) for at, value in enumerate(found)] for side in (step, -step))
        slopes.append((inside(above) - inside(below)) / (2 * step))
    return inside(found), float(np.sqrt(max(np.array(slopes) @ minimum.covariance @ np.array(slopes), 0.0)))
