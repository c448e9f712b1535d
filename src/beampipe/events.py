"""Data types of one collision: hits, particles, truth, tracks and their fitted helices.

All types are frozen and hold one array per quantity. Methods that draw or export call code of higher layers, which is
imported when the method is called.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, replace
from enum import IntEnum
from functools import cached_property, partial
from itertools import islice, pairwise
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, overload

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from beampipe.arrays import Bool, Float32, Float64, Int8, Int32, Int64, UInt64
from beampipe.errors import ConfigError, DtypeError, InputError, NotFiniteError, ShapeError, expect_type, look_up
from beampipe.lazy import import_name
from beampipe.notebook import Page, Shown, span
from beampipe.provenance import Provenance
from beampipe.tables import (
    ByContent,
    Quantity,
    Row,
    Table,
    expect_array,
    expect_stored,
    quantities,
    selected_rows,
    stored,
    stored_fields,
)

if TYPE_CHECKING:
    from awkward import Array
    from matplotlib.figure import Figure
    from pandas import DataFrame


_Tracks = TypeVar("_Tracks", bound="Tracks")
Number = TypeVar("Number")

Position = Float32[ndarray, "n_hits 3"]
"""r [mm], phi [rad] and z [mm] of each hit."""

TrackIds = Int64[ndarray, " n_hits"]
"""Track of each hit; -1 for none."""

Offsets = Int64[ndarray, " n_events_and_1"]
"""First hit of each event, and the end, where the hits of several events lie in one array."""

BEAM_SPOT_MAX: Final = 20.0
"""Largest distance of a beam line from the detector's axis [mm]: it must be inside the beam pipe."""

_TILT_MAX: Final = 0.01
"""Largest slope of a beam line to the detector's axis."""


@dataclass(frozen=True)
class BeamSpot:
    """A straight beam line, nearly along z.

    Attributes:
        x: where it crosses z = 0, along x [mm].
        y: where it crosses z = 0, along y [mm].
        dxdz: slope of x along z.
        dydz: slope of y along z.

    Raises:
        ConfigError: a number is not finite, or the line leaves the beam pipe.
    """

    x: float = 0.0
    y: float = 0.0
    dxdz: float = 0.0
    dydz: float = 0.0

    def __post_init__(self) -> None:
        # Written so that NaN fails, too.
        if not math.hypot(self.x, self.y) < BEAM_SPOT_MAX:
            raise ConfigError(f"beam spot: got ({self.x:g}, {self.y:g}) mm, expected it within {BEAM_SPOT_MAX:g} mm")
        if not math.hypot(self.dxdz, self.dydz) < _TILT_MAX:
            raise ConfigError(f"beam spot: got slopes {self.dxdz:g}, {self.dydz:g}, expected less than {_TILT_MAX:g}")

    @property
    def numbers(self) -> tuple[float, float, float, float]:
        """x, y, dxdz and dydz."""
        return self.x, self.y, self.dxdz, self.dydz

    @classmethod
    def parse(cls, text: str) -> BeamSpot:
        """From ``x,y`` or ``x,y,dxdz,dydz``, lengths in mm.

        Raises:
            ConfigError: these are no two or four numbers, or the line leaves the beam pipe.
        """
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if len(numbers) not in (2, 4):
            raise ConfigError(f"beam spot: got {text!r}, expected x,y in mm, such as 0.5,-0.2, or x,y,dxdz,dydz")
        return cls(*numbers)

    @property
    def text(self) -> str:
        """The line as `parse` reads it: ``x,y,dxdz,dydz``, each number with all its digits."""
        return ",".join(repr(float(number)) for number in self.numbers)

    @property
    def opposite(self) -> BeamSpot:
        """The mirror image: hits measured from it look as if the beam had moved from the axis to this line."""
        return BeamSpot(-self.x, -self.y, -self.dxdz, -self.dydz)

    def moved(self, x: float, y: float) -> BeamSpot:
        """The parallel line through the point (x, y) relative to this one, rounded to a micrometre."""
        return replace(self, x=float(np.rint(1000 * (self.x + x)) / 1000), y=float(np.rint(1000 * (self.y + y)) / 1000))

    def relative_to(self, position: Position) -> Position:
        """r [mm], phi [rad], z [mm] of the same hits, r and phi measured from the line."""
        if self == ON_AXIS:
            return position
        r, phi, z = position.T.astype(np.float64)
        x = r * np.cos(phi) - self.x - self.dxdz * z
        y = r * np.sin(phi) - self.y - self.dydz * z
        return np.stack([np.hypot(x, y), np.arctan2(y, x), z], axis=1).astype(np.float32)


ON_AXIS: Final = BeamSpot()
"""The beam line along the detector's axis."""


def cylindrical(x: ndarray, y: ndarray, z: ndarray) -> Float32[ndarray, "n 3"]:
    """x, y, z [mm] as r [mm], phi [rad], z [mm]."""
    return np.stack([np.hypot(x, y), np.arctan2(y, x), z], axis=1).astype(np.float32)


def expect_cartesian(xyz: ArrayLike) -> Float64[ndarray, "n_hits 3"]:
    """x, y, z [mm] as float64.

    Raises:
        DtypeError: the coordinates are no real numbers.
        ShapeError: they are not (n, 3).
    """
    try:
        array = np.asarray(xyz)
    except ValueError:
        raise ShapeError("xyz: got rows of different lengths, expected (n, 3): x, y, z [mm] of each hit") from None
    if array.dtype.kind not in "iuf":
        raise DtypeError(f"xyz: got dtype {array.dtype}, expected real numbers: x, y, z [mm] of each hit")
    array = array.astype(np.float64)
    expect_array("xyz", array, np.float64, (None, 3))
    return array


@dataclass(frozen=True)
class Scale:
    """The size of one unit of each coordinate.

    Attributes:
        name: name by which a user chooses the scale.
        r: length that r is divided by [mm].
        phi: angle that phi is divided by [rad].
        z: length that z is divided by [mm].
    """

    name: str
    r: float
    phi: float
    z: float

    def to_mm(self, features: Float32[ndarray, "n_hits 3"]) -> Position:
        """Features in this scale as r [mm], phi [rad], z [mm]."""
        position: Position = features * self._units()
        return position

    def from_mm(self, position: Position) -> Float32[ndarray, "n_hits 3"]:
        """r [mm], phi [rad], z [mm] as features in this scale."""
        features: Float32[ndarray, "n_hits 3"] = position / self._units()
        return features

    def _units(self) -> Float32[ndarray, " 3"]:
        return np.array([self.r, self.phi, self.z], np.float32)


