"""True particles and their hits from the beam outwards: what the tables of the track fit are learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from beampipe.tracking.events import Event
from beampipe.tracking.truth import truth_of

__all__ = ["FIT_RECIPE", "Chains", "FitConfig", "chains_of"]


@dataclass(frozen=True)
class FitConfig:
    """Which particles the tables of the track fit are learned from.

    Attributes:
        pt_min: lowest pT of a particle that is learned from [GeV].
        eta_max: largest |eta| of such a particle.
        origin_max: largest radius at which such a particle was made [mm].
        turn_max: largest angle that a particle has turned by at a hit that counts [rad].
        min_hits: fewest hits of such a particle.
        min_particles: fewest particles to learn from.
        core: kinks beyond this many standard deviations are tails, left out.
        stiff: lowest pT of a particle that the field is learned from [GeV].
    """

    pt_min: float = 0.4
    eta_max: float = 3.2
    origin_max: float = 2.0
    turn_max: float = 1.2
    min_hits: int = 4
    min_particles: int = 100
    core: float = 3.0
    stiff: float = 1.0


FIT_RECIPE: Final = FitConfig()
"""How the tables of the track fit that are shipped were learned."""


@dataclass(frozen=True, eq=False)
class Chains:
    """Hits of true particles, from the beam outwards, one particle after the other.

    Attributes:
        particle: (n,) int64 number of the particle of each hit, ascending.
        row: (n,) int64 row of the hit in its event.
        event: (n,) int64 number of its event.
        layer: (n,) int64 layer of the hit.
        xyz: (n, 3) float64 place of the hit [mm].
        vertex, momentum: (n_particles, 3) float64 [mm], [GeV]
        charge: (n_particles,) float64 [e]
    """

    particle: Int64[ndarray, " n"]
    row: Int64[ndarray, " n"]
    event: Int64[ndarray, " n"]
    layer: Int64[ndarray, " n"]
    xyz: Float64[ndarray, "n 3"]
    vertex: Float64[ndarray, "n_particles 3"]
    momentum: Float64[ndarray, "n_particles 3"]
    charge: Float64[ndarray, " n_particles"]

    @property
    def pt(self) -> Float64[ndarray, " n_particles"]:
        return np.asarray(np.hypot(self.momentum[:, 0], self.momentum[:, 1]))

    @property
    def size(self) -> Int64[ndarray, " n_particles"]:
        return np.bincount(self.particle, minlength=len(self.charge)).astype(np.int64)


def chains_of(events: Sequence[Event], layers: Float32[ndarray, "n_layers 4"], config: FitConfig) -> Chains:
    columns: list[tuple[ndarray, ...]] = []
    begin = 0
    for number, event in enumerate(events):
        truth = truth_of(event)
        p = truth.particles
        good = (p.charge != 0) & (p.pt > config.pt_min) & (np.abs(p.eta) < config.eta_max)
        good &= (p.origin_radius < config.origin_max) & p.primary
        order = np.flatnonzero(good)[np.argsort(p.particle_id[good])]
        found = np.searchsorted(p.particle_id[order], truth.particle_id)
        r, phi, z = event.hits.position.astype(np.float64).T
        box = layers[:, :, None]
        inside = (r >= box[:, 0]) & (r <= box[:, 1]) & (z >= box[:, 2]) & (z <= box[:, 3])
        mine = inside.any(axis=0) & (found < len(order))
        mine[mine] = p.particle_id[order][found[mine]] == truth.particle_id[mine]
        row = np.flatnonzero(mine)
        row = row[np.lexsort((r[row] ** 2 + z[row] ** 2, found[row]))]
        enough = np.bincount(found[row], minlength=len(order)) >= config.min_hits
        row = row[enough[found[row]]]
        renumbered = np.cumsum(enough) - 1
        kept = order[enough]
        columns.append(
            (
                renumbered[found[row]] + begin,
                row,
                np.full(len(row), number),
                inside.argmax(axis=0)[row],
                np.stack([r[row] * np.cos(phi[row]), r[row] * np.sin(phi[row]), z[row]], axis=1),
                p.vertex[kept].astype(np.float64),
                p.momentum[kept].astype(np.float64),
                p.charge[kept].astype(np.float64),
            )
        )
        begin += len(kept)
    return Chains(*(np.concatenate(column) for column in zip(*columns, strict=True)))
