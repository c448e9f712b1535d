"""An evaluation as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from typing import Final

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from beampipe import terminal
from beampipe.terminal import make_table
from beampipe.tracking.evaluation.edges import EdgeScore
from beampipe.tracking.evaluation.results import Evaluation, FinderResult
from beampipe.tracking.evaluation.scoring import TOTAL
from beampipe.tracking.evaluation.statistics import Proportion, errors_of
from beampipe.tracking.evaluation.variables import require_variables
from beampipe.units import ms

__all__ = [
    "PIPELINE_STAGES",
    "counts_table",
    "curve_table",
    "edge_table",
    "print_evaluation",
    "quality_table",
    "stage_table",
    "times_table",
]

PIPELINE_STAGES: Final = ("embedding", "building", "filtering", "gnn", "labelling")
"""Stages in the order and by the names in which tracking services are compared."""

_OTHER: Final = "other"
_NONE: Final = "-"


def quality_table(evaluation: Evaluation) -> Table:
    """Efficiency, fakes and duplicates of each finder, by both majorities, with one-sigma intervals."""
    table = make_table(
        f"{escape(evaluation.sample)}: {evaluation.n_events} events, {evaluation.threads} thread(s)",
        ("finder", "majority"),
        ("efficiency", "displaced", "fakes", "duplicates", "TrackML", "particles", "tracks"),
        caption=evaluation.definition,
    )
    for finder in evaluation.finders:
        for majority, quality in (("double", finder.double), ("single", finder.single)):
            shares = (quality.efficiency, quality.displaced, quality.fakes, quality.duplicates)
            score = _NONE if isnan(finder.trackml) else f"{finder.trackml:.4f}"
            totals = (score, f"{quality.efficiency.total}", f"{quality.fakes.total}")
            first = majority == "double"
            name, sizes = (_name(finder), totals) if first else ("", ("", "", ""))
            table.add_row(name, majority, *(_with_error(share) for share in shares), *sizes)
    return table


def stage_table(evaluation: Evaluation) -> Table:
    """Median and 95th percentile [ms] of the stages that every learned pipeline has; others are summed.

    A median of "other" is the sum of the medians of those stages; of 95th percentiles there is no such sum.
    """
    columns = (*PIPELINE_STAGES, _OTHER, TOTAL)
    table = make_table("time per event, median (p95) \\[ms]", ("finder",), columns)
    for finder in evaluation.finders:
        times = {time.stage: time for time in finder.stages}
        rest = [time.median for name, time in times.items() if name not in (*PIPELINE_STAGES, TOTAL)]
        cells = {name: f"{time.median / ms:.2f} ({time.p95 / ms:.2f})" for name, time in times.items()}
        cells[_OTHER] = f"{sum(rest) / ms:.2f}" if rest else _NONE
        table.add_row(finder.name, *(cells.get(stage, _NONE) for stage in columns))
    return table


def times_table(finder: FinderResult) -> Table:
    """All stages of one finder, in the order of its pipeline."""
    table = make_table(f"{finder.name}: time per event \\[ms]", ("stage",), ("median", "p95", "mean", "share"))
    total = next((time.mean for time in finder.stages if time.stage == TOTAL), float("nan"))
    for time in finder.stages:
        numbers = (f"{value / ms:.3f}" for value in (time.median, time.p95, time.mean))
        table.add_row(time.stage, *numbers, f"{time.mean / total:.1%}" if total > 0 else _NONE)
    return table


def counts_table(evaluation: Evaluation) -> Table:
    """Median sizes along the way (hits, edges, tracks)."""
    names = list(
        dict.fromkeys(name for finder in evaluation.finders for event in finder.events for name in event.counts)
    )
    columns = ("hits", *(name for name in names if name != "hits"), "candidates")
    table = make_table("median sizes", ("finder",), columns)
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
    names = (finder.name for finder in evaluation.finders)
    caption = f"errors: {errors_of(evaluation.n_events)}"
    title = f"efficiency by {variable}, {majority} majority"
    table = make_table(title, (variable,), ("particles", *names), caption=caption)
    if not evaluation.finders:
        return table
    curves = [finder.curve(variable) for finder in evaluation.finders]
    columns = [curve.proportions(majority) for curve in curves]
    for i, total in enumerate(curves[0].total):
        low, high = curves[0].edges[i : i + 2]
        table.add_row(f"{low:.3g} .. {high:.3g}", f"{total}", *(_with_error(column[i]) for column in columns))
    return table


def edge_table(scores: Mapping[str, EdgeScore]) -> Table:
    """Edges after each stage: how many, how many of the true ones, how pure."""
    columns = ("edges", "efficiency", "purity", "purity*")
    caption = "purity*: other edges along one particle left out"
    table = make_table("graph after each stage", ("stage",), columns, caption=caption)
    for stage, score in scores.items():
        proportions = (score.efficiency, score.purity, score.purity_without_same)
        table.add_row(stage, f"{score.n_edges}", *(_with_error(one) for one in proportions))
    return table


def print_evaluation(evaluation: Evaluation, console: Console | None = None, by: Sequence[str] = ()) -> None:
    """Print quality, stages and sizes, and what was refused.

    Args:
        evaluation: results of the finders.
        console: where to print; the terminal by default.
        by: names of `VARIABLES` by which the efficiency is printed too.
    """
    out = terminal.console() if console is None else console
    out.print(quality_table(evaluation))
    out.print(stage_table(evaluation))
    out.print(counts_table(evaluation))
    for variable in by:
        out.print(curve_table(evaluation, variable))
    for finder in evaluation.finders:
        for event in finder.failed[:3]:
            out.print(f"{finder.name}, event {event.event_id}: {event.error}", style="red", markup=False)


def _name(finder: FinderResult) -> str:
    return f"{finder.name} ({len(finder.failed)} refused)" if finder.failed else finder.name


def _with_error(proportion: Proportion) -> str:
    """``.9876 ± .0012``: half the width of the interval, for tables; JSON has both ends."""
    if isnan(proportion.value):
        return _NONE
    low, high = proportion.interval
    return f"{proportion.value:.4f} ± {(high - low) / 2:.4f}"
