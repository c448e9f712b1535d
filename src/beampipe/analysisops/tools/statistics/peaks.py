"""The tool that fits a peak, with or without a background below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.tools.bench import Bench
from beampipe.analysisops.tools.contents import Events, Histogram
from beampipe.analysisops.tools.refusal import ToolRefusedError
from beampipe.analysisops.tools.statistics.histograms import MOST_BINS, fill, values_of
from beampipe.analysisops.tools.statistics.likelihood import Minimum, Parameter, goodness, minimise, poisson
from beampipe.analysisops.tools.statistics.shapes import Shape, Window, shapes_of
from beampipe.analysisops.tools.statistics.starts import parameters_from, peak_starts
from beampipe.errors import nearest

__all__ = ["PeakFit", "fit_peak_tool"]

_MOST_VALUES: Final = 500_000
"""An unbinned fit takes at most so many values."""


class PeakFit:
    """An extended likelihood fit of signal plus background.

        expected in a bin = signal_yield * share of the signal + background_yield * share of the background

    Both yields are numbers of events in the window.

    Args:
        histogram: counts in the bins of the window.
        model: name of the model, see `shapes`.
        fixed: parameters that do not float -> their values.
        values: the values themselves for an unbinned fit; None for a binned one.
        check: called at each step; raises if it takes too long.
    """

    def __init__(
        self,
        histogram: Histogram,
        model: str,
        fixed: Mapping[str, float],
        values: ndarray | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._signal, self._background = shapes_of(model)
        self._fixed, self._check = fixed, check
        self._window = Window(histogram.edges)
        self._counts, self._variances = histogram.values, histogram.variances
        self._values = values
        names = self.names
        for name in fixed:
            if name not in names:
                raise ToolRefusedError(
                    f"fixed: got {name[:40]!r}, expected some of {', '.join(names)}{nearest(name, names)}"
                )

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters of the model, in their order."""
        background = ("background_yield", *self._background.parameters) if self._background else ()
        return (*self._signal.parameters, "signal_yield", *background)

    def expected(self, parameters: Sequence[float]) -> ndarray:
        """Expected number in each bin."""
        return self._sum(parameters, lambda shape, own: shape.in_bins(self._window, own))

    def fit(self) -> tuple[Minimum, dict[str, float]]:
        """The best of the fits from several starts, and its start."""
        function = self._binned() if self._values is None else self._unbinned(self._values)
        fits = []
        for start in peak_starts(self._counts, self._window, self._background, self._fixed):
            parameters = parameters_from(
                start, self._signal, self._background, self._window, float(self._counts.sum()), self._fixed
            )
            fits.append((_minimum(function, parameters), {one.name: one.start for one in parameters}))
        lowest = min(fit.value for fit, _ in fits)
        # Of fits that are as good, one that the minimiser is sure of.
        return min(fits, key=lambda one: (one[0].value > lowest + 1e-2, not one[0].valid, one[0].value))

    def _sum(self, parameters: Sequence[float], share: Callable[[Shape, Sequence[float]], ndarray]) -> ndarray:
        n = len(self._signal.parameters)
        total = parameters[n] * share(self._signal, parameters[:n])
        if self._background:
            total = total + parameters[n + 1] * share(self._background, parameters[n + 2 :])
        return np.asarray(total)

    def _binned(self) -> Callable[[Sequence[float]], float]:
        likelihood = poisson(self._counts, self._variances)

        def function(parameters: Sequence[float]) -> float:
            self._check()
            return likelihood(self.expected(parameters))

        return function

    def _unbinned(self, values: ndarray) -> Callable[[Sequence[float]], float]:
        n = len(self._signal.parameters)
        least = 1e-9 / self._window.length

        def function(parameters: Sequence[float]) -> float:
            self._check()
            density = self._sum(parameters, lambda shape, own: shape.at(values, self._window, own))
            total = parameters[n] + (parameters[n + 1] if self._background else 0.0)
            safe = np.maximum(density, least)
            return float(total - np.log(safe).sum() + 1e3 * np.square(np.minimum(density - least, 0.0)).sum())

        return function


