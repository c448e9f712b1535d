"""Small events (no pile-up, some hundred hits, soft tracks): efficiency without and with hit loss, events per second.

    python benchmarks/small_events.py [FILES] [--max-events 20]

At this size fixed costs decide, so the first call of a process is shown beside the median of the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from harness import (
    CONSOLE,
    existing,
    figures,
    figures_table,
    open_finders,
    options_of,
    print_header,
    report,
    selection_of,
)
from rich.table import Table
from samples import DEGRADATIONS, degraded, sample_name, take

from beampipe.tracking.acts import acts_settings
from beampipe.tracking.evaluation.report import stage_table
from beampipe.tracking.evaluation.results import Evaluation, evaluation_body, stage_time
from beampipe.tracking.evaluation.scoring import evaluate
from beampipe.units import ms

WANTED = {"none": 0.98, "default": 0.96}
"""Efficiency wanted by degradation: pT > 0.3 GeV, |eta| < 3, at least 7 layers."""


def main() -> None:
    pipelines = ["module_map_soft", "exatrkx_soft", "exatrkx_walk_soft", "acts-soft"]
    parser = options_of("small_events", __doc__, samples=["test0"], pipelines=pipelines, max_events=400)
    parser.set_defaults(min_pt=0.3)
    parser.add_argument("--degradation", nargs="+", choices=DEGRADATIONS, default=["none", "default"])
    parser.add_argument("--max-hits", type=int, default=5000, help="larger events are left out")
    options = parser.parse_args()
    begun = print_header("small events", options)
    samples = []
    for path in existing(options):
        for degradation in options.degradation:
            samples.append(measure(path, degradation, options))
            report(options, begun, {"samples": samples})


def measure(path: Path, degradation: str, options: argparse.Namespace) -> dict[str, Any]:
    """All finders on one file at one degradation, opened anew: the first call is cold."""
    finders = open_finders(options)
    levels = DEGRADATIONS[degradation]
    small = (event for event in take(path, options.max_events) if 0 < len(event.hits) <= options.max_hits)
    evaluation = evaluate(
        finders.by_name,
        finders.watching(degraded(small, levels, options.seed)),
        sample=sample_name(path, levels, options.seed),
        selection=selection_of(options),
        threads=options.threads,
        warm_up=0,
    )
    rows = figures(evaluation)
    hits = [event.n_hits for event in evaluation.finders[0].events]
    CONSOLE.print(
        figures_table(
            f"{evaluation.sample}: {evaluation.n_events} events, {min(hits)} to {max(hits)} hits,"
            f" median {np.median(hits):.0f}",
            rows,
            evaluation.definition,
        )
    )
    CONSOLE.print(stage_table(evaluation))
    CONSOLE.print(rate_table(evaluation))
    for row in rows:
        if degradation in WANTED and acts_settings(row["finder"]) is None:
            met = row["efficiency_double"] >= WANTED[degradation]
            row["wanted"], row["met"] = WANTED[degradation], met
            CONSOLE.print(
                f"{row['finder']}: efficiency {row['efficiency_double']:.4f}, wanted {WANTED[degradation]}:"
                f" {'met' if met else 'NOT met'}",
                markup=False,
            )
    return {
        "file": path,
        "degradation": degradation,
        "definition": evaluation.definition,
        "figures": rows,
        "rates": [rates(finder) for finder in evaluation.finders],
        "evaluation": evaluation_body(evaluation),
    }


def rates(finder: Any) -> dict[str, Any]:
    """First call against the others [ms], and events per second; `wall` includes all of the call."""
    done = [event for event in finder.events if event.error is None]
    if len(done) < 2:
        return {"finder": finder.name}
    warm = stage_time("total", [event.total for event in done[1:]])
    wall = stage_time("wall", [event.wall for event in done[1:]])
    return {
        "finder": finder.name,
        "first": done[0].total / ms,
        "median": warm.median / ms,
        "p95": warm.p95 / ms,
        "wall_median": wall.median / ms,
        "events_per_second": 1 / wall.mean,
    }


def rate_table(evaluation: Evaluation) -> Table:
    table = Table(
        title=f"one client, one event after the other, {evaluation.threads} thread(s)",
        caption="ACTS from the store has no wall time of its own; its stages are those of the run that was stored",
    )
    table.add_column("finder")
    for name in ("first \\[ms]", "median \\[ms]", "p95 \\[ms]", "wall median \\[ms]", "events/s"):
        table.add_column(name, justify="right")
    for finder in evaluation.finders:
        row = rates(finder)
        if "median" not in row:
            table.add_row(finder.name, *("-",) * 5)
            continue
        cells = [f"{row[key]:.3f}" for key in ("first", "median", "p95", "wall_median")]
        cells.append(f"{row['events_per_second']:.1f}")
        table.add_row(finder.name, *([*cells[:3], "-", "-"] if acts_settings(finder.name) is not None else cells))
    return table


if __name__ == "__main__":
    main()
