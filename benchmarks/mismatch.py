"""Events that differ from those a model was made for: how many tracks are lost, and what the warning says.

    python benchmarks/mismatch.py [FILES] [--max-events 4] [--pipelines module_map]

Each row changes one thing in events of the default degradation, so that only the change is not what the model expects.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from harness import begin_events, existing, options_of, take
from numpy import ndarray
from recording import CONSOLE, Figure, write_result

from beampipe.errors import LayoutError, LayoutWarning
from beampipe.events import Event, Hits
from beampipe.simulation.degradation import Degradation, degrade
from beampipe.simulation.detector import generic_modules
from beampipe.tracking.evaluation.scoring import evaluate
from beampipe.tracking.loading import load_pipeline

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


def degraded(**fractions: float) -> Change:
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
    "10 % of the hits lost": degraded(hit_loss=0.1),
    "30 % of the hits lost": degraded(hit_loss=0.3),
    "10 % of the modules dead": degraded(dead_modules=0.1),
    "20 % of the modules dead": degraded(dead_modules=0.2),
    "10 % of the hits twice": repeated(0.1, 0.0),
    "40 % of the hits split": repeated(0.4, 0.05),
    "shifted by 2 mm in x": across_beam,
    "shifted by 20 mm in z": lambda event: moved(event, 0.0, 20.0),
}
"""Changes by what they are."""


def main() -> None:
    parser = options_of("mismatch", __doc__, samples=["test200"], pipelines=["module_map"], max_events=4)
    options = parser.parse_args()
    begun = begin_events("mismatch", options)
    figures: list[Figure] = []
    for path in existing(options):
        events = [degrade(event, seed=3, run_seed=3) for event in take(path, options.max_events)]
        for name in options.pipelines:
            for what, lost, words in changed(name, events, options):
                CONSOLE.print(f"{what}: {words or 'no message'}", markup=False)
                figures.append(Figure(f"{name} {path.stem}: tracks lost: {what}", 100 * lost, "%", "equal"))
    write_result(options.output, begun, figures)


def changed(name: str, events: Sequence[Event], options: argparse.Namespace) -> Iterator[tuple[str, float, str]]:
    """Each change, the share of the tracks that is lost, and the warning or error."""
    usual = 0.0
    for what, change in CHANGES.items():
        those = [change(event) for event in events]
        silent = load_pipeline(name, threads=options.threads, check=False)
        (result,) = evaluate({name: silent}, those, sample=what, warm_up=0).finders
        efficiency = result.double.efficiency.value or 0.0
        usual = usual or efficiency
        yield what, 1 - efficiency / usual, message(name, those)


def message(name: str, events: Sequence[Event]) -> str:
    """The warning or the error about some events; empty if there is none."""
    finder = load_pipeline(name, threads=1)
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