SCALES: Final = {
    scale.name: scale
    for scale in (
        Scale("mm", 1.0, 1.0, 1.0),
        Scale("exatrkx", 3000.0, np.pi, 400.0),
        Scale("acts", 1000.0, np.pi, 1000.0),
    )
}
"""`mm`: mm, rad, mm. `exatrkx`: r/3000, phi/pi, z/400. `acts`: r/1000, phi/pi, z/1000."""


def scale_named(name: str) -> Scale:
    """The scale of that name.

    Raises:
        UnknownNameError: there is none.
    """
    return look_up("scale", name, SCALES)


def _asinh_of_ratio(along: ndarray, across: ndarray) -> ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        eta: ndarray = np.arcsinh(along / across)
    return eta


class HitQuantities:
    """The columns of hits: arrays of `Hits`, numbers of a `Hit`."""

    r = Quantity(np.float32, "mm", "distance from the axis", lambda hits: hits.position[:, 0])
    phi = Quantity(np.float32, "rad", "azimuth", lambda hits: hits.position[:, 1])
    z = Quantity(np.float32, "mm", "z", lambda hits: hits.position[:, 2])
    x = Quantity(np.float32, "mm", "x", lambda hits: hits.r * np.cos(hits.phi), in_tables=False)
    y = Quantity(np.float32, "mm", "y", lambda hits: hits.r * np.sin(hits.phi), in_tables=False)
    theta = Quantity(
        np.float32, "rad", "polar angle from the origin", lambda hits: np.arctan2(hits.r, hits.z), in_tables=False
    )
    eta = Quantity(
        np.float32,
        "",
        "pseudorapidity from the origin, asinh(z / r); +-inf on the axis",
        lambda hits: _asinh_of_ratio(hits.z, hits.r),
        in_tables=False,
    )
    local0 = Quantity(np.float32, "mm", "position on the module", lambda hits: hits.local[:, 0], needs=("local",))
    local1 = Quantity(
        np.float32, "mm", "second position on the module", lambda hits: hits.local[:, 1], needs=("local",)
    )
    variance0 = Quantity(
        np.float32, "mm^2", "variance of `local0`", lambda hits: hits.variance[:, 0], needs=("variance",)
    )
    variance1 = Quantity(
        np.float32, "mm^2", "variance of `local1`", lambda hits: hits.variance[:, 1], needs=("variance",)
    )


class Hit(HitQuantities, Row):
    """One measured space point.

    >>> hits = Hits.from_xyz([3.0, 0.0], [4.0, 1.0], [5.0, 0.0])
    >>> float(hits[0].r), len(hits[hits.z > 0])
    (5.0, 1)

    Attributes:
        geometry_id: ACTS geometry identifier of the module, or None.
    """

    geometry_id: np.uint64 | None


@dataclass(frozen=True, eq=False, repr=False)
class Hits(HitQuantities, Table[Hit], Shown):
    """Measured space points of one event, in input order.

    Attributes:
        position: (n_hits, 3) float32: r [mm], phi [rad], z [mm].
        geometry_id: (n_hits,) uint64 ACTS geometry identifier of the module, or None.
        local: (n_hits, 2) float32 position on the module [mm], or None. For a space point of a double-sided module, the
            coordinate that each of its two sensors measured.
        variance: (n_hits, 2) float32 variance of `local` [mm^2], or None.

    Raises:
        ShapeError: `position` is not (n, 3), or an optional field has another length.
        DtypeError: a field is not of its type.
        NotFiniteError: a coordinate is NaN or infinite.
    """

    position: Position = field(metadata=stored(np.float32, 3))
    geometry_id: UInt64[ndarray, " n_hits"] | None = field(default=None, metadata=stored(np.uint64))
    local: Float32[ndarray, "n_hits 2"] | None = field(default=None, metadata=stored(np.float32, 2))
    variance: Float32[ndarray, "n_hits 2"] | None = field(default=None, metadata=stored(np.float32, 2))
    row_type: ClassVar[type[Row]] = Hit

    def __post_init__(self) -> None:
        if np.ndim(self.position) == 1 and self.geometry_id is not None:
            raise ShapeError(
                "hits: got columns, expected one array (n, 3) of r, phi, z; or call Hits.from_xyz(x, y, z)"
            )
        expect_array("hits", self.position, np.float32, (None, 3))
        if not np.isfinite(self.position).all():
            row = int(np.argmin(np.isfinite(self.position).all(axis=1)))
            raise NotFiniteError(
                f"hits: got {self.position[row].tolist()} at row {row}, expected finite r, phi, z;"
                " drop or repair that hit"
            )
        expect_stored(self, len(self.position))

    @classmethod
    def from_xyz(
        cls,
        x: ArrayLike,
        y: ArrayLike | None = None,
        z: ArrayLike | None = None,
        *,
        geometry_id: UInt64[ndarray, " n_hits"] | None = None,
        local: Float32[ndarray, "n_hits 2"] | None = None,
        variance: Float32[ndarray, "n_hits 2"] | None = None,
    ) -> Hits:
        """Hits from Cartesian coordinates, with r = hypot(x, y) and phi = atan2(y, x).

        >>> Hits.from_xyz(x, y, z)
        >>> Hits.from_xyz(np.stack([x, y, z], axis=1))

        Args:
            x: (n_hits,) x [mm], any real numbers; or (n_hits, 3) x, y, z [mm]. The detector's axis is x = y = 0.
            y: (n_hits,) y [mm]; None if `x` has all coordinates.
            z: (n_hits,) z [mm]; None if `x` has all coordinates.
            geometry_id: (n_hits,) uint64 ACTS geometry identifier of the module, or None.
            local: (n_hits, 2) float32 position on the module [mm], or None.
            variance: (n_hits, 2) float32 variance of `local` [mm^2], or None.

        Raises:
            DtypeError: the coordinates are no real numbers.
            ShapeError: they are neither three columns of one length nor (n, 3), or an optional field has another
                length.
            NotFiniteError: one of them is NaN or infinite.
            TypeError: only two coordinates are given.
        """
        if (y is None) != (z is None):
            raise TypeError("from_xyz: got two coordinates, expected from_xyz(x, y, z) or from_xyz(array of (n, 3))")
        xyz = x
        if y is not None and z is not None:
            columns = [np.asarray(column) for column in (x, y, z)]
            if len({column.shape for column in columns}) > 1 or columns[0].ndim != 1:
                raise ShapeError(
                    f"xyz: got columns of shapes {', '.join(str(column.shape) for column in columns)}, expected three"
                    " of one length"
                )
            xyz = np.stack(columns, axis=1)
        return cls(cylindrical(*expect_cartesian(xyz).T), geometry_id, local, variance)

    def __len__(self) -> int:
        return len(self.position)

    @property
    def xyz(self) -> Float32[ndarray, "n_hits 3"]:
        """(n_hits, 3) float32: x, y, z [mm]."""
        return np.stack([self.x, self.y, self.z], axis=1)

    def to_numpy(self) -> Position:
        """(n_hits, 3) float32: r [mm], phi [rad], z [mm]."""
        return self.position

    def plot(self, **options: Any) -> Figure:
        """The figure of `Event.plot` for an event with these hits and no truth, with the same options."""
        return Event(0, self).plot(**options)

    def save(self, path: str | Path) -> None:
        """Write the hits to a Parquet file, as an event without truth: ``open_events(path)[0].hits`` are equal.

        Raises:
            FileError: another ending, a folder that is missing or closed, or no space.
        """
        Event(0, self).save(path)

    def facts(self) -> Mapping[str, object]:
        """Number of hits, their extent, and which optional fields are present."""
        facts: dict[str, object] = {"hits": len(self)}
        if len(self):
            facts |= {"r": span(self.position[:, 0], "mm"), "z": span(self.position[:, 2], "mm")}
        beside = [name for name in ("geometry_id", "local", "variance") if getattr(self, name) is not None]
        return {**facts, "beside": ", ".join(beside) or "nothing"}


