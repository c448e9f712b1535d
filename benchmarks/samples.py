"""Events at a given degradation and of a given size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import InputError
from beampipe.events import NOISE, Event, Hits, Particles, Truth
from beampipe.simulation.degradation import DEGRADATIONS, NONE, Degradation, degrade  # noqa: F401
from beampipe.tracking.formats import open_events


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
