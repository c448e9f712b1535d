"""Truth: the particles of a simulated event, and which of them made which hit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Int32, Int64
from beampipe.notebook import Shown, span
from beampipe.tracking.events.arrays import expect_array

__all__ = ["NOISE", "Particles", "Truth"]

NOISE = 0
"""`particle_id` of a hit that no particle made."""


@dataclass(frozen=True, eq=False, repr=False)
class Particles(Shown):
    """Simulated particles of one event.

    Attributes:
        particle_id: (n_particles,) int64, unique in the event, > 0.
        pdg: (n_particles,) int32 PDG code.
        charge: (n_particles,) float32 [e].
        momentum: (n_particles, 3) float32 px, py, pz [GeV] at production.
        vertex: (n_particles, 3) float32 x, y, z [mm] of production.
        primary: (n_particles,) bool: from the generator, not made in the detector.
    """

    particle_id: Int64[ndarray, " n_particles"]
    pdg: Int32[ndarray, " n_particles"]
    charge: Float32[ndarray, " n_particles"]
    momentum: Float32[ndarray, "n_particles 3"]
    vertex: Float32[ndarray, "n_particles 3"]
    primary: Bool[ndarray, " n_particles"]

    def __post_init__(self) -> None:
        n = len(self.particle_id)
        expect_array("particle_id", self.particle_id, np.int64, (n,))
        expect_array("pdg", self.pdg, np.int32, (n,))
        expect_array("charge", self.charge, np.float32, (n,))
        expect_array("momentum", self.momentum, np.float32, (n, 3))
        expect_array("vertex", self.vertex, np.float32, (n, 3))
        expect_array("primary", self.primary, np.bool_, (n,))

    def __len__(self) -> int:
        return len(self.particle_id)

    def take(self, index: Int64[ndarray, " n"] | Bool[ndarray, " n_particles"]) -> Particles:
        """The particles at `index` (positions or a mask), in that order."""
        columns = (self.particle_id, self.pdg, self.charge, self.momentum, self.vertex, self.primary)
        return Particles(*(column[index] for column in columns))

    @property
    def pt(self) -> Float32[ndarray, " n_particles"]:
        """Transverse momentum [GeV]."""
        pt: Float32[ndarray, " n_particles"] = np.hypot(self.momentum[:, 0], self.momentum[:, 1])
        return pt

    @property
    def eta(self) -> Float32[ndarray, " n_particles"]:
        """Pseudorapidity, asinh(pz / pT); +-inf along the beam."""
        with np.errstate(divide="ignore", invalid="ignore"):
            eta: Float32[ndarray, " n_particles"] = np.arcsinh(self.momentum[:, 2] / self.pt)
        return eta

    @property
    def origin_radius(self) -> Float32[ndarray, " n_particles"]:
        """Transverse radius of production [mm]."""
        radius: Float32[ndarray, " n_particles"] = np.hypot(self.vertex[:, 0], self.vertex[:, 1])
        return radius

    def facts(self) -> Mapping[str, object]:
        """Number of particles, of charged and primary ones, and their range of pT."""
        said: dict[str, object] = {"particles": len(self)}
        if len(self):
            said |= {
                "charged": int(np.count_nonzero(self.charge)),
                "primary": int(np.count_nonzero(self.primary)),
                "pT": span(self.pt, "GeV"),
            }
        return said


@dataclass(frozen=True, eq=False, repr=False)
class Truth(Shown):
    """Which particle made which hit.

    Attributes:
        particle_id: (n_hits,) int64, the (leading) particle of each hit, `NOISE` for none.
        particles: the particles.
        shared_hit: (n_shared,) int64, row of a hit to which a further particle contributes (merged clusters).
        shared_particle: (n_shared,) int64, that further particle.
    """

    particle_id: Int64[ndarray, " n_hits"]
    particles: Particles
    shared_hit: Int64[ndarray, " n_shared"] = field(default_factory=lambda: np.empty(0, np.int64))
    shared_particle: Int64[ndarray, " n_shared"] = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        expect_array("particle_id", self.particle_id, np.int64, (None,))
        expect_array("shared_hit", self.shared_hit, np.int64, (None,))
        expect_array("shared_particle", self.shared_particle, np.int64, (len(self.shared_hit),))

    def facts(self) -> Mapping[str, object]:
        """Number of hits, of those that no particle made, of those that several made, and of particles."""
        return {
            "hits": len(self.particle_id),
            "noise": int(np.count_nonzero(self.particle_id == NOISE)),
            "merged": len(np.unique(self.shared_hit)),
            "particles": len(self.particles),
        }
