"""What the benchmarks share: finders by name, events at a given degradation and size, and the files they write."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from rich.console import Console

from beampipe.errors import InputError, UnknownNameError
from beampipe.tracking.evaluation.checks import TruthFinder
from beampipe.tracking.evaluation.evaluate import Finder
from beampipe.tracking.events import NOISE, Event, Hits, Particles, Tracks, Truth
from beampipe.tracking.formats import read_events
from beampipe.tracking.simulation.degradation import degrade
from beampipe.tracking.simulation.parameters import DEFAULT, NONE, STRESS, Degradation
from beampipe.tracking.truth import Selection

__all__ = [
    "CONSOLE",
    "DEGRADATIONS",
    "Finders",
    "add_options",
    "degraded",
    "merge",
    "open_finders",
    "resize",
    "sample_name",
    "selection_of",
    "take",
]

CONSOLE: Final = Console(width=None if sys.stdout.isatty() else 160)
TRUTH: Final = "truth"
ACTS: Final = "acts:"


DEGRADATIONS: Final = {"none": NONE, "default": DEFAULT, "stress": STRESS}
"""Named levels: as simulated, as expected of a working detector, and beyond."""


class ActsCandidates:
    """ACTS as a finder whose tracks are scored with the hits they share.

    Args:
        preset: name in `beampipe.tracking.acts.settings.ACTS_SETTINGS`.

    Raises:
        UnknownNameError: there is no such preset.
    """

    def __init__(self, preset: str) -> None:
        from beampipe.tracking.acts.finder import ActsTrackFinder
        from beampipe.tracking.acts.settings import ACTS_SETTINGS

        if preset not in ACTS_SETTINGS:
            raise UnknownNameError("preset of acts", preset, ACTS_SETTINGS)
        self._finder = ActsTrackFinder(ACTS_SETTINGS[preset])

    def find(self, hits: Hits, /) -> _WithCandidates:
        """Labels and raw hit lists; the hand-over of the hits is in none of the times."""
        found = self._finder.find_batch([hits])[0]
        return _WithCandidates(found.tracks(self._finder.settings.measurements_min), list(found.hit_lists))


@dataclass(frozen=True, eq=False)
class _WithCandidates:
    tracks: Tracks
    candidates: list[Int64[ndarray, " _"]]


@dataclass(frozen=True)
class Finders:
    """Opened finders by name; pass events through `watching` so that the truth finder can see them."""

    by_name: dict[str, Finder]
    truth: TruthFinder

    def watching(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events."""
        return self.truth.watching(events)


def open_finders(names: Sequence[str], threads: int) -> Finders:
    """Open pipelines by name; ``acts:NAME`` is a preset of ACTS, ``truth`` the perfect answer in labels."""
    truth = TruthFinder()
    by_name: dict[str, Finder] = {}
    for name in names:
        if name == TRUTH:
            by_name[name] = truth
        elif name.startswith(ACTS):
            by_name[name] = ActsCandidates(name.removeprefix(ACTS))
        else:
            from beampipe.tracking.pipeline import load_pipeline

            by_name[name] = load_pipeline(name, threads=threads, device="cpu")
    return Finders(by_name, truth)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that every benchmark has."""
    parser.add_argument("events", nargs="+", type=Path, help="Parquet files of simulated events")
    parser.add_argument(
        "--pipelines", nargs="+", required=True, metavar="NAME", help="pipelines, acts:PRESET, or truth"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads per finder (ACTS does not split an event)")
    parser.add_argument("--max-events", type=int, default=None, help="events per file; all by default")
    parser.add_argument("--seed", type=int, default=1, help="of the degradation")
    parser.add_argument("--min-pt", type=float, default=1.0, help="pT of the particles to be found [GeV]")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder for JSON and pictures")


def selection_of(options: argparse.Namespace) -> Selection:
    """Particles to be found."""
    return Selection(min_pt=options.min_pt)


def sample_name(path: Path, levels: Degradation, seed: int) -> str:
    """Words for a sample: file, degradation, seed."""
    if levels == NONE:
        return path.stem
    spoilt = f"loss {levels.hit_loss:.1%}, dead {levels.dead_modules:.1%}, noise {levels.noise:.1%}"
    return f"{path.stem} ({spoilt}, seed {seed})"


def take(path: Path, limit: int | None) -> Iterator[Event]:
    """The first events of a file."""
    return islice(read_events(path), limit)


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
        if sum(len(one.hits) for one in chosen) >= n_hits:
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
    return _only(event, lot < n_hits / len(event.hits))


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
    return Event(events[0].event_id, _joined_hits([event.hits for event in events]), truth)


def _joined(parts: Sequence[Truth], name: str) -> ndarray:
    return np.concatenate([getattr(part, name) for part in parts])


def _joined_hits(parts: Sequence[Hits]) -> Hits:
    def joined(name: str) -> ndarray | None:
        columns = [getattr(part, name) for part in parts]
        return None if any(column is None for column in columns) else np.concatenate(columns)

    position = np.concatenate([part.position for part in parts])
    return Hits(position, joined("geometry_id"), joined("local"), joined("variance"))


def _only(event: Event, keep: ndarray) -> Event:
    """The hits of the mask `keep`, with their truth."""
    assert event.truth is not None
    truth = event.truth
    moved = np.cumsum(keep) - 1
    shared = keep[truth.shared_hit]
    return Event(
        event.event_id,
        event.hits.take(keep),
        Truth(truth.particle_id[keep], truth.particles, moved[truth.shared_hit[shared]], truth.shared_particle[shared]),
    )
