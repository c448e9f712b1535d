"""Events that lose hits and modules and gain noise, on any detector: what a training event goes through."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from beampipe.tracking.events import NOISE, Event, Hits, Truth
from beampipe.tracking.training.samples import Degrading

__all__ = ["damaged", "with_hits"]


def with_hits(event: Event, kept: Bool[ndarray, " n_hits"]) -> Event:
    """The event with the hits of a mask; merged hits keep all their particles."""
    truth = event.truth
    if truth is not None:
        row = np.cumsum(kept) - 1
        still = kept[truth.shared_hit]
        shared = (row[truth.shared_hit[still]], truth.shared_particle[still])
        truth = Truth(truth.particle_id[kept], truth.particles, *shared)
    return Event(event.event_id, event.hits.take(kept), truth)


def damaged(event: Event, degrading: Degrading, seed: int) -> Event:
    """Lose hits at random and with whole modules, then add noise hits at the (r, z) of real ones, phi uniform.

    Args:
        event: clean event; modules are told by its identifiers.
        degrading: fractions of hits and of modules that are lost, and noise hits per hit that was there.
        seed: seed of the random choices; the dead modules are those of the event's seed, not of a run.
    """
    rng = np.random.default_rng(seed)
    hits = event.hits
    keep = rng.random(len(hits)) >= degrading.hit_loss
    if degrading.dead_modules > 0 and hits.geometry_id is not None:
        modules, row = np.unique(hits.geometry_id, return_inverse=True)
        keep &= (rng.random(len(modules)) >= degrading.dead_modules)[row]
    lost = with_hits(event, keep)
    source = rng.integers(0, max(len(hits), 1), rng.poisson(degrading.noise * len(hits)))
    if len(source) == 0:
        return lost
    copied = hits.take(source)
    position = copied.position.copy()
    position[:, 1] = rng.uniform(-np.pi, np.pi, len(source))
    columns = (
        None if (old := getattr(lost.hits, name)) is None else np.concatenate([old, getattr(copied, name)])
        for name in ("geometry_id", "local", "variance")
    )
    joined = Hits(np.concatenate([lost.hits.position, position]), *columns)
    truth = lost.truth
    if truth is not None:
        particle_id = np.concatenate([truth.particle_id, np.full(len(source), NOISE, np.int64)])
        truth = Truth(particle_id, truth.particles, truth.shared_hit, truth.shared_particle)
    return Event(event.event_id, joined, truth)