NOISE = 0
"""`particle_id` of a hit that no particle made."""


class ParticleQuantities:
    """The columns of particles: arrays of `Particles`, numbers of a `Particle`."""

    px = Quantity(np.float32, "GeV", "momentum along x at production", lambda of: of.momentum[:, 0])
    py = Quantity(np.float32, "GeV", "momentum along y at production", lambda of: of.momentum[:, 1])
    pz = Quantity(np.float32, "GeV", "momentum along z at production", lambda of: of.momentum[:, 2])
    pt = Quantity(np.float32, "GeV", "transverse momentum", lambda of: np.hypot(of.px, of.py))
    eta = Quantity(
        np.float32, "", "pseudorapidity, asinh(pz / pT); +-inf along the beam", lambda of: _asinh_of_ratio(of.pz, of.pt)
    )
    phi = Quantity(np.float32, "rad", "azimuth of the momentum", lambda of: np.arctan2(of.py, of.px), in_tables=False)
    vx = Quantity(np.float32, "mm", "x of production", lambda of: of.vertex[:, 0])
    vy = Quantity(np.float32, "mm", "y of production", lambda of: of.vertex[:, 1])
    vz = Quantity(np.float32, "mm", "z of production", lambda of: of.vertex[:, 2])
    origin_radius = Quantity(
        np.float32, "mm", "transverse radius of production", lambda of: np.hypot(of.vx, of.vy), in_tables=False
    )


class Particle(ParticleQuantities, Row):
    """One simulated particle.

    Attributes:
        particle_id: its number, unique in the event, > 0.
        pdg: PDG code.
        charge: charge [e].
        primary: whether it is from the generator, not made in the detector.
    """

    particle_id: np.int64
    pdg: np.int32
    charge: np.float32
    primary: np.bool_


@dataclass(frozen=True, eq=False, repr=False)
class Particles(ParticleQuantities, Table[Particle], Shown):
    """Simulated particles of one event.

    Attributes:
        particle_id: (n_particles,) int64, unique in the event, > 0.
        pdg: (n_particles,) int32 PDG code.
        charge: (n_particles,) float32 [e].
        momentum: (n_particles, 3) float32 px, py, pz [GeV] at production.
        vertex: (n_particles, 3) float32 x, y, z [mm] of production.
        primary: (n_particles,) bool: from the generator, not made in the detector.
    """

    particle_id: Int64[ndarray, " n_particles"] = field(metadata=stored(np.int64))
    pdg: Int32[ndarray, " n_particles"] = field(metadata=stored(np.int32))
    charge: Float32[ndarray, " n_particles"] = field(metadata=stored(np.float32))
    momentum: Float32[ndarray, "n_particles 3"] = field(metadata=stored(np.float32, 3))
    vertex: Float32[ndarray, "n_particles 3"] = field(metadata=stored(np.float32, 3))
    primary: Bool[ndarray, " n_particles"] = field(metadata=stored(np.bool_))
    row_type: ClassVar[type[Row]] = Particle

    def __post_init__(self) -> None:
        expect_stored(self, len(self.particle_id))

    def __len__(self) -> int:
        return len(self.particle_id)

    def rows(self, particle_id: Int64[ndarray, " n"]) -> Int64[ndarray, " n"]:
        """Row of each `particle_id`, -1 for noise and for particles that are not listed."""
        ids = self.particle_id
        if len(ids) == 0:
            return np.full(len(particle_id), -1, np.int64)
        by_id = np.argsort(ids)
        row = by_id[np.minimum(np.searchsorted(ids, particle_id, sorter=by_id), len(ids) - 1)]
        return np.where((ids[row] == particle_id) & (particle_id != NOISE), row, -1)

    def save(self, path: str | Path) -> None:
        """Write them to a Parquet file, as an event without hits: ``open_events(path)[0].particles`` are equal.

        Raises:
            FileError: another ending, a folder that is missing or closed, or no space.
        """
        Event(0, Hits(np.empty((0, 3), np.float32)), Truth(np.empty(0, np.int64), self)).save(path)

    def facts(self) -> Mapping[str, object]:
        """Number of particles, of charged and primary ones, and their range of pT."""
        facts: dict[str, object] = {"particles": len(self)}
        if len(self):
            facts |= {
                "charged": int(np.count_nonzero(self.charge)),
                "primary": int(np.count_nonzero(self.primary)),
                "pT": span(self.pt, "GeV"),
            }
        return facts


@dataclass(frozen=True, eq=False, repr=False)
class Truth(ByContent, Shown):
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


NO_TRACK = -1
"""`track_id` of a hit that is on no track."""


PARAMETERS: Final = ("d0", "z0", "phi", "theta", "q_over_p")
"""Columns of `TrackParameters.values`: d0 [mm], z0 [mm], phi [rad], theta [rad], charge over momentum [e/GeV]."""


