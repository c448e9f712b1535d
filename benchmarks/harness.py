"""What the benchmarks of events share: options, events, finders by name, figures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray
from recording import CONSOLE, Figure, Reference, begin, parser_of

from beampipe.arrays import Int64
from beampipe.errors import FileError, InputError, MissingExtraError
from beampipe.events import NOISE, Event, Hits, Particles, Truth
from beampipe.simulation.degradation import DEGRADATIONS, NONE, Degradation, degrade  # noqa: F401
from beampipe.tracking.acts import ActsTrackFinder, acts_settings
from beampipe.tracking.evaluation.results import Evaluation, FinderResult, Proportion
from beampipe.tracking.evaluation.scoring import evaluate
from beampipe.tracking.finder import TrackFinder
from beampipe.tracking.formats import open_events
from beampipe.tracking.loading import load_pipeline
from beampipe.tracking.truth import Selection

EVENTS: Final = Path("runs/events")
FAST_ACTS: Final = "acts-fast"


def options_of(
    name: str, about: str | None, *, samples: Sequence[str], pipelines: Sequence[str], max_events: int | None = None
) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has.

    Args:
        name: name of the benchmark, for its output file.
        about: docstring of the benchmark.
        samples: names of the files in `EVENTS` that are used where none is given.
        pipelines: names of the finders that are used where none is given.
        max_events: largest number of events of each file where no number is given.
    """
    parser = parser_of(about, f"{name}")
    files = [EVENTS / f"{sample}.parquet" for sample in samples]
    add = parser.add_argument
    add("events", nargs="*", type=Path, default=files, help="Parquet files of clean simulated events")
    add(
        "--pipelines",
        nargs="+",
        default=list(pipelines),
        metavar="NAME",
        help="pipelines, or acts, acts-fast and the like",
    )
    add("--threads", type=int, default=2, help="threads of our finders (ACTS does not split an event)")
    add("--max-events", type=int, default=max_events, help="events per file; all if neither is given")
    add("--seed", type=int, default=1, help="seed of the degradation")
    add("--min-pt", type=float, default=1.0, help="pT of the particles to be found [GeV]")
    return parser


def existing(options: argparse.Namespace) -> list[Path]:
    """The event files that are there; the others are named in a line. Without any the benchmark ends, as an error."""
    results = [path for path in options.events if path.is_file()]
    for path in options.events:
        if path not in results:
            CONSOLE.print(
                f"skipped: {path} is not there; make it: python benchmarks/make_samples.py events", markup=False
            )
    if not results:
        sys.exit("got no events, expected a file of them; make them: python benchmarks/make_samples.py events")
    return results


def selection_of(options: argparse.Namespace) -> Selection:
    """Particles to be found."""
    return Selection(min_pt=options.min_pt)


Finders = dict[str, TrackFinder]
"""Opened finders by name."""


def open_finders(options: argparse.Namespace) -> Finders:
    """Open finders by name; what lacks its weights is named in a line and left out.

    ``acts``, ``acts-fast`` and the like are settings of ACTS.
    """
    finders: Finders = {}
    for name in options.pipelines:
        try:
            if (settings := acts_settings(name)) is not None:
                finders[name] = ActsTrackFinder(settings)
            else:
                finders[name] = load_pipeline(name, threads=options.threads, device="cpu")
        except (FileError, MissingExtraError) as error:
            CONSOLE.print(f"skipped: {name}: {error}", markup=False)
    return finders


def begin_events(title: str, options: argparse.Namespace) -> dict[str, Any]:
    """Conditions of a benchmark of events; to be called before anything is measured."""
    note = f"; our finders: {options.threads} thread(s), ACTS: 1 thread"
    return begin(title, ("numpy", "pyacts", "torch"), note)


def evaluated(
    finders: Finders, events: Iterable[Event], sample: str, options: argparse.Namespace, warm_up: int = 1
) -> Evaluation:
    """All finders on the same events; `warm_up` of them are found once more before."""
    return evaluate(
        finders,
        events,
        sample=sample,
        selection=selection_of(options),
        threads=options.threads,
        warm_up=warm_up,
    )


