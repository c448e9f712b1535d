"""Small events (no pile-up, some hundred hits, soft tracks): efficiency without and with hit loss, events per second.

    python benchmarks/small_events.py [FILES] [--max-events 20]

At this size fixed costs decide; the first call, which is cold, does not count.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean

import beampipe.terminal.scripts  # noqa: F401

from harness import (
    DEGRADATIONS,
    begin_events,
    degraded,
    evaluated,
    existing,
    open_finders,
    options_of,
    quality_figures,
    take,
)
from recording import CONSOLE, Figure, write_result

from beampipe.tracking.acts import acts_settings
from beampipe.tracking.evaluation.report import stage_table

JUDGE = "acts-soft"


def main() -> None:
    pipelines = ["module_map_soft", "exatrkx_soft", "exatrkx_walk_soft", JUDGE]
    parser = options_of("small_events", __doc__, samples=["test0"], pipelines=pipelines, max_events=400)
    parser.set_defaults(min_pt=0.3)
    parser.add_argument("--degradation", nargs="+", choices=DEGRADATIONS, default=["none", "default"])
    parser.add_argument("--max-hits", type=int, default=5000, help="larger events are left out")
    options = parser.parse_args()
    begun = begin_events("small events", options)
    measured = [
        figure
        for path in existing(options)
        for degradation in options.degradation
        for figure in figures(path, degradation, options)
    ]
    write_result(options.output, begun, measured)


def figures(path: Path, degradation: str, options: argparse.Namespace) -> list[Figure]:
    """All finders on one file at one degradation, opened anew."""
    finders = open_finders(options)
    levels = DEGRADATIONS[degradation]
    small = (event for event in take(path, options.max_events) if 0 < len(event.hits) <= options.max_hits)
    evaluation = evaluated(finders, degraded(small, levels, options.seed), path.stem, options, warm_up=0)
    CONSOLE.print(stage_table(evaluation))
    prefix = f"{path.stem}-{degradation}"
    rates = [
        Figure(
            f"{prefix}: {finder.name} rate", 1 / fmean(event.wall for event in finder.events[1:]), "events/s", "higher"
        )
        for finder in evaluation.finders
        if acts_settings(finder.name) is None
    ]
    return quality_figures(evaluation, prefix, JUDGE, JUDGE) + rates


if __name__ == "__main__":
    main()