class FitStatus(IntEnum):
    """Outcome of the fit of one track.

    Attributes:
        FITTED: parameters and covariance are valid.
        TOO_FEW_HITS: fewer than three hits on layers of the fit tables.
        NO_START: no helix through the first, the middle and the last hit, because two of them coincide.
        NOT_CONVERGED: the iteration did not converge.
        SUSPECT: parameters and covariance were computed, but the hits are hardly those of one particle, also without
            outliers: a larger chi2 has a probability of about one in a thousand.
    """

    FITTED = 0
    TOO_FEW_HITS = 1
    NO_START = 2
    NOT_CONVERGED = 3
    SUSPECT = 4


MAX_OUTLIERS: Final = 3
"""Hits that the fit of a track leaves out at most."""


@dataclass(frozen=True, eq=False, repr=False)
class TrackParameters(ByContent, Shown):
    """Helices of tracks at the perigee, the point closest to the beam line (x = y = 0); signs as in ACTS.

    A track that could not be fitted has NaN in `values`, `covariance` and `chi2`; its `status` says why.

    Each array is declared here only, by `stored`: its type, its shape, and its place in the answers of servers.

    Attributes:
        values: (n_tracks, 5) float64: d0 [mm], z0 [mm], phi [rad], theta [rad], charge over momentum [e/GeV].
        covariance: (n_tracks, 5, 5) float64 of these, in these units.
        chi2: (n_tracks,) float64 of the hits.
        n_hits: (n_tracks,) int64 hits that were fitted: those on layers of the fit tables, without outliers.
        status: (n_tracks,) int8: a `FitStatus` for each track.
        outliers: (n_tracks, 3) int64 rows of the hits that the fit left out as wrong or ambiguous, -1 for none.
        field: magnetic field along z that q/p was computed with [T]; NaN where it is not known, as of servers.
    """

    values: Float64[ndarray, "n_tracks 5"] = field(metadata=stored(np.float64, 5))
    covariance: Float64[ndarray, "n_tracks 5 5"] = field(metadata=stored(np.float64, 5, 5))
    chi2: Float64[ndarray, " n_tracks"] = field(metadata=stored(np.float64))
    n_hits: Int64[ndarray, " n_tracks"] = field(metadata=stored(np.int64))
    status: Int8[ndarray, " n_tracks"] = field(metadata=stored(np.int8))
    outliers: Int64[ndarray, "n_tracks 3"] = field(metadata=stored(np.int64, MAX_OUTLIERS))
    field: float = field(default=float("nan"), kw_only=True)

    def __post_init__(self) -> None:
        expect_stored(self, len(self.values))

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: Int64[ndarray, " n"]) -> TrackParameters:
        """Those of some tracks, by their numbers."""
        return replace(self, **{each.name: getattr(self, each.name)[rows] for each in fit_results()})

    @property
    def fitted(self) -> Bool[ndarray, " n_tracks"]:
        """Which tracks have parameters."""
        return np.asarray((self.status == FitStatus.FITTED) | (self.status == FitStatus.SUSPECT))

    @property
    def ndf(self) -> Int64[ndarray, " n_tracks"]:
        """Degrees of freedom: two measurements a hit less five parameters."""
        return np.asarray(2 * self.n_hits - 5)

    @property
    def pt(self) -> Float64[ndarray, " n_tracks"]:
        """Transverse momentum sin(theta) / abs(q/p) [GeV], of a particle of unit charge."""
        return np.asarray(np.sin(self.values[:, 3]) / np.abs(self.values[:, 4]))

    def facts(self) -> Mapping[str, object]:
        """Number of tracks, of those that could be fitted, and their range of pT."""
        facts: dict[str, object] = {"tracks": len(self), "fitted": int(np.count_nonzero(self.fitted))}
        pt = self.pt[self.fitted]
        return {**facts, "pT": span(pt, "GeV")} if len(pt) else facts


def fit_results() -> list[Field[Any]]:
    """The arrays of `TrackParameters`, in the order in which kernels and servers give them."""
    return stored_fields(TrackParameters)


_STATUS_WORDS: Final = np.array([status.name.lower() for status in FitStatus])


def _of_fit(
    dtype: type[Number],
    unit: str,
    meaning: str,
    values: Callable[[TrackParameters], ndarray],
    *,
    in_tables: bool = True,
    in_files: str = "",
) -> Quantity[Number]:
    """A column of tracks that is computed from their fit."""

    def computed(tracks: Tracks) -> ndarray:
        return values(tracks.fit)

    return Quantity(dtype, unit, meaning, computed, needs=("parameters",), in_tables=in_tables, in_files=in_files)


class TrackQuantities:
    """The columns of tracks: arrays of `Tracks`, numbers of a `Track`; a new one goes to the end.

    Tracks here and from servers have the same ones. Those of the fit need it; tracks that could not be fitted have NaN.
    """

    n_hits = Quantity(np.int64, "", "hits on the track", lambda tracks: tracks.hits_per_track())
    pt = Quantity(
        np.float32,
        "GeV",
        "transverse momentum by the fitted helix, or the circle through the hits of a track that was not fitted",
        lambda tracks: import_name("beampipe.tracking.fitting.helix:pt_of_tracks")(
            tracks.event_for("found_in(event).pt").hits, tracks, None
        ),
        needs=("event", "magnetic_field"),
    )
    d0 = _of_fit(
        np.float64,
        "mm",
        "distance of the perigee from the beam line, with the sign of ACTS",
        lambda fit: fit.values[:, 0],
        in_files="d0",
    )
    z0 = _of_fit(np.float64, "mm", "z of the perigee", lambda fit: fit.values[:, 1], in_files="z0")
    phi = _of_fit(
        np.float64, "rad", "azimuth of the direction at the perigee", lambda fit: fit.values[:, 2], in_files="phi"
    )
    theta = _of_fit(
        np.float64, "rad", "polar angle of the direction at the perigee", lambda fit: fit.values[:, 3], in_files="theta"
    )
    q_over_p = _of_fit(np.float64, "e/GeV", "charge over momentum", lambda fit: fit.values[:, 4], in_files="q_over_p")
    chi2 = _of_fit(np.float64, "", "chi2 of the hits", lambda fit: fit.chi2, in_files="chi2")
    fitted = _of_fit(np.bool_, "", "whether it has parameters", lambda fit: fit.fitted)
    ndf = _of_fit(np.int64, "", "degrees of freedom", lambda fit: fit.ndf, in_tables=False, in_files="ndf")
    n_fitted = _of_fit(
        np.int64, "", "hits that were fitted", lambda fit: fit.n_hits, in_tables=False, in_files="n_hits"
    )
    status = _of_fit(
        str,
        "",
        "`fitted`, or a word of `FitStatus`",
        lambda fit: _STATUS_WORDS[fit.status],
        in_tables=False,
        in_files="status",
    )
    eta = _of_fit(
        np.float64, "", "pseudorapidity, -ln tan(theta / 2)", lambda fit: -np.log(np.tan(fit.values[:, 3] / 2))
    )
    charge = _of_fit(np.float64, "e", "sign of the charge", lambda fit: np.sign(fit.values[:, 4]))
    p = _of_fit(np.float64, "GeV", "momentum of unit charge", lambda fit: 1 / np.abs(fit.values[:, 4]), in_tables=False)
    px = _of_fit(np.float64, "GeV", "x of the momentum", lambda fit: fit.pt * np.cos(fit.values[:, 2]), in_tables=False)
    py = _of_fit(np.float64, "GeV", "y of the momentum", lambda fit: fit.pt * np.sin(fit.values[:, 2]), in_tables=False)
    pz = _of_fit(np.float64, "GeV", "z of the momentum", lambda fit: fit.pt / np.tan(fit.values[:, 3]), in_tables=False)
    particle_id = Quantity(
        np.int64,
        "",
        "the particle that has most of the track's hits, and most of whose hits are on the track; 0 for none (fakes)",
        lambda tracks: import_name("beampipe.tracking.evaluation.matching:matched_particles")(
            tracks.event_for("found_in(event).particle_id"), tracks
        ),
        needs=("truth",),
        in_tables=False,
    )