def fit_peak_tool(
    bench: Bench,
    window: list[float],
    events: str | None = None,
    histogram: str | None = None,
    column: str | None = None,
    model: str = "gauss_plus_const",
    bins: int = 120,
    unbinned: bool = False,
    min_count: int = 50,
    fixed: dict[str, float] = {},  # noqa: B006 - only read; it stands in the schema as the default
) -> Mapping[str, Any]:
    """Fit a peak by extended maximum likelihood; errors are one standard deviation.

    Yields are numbers of events in the window. chi2 is that of bins with at least 5 expected events. Look at valid and
    p_value: a fit that is not valid, or with a tiny p_value, needs another window or model.

    Args:
        window: lower and upper end of the fit, in the unit of the column.
        events: handle of events, or of a histogram.
        histogram: handle of a histogram, in place of events.
        column: what to fit, for a handle of events.
        model: gauss, double_gauss, voigt, breit_wigner_gauss or crystal_ball, alone or followed by _plus_const,
            _plus_linear, _plus_quadratic, _plus_exponential or _plus_exponential_curved.
        bins: number of bins of the window, at most 400; for a histogram its own bins are taken.
        unbinned: fit the values themselves; only for a handle of events.
        min_count: refuse a fit of fewer events.
        fixed: parameters that do not float -> their values, such as {"sigma": 1.6} or {"width": 2.4952}.
    """
    if len(window) != 2 or not window[0] < window[1]:
        raise ToolRefusedError(f"window: got {window[:4]}, expected [low, high] with low < high")
    if (events is None) == (histogram is None):
        raise ToolRefusedError("events, histogram: got both or neither, expected the handle of one of them")
    filled, values = _filled(bench, str(events or histogram), column, window, bins)
    if unbinned and (values is None or len(values) > _MOST_VALUES):
        raise ToolRefusedError(f"unbinned: expected a handle of events with at most {_MOST_VALUES} values; fit bins")
    if filled.n < max(min_count, 5):
        raise ToolRefusedError(
            f"window: got {filled.n} events within {window[0]:g} to {window[1]:g}, expected at least"
            f" {max(min_count, 5)}; widen the window, check the unit (MeV or GeV), or lower min_count"
        )
    return _result(
        PeakFit(filled, model, fixed, values if unbinned else None, bench.check_time), filled, model, unbinned
    )


def _filled(
    bench: Bench, handle: str, column: str | None, window: Sequence[float], bins: int
) -> tuple[Histogram, ndarray | None]:
    """Counts in the window, and the values there if they are known."""
    content = bench.content(handle)
    if isinstance(content, Histogram):
        return _within(content, window), None
    if not isinstance(content, Events):
        raise ToolRefusedError(f"handle {handle}: expected events or a histogram")
    if column is None:
        raise ToolRefusedError(f"column: got none, expected one of {', '.join(content.columns)}")
    if not 5 <= bins <= MOST_BINS:
        raise ToolRefusedError(f"bins: got {bins}, expected 5 to {MOST_BINS}")
    found, weights = values_of(content, column, None)
    values = found[(found >= window[0]) & (found <= window[1])]
    return fill(found, weights, np.linspace(window[0], window[1], bins + 1), column), values


def _result(peak: PeakFit, histogram: Histogram, model: str, unbinned: bool) -> dict[str, Any]:
    minimum, start = peak.fit()
    expected = peak.expected([minimum.values[name] for name in peak.names])
    good = goodness(histogram.values, histogram.variances, expected, len(minimum.names))
    numbers: dict[str, Any] = {}
    for name in peak.names:
        numbers[name] = minimum.values[name]
        numbers[f"{name}_error"] = minimum.errors[name]
    if "background_yield" not in numbers:
        numbers.update(background_yield=0.0, background_yield_error=0.0)
    return {
        **numbers,
        **good.to_json(),
        "valid": minimum.valid,
        "initial_params": start,
        "covariance": {"names": list(minimum.names), "matrix": minimum.covariance.tolist()},
        "model": model,
        "window": [float(histogram.edges[0]), float(histogram.edges[-1])],
        "bins": len(histogram.values),
        "n": histogram.n,
        "method": f"extended {'unbinned' if unbinned else 'binned'} maximum likelihood, errors from HESSE",
    }


def _minimum(function: Callable[[Sequence[float]], float], parameters: Sequence[Parameter]) -> Minimum:
    """The minimum; a background of next to nothing has no shape, and is held straight, then at nothing."""
    found = minimise(function, parameters)
    below, error = (of.get("background_yield", 0.0) for of in (found.values, found.errors))
    if found.valid or not error or below > max(0.01 * found.values["signal_yield"], 2 * error):
        return found
    moved = [one if one.fixed else replace(one, start=found.values[one.name]) for one in parameters]
    straight = [
        replace(one, start=0.0, fixed=True) if one.name in ("background_slope", "background_curve") else one
        for one in moved
    ]
    again = minimise(function, straight)
    if again.valid:
        return again
    nothing = [replace(one, start=0.0, fixed=True) if one.name == "background_yield" else one for one in straight]
    return minimise(function, nothing)


def _within(histogram: Histogram, window: Sequence[float]) -> Histogram:
    """The bins that lie wholly in a window."""
    slack = 1e-9 * (histogram.edges[-1] - histogram.edges[0])
    inside = (histogram.edges[:-1] >= window[0] - slack) & (histogram.edges[1:] <= window[1] + slack)
    if inside.sum() < 5:
        raise ToolRefusedError(
            f"window: got {int(inside.sum())} bins within {window[0]:g} to {window[1]:g}, expected at least 5;"
            f" the histogram has {len(inside)} from {histogram.edges[0]:g} to {histogram.edges[-1]:g}"
        )
    first = int(np.argmax(inside))
    edges = histogram.edges[first : first + int(inside.sum()) + 1]
    values, variances = histogram.values[inside], histogram.variances[inside]
    effective = float(values.sum() ** 2 / variances.sum()) if variances.sum() > 0 else 0.0
    return Histogram(edges, values, variances, 0.0, 0.0, round(effective), histogram.column)
