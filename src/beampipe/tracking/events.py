"""The data that crosses a stage: hits, their truth, the tracks found. All frozen, all struct-of-arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64, UInt64
from numpy import ndarray

from beampipe.errors import DtypeError, NotFiniteError, ShapeError
from beampipe.tracking.beam_spot import ON_AXIS, BeamSpot

__all__ = ["NOISE", "NO_TRACK", "Event", "Hits", "Particles", "Tracks", "Truth"]

NO_TRACK = -1
"""`track_id` of a hit that is on no track."""

NOISE = 0
"""`particle_id` of a hit that no particle made."""


@dataclass(frozen=True, eq=False)
class Hits:
    """Measured space points of one event, in the order in which they came.

    Attributes:
        position: (n_hits, 3) float32: r [mm], phi [rad], z [mm].
        geometry_id: (n_hits,) uint64 ACTS geometry identifier of the module, or None.
        local: (n_hits, 2) float32 position on the module [mm], or None.
        variance: (n_hits, 2) float32 variance of `local` [mm^2], or None.

    Raises:
        ShapeError: `position` is not (n, 3), or an optional field has another length.
        DtypeError: a field is not of its type.
        NotFiniteError: a coordinate is NaN or infinite.
    """

    position: Float32[ndarray, "n_hits 3"]
    geometry_id: UInt64[ndarray, " n_hits"] | None = None
    local: Float32[ndarray, "n_hits 2"] | None = None
    variance: Float32[ndarray, "n_hits 2"] | None = None

    def __post_init__(self) -> None:
        _expect("hits", self.position, np.float32, (None, 3))
        if not np.isfinite(self.position).all():
            row = int(np.argmin(np.isfinite(self.position).all(axis=1)))
            raise NotFiniteError(
                f"hits: got {self.position[row].tolist()} at row {row}, expected finite r, phi, z;"
                " drop or repair that hit"
            )
        n = len(self.position)
        if self.geometry_id is not None:
            _expect("geometry_id", self.geometry_id, np.uint64, (n,))
        for name, values in (("local", self.local), ("variance", self.variance)):
            if values is not None:
                _expect(name, values, np.float32, (n, 2))

    def __len__(self) -> int:
        return len(self.position)

    def take(self, index: Int64[ndarray, " n"] | Bool[ndarray, " n_hits"]) -> Hits:
        """The hits at `index` (positions or a mask), in that order."""
        optional = (self.geometry_id, self.local, self.variance)
        return Hits(self.position[index], *(None if column is None else column[index] for column in optional))


@dataclass(frozen=True, eq=False)
class Particles:
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
        _expect("particle_id", self.particle_id, np.int64, (n,))
        _expect("pdg", self.pdg, np.int32, (n,))
        _expect("charge", self.charge, np.float32, (n,))
        _expect("momentum", self.momentum, np.float32, (n, 3))
        _expect("vertex", self.vertex, np.float32, (n, 3))
        _expect("primary", self.primary, np.bool_, (n,))

    def __len__(self) -> int:
        return len(self.particle_id)

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


@dataclass(frozen=True, eq=False)
class Truth:
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
        _expect("particle_id", self.particle_id, np.int64, (None,))
        _expect("shared_hit", self.shared_hit, np.int64, (None,))
        _expect("shared_particle", self.shared_particle, np.int64, (len(self.shared_hit),))


@dataclass(frozen=True, eq=False)
class Event:
    """One collision: its hits and, if simulated, its truth.

    Attributes:
        event_id: number of the event in its sample.
        hits: what was measured.
        truth: what made it, or None for data.
    """

    event_id: int
    hits: Hits
    truth: Truth | None = None

    def __post_init__(self) -> None:
        if self.truth is not None and len(self.truth.particle_id) != len(self.hits):
            raise ShapeError(
                f"event {self.event_id}: got truth for {len(self.truth.particle_id)} hits,"
                f" expected {len(self.hits)}, one per hit in the same order"
            )


@dataclass(frozen=True, eq=False)
class Tracks:
    """Track candidates as one label per hit.

    Attributes:
        track_id: (n_hits,) int64 in input order: 0 .. n_tracks - 1, `NO_TRACK` (-1) for a hit on no track.
            Tracks are numbered by their first hit in input order.
        seconds: wall time of each stage [s], in pipeline order.
        counts: sizes along the way, e.g. ``{"hits": 91000, "edges": 120000}``.
        candidates: rows of the hits of each track, from a finder whose tracks share hits; None where the labels say
            all.
        cpu_seconds: processor time of each stage [s], from a finder that measures it.
        beam_spot: beam line that the hits were seen from: the one that was expected, or where the tracks clearly come
            from.
    """

    track_id: Int64[ndarray, " n_hits"]
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    candidates: Sequence[Int64[ndarray, " _"]] | None = None
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    beam_spot: BeamSpot = ON_AXIS

    def __post_init__(self) -> None:
        _expect("track_id", self.track_id, np.int64, (None,))

    @property
    def n_tracks(self) -> int:
        """Number of tracks."""
        return int(self.track_id.max(initial=NO_TRACK)) + 1


def _expect(name: str, array: ndarray, dtype: type, shape: tuple[int | None, ...]) -> None:
    """Refuse an array that is not of the stated type and shape (None matches any length)."""
    if array.dtype != dtype:
        raise DtypeError(f"{name}: got dtype {array.dtype}, expected {np.dtype(dtype)}; convert it first")
    if array.ndim != len(shape) or any(
        want is not None and got != want for got, want in zip(array.shape, shape, strict=True)
    ):
        wanted = ", ".join("n" if length is None else str(length) for length in shape)
        raise ShapeError(f"{name}: got shape {array.shape}, expected ({wanted})")