def _covariance(row: int, column: int, fit: TrackParameters) -> ndarray:
    return fit.covariance[:, row, column]


def _file_columns() -> Iterator[tuple[str, Quantity[Any]]]:
    """The columns of files; after the parameters the lower triangle of their covariance."""
    for each in quantities(TrackQuantities):
        if each.in_files:
            yield each.in_files, each
        if each.name != PARAMETERS[-1]:
            continue
        units = [getattr(TrackQuantities, name).unit for name in PARAMETERS]
        for row, column in np.argwhere(np.tri(len(PARAMETERS))).tolist():
            name, other = PARAMETERS[row], PARAMETERS[column]
            unit, meaning = f"{units[row]} {units[column]}", f"covariance of {name} and {other}"
            entry = partial(_covariance, row, column)
            yield f"cov_{name}_{other}", _of_fit(np.float64, unit, meaning, entry)


TRACK_FILE_COLUMNS: Final = dict(_file_columns())
"""Name -> column of the file of ``--parameters``, whose tracks are all fitted or have the reason why not."""


class Track(TrackQuantities, Row):
    """One track: its numbers, and its hits."""

    @property
    def rows(self) -> Int64[ndarray, " n"]:
        """Rows of its hits in the event, in input order."""
        return np.asarray(self.number("rows"))

    @property
    def hits(self) -> Hits:
        """Its hits, from the beam line outwards."""
        hits: Hits = self.number("hits")
        return hits

    @property
    def covariance(self) -> Float64[ndarray, "5 5"]:
        """Covariance of its parameters, as in `TrackParameters`."""
        return np.asarray(self.number("covariance"))

    @property
    def event(self) -> Event | None:
        """The event that it was found in."""
        tracks: Any = self._table
        event: Event | None = tracks.event
        return event


