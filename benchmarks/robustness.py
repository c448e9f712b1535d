"""Efficiency and fakes against lost hits, dead modules, noise, and a field that is not the one assumed.

    python benchmarks/robustness.py [FILES] [--max-events 2] [--scan hit_loss noise dead_modules field]

Each scan spoils one thing and leaves the rest as simulated; every finder sees the same spoilt hits. For the field, the
same collisions were simulated again in 0.98 of it (the file NAME_field098 beside NAME); no finder is told.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from harness import Finders, begin_events, degraded, evaluated, existing, open_finders, options_of, take
from matplotlib import figure as matplotlib_figure
from recording import CONSOLE, Figure, Reference, write_result

from beampipe.figures import drawing, new_figure, save_figure
from beampipe.simulation.degradation import NONE, Degradation
from beampipe.tracking.evaluation.report import with_errors
from beampipe.tracking.evaluation.results import Evaluation, Proportion

FIELD: Final = "field"
SCANS: Final = {
    "hit_loss": (0.0, 0.01, 0.02, 0.03, 0.05),
    "noise": (0.0, 0.05, 0.10, 0.20),
    "dead_modules": (0.0, 0.01, 0.02, 0.05),
    FIELD: (0.0, 0.02),
}
LABELS: Final = {
    "hit_loss": "hits lost",
    "noise": "noise added",
    "dead_modules": "dead modules",
    FIELD: "field lower than assumed",
}
JUDGE: Final = "acts"


def main() -> None:
    pipelines = ["module_map", "exatrkx_walk", JUDGE]
    parser = options_of("robustness", __doc__, samples=["test200"], pipelines=pipelines, max_events=5)
    parser.add_argument("--scan", nargs="*", choices=SCANS, default=list(SCANS), help="what is spoilt")
    options = parser.parse_args()
    begun = begin_events("robustness", options)
    finders = open_finders(options)
    figures: list[Figure] = []
    for path in existing(options):
        clean = run(finders, path, NONE, options)
        curves = {}
        for what in options.scan:
            points = scan(finders, path, what, clean, options)
            if len(points) < 2:
                continue
            lost = losses(points)
            judge = lost.pop(JUDGE, None)
            reference = None if judge is None else Reference(JUDGE, judge)
            figures += [
                Figure(f"{path.stem} {LABELS[what]}: efficiency lost by {name}", drop, reference=reference)
                for name, drop in lost.items()
            ]
            curves[LABELS[what]] = {
                name: [(level, point.finders[i].double.efficiency) for level, point in points.items()]
                for i, name in enumerate(finders)
            }
            for name, row in curves[LABELS[what]].items():
                CONSOLE.print(f"{name}: " + ", ".join(f"{level:.1%}: {value}" for level, value in row), markup=False)
        if curves:
            save_figure(plot_robustness(curves), options.output.with_suffix(".png"))
    write_result(options.output, begun, figures)


def losses(points: Mapping[float, Evaluation]) -> dict[str, float]:
    """Efficiency lost from the first level to the last, per finder."""
    first, *_, last = points.values()
    return {
        a.name: a.double.efficiency.value - b.double.efficiency.value
        for a, b in zip(first.finders, last.finders, strict=True)
    }


def plot_robustness(scans: Mapping[str, Mapping[str, Sequence[tuple[float, Proportion]]]]) -> matplotlib_figure.Figure:
    """Efficiency against the degradation.

    Args:
        scans: axis label (``"hit loss"``) -> finder -> points (level, efficiency), one panel per label.
    """
    with drawing():
        figure, panels = new_figure(1, len(scans), size=(7.5 * len(scans), 5.5))
        for axes, (label, finders) in zip(panels[0], scans.items(), strict=True):
            for (name, points), marker in zip(finders.items(), cycle("os^Dvp*")):
                x = 100 * np.array([level for level, _ in points])
                y, error = with_errors([proportion for _, proportion in points])
                axes.errorbar(x, y, error, marker=marker, capsize=2, label=name)
            axes.margins(x=0.06)  # the style has none, and the first point is at 0
            axes.set_xlabel(f"{label} [%]")
            axes.set_ylabel("efficiency (double majority)")
        panels[0][0].legend(loc="best")
    return figure


def scan(
    finders: Finders, path: Path, what: str, clean: Evaluation, options: argparse.Namespace
) -> dict[float, Evaluation]:
    """Evaluations by level."""
    points = {0.0: clean}
    for level in SCANS[what][1:]:
        if what != FIELD:
            points[level] = run(finders, path, replace(NONE, **{what: level}), options)
            continue
        other = path.with_stem(f"{path.stem}_field{100 - round(100 * level):03d}")
        if other.is_file():
            points[level] = run(finders, other, NONE, options)
        else:
            CONSOLE.print(f"skipped: {other} is not there; make it: python benchmarks/make_events.py", markup=False)
    return points


def run(finders: Finders, path: Path, levels: Degradation, options: argparse.Namespace) -> Evaluation:
    events = degraded(take(path, options.max_events), levels, options.seed)
    return evaluated(finders, events, path.stem, options, warm_up=0)


if __name__ == "__main__":
    main()
