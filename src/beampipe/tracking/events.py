"""The data that crosses a stage: hits, their truth, the tracks found. All frozen, all struct-of-arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int32, Int64, UInt64
from numpy import ndarray

from beampipe.errors import DtypeError, NotFiniteError, ShapeError
from beampipe.tracking.beam_spot import ON_AXIS, BeamSpot

__all__ = [
    "NOISE",
    "NO_TRACK",
    "Event",
    "FitStatus",
    "HitColumns",
    "Hits",
    "Particles",
    "TrackParameters",
    "Tracks",
    "Truth",
]

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
class HitColumns:
    """What the input says of each hit beside its position, as it stands there, so that it can be written again.

    Attributes:
        format: name of the format that the event was read from, a key of `beampipe.tracking.formats.FORMATS`.
        hit_id: (n_hits,) integers: the input's own number of each hit, or None where it gives none.
        extra: name -> (n_hits,) array: the other columns of the input, in its order, of any type.

    Raises:
        ShapeError: the columns differ in length.
    """

    format: str
    hit_id: ndarray | None = None
    extra: Mapping[str, ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns().items()}
        if len(set(lengths.values())) > 1:
            raise ShapeError(f"columns of the hits: got the lengths {lengths}, expected one length")

    def columns(self) -> dict[str, ndarray]:
        """Every column by name, `hit_id` first."""
        return {**({} if self.hit_id is None else {"hit_id": self.hit_id}), **self.extra}


@dataclass(frozen=True, eq=False)
class Event:
    """One collision: its hits and, if simulated, its truth.

    Attributes:
        event_id: number of the event in its sample.
        hits: what was measured.
        truth: what made it, or None for data.
        source: the input's own columns of the hits, or None for an event that no foreign file gave.
    """

    event_id: int
    hits: Hits
    truth: Truth | None = None
    source: HitColumns | None = None

    def __post_init__(self) -> None:
        for name, values in ({} if self.source is None else self.source.columns()).items():
            if len(values) != len(self.hits):
                raise ShapeError(
                    f"event {self.event_id}: got {len(values)} values of {name}, expected {len(self.hits)}, one per hit"
                )
        if self.truth is not None and len(self.truth.particle_id) != len(self.hits):
            raise ShapeError(
                f"event {self.event_id}: got truth for {len(self.truth.particle_id)} hits,"
                f" expected {len(self.hits)}, one per hit in the same order"
            )

    def take(self, kept: Bool[ndarray, " n_hits"]) -> Event:
        """The event with the hits of a mask and their truth, without the input's own columns.

        Merged hits keep all their particles, and particles that lost all their hits stay.
        """
        truth = self.truth
        if truth is not None:
            row = np.cumsum(kept) - 1
            still = kept[truth.shared_hit]
            shared = (row[truth.shared_hit[still]], truth.shared_particle[still])
            truth = Truth(truth.particle_id[kept], truth.particles, *shared)
        return Event(self.event_id, self.hits.take(kept), truth)

    def with_noise(self, noise: Hits) -> Event:
        """The event with further hits behind its own, which no particle made, and without the input's own columns.

        Args:
            noise: further hits, with at least the optional columns that the hits of the event have.
        """
        columns = []
        for name in ("geometry_id", "local", "variance"):
            have, add = getattr(self.hits, name), getattr(noise, name)
            columns.append(None if have is None else np.concatenate([have, add]))
        hits = Hits(np.concatenate([self.hits.position, noise.position]), *columns)
        truth = self.truth
        if truth is not None:
            particle_id = np.concatenate([truth.particle_id, np.full(len(noise), NOISE, np.int64)])
            truth = replace(truth, particle_id=particle_id)
        return Event(self.event_id, hits, truth)


class FitStatus(IntEnum):
    """What came of the fit of one track.

    Attributes:
        FITTED: parameters and covariance are there.
        TOO_FEW_HITS: fewer than three hits on layers that the fit knows.
        NO_START: no helix through the first, the middle and the last hit: two of them lie at one place.
        NOT_CONVERGED: the steps lead to no helix.
    """

    FITTED = 0
    TOO_FEW_HITS = 1
    NO_START = 2
    NOT_CONVERGED = 3


@dataclass(frozen=True, eq=False)
class TrackParameters:
    """Helices of tracks at the perigee, the point closest to the beam line (x = y = 0); signs as in ACTS.

    A track that could not be fitted has NaN in `values`, `covariance` and `chi2`; its `status` says why.

    Attributes:
        values: (n_tracks, 5) float64: d0 [mm], z0 [mm], phi [rad], theta [rad], charge over momentum [e/GeV].
        covariance: (n_tracks, 5, 5) float64 of these, in these units.
        chi2: (n_tracks,) float64 of the hits.
        n_hits: (n_tracks,) int64 hits that were fitted: those on layers that the fit knows.
        status: (n_tracks,) int8: a `FitStatus` for each track.
    """

    values: Float64[ndarray, "n_tracks 5"]
    covariance: Float64[ndarray, "n_tracks 5 5"]
    chi2: Float64[ndarray, " n_tracks"]
    n_hits: Int64[ndarray, " n_tracks"]
    status: Int8[ndarray, " n_tracks"]

    def __post_init__(self) -> None:
        n = len(self.values)
        _expect("values", self.values, np.float64, (n, 5))
        _expect("covariance", self.covariance, np.float64, (n, 5, 5))
        _expect("chi2", self.chi2, np.float64, (n,))
        _expect("n_hits", self.n_hits, np.int64, (n,))
        _expect("status", self.status, np.int8, (n,))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def fitted(self) -> Bool[ndarray, " n_tracks"]:
        """Which tracks have parameters."""
        return np.asarray(self.status == FitStatus.FITTED)

    @property
    def ndf(self) -> Int64[ndarray, " n_tracks"]:
        """Degrees of freedom: two measurements a hit less five parameters."""
        return np.asarray(2 * self.n_hits - 5)

    @property
    def pt(self) -> Float64[ndarray, " n_tracks"]:
        """Transverse momentum sin(theta) / abs(q/p) [GeV], of a particle of unit charge."""
        return np.asarray(np.sin(self.values[:, 3]) / np.abs(self.values[:, 4]))


@dataclass(frozen=True, eq=False)
class Tracks:
    """Track candidates as one label per hit.

    Attributes:
        track_id: (n_hits,) int64 in input order: 0 .. n_tracks - 1, `NO_TRACK` (-1) for a hit on no track.
            Tracks are numbered by their first hit in input order.
        seconds: wall time of each stage [s], in pipeline order.
        counts: sizes along the way, e.g. ``{"hits": 91000, "edges": 120000}``; of our pipelines also ``"outside"``, the
            hits on no layer of the detector, and ``"unfilled_layers"``, the layers without hits or filled in a part.
        candidates: rows of the hits of each track, from a finder whose tracks share hits; None where the labels say
            all.
        cpu_seconds: processor time of each stage [s], from a finder that measures it.
        beam_spot: beam line that the hits were seen from: the one that was expected, or where the tracks clearly come
            from.
        parameters: fitted helix of each track; None where no fit was asked for.
    """

    track_id: Int64[ndarray, " n_hits"]
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    candidates: Sequence[Int64[ndarray, " _"]] | None = None
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    beam_spot: BeamSpot = ON_AXIS
    parameters: TrackParameters | None = None

    def __post_init__(self) -> None:
        _expect("track_id", self.track_id, np.int64, (None,))

    @property
    def n_tracks(self) -> int:
        """Number of tracks."""
        return int(self.track_id.max(initial=NO_TRACK)) + 1

    @property
    def share_on_tracks(self) -> float:
        """Share of the hits that are on a track, in [0, 1]; NaN where there are no hits."""
        n = len(self.track_id)
        return np.count_nonzero(self.track_id >= 0) / n if n else float("nan")


def _expect(name: str, array: ndarray, dtype: type, shape: tuple[int | None, ...]) -> None:
    """Refuse an array that is not of the stated type and shape (None matches any length)."""
    if array.dtype != dtype:
        raise DtypeError(f"{name}: got dtype {array.dtype}, expected {np.dtype(dtype)}; convert it first")
    if array.ndim != len(shape) or any(
        want is not None and got != want for got, want in zip(array.shape, shape, strict=True)
    ):
        wanted = ", ".join("n" if length is None else str(length) for length in shape)
        raise ShapeError(f"{name}: got shape {array.shape}, expected ({wanted})")