@dataclass(frozen=True, eq=False, repr=False)
class Tracks(TrackQuantities, Table[Track], Shown):
    """Track candidates as one label per hit; ``len(tracks)`` is their number, ``tracks[0]`` the first `Track`.

    Equal are tracks with the same labels, fits and event, whatever time they took.

    Attributes:
        track_id: (n_hits,) int64 in input order: 0 .. n_tracks - 1, `NO_TRACK` (-1) for a hit on no track.
            Finders number tracks by their first hit in input order.
        seconds: wall time of each stage [s], in pipeline order.
        counts: sizes along the way, e.g. ``{"hits": 91000, "edges": 120000}``; of our pipelines also ``"outside"``, the
            hits on no layer of the detector, and ``"unfilled_layers"``, the layers that are empty or partly filled.
        candidates: rows of the hits of each track, from a finder whose tracks share hits; None where the labels hold
            all.
        cpu_seconds: processor time of each stage [s], from a finder that measures it.
        beam_spot: beam line that r and phi were measured from: the expected one, or the one that the tracks clearly
            come from.
        parameters: fitted helix of each track; None without a fit.
        event: event that they were found in, for plots and momenta; None for tracks that no finder made.
        magnetic_field: solenoidal field along z [T], for the pT of tracks that were not fitted: that of the finder's
            detector. None where it is not known; `pt` then needs it.
        min_hits: fewest hits of a track that counts in scores, and of layers of a particle, by the finder's model; None
            where it is not known.

    Raises:
        ShapeError: there is not one label for each hit.
        DtypeError: the labels are not int64, or candidates no whole numbers.
        InputError: a label is below -1, or the field is not a finite number.
    """

    track_id: TrackIds
    seconds: dict[str, float] = field(default_factory=dict, compare=False)
    counts: dict[str, int] = field(default_factory=dict, compare=False)
    candidates: Sequence[Int64[ndarray, " _"]] | None = None
    cpu_seconds: dict[str, float] = field(default_factory=dict, compare=False)
    beam_spot: BeamSpot = ON_AXIS
    parameters: TrackParameters | None = None
    event: Event | None = None
    magnetic_field: float | None = None
    min_hits: int | None = None
    row_type: ClassVar[type[Row]] = Track

    def __post_init__(self) -> None:
        expect_array("track_id", self.track_id, np.int64, (None,))
        if wrong := [rows.dtype for rows in self.candidates or () if len(rows) and rows.dtype.kind not in "iu"]:
            raise DtypeError(f"candidates: got {wrong[0]}, expected rows of hits, as int64")
        if (least := self.track_id.min(initial=NO_TRACK)) < NO_TRACK:
            raise InputError(f"track_id: got {least}, expected the track of each hit from 0 on, and -1 for none")
        if self.magnetic_field is not None and not np.isfinite(self.magnetic_field):
            raise InputError(f"tracks: got magnetic_field = {self.magnetic_field}, expected a field in T, or None")

    @property
    def n_tracks(self) -> int:
        """Number of tracks by their labels; `len` also counts tracks that share all their hits with others."""
        return int(self.track_id.max(initial=NO_TRACK)) + 1

    def with_parameters(self, parameters: TrackParameters) -> Tracks:
        """These tracks with a fit, and without the hits that it left out; the numbers of the tracks stay.

        Args:
            parameters: fitted helix of each track.
        """
        track, slot = np.nonzero(parameters.outliers >= 0)
        hit = parameters.outliers[track, slot]
        track_id, candidates = self.track_id.copy(), self.candidates
        own = track_id[hit] == track
        track_id[hit[own]] = NO_TRACK
        if candidates is not None:
            lists = list(candidates)
            for number in np.unique(track):
                lists[number] = np.setdiff1d(lists[number], hit[track == number])
            candidates = lists
        return replace(self, track_id=track_id, candidates=candidates, parameters=parameters)

    def __len__(self) -> int:
        """Number of tracks; of a finder whose tracks share hits, that of `candidates`."""
        return self.n_tracks if self.candidates is None else len(self.candidates)

    def take(self: _Tracks, selection: ArrayLike) -> _Tracks:
        """The tracks of a mask or of numbers, numbered from 0 in that order; all hits stay, also those on no track.

        Raises:
            IndexError: the mask has another length, or there is no such track.
            InputError: a track is there twice.
        """
        rows = selected_rows(selection, len(self), "tracks")
        if len(np.unique(rows)) < len(rows):
            raise InputError("tracks: got one of them twice, expected each once; give each number once")
        number = np.full(len(self) + 1, NO_TRACK, np.int64)  # the last is that of no track
        number[rows] = np.arange(len(rows))
        return replace(
            self,
            track_id=number[self.track_id],
            candidates=None if self.candidates is None else [self.candidates[row] for row in rows],
            parameters=None if self.parameters is None else self.parameters.take(rows),
        )

    @property
    def truth(self) -> Truth | None:
        """The truth of the event that they were found in; None without event or truth."""
        return None if self.event is None else self.event.truth

    @property
    def rows(self) -> list[Int64[ndarray, " n"]]:
        """Rows of the hits of each track, in input order."""
        if self.candidates is not None:
            return list(map(np.sort, self.candidates))
        rows = np.argsort(self.track_id, kind="stable")[np.count_nonzero(self.track_id < 0) :]
        return split_hit_lists(rows, np.append(0, np.cumsum(self.n_hits)))

    @property
    def hits(self) -> list[Hits]:
        """Hits of each track, from the beam line outwards.

        Raises:
            TypeError: the tracks have no event.
        """
        hits = self.event_for("found_in(event).hits").hits
        return [hits.take(rows) for rows in split_hit_lists(*hit_lists(hits, self, outwards=True))]

    def hits_per_track(self) -> Int64[ndarray, " n_tracks"]:
        """The column `n_hits`."""
        if self.candidates is not None:
            return np.array([len(rows) for rows in self.candidates], np.int64)
        return np.bincount(self.track_id[self.track_id >= 0], minlength=self.n_tracks)

    def found_in(self: _Tracks, event: Event | Hits) -> _Tracks:
        """The same tracks with the event that they were found in, as finders return them.

        Raises:
            ShapeError: the event has another number of hits.
        """
        event = Event(0, event) if isinstance(event, Hits) else event
        if len(event.hits) != len(self.track_id):
            raise ShapeError(
                f"tracks: got labels of {len(self.track_id)} hits, expected {len(event.hits)}, one per hit"
            )
        tracks = object.__new__(type(self))  # a copy without the checks of `__post_init__`, which have been made
        tracks.__dict__.update(self.__getstate__(), event=event)
        return tracks

    @property
    def fit(self) -> TrackParameters:
        """The fitted helix of each track.

        Raises:
            ConfigError: the tracks were not fitted.
        """
        if self.parameters is None:
            raise ConfigError("tracks: these were not fitted; load_track_fitter().add(event.hits, tracks) fits them")
        return self.parameters

    @property
    def covariance(self) -> Float64[ndarray, "n_tracks 5 5"]:
        """Covariance of the fitted parameters, as in `TrackParameters`.

        Raises:
            ConfigError: the tracks were not fitted.
        """
        return self.fit.covariance

    def plot(
        self,
        *,
        min_pt: float = 1.0,
        show_truth: bool | None = None,
        detector: str | Path | Shown | None = None,
        field: float | None = None,
        color: str = "pt",
        dark: bool = False,
    ) -> Figure:
        """The figure that `Event.plot` draws of the event and these tracks, with the same arguments.

        Args:
            min_pt: lowest pT of a track that is drawn [GeV].
            show_truth: whether simulated particles are drawn, as broad pale lines.
            detector: detector whose layers are drawn.
            field: solenoidal field, for the pT of tracks that were not fitted [T].
            color: what the colour of a track means: ``"pt"``, its particle (``"truth"``) or its ``"finder"``.
            dark: draw on a dark ground.

        Raises:
            MissingExtraError: matplotlib is not installed.
            TypeError: the tracks have no event.
        """
        return self.event_for("found_in(event).plot()").plot(
            self, min_pt=min_pt, show_truth=show_truth, detector=detector, field=field, color=color, dark=dark
        )

    def to_awkward(self) -> Array:
        """The tracks as an array of awkward.

        Returns:
            (n_tracks,) records: the columns, and `hits`, the hits of the track from the beam line outwards, as records
            of `row`, `r` [mm], `phi` [rad] and `z` [mm].

        Raises:
            MissingExtraError: awkward is not installed.
            TypeError: the tracks have no event.
        """
        import awkward as ak

        hits = self.event_for("found_in(event).to_awkward()").hits
        row, begin = hit_lists(hits, self, outwards=True)
        points = {"row": row, **dict(zip(("r", "phi", "z"), hits.position[row].T, strict=True))}
        jagged = ak.zip({name: ak.unflatten(values, np.diff(begin)) for name, values in points.items()})
        return ak.zip({**self.columns(), "hits": jagged}, depth_limit=1)

    def save(self, path: str | Path) -> None:
        """Write the tracks, with their event if they have one, to a Parquet file.

        `beampipe.tracking.open_tracks` reads equal ones; `beampipe.tracking.open_events` reads the event. Times and
        counts are not written.

        Raises:
            FileError: another ending, a folder that is missing or closed, or no space.
            InputError: a column of the event's `source` has values other than numbers, words and truth values.
        """
        import_name("beampipe.tracking.formats.parquet:save_tracks")(path, [self])

    def event_for(self, call: str) -> Event:
        """The event; an error names the call that works without one."""
        if self.event is None:
            raise TypeError(f"tracks: these were not made by a finder and have no event; call tracks.{call}")
        return self.event

    def facts(self) -> Mapping[str, object]:
        """Number of tracks, of hits on them and of fits, and the time."""
        on, n = int(np.count_nonzero(self.track_id >= 0)), len(self.track_id)
        facts: dict[str, object] = {"tracks": self.n_tracks, "hits on tracks": f"{on} of {n}"}
        if self.parameters is not None:
            facts["fitted"] = int(np.count_nonzero(self.parameters.fitted))
        return {**facts, "time": f"{sum(self.seconds.values()):.3g} s"} if self.seconds else facts


