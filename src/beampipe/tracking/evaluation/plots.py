"""Pictures of an evaluation. Each function returns a figure; `beampipe.figures.save_figure` writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from beampipe.figures import drawing, new_figure
from beampipe.tracking.evaluation.results import Curve, Evaluation
from beampipe.tracking.evaluation.scoring import TOTAL
from beampipe.tracking.evaluation.statistics import Proportion, fit_power_law
from beampipe.tracking.evaluation.variables import VARIABLES, require_variables
from beampipe.units import ms

__all__ = ["plot_efficiency", "plot_robustness", "plot_scaling", "plot_stages"]

_MARKERS: Final = "os^Dvp*"


def plot_efficiency(
    evaluation: Evaluation, variables: Sequence[str] = ("pt", "eta", "origin"), majority: str = "double"
) -> Figure:
    """Efficiency of all finders side by side, one panel per variable, with the errors of `Proportion.interval`.

    Args:
        evaluation: results of the finders.
        variables: names in `VARIABLES`.
        majority: ``"double"`` or ``"single"``.

    Raises:
        UnknownNameError: no variable of that name.
    """
    require_variables(variables)
    with drawing():
        figure, panels = _figure(len(variables))
        for axes, variable in zip(panels, variables, strict=True):
            for i, finder in enumerate(evaluation.finders):
                curve = finder.curve(variable)
                shift = (i - (len(evaluation.finders) - 1) / 2) * 0.04
                _draw_curve(axes, curve, majority, finder.name, _MARKERS[i % len(_MARKERS)], shift)
            if VARIABLES[variable].logarithmic:
                axes.set_xscale("log")
            axes.set_xlabel(VARIABLES[variable].axis)
            axes.set_ylabel(f"efficiency ({majority} majority)")
            axes.axhline(1, color="grey", linewidth=0.8)
            axes.set_ylim(top=min(axes.get_ylim()[1], 1.02))
        panels[0].legend(loc="best")
        panels[0].set_title(f"{evaluation.sample}, {evaluation.n_events} events", loc="left", fontsize="small")
    return figure


def plot_stages(evaluation: Evaluation) -> Figure:
    """Median time of each stage, stacked, one bar per finder; the tick is the 95th percentile of the total."""
    with drawing():
        figure, (axes,) = _figure(1)
        names = list(
            dict.fromkeys(time.stage for finder in evaluation.finders for time in finder.stages if time.stage != TOTAL)
        )
        colour = dict(zip(names, colormaps["tab20"](np.linspace(0, 1, max(len(names), 2))), strict=False))
        drawn: set[str] = set()
        for row, finder in enumerate(evaluation.finders):
            left = 0.0
            for time in finder.stages:
                if time.stage == TOTAL:
                    axes.plot([time.p95 / ms], [row], "|", color="black", markersize=18)
                    continue
                label = None if time.stage in drawn else time.stage
                axes.barh(row, time.median / ms, left=left, color=colour[time.stage], label=label, height=0.6)
                drawn.add(time.stage)
                left += time.median / ms
        axes.set_yticks(range(len(evaluation.finders)), [finder.name for finder in evaluation.finders])
        axes.set_ylim(-0.6, len(evaluation.finders) - 0.4)
        axes.minorticks_off()
        axes.set_xlabel(f"time per event [ms], {evaluation.threads} thread(s)")
        if drawn:
            axes.legend(loc="best", fontsize="small")
    return figure


def plot_robustness(scans: Mapping[str, Mapping[str, Sequence[tuple[float, Proportion]]]]) -> Figure:
    """Efficiency against the degradation.

    Args:
        scans: axis label (``"hit loss"``) -> finder -> points (level, efficiency), one panel per label.
    """
    with drawing():
        figure, panels = _figure(len(scans))
        for axes, (label, finders) in zip(panels, scans.items(), strict=True):
            for i, (name, points) in enumerate(finders.items()):
                x = 100 * np.array([level for level, _ in points])
                y, error = _with_errors([proportion for _, proportion in points])
                axes.errorbar(x, y, error, marker=_MARKERS[i % len(_MARKERS)], capsize=2, label=name)
            axes.margins(x=0.06)  # the style has none, and the first point is at 0
            axes.set_xlabel(f"{label} [%]")
            axes.set_ylabel("efficiency (double majority)")
        panels[0].legend(loc="best")
    return figure


def plot_scaling(series: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Time against hits, both logarithmic, each finder with its fitted power law.

    Args:
        series: numbers of hits and times [s], by finder.
    """
    with drawing():
        figure, (axes,) = _figure(1)
        for i, (name, (hits, seconds)) in enumerate(series.items()):
            law = fit_power_law(hits, seconds)
            points = axes.plot(
                hits,
                np.asarray(seconds) / ms,
                _MARKERS[i % len(_MARKERS)],
                label=rf"{name}: $\propto n^{{{law.exponent:.2f}}}$",
            )
            ends = np.array([min(hits), max(hits)], np.float64)
            axes.plot(ends, [law(x) / ms for x in ends], "-", color=points[0].get_color(), linewidth=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("hits")
        axes.set_ylabel("time per event [ms]")
        axes.legend(loc="best")
    return figure


def _figure(n_panels: int) -> tuple[Figure, list[Axes]]:
    figure, panels = new_figure(1, n_panels, size=(7.5 * n_panels, 5.5))
    return figure, list(panels[0])


def _draw_curve(axes: Axes, curve: Curve, majority: str, name: str, marker: str, shift: float) -> None:
    """Points in the middle of their bins, moved sideways by `shift` bin widths so that finders do not cover."""
    edges = np.array(curve.edges)
    if VARIABLES[curve.variable].logarithmic:
        middle = np.sqrt(edges[:-1] * edges[1:]) * (edges[1:] / edges[:-1]) ** shift
    else:
        middle = (edges[:-1] + edges[1:]) / 2 + shift * np.diff(edges)
    y, error = _with_errors(curve.proportions(majority))
    axes.errorbar(middle, y, error, linestyle="none", marker=marker, markersize=5, capsize=2, label=name)


def _with_errors(proportions: Sequence[Proportion]) -> tuple[np.ndarray, np.ndarray]:
    """Values and (2, n) distances to the ends of the intervals; empty bins are NaN and not drawn."""
    y = np.array([proportion.value for proportion in proportions], np.float64)
    ends = np.array([proportion.interval for proportion in proportions], np.float64).reshape(-1, 2)
    error = np.stack([y - ends[:, 0], ends[:, 1] - y])
    return y, np.where(np.isnan(error), np.nan, np.maximum(error, 0))
