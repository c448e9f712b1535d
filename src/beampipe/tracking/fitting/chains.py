"""True particles and their hits from the beam outwards: what the tables of the track fit are learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Float64, Int64
from beampipe.tracking.events import Event
from beampipe.tracking.fitting.helix import cartesian
from beampipe.tracking.fitting.tables import layer_of
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
        pipe_share: radius of the beam pipe, as a share of the innermost radius at which a layer has hits.
        core: kinks beyond this many standard deviations are tails, left out.
        stiff: lowest pT of a particle that the field is learned from [GeV].
    """

    pt_min: float = 0.4
    eta_max: float = 3.2
    origin_max: float = 2.0
    turn_max: float = 1.2
    min_hits: int = 4
    min_particles: int = 100
    pipe_share: float = 0.65
    core: float = 3.0
    stiff: float = 1.0


FIT_RECIPE: Final = FitConfig()
"""How the tables of the track fit that are shipped were learned."""


@dataclass(frozen=True, eq=False)
class Chains:
    """Hits of true particles, from the beam outwards, one particle after the other.

    Attributes:
        particle: (n,) int64 number of the particle of each hit, ascending.
        row: (n,) int64 row of each hit in its event.
        event: (n,) int64 number of the event of each hit.
        layer: (n,) int64 number of the layer of each hit.
        xyz: (n, 3) float64 place of each hit: x, y, z [mm].
        vertex: (n_particles, 3) float64 where each particle starts: x, y, z [mm].
        momentum: (n_particles, 3) float64 px, py, pz [GeV] of each particle there.
        charge: (n_particles,) float64 charge of each particle [e].
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
        """Transverse momentum of each particle [GeV]."""
        return np.asarray(np.hypot(self.momentum[:, 0], self.momentum[:, 1]))

    @property
    def size(self) -> Int64[ndarray, " n_particles"]:
        """Number of hits of each particle."""
        return np.bincount(self.particle, minlength=len(self.charge)).astype(np.int64)

    @property
    def begin(self) -> Int64[ndarray, " n_particles"]:
        """Where the hits of each particle begin."""
        return np.asarray(np.cumsum(self.size) - self.size)


def chains_of(events: Sequence[Event], layers: Float32[ndarray, "n_layers 4"], config: FitConfig) -> Chains:
    """Hits on layers of the particles that are learned from.

    Args:
        events: clean events with truth, at least one.
        layers: r_min, r_max, z_min, z_max [mm] of each layer.
        config: selection of particles.

    Raises:
        InputError: an event has no truth.
    """
    columns, begin = [], 0
    for number, event in enumerate(events):
        particles = truth_of(event).particles
        owner, order = _owners(event, config)
        r, _, z = event.hits.position.astype(np.float64).T
        layer = layer_of(event.hits.position, layers)
        row = np.flatnonzero((layer >= 0) & (owner >= 0))
        row = row[np.lexsort((r[row] ** 2 + z[row] ** 2, owner[row]))]
        enough = np.bincount(owner[row], minlength=len(order)) >= config.min_hits
        row, kept = row[enough[owner[row]]], order[enough]
        columns.append(
            (
                (np.cumsum(enough) - 1)[owner[row]] + begin,
                row,
                np.full(len(row), number),
                layer[row],
                cartesian(event.hits.position[row]),
                particles.vertex[kept].astype(np.float64),
                particles.momentum[kept].astype(np.float64),
                particles.charge[kept].astype(np.float64),
            )
        )
        begin += len(kept)
    return Chains(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _owners(event: Event, config: FitConfig) -> tuple[Int64[ndarray, " n_hits"], Int64[ndarray, " n_wanted"]]:
    """Number of the wanted particle that made each hit, -1 for others, and the rows of the wanted particles."""
    truth = truth_of(event)
    p = truth.particles
    wanted = (p.charge != 0) & (p.pt > config.pt_min) & (np.abs(p.eta) < config.eta_max)
    wanted &= (p.origin_radius < config.origin_max) & p.primary
    order = np.flatnonzero(wanted)[np.argsort(p.particle_id[wanted])]
    ids = p.particle_id[order]
    owner = np.searchsorted(ids, truth.particle_id)
    known = owner < len(ids)
    known[known] = ids[owner[known]] == truth.particle_id[known]
    return np.where(known, owner, -1).astype(np.int64), order
