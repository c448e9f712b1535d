"""Efficiency and fakes against lost hits, dead modules, noise, and a field that is not the one assumed.

    python benchmarks/robustness.py [FILES] [--max-events 2] [--scan hit_loss noise dead_modules field]
    python benchmarks/robustness.py [FILES] [--max-events 2] --mismatch

Each scan spoils one thing and leaves the rest as simulated; every finder sees the same spoilt hits. For the field, the
same collisions were simulated again in 0.98 of it (the file NAME_field098 beside NAME); no finder is told.

With `--mismatch`, each row changes one thing in events of the default degradation, so that only the change is not what
the model expects: how many tracks `module_map` loses, and what its warning says.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from harness import Finders, begin_events, degraded, evaluated, existing, open_finders, options_of, take
from matplotlib import figure as matplotlib_figure
from numpy import ndarray
from recording import CONSOLE, Figure, Reference, write_result

from beampipe.errors import LayoutError, LayoutWarning
from beampipe.events import Event, Hits
from beampipe.figures import drawing, new_figure, save_figure
from beampipe.simulation.degradation import NONE, Degradation, degrade
from beampipe.simulation.detector import generic_modules
from beampipe.tracking.evaluation.report import with_errors
from beampipe.tracking.evaluation.results import Evaluation, Proportion
from beampipe.tracking.loading import load_pipeline

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
    parser.add_argument("--mismatch", action="store_true", help="events that do not fit the model, and the warning")
    options = parser.parse_args()
    begun = begin_events("robustness", options)
    if options.mismatch:
        write_result(options.output, begun, [each for path in existing(options) for each in mismatch(path, options)])
        return
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
            CONSOLE.print(
                f"skipped: {other} is not there; make it: python benchmarks/make_samples.py events", markup=False
            )
    return points


def run(finders: Finders, path: Path, levels: Degradation, options: argparse.Namespace) -> Evaluation:
    events = degraded(take(path, options.max_events), levels, options.seed)
    return evaluated(finders, events, path.stem, options, warm_up=0)


# Events that differ from those a model was made for

MISMATCHED: Final = "module_map"
Change = Callable[[Event], Event]


def moved(event: Event, across: ndarray | float, along: ndarray | float) -> Event:
    """Hits shifted by distances across the radius and along z [mm]."""
    position = event.hits.position.astype(np.float64)
    position[:, 1] += across / position[:, 0]
    position[:, 2] += along
    return replace(event, hits=replace(event.hits, position=position.astype(np.float32)))


def smeared(sigma: float) -> Change:
    """Worse resolution, by `sigma` [mm] in both directions."""

    def change(event: Event) -> Event:
        return moved(event, *np.random.default_rng([5, event.event_id]).normal(0, sigma, (2, len(event.hits))))

    return change


def misaligned(sigma: float, bits: int) -> Change:
    """Parts of the detector moved by `sigma` [mm]: those of equal identifiers without the last `bits`."""
    part = np.unique(generic_modules().geometry_id >> np.uint64(bits), return_inverse=True)[1]
    shift = np.random.default_rng(8).normal(0, sigma, (2, part.max() + 1))

    def change(event: Event) -> Event:
        assert event.hits.geometry_id is not None
        return moved(event, *shift[:, part[generic_modules().rows(event.hits.geometry_id)]])

    return change


def more(**fractions: float) -> Change:
    """More hits lost, or modules dead."""
    level = replace(Degradation(0, 0, 0), **fractions)
    return lambda event: degrade(event, level, seed=9, run_seed=77, again=True)


def repeated(share: float, sigma: float) -> Change:
    """A second hit within `sigma` [mm] of a share of the hits."""

    def change(event: Event) -> Event:
        rng = np.random.default_rng([10, event.event_id])
        again = event.take(rng.random(len(event.hits)) < share)
        second = moved(again, *rng.normal(0, sigma, (2, len(again.hits)))).hits
        return event.with_noise(Hits(second.position, second.geometry_id, second.local, second.variance))

    return change


def across_beam(event: Event) -> Event:
    """All shifted by 2 mm in x."""
    r, phi, z = event.hits.position.astype(np.float64).T
    position = np.column_stack([np.hypot(r * np.cos(phi) + 2, r * np.sin(phi)), 0 * phi, z])
    position[:, 1] = np.arctan2(r * np.sin(phi), r * np.cos(phi) + 2)
    return replace(event, hits=replace(event.hits, position=position.astype(np.float32)))


CHANGES: Final[dict[str, Change]] = {
    "none": lambda event: event,
    "resolution worse by 0.05 mm": smeared(0.05),
    "resolution worse by 0.1 mm": smeared(0.1),
    "resolution worse by 0.3 mm": smeared(0.3),
    "layers moved by 0.1 mm": misaligned(0.1, 36),
    "layers moved by 0.2 mm": misaligned(0.2, 36),
    "modules moved by 0.1 mm": misaligned(0.1, 0),
    "modules moved by 0.2 mm": misaligned(0.2, 0),
    "10 % of the hits lost": more(hit_loss=0.1),
    "30 % of the hits lost": more(hit_loss=0.3),
    "10 % of the modules dead": more(dead_modules=0.1),
    "20 % of the modules dead": more(dead_modules=0.2),
    "10 % of the hits twice": repeated(0.1, 0.0),
    "40 % of the hits split": repeated(0.4, 0.05),
    "shifted by 2 mm in x": across_beam,
    "shifted by 20 mm in z": lambda event: moved(event, 0.0, 20.0),
}
"""Changes by what they are."""


def mismatch(path: Path, options: argparse.Namespace) -> Iterator[Figure]:
    """Share of the tracks that is lost by each change; the warning or error is printed."""
    events = [degrade(event, seed=3, run_seed=3) for event in take(path, options.max_events)]
    usual = 0.0
    for what, change in CHANGES.items():
        those = [change(event) for event in events]
        silent = load_pipeline(MISMATCHED, threads=options.threads, check=False)
        (result,) = evaluated({MISMATCHED: silent}, those, what, options, warm_up=0).finders
        efficiency = result.double.efficiency.value or 0.0
        usual = usual or efficiency
        CONSOLE.print(f"{what}: {message(those) or 'no message'}", markup=False)
        title = f"{MISMATCHED} {path.stem}: tracks lost: {what}"
        yield Figure(title, 100 * (1 - efficiency / usual), "%", "equal")


def message(events: Sequence[Event]) -> str:
    """The warning or the error about some events; empty if there is none."""
    finder = load_pipeline(MISMATCHED, threads=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LayoutWarning)
        try:
            for event in events:
                finder.find(event)
        except LayoutError as error:
            return str(error)
    return str(caught[0].message) if caught else ""


if __name__ == "__main__":
    main()
