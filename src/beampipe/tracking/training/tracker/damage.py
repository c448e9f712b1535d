"""Events that lose hits and modules and gain noise, on any detector: what a training event goes through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from beampipe.tracking.events import Event
from beampipe.tracking.training.samples import Degrading

__all__ = ["damaged"]


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
    lost = event.take(keep)
    source = rng.integers(0, max(len(hits), 1), rng.poisson(degrading.noise * len(hits)))
    if len(source) == 0:
        return lost
    copied = hits.take(source)
    position = copied.position.copy()
    position[:, 1] = rng.uniform(-np.pi, np.pi, len(source))
    return lost.with_noise(replace(copied, position=position))
