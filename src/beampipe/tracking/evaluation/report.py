"""Tables for the terminal, and plots, of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from itertools import cycle
from math import isnan
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from beampipe import terminal
from beampipe.errors import UnknownNameError
from beampipe.figures import PALETTE, drawing, new_figure
from beampipe.terminal import make_table
from beampipe.tracking.evaluation.results import Evaluation, Proportion, errors_of
from beampipe.tracking.evaluation.scoring import TOTAL, VARIABLES, require_variables
from beampipe.units import ms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKERS: Final = "os^Dvp*"


def plot_efficiency(
    evaluation: Evaluation,
    variables: Sequence[str] = ("pt", "eta", "origin"),
    majority: str = "double",
    *,
    dark: bool = False,
) -> Figure:
    """Efficiency of all finders side by side, one panel per variable, with the errors of `Proportion.interval`.

    Args:
        evaluation: results of the finders.
        variables: names in `VARIABLES`.
        majority: ``"double"`` or ``"single"``.
        dark: draw on a dark ground.

    Raises:
        UnknownNameError: no variable of that name.
    """
    require_variables(variables)
    with drawing(dark=dark):
        figure, (panels,) = new_figure(1, len(variables), size=(7.5 * len(variables), 5.5))
        for axes, variable in zip(panels, variables, strict=True):
            for i, finder in enumerate(evaluation.finders):
                curve = finder.curve(variable)
                shift = (i - (len(evaluation.finders) - 1) / 2) * 0.04
                marker = _MARKERS[i % len(_MARKERS)]
                # Points in the middle of their bins, shifted sideways so that finders do not cover each other.
                edges = np.array(curve.edges)
                if VARIABLES[curve.variable].logarithmic:
                    middle = np.sqrt(edges[:-1] * edges[1:]) * (edges[1:] / edges[:-1]) ** shift
                else:
                    middle = (edges[:-1] + edges[1:]) / 2 + shift * np.diff(edges)
                y, error = with_errors(curve.proportions(majority))
                axes.errorbar(
                    middle, y, error, linestyle="none", marker=marker, markersize=5, capsize=2, label=finder.name
                )
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
        figure, ((axes,),) = new_figure(size=(7.5, 5.5))
        names = list(
            dict.fromkeys(time.stage for finder in evaluation.finders for time in finder.stages if time.stage != TOTAL)
        )
        colour = dict(zip(names, cycle(PALETTE), strict=False))
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


def with_errors(proportions: Sequence[Proportion]) -> tuple[np.ndarray, np.ndarray]:
    """Values and (2, n) distances to the ends of the intervals; empty bins are NaN and not drawn."""
    y = np.array([proportion.value for proportion in proportions], np.float64)
    ends = np.array([proportion.interval for proportion in proportions], np.float64).reshape(-1, 2)
    error = np.stack([y - ends[:, 0], ends[:, 1] - y])
    return y, np.where(np.isnan(error), np.nan, np.maximum(error, 0))


PIPELINE_STAGES: Final = ("embedding", "building", "filtering", "gnn", "labelling")
"""Stages in the order and by the names in which tracking services are compared."""

_OTHER: Final = "other"

_NONE: Final = "-"


def quality_table(evaluation: Evaluation) -> Table:
    """Efficiency, fakes, duplicates and time of each finder; shares by both majorities, with one-sigma intervals.

    A terminal too narrow for the column of majorities gets the rows of double majority only.
    """
    table = make_table(
        f"{escape(evaluation.sample)}: {evaluation.n_events} events, {evaluation.threads} thread(s)",
        ("finder", "majority"),
        ("efficiency", "displaced", "fakes", "duplicates", "TrackML", "particles", "tracks", "time [ms]"),
        caption=f"{evaluation.definition}; time: median over events",
        importance=("efficiency", "fakes", "time [ms]", "majority"),
    )
    for finder in evaluation.finders:
        for majority, quality in (("double", finder.double), ("single", finder.single)):
            shares = (quality.efficiency, quality.displaced, quality.fakes, quality.duplicates)
            score = _NONE if isnan(finder.trackml) else f"{finder.trackml:.4f}"
            time = next((stage.median for stage in finder.stages if stage.stage == TOTAL), None)
            median = _NONE if time is None else f"{time / ms:.2f}"
            totals = (score, f"{quality.efficiency.total}", f"{quality.fakes.total}", median)
            refused = f" ({len(finder.failed)} refused)" if finder.failed else ""
            first = majority == "double"
            name, sizes = (finder.name + refused, totals) if first else ("", ("",) * len(totals))
            cells = (name, majority, *(text_with_error(share) for share in shares), *sizes)
            table.add_row(*cells, only_with=None if first else "majority")
    return table


def hit_table(evaluation: Evaluation) -> Table:
    """The hits of tracks that match a particle by double majority: see `Quality`."""
    table = make_table(
        "hits of tracks that match a particle by double majority",
        ("finder",),
        ("tracks with a wrong hit", "purity", "completeness"),
        caption="purity: hits of the particle / hits of its track; completeness: those / all hits of the particle",
    )
    for finder in evaluation.finders:
        quality = finder.double
        table.add_row(finder.name, *map(text_with_error, (quality.wrong_hit, quality.purity, quality.completeness)))
    return table


def colliderml_table(evaluation: Evaluation) -> Table:
    """The metric of ColliderML, and the share of all hits that are on good tracks."""
    columns = ("trackml_eff", "of all hits", "fake_rate", "dup_rate", "physics_eff_pt1")
    caption = (
        "trackml_eff: hits of the particles on good tracks / hits that are submitted, so a purity; of all hits: those /"
        " all hits; dup_rate counts particles with a single hit on a second track"
    )
    table = make_table("metric of ColliderML's tracking task", ("finder",), columns, caption=caption)
    for finder in evaluation.finders:
        table.add_row(finder.name, *(f"{value:.4f}" for value in astuple(finder.colliderml)))
    return table


def stage_table(evaluation: Evaluation) -> Table:
    """Median and 95th percentile [ms] of the stages that every learned pipeline has; others are summed.

    A median of "other" is the sum of the medians of those stages; of 95th percentiles there is no such sum.
    """
    columns = (*PIPELINE_STAGES, _OTHER, TOTAL)
    table = make_table("time per event, median (p95) \\[ms]", ("finder",), columns, importance=(TOTAL,))
    for finder in evaluation.finders:
        times = {time.stage: time for time in finder.stages}
        rest = [time.median for name, time in times.items() if name not in (*PIPELINE_STAGES, TOTAL)]
        cells = {name: f"{time.median / ms:.2f} ({time.p95 / ms:.2f})" for name, time in times.items()}
        cells[_OTHER] = f"{sum(rest) / ms:.2f}" if rest else _NONE
        table.add_row(finder.name, *(cells.get(stage, _NONE) for stage in columns))
    return table


def counts_table(evaluation: Evaluation) -> Table:
    """Median numbers of hits, edges and tracks at each step."""
    names = list(
        dict.fromkeys(name for finder in evaluation.finders for event in finder.events for name in event.counts)
    )
    columns = ("hits", *(name for name in names if name != "hits"), "candidates")
    table = make_table("median sizes", ("finder",), columns, importance=("hits", "candidates"))
    for finder in evaluation.finders:
        values = {name: [event.counts[name] for event in finder.events if name in event.counts] for name in names}
        values["hits"] = [event.n_hits for event in finder.events]
        values["candidates"] = [event.n_candidates for event in finder.events]
        table.add_row(finder.name, *(f"{np.median(values[c]):.0f}" if values[c] else _NONE for c in columns))
    return table


def curve_table(evaluation: Evaluation, variable: str, majority: str = "double") -> Table:
    """Efficiency of each finder in bins of a variable.

    Args:
        evaluation: results of the finders.
        variable: name in `VARIABLES`.
        majority: ``"double"`` or ``"single"``.

    Raises:
        UnknownNameError: no variable of that name.
    """
    require_variables([variable])
    names = [finder.name for finder in evaluation.finders]
    caption = f"errors: {errors_of(evaluation.n_events)}"
    title = f"efficiency by {variable}, {majority} majority"
    table = make_table(title, (variable,), ("particles", *names), caption=caption, importance=names)
    if not evaluation.finders:
        return table
    curves = [finder.curve(variable) for finder in evaluation.finders]
    columns = [curve.proportions(majority) for curve in curves]
    for i, total in enumerate(curves[0].total):
        low, high = curves[0].edges[i : i + 2]
        table.add_row(f"{low:.3g} .. {high:.3g}", f"{total}", *(text_with_error(column[i]) for column in columns))
    return table


METRICS: Final = ("colliderml",)
"""Names of metrics beside efficiencies, fakes and the TrackML score."""


def require_metric(metric: str | None) -> None:
    """Refuse a name that is none of `METRICS`; None is no metric.

    Raises:
        UnknownNameError: no metric of that name.
    """
    if metric is not None and metric not in METRICS:
        raise UnknownNameError("metric", metric, METRICS)


def print_evaluation(
    evaluation: Evaluation, console: Console | None = None, by: Sequence[str] = (), metric: str | None = None
) -> None:
    """Print quality, stages and sizes.

    >>> evaluation = evaluate(load_pipeline("module_map", threads=1), shipped_events(0), sample="no pile-up")
    >>> print_evaluation(evaluation)  # doctest: +ELLIPSIS, +NORMALIZE_WHITESPACE
    no pile-up: 20 events, 1 thread(s)
    ...
    │ module_map │ double   │ 1.0000 ± 0.0066 │ ...

    Args:
        evaluation: results of the finders.
        console: where to print; the terminal by default.
        by: names of `VARIABLES` by which the efficiency is printed too.
        metric: one of `METRICS` that is printed too.

    Raises:
        UnknownNameError: no metric or variable of that name.
    """
    require_metric(metric)
    out = terminal.console() if console is None else console
    out.print(quality_table(evaluation))
    out.print(hit_table(evaluation))
    if metric is not None:
        out.print(colliderml_table(evaluation))
    out.print(stage_table(evaluation))
    out.print(counts_table(evaluation))
    for variable in by:
        out.print(curve_table(evaluation, variable))


def text_with_error(proportion: Proportion) -> str:
    """``.9876 ± .0012``: half the width of the interval, for tables; JSON has both ends."""
    if isnan(proportion.value):
        return _NONE
    low, high = proportion.interval
    return f"{proportion.value:.4f} ± {(high - low) / 2:.4f}"