def quality_figures(evaluation: Evaluation, prefix: str, judge: str, clock: str) -> list[Figure]:
    """Efficiency, fakes (double majority) and median time of an event of each finder.

    Args:
        evaluation: finders on the same events.
        prefix: name of the sample.
        judge: setting of ACTS whose efficiency and fakes are the reference of ours.
        clock: setting of ACTS whose time is the reference of the others.
    """
    by_name = {finder.name: finder for finder in evaluation.finders}
    figures = []
    for name, finder in by_name.items():
        other = by_name.get(judge) if acts_settings(name) is None else None
        for what in ("efficiency", "fakes"):
            proportion: Proportion = getattr(finder.double, what)
            low, high = proportion.interval
            reference = Reference(judge, getattr(other.double, what).value) if other else None
            title = f"{prefix}: {name} {what}"
            figures.append(
                Figure(
                    title, proportion.value, "", "lower" if what == "fakes" else "higher", reference, (high - low) / 2
                )
            )
        reference = Reference(clock, median_ms(by_name[clock])) if clock in by_name and name != clock else None
        figures.append(Figure(f"{prefix}: {name} time", median_ms(finder), "ms", "lower", reference))
    return figures


def median_ms(finder: FinderResult) -> float:
    """Median time of the events that a finder did not refuse [ms]."""
    return 1e3 * float(np.median([event.total for event in finder.events if event.error is None]))


# Events at a given degradation and of a given size


def take(path: Path, limit: int | None) -> Iterator[Event]:
    """The first events of a file."""
    return islice(open_events(path), limit)


def degraded(events: Iterable[Event], levels: Degradation, seed: int) -> Iterator[Event]:
    """Spoil events, all with the same dead modules; no level set leaves them as they are."""
    if levels == NONE:
        return iter(events)
    return (degrade(event, levels, seed, run_seed=seed) for event in events)


def resize(events: Sequence[Event], n_hits: int, seed: int) -> Event:
    """An event of about `n_hits` hits: particles of one event drawn at random, or several events on top of each other.

    Whole particles are drawn (and noise hit by hit), so that a small event has tracks as long as those of a large one.

    Raises:
        InputError: all events together are too small.
    """
    chosen: list[Event] = []
    for event in events:
        if sum(len(item.hits) for item in chosen) >= n_hits:
            break
        chosen.append(event)
    event = merge(chosen)
    if len(event.hits) < 0.9 * n_hits:
        raise InputError(f"resize: got {len(event.hits)} hits in all {len(events)} events, expected {n_hits} or more")
    assert event.truth is not None
    random = np.random.default_rng(seed)
    _, group = np.unique(event.truth.particle_id, return_inverse=True)
    noise = event.truth.particle_id == NOISE
    lot = np.where(noise, random.random(len(event.hits)), random.random(group.max(initial=0) + 1)[group])
    return event.take(lot < n_hits / len(event.hits))


def merge(events: Sequence[Event]) -> Event:
    """All hits of several events as one; particles are renumbered from 1.

    Raises:
        InputError: there is no event, or one without truth.
    """
    truths = [event.truth for event in events if event.truth is not None]
    if not truths or len(truths) != len(events):
        raise InputError(f"merge: got {len(events)} events, {len(truths)} with truth, expected truth in all, and one")
    numbered, first_hit, first_id = [], 0, 1
    for truth in truths:
        ids = np.unique(
            np.concatenate([truth.particle_id, truth.particles.particle_id, truth.shared_particle, [NOISE]])
        )
        offset = first_id - 1

        def number(old: Int64[ndarray, " n"], ids: ndarray = ids, offset: int = offset) -> Int64[ndarray, " n"]:
            return np.where(old == NOISE, NOISE, np.searchsorted(ids, old) + offset).astype(np.int64)

        particles = replace(truth.particles, particle_id=number(truth.particles.particle_id))
        shared = truth.shared_hit + first_hit
        numbered.append(Truth(number(truth.particle_id), particles, shared, number(truth.shared_particle)))
        first_hit += len(truth.particle_id)
        first_id += len(ids) - 1
    fields = ("particle_id", "pdg", "charge", "momentum", "vertex", "primary")
    particles = Particles(*(np.concatenate([getattr(truth.particles, name) for truth in numbered]) for name in fields))
    truth = Truth(
        _joined(numbered, "particle_id"),
        particles,
        _joined(numbered, "shared_hit"),
        _joined(numbered, "shared_particle"),
    )
    return Event(events[0].event_id, joined_hits([event.hits for event in events]), truth)


def _joined(parts: Sequence[Truth], name: str) -> ndarray:
    return np.concatenate([getattr(part, name) for part in parts])


def joined_hits(parts: Sequence[Hits]) -> Hits:
    """The hits of several events as those of one."""

    def joined(name: str) -> ndarray | None:
        columns = [getattr(part, name) for part in parts]
        return None if any(column is None for column in columns) else np.concatenate(columns)

    position = np.concatenate([part.position for part in parts])
    return Hits(position, joined("geometry_id"), joined("local"), joined("variance"))
