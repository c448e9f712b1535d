"""Efficiency and fakes against lost hits, dead modules, noise, and on files simulated in another field.

    python benchmarks/robustness.py runs/events/test200.parquet --pipelines NAME acts:efficient \
        --other runs/events/test200_field098.parquet

Each scan spoils one thing and leaves the rest as simulated; every finder sees the same spoilt hits.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.table import Table
from samples import (
    CONSOLE,
    Finders,
    add_options,
    degraded,
    open_finders,
    sample_name,
    selection_of,
    take,
)

from beampipe.tracking.evaluation.evaluate import evaluate
from beampipe.tracking.evaluation.plots import plot_robustness, save_figure
from beampipe.tracking.evaluation.report import quality_table
from beampipe.tracking.evaluation.results import Evaluation, write_evaluation
from beampipe.tracking.evaluation.statistics import Proportion
from beampipe.tracking.simulation.parameters import NONE, Degradation

SCANS: Final = {
    "hit_loss": (0.0, 0.01, 0.02, 0.03, 0.05),
    "noise": (0.0, 0.05, 0.10, 0.20),
    "dead_modules": (0.0, 0.01, 0.02, 0.05),
}
LABELS: Final = {"hit_loss": "hits lost", "noise": "noise added", "dead_modules": "dead modules"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--scan", nargs="*", choices=SCANS, default=list(SCANS), help="what is spoilt")
    parser.add_argument("--other", nargs="*", type=Path, default=[], help="files to be scored as they are, e.g. field")
    options = parser.parse_args()
    finders = open_finders(options.pipelines, options.threads)
    for path in options.events:
        clean = run(finders, path, NONE, options)
        curves: dict[str, dict[str, list[tuple[float, Proportion]]]] = {}
        for what in options.scan:
            points = {
                level: clean if level == 0 else run(finders, path, replace(NONE, **{what: level}), options)
                for level in SCANS[what]
            }
            CONSOLE.print(scan_table(f"{path.stem}: {LABELS[what]}", points))
            curves[LABELS[what]] = {
                name: [(level, point.finders[i].double.efficiency) for level, point in points.items()]
                for i, name in enumerate(finders.by_name)
            }
            for level, point in points.items():
                write_evaluation(options.out / f"robustness-{path.stem}-{what}-{level:g}.json", point)
        if curves:
            save_figure(plot_robustness(curves), options.out / f"robustness-{path.stem}.png")
    for path in options.other:
        evaluation = run(finders, path, NONE, options)
        CONSOLE.print(quality_table(evaluation))
        write_evaluation(options.out / f"robustness-{path.stem}.json", evaluation)
    CONSOLE.print(f"wrote JSON and pictures under {options.out}", markup=False)


def run(finders: Finders, path: Path, levels: Degradation, options: argparse.Namespace) -> Evaluation:
    return evaluate(
        finders.by_name,
        finders.watching(degraded(take(path, options.max_events), levels, options.seed)),
        sample=sample_name(path, levels, options.seed),
        selection=selection_of(options),
        threads=options.threads,
    )


def scan_table(title: str, points: dict[float, Evaluation]) -> Table:
    """Efficiency (fake rate) by double majority, one row per level."""
    first = next(iter(points.values()))
    table = Table(title=f"{title}: efficiency / fakes, double majority", caption=first.definition)
    table.add_column("level")
    for finder in first.finders:
        table.add_column(finder.name, justify="right")
    for level, point in points.items():
        cells = (f"{f.double.efficiency} / {f.double.fakes.value:.4f}" for f in point.finders)
        table.add_row(f"{level:.1%}", *cells)
    return table


if __name__ == "__main__":
    main()