@dataclass(frozen=True, eq=False, repr=False)
class HitColumns(ByContent, Shown):
    """The input's own columns of the hits, unchanged, so that they can be written beside the tracks.

    Attributes:
        format: name of the format that the event was read from, a key of `beampipe.tracking.formats.EVENT_FORMATS`.
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

    def facts(self) -> Mapping[str, object]:
        """Format and names of the columns."""
        return {"format": self.format, "columns": ", ".join(self.columns()) or "none"}


@dataclass(frozen=True, eq=False, repr=False)
class Event(Table[Hit], Shown):
    """One collision: its hits and, if simulated, its truth. Its rows are its hits; its columns are attributes, too.

    Attributes:
        event_id: number of the event in its sample.
        hits: the measured hits.
        truth: the particles that made the hits, or None for data.
        source: the input's own columns of the hits, or None for an event that was not read from a third-party file.
        provenance: how the event was made; None where that is not known.
    """

    event_id: int
    hits: Hits
    truth: Truth | None = None
    source: HitColumns | None = None
    provenance: Provenance | None = None

    def __len__(self) -> int:
        return len(self.hits)

    def __getattr__(self, name: str) -> Any:
        # Copies and pickles look for methods before there are hits.
        if not name.startswith("_") and "hits" in vars(self):
            if name in (each.name for each in quantities(Hits)):
                return getattr(self.hits, name)
            if name in (columns := self.columns()):
                return columns[name]
        raise AttributeError(f"'Event' object has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.columns(), *(each.name for each in quantities(Hits))})

    @property
    def particles(self) -> Particles:
        """The simulated particles.

        Raises:
            InputError: the event has no truth.
        """
        if self.truth is None:
            raise InputError(f"event {self.event_id}: got no truth, so no particles; data have none")
        return self.truth.particles

    def _one(self, row: int) -> Hit:
        return self.hits[row]

    def columns(self) -> dict[str, ndarray]:
        """`event_id`, the columns of the hits, `particle_id` of simulated ones, and the input's own columns."""
        truth = {} if self.truth is None else {"particle_id": self.truth.particle_id}
        own = {} if self.source is None else self.source.columns()
        return {"event_id": np.full(len(self), self.event_id, np.int64), **self.hits.columns(), **truth, **own}

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

    def plot(
        self,
        tracks: Tracks | None = None,
        *,
        min_pt: float = 1.0,
        show_truth: bool | None = None,
        detector: str | Path | Shown | None = None,
        field: float | None = None,
        color: str = "pt",
        dark: bool = False,
    ) -> Figure:
        """A figure of two views, x-y and r-z: hits as dots, tracks coloured by pT, fakes dashed in red.

        Args:
            tracks: tracks that were found in the event; None for the hits alone.
            min_pt: lowest pT of a track that is drawn [GeV].
            show_truth: whether simulated particles are drawn, as broad pale lines; if not given, where there are no
                tracks.
            detector: detector whose layers are drawn, as for `beampipe.tracking.draw_event`; by default the shipped
                model that the hits fit.
            field: solenoidal field, for the pT of tracks that were not fitted [T]; by default that of the detector, or
                of the tracks where it is unknown.
            color: what the colour of a track means: ``"pt"``, its particle (``"truth"``) or its ``"finder"``.
            dark: draw on a dark ground.

        Returns:
            A figure of matplotlib, which a notebook shows; ``figure.savefig("event.pdf")`` writes it.

        Raises:
            ShapeError: the tracks are of another event.
            MissingExtraError: matplotlib is not installed.
        """
        expect_type("plot", tracks, (Tracks, NoneType), "call event.plot() or event.plot(finder.find(event))")
        figure: Figure = import_name("beampipe.tracking.display:event_figure")(
            self,
            tracks,
            min_pt=min_pt,
            show_truth=show_truth,
            detector=detector,
            field=field,
            color=color,
            dark=dark,
        )
        return figure

    def display(
        self,
        tracks: Tracks | None = None,
        *,
        min_pt: float = 1.0,
        detector: str | Path | Shown | None = None,
        field: float | None = None,
        height: int = 560,
    ) -> Page:
        """An interactive page, which a notebook shows: 3D, x-y and r-z; ``.write("event.html")`` writes it.

        The page embeds the event, about 8 bytes a hit: a notebook with an event of mu = 200 grows by 2 MB.

        Args:
            tracks: tracks that were found in the event; None for the hits, and the truth if there is one, alone.
            min_pt: pT cut at which the view opens [GeV]; 0 for none, at most 50.
            detector: detector whose layers are drawn, as for `plot`.
            field: solenoidal field, for the pT of tracks that were not fitted [T]; by default that of the detector, or
                of the tracks where it is unknown.
            height: height of the view [pixels].

        Raises:
            ShapeError: the tracks are of another event.
            ConfigError: `min_pt` is outside 0 .. 50 GeV.
        """
        page: Page = import_name("beampipe.tracking.display:event_page")(
            self, tracks, min_pt=min_pt, detector=detector, field=field, height=height
        )
        return page

    def save(self, path: str | Path) -> None:
        """Write the event to a Parquet file, which `beampipe.tracking.open_events` reads.

        Raises:
            FileError: another ending, a folder that is missing or closed, or no space.
        """
        import_name("beampipe.tracking.formats.parquet:write_events")(path, [self])

    def facts(self) -> Mapping[str, object]:
        """Number of the event, of its hits and of its particles, and the format that it was read from."""
        truth = "none" if self.truth is None else f"{len(self.truth.particles)} particles"
        facts: dict[str, object] = {"event": self.event_id, "hits": len(self.hits), "truth": truth}
        return facts if self.source is None else {**facts, "format": self.source.format}

    def _repr_html_(self) -> str:
        picture: str = import_name("beampipe.tracking.display:thumbnail")(self.hits)
        return f"{super()._repr_html_()}{picture}"

    def take(self, selection: ArrayLike) -> Event:
        """The event with the hits of a mask or of row numbers, and their truth, without the input's own columns.

        Merged hits keep all their particles, and particles that lost all their hits stay.

        Raises:
            IndexError: the mask has another length, or there is no such row.
        """
        rows = selected_rows(selection, len(self.hits), "hits")
        truth = self.truth
        if truth is not None:
            order = np.argsort(truth.shared_hit, kind="stable")
            begin, end = (np.searchsorted(truth.shared_hit, rows, side, order) for side in ("left", "right"))
            shared_hit = np.repeat(np.arange(len(rows)), end - begin)
            entry = order[np.arange(len(shared_hit)) - np.repeat(np.cumsum(end - begin) - end, end - begin)]
            truth = Truth(truth.particle_id[rows], truth.particles, shared_hit, truth.shared_particle[entry])
        return Event(self.event_id, self.hits.take(rows), truth, provenance=self.provenance)

    def with_noise(self, noise: Hits) -> Event:
        """The event with noise hits appended, and without the input's own columns.

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
        return Event(self.event_id, hits, truth, provenance=self.provenance)


if TYPE_CHECKING:
    _EventSequence = Sequence[Event]
else:
    _EventSequence = Sequence  # a checker of types at runtime would read events to check those of a Sequence[Event]


@dataclass(frozen=True, eq=False, repr=False)
class Events(_EventSequence, Shown):
    """Events of files, read when they are used, one in memory at a time.

    ``for event in events`` can be repeated; ``len(events)``, ``events[0]`` and slices work as for a list.

    Attributes:
        source: name of the file or folder, for messages.
        read: reads the events from that row on.
        size: counts the events without reading them; None where they must be read to be counted.
        rows: numbers of the events that are taken, in that order; None for all.
        note: what a user should know of how they are read; empty if nothing.
    """

    source: str
    read: Callable[[int], Iterator[Event]]
    size: Callable[[], int] | None = None
    rows: Sequence[int] | None = None
    note: str = ""

    @cached_property
    def _rows(self) -> Sequence[int]:
        if self.rows is not None:
            return self.rows
        return range(sum(1 for _ in self.read(0)) if self.size is None else self.size())

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Event]:
        rows = self.rows
        if rows is None:
            return self.read(0)
        if not isinstance(rows, range) or rows.step < 0:
            return (self[number] for number in range(len(rows)))
        return islice(self.read(rows.start), 0, max(rows.stop - rows.start, 0), rows.step)

    @overload
    def __getitem__(self, index: int) -> Event: ...

    @overload
    def __getitem__(self, index: slice | ArrayLike) -> Events: ...

    def __getitem__(self, index: Any) -> Event | Events:
        if isinstance(index, slice):
            return replace(self, rows=self._rows[index])
        if isinstance(index, list | ndarray):
            chosen = selected_rows(index, len(self), "events")
            return replace(self, rows=[self._rows[row] for row in chosen.tolist()])
        expect_type("events", index, (int, np.integer), "events[0] is the first event, events[:10] the first ten")
        try:
            row = self._rows[index]
        except IndexError:
            raise IndexError(f"events: got {index}, but there are {len(self)} events in {self.source}") from None
        return next(self.read(row))

    def __eq__(self, other: object) -> bool:
        """Whether the other has equal events; both are read."""
        if not isinstance(other, Events):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of lists

    def to_pandas(self) -> DataFrame:
        """The hits of all events as a table of pandas, with the columns of `Event.to_pandas`.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        import pandas as pd

        return pd.concat([event.to_pandas() for event in self], ignore_index=True)

    def to_awkward(self) -> Array:
        """The hits as an array of awkward: (n_events, n_hits of each) records of the columns of `Event.to_awkward`.

        Raises:
            MissingExtraError: awkward is not installed.
        """
        import awkward as ak

        of_events = [event.to_awkward() for event in self]
        return ak.unflatten(ak.concatenate(of_events), [len(hits) for hits in of_events])

    def save(self, path: str | Path) -> None:
        """Write the events to a Parquet file, which `beampipe.tracking.open_events` reads.

        Raises:
            FileError: another ending, a folder that is missing or closed, or no space.
        """
        import_name("beampipe.tracking.formats.parquet:write_events")(path, self)

    def facts(self) -> Mapping[str, object]:
        """The source, and the number of events where it need not be counted by reading them."""
        counted = self.size is not None or self.rows is not None
        facts = {"source": self.source, "events": len(self) if counted else "not counted yet"}
        return {**facts, "note": self.note} if self.note else facts


