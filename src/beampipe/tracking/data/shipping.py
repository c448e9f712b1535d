"""How the shipped events are made from clean simulated ones."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.events import Event, Hits, Particles, Truth

__all__ = ["ship", "slim"]

_LENGTH_STEP: Final = 2.0**-10  # mm: a power of two leaves trailing zero bits, which compress
_ANGLE_STEP: Final = 2.0**-20  # rad: 1 um at r = 1 m


def ship(clean: Path, target: Path, n_events: int, seed: int) -> int:
    """Degrade the first `n_events` of `clean` by the default, slim them and write them to `target`.

    Returns:
        The size of `target` [bytes].
    """
    from beampipe.simulation.degradation import DEFAULT, degrade
    from beampipe.tracking.formats import read_events, write_events

    first = islice(read_events(clean), n_events)
    write_events(target, (slim(degrade(event, DEFAULT, seed, run_seed=seed)) for event in first), compression_level=19)
    return target.stat().st_size


def slim(event: Event) -> Event:
    """Round to about a micrometre and leave out the particles that made no hit."""
    hits = event.hits
    position = _rounded(hits.position, (_LENGTH_STEP, _ANGLE_STEP, _LENGTH_STEP))
    local = None if hits.local is None else _rounded(hits.local, _LENGTH_STEP)
    slimmed = Hits(position, hits.geometry_id, local, hits.variance)
    return replace(event, hits=slimmed, truth=None if event.truth is None else _seen(event.truth))


def _rounded(values: Float32[ndarray, ...], step: float | tuple[float, ...]) -> Float32[ndarray, ...]:
    steps = np.array(step, np.float32)
    return np.asarray(np.rint(values / steps) * steps, np.float32)


def _seen(truth: Truth) -> Truth:
    old = truth.particles
    keep = np.isin(old.particle_id, np.concatenate([truth.particle_id, truth.shared_particle]))
    particles = Particles(
        old.particle_id[keep],
        old.pdg[keep],
        old.charge[keep],
        _rounded(old.momentum[keep], _LENGTH_STEP),
        _rounded(old.vertex[keep], _LENGTH_STEP),
        old.primary[keep],
    )
    return replace(truth, particles=particles)