def distance_squared(position: Position) -> Float32[ndarray, " n_hits"]:
    """r^2 + z^2 [mm^2] of r, phi, z: an edge runs from the smaller to the larger one (ties: to the higher index)."""
    r, z = position[:, 0], position[:, 2]
    out: Float32[ndarray, " n_hits"] = r * r + z * z
    return out


def hit_lists(
    hits: Hits, tracks: Tracks, *, outwards: bool = False
) -> tuple[Int64[ndarray, " n"], Int64[ndarray, " n_tracks_and_1"]]:
    """The hits of all tracks: those of `candidates` where tracks share hits, else those of the labels.

    Args:
        hits: hits that the tracks were found in.
        tracks: the tracks.
        outwards: order the hits of each track by r^2 + z^2, not by their rows (or as `candidates` gives them).

    Returns:
        Rows of the hits, one track after the other, and where the rows of each track begin, with the end of the last.

    Raises:
        ShapeError: there is not one label for each hit.
        InputError: a candidate has a row outside the event.
    """
    if len(tracks.track_id) != len(hits):
        raise ShapeError(f"tracks: got labels of {len(tracks.track_id)} hits, expected {len(hits)}, one per hit")
    size = tracks.n_hits
    if tracks.candidates is None:
        rows = np.flatnonzero(tracks.track_id >= 0)
        track = tracks.track_id[rows]
    else:
        rows = np.concatenate([np.empty(0, np.int64), *tracks.candidates])
        track = np.repeat(np.arange(len(size)), size)
        outside = np.flatnonzero((rows < 0) | (rows >= len(hits)))
        if len(outside):
            number, row = track[outside[0]], rows[outside[0]]
            raise InputError(f"tracks: candidate {number}: got row {row}, expected rows 0 .. {len(hits) - 1}")
    order = np.lexsort((distance_squared(hits.position)[rows], track)) if outwards else np.argsort(track, kind="stable")
    return rows[order], np.append(0, np.cumsum(size)).astype(np.int64)


def split_hit_lists(rows: Int64[ndarray, " n"], begin: Int64[ndarray, " n_tracks_and_1"]) -> list[Int64[ndarray, " _"]]:
    """The rows of each track, from the two arrays of `hit_lists`."""
    return [rows[first:last] for first, last in pairwise(begin.tolist())]
