"""Columns of hits that go by the names which most tables use, as the hits and the truth of an event."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64, UInt64
from beampipe.errors import BeampipeError, ColumnError, ConfigError, FileError
from beampipe.tracking.events import NOISE, Event, HitColumns, Hits, Particles, Truth
from beampipe.tracking.events.arrays import cylindrical
from beampipe.tracking.formats.scale import scale_named

__all__ = [
    "PROMPT",
    "Origin",
    "decimals",
    "event_number",
    "event_of",
    "integers",
    "linked_truth",
    "module_code",
    "short",
]

PROMPT: Final = 2.0
"""Particles that start within so much of the beam line [mm] count as primary where a file does not say."""

_PREFIX: Final = "hit_"
_CLOSE: Final = 1e-3
"""Largest relative difference between r and hypot(x, y) where a table has both; float32 and rounding give 1e-6."""

_CYLINDRICAL: Final = ("r", "phi", "z")
_CARTESIAN: Final = ("x", "y", "z")
_BITS: Final = (("volume", 8), ("layer", 12), ("module", 28))


@dataclass(frozen=True)
class Origin:
    """Where columns come from, for messages and for what is written later.

    Attributes:
        path: file that they were read from.
        format: name of its format.
        event_id: number of the event.
    """

    path: Path
    format: str
    event_id: int

    def __str__(self) -> str:
        return f"{self.path}: event {self.event_id}"


def short(name: str) -> str:
    """The name of a column without the prefix that says that it is of the hits; ``hit_id`` keeps its name."""
    return name if name == "hit_id" else name.removeprefix(_PREFIX)


def event_number(path: str | Path) -> int:
    """The last number in a file's name, 0 if there is none."""
    numbers = re.findall(r"\d+", Path(path).name)
    return int(numbers[-1]) if numbers else 0


def event_of(origin: Origin, columns: Mapping[str, ndarray], scale: str = "mm", truth: Truth | None = None) -> Event:
    """The event whose hits have these columns.

    =============================================  =====================================================
    columns                                        read as
    =============================================  =====================================================
    r, phi, z or x, y, z                           position [mm, rad, mm] or, r, phi, z only, in `scale`
    hit_id                                         the input's own number of each hit
    geometry_id                                    module, as ACTS numbers it
    volume_id, layer_id, module_id or surface_id   module, see `module_code`
    particle_id with px, py, pz                    truth: particle of each hit, 0 for none; its momentum [GeV]
    vx, vy, vz                                     where the particle starts [mm]; if not there, the origin
    q or charge; pdg, pdg_id or particle_type      charge [e], if not there 1; species, if not there 0
    primary                                        made by the generator; if not there, starts within 2 mm
    =============================================  =====================================================

    Each name may stand behind ``hit_``. All columns are kept as they are, too; r, phi and z in another scale
    as input_r, input_phi and input_z.

    Args:
        origin: file and event, for messages.
        columns: name -> (n_hits,) array.
        scale: a name of `SCALES`, for r, phi and z.
        truth: the truth, if it is known already; the columns of particles are then left alone.

    Raises:
        FileError: an identifier is out of its range, or r is not hypot(x, y).
        ColumnError: there is no position.
        InputError: the position is not usable (NaN).
    """
    named = {short(name): values for name, values in columns.items()}
    try:
        hits = Hits(_position(origin, named, scale), _module(origin, named))
        found = _truth(origin, named) if truth is None else truth
        hit_id = integers(origin, "hit_id", named["hit_id"]) if "hit_id" in named else None
        # Coordinates in another scale must not be taken for those in mm.
        scaled = _CYLINDRICAL if scale != "mm" else ()
        extra = {(f"input_{name}" if name in scaled else name): values for name, values in columns.items()}
        extra.pop("hit_id", None)
        return Event(origin.event_id, hits, found, HitColumns(origin.format, hit_id, extra))
    except FileError:
        raise
    except BeampipeError as error:
        raise type(error)(f"{origin}: {error}") from error


def linked_truth(n_hits: int, hit: Int64[ndarray, " n"], particle: Int64[ndarray, " n"], particles: Particles) -> Truth:
    """The truth of hits that are linked to particles: the first link gives the leading one, the others share the hit.

    Args:
        n_hits: number of the hits.
        hit: (n,) row of the hit of each link.
        particle: (n,) number of the particle of each link, never `NOISE`.
        particles: the particles.
    """
    leading = np.full(n_hits, NOISE, np.int64)
    rows, first = np.unique(hit, return_index=True)
    leading[rows] = particle[first]
    # The same particle may give several simulated hits to one hit: that is no sharing.
    further = np.unique(np.stack([hit, particle])[:, particle != leading[hit]], axis=1)
    return Truth(leading, particles, further[0], further[1])


def _position(origin: Origin, named: Mapping[str, ndarray], scale: str = "mm") -> ndarray:
    """(n_hits, 3) float32: r [mm], phi [rad], z [mm] of columns r, phi, z or x, y, z.

    Raises:
        ColumnError: there are neither.
        FileError: there are both, and they differ.
        ConfigError: a scale, but no r, phi and z.
    """
    round_, flat = (all(name in named for name in names) for names in (_CYLINDRICAL, _CARTESIAN))
    if not (round_ or flat):
        raise ColumnError(f"{origin}: got {', '.join(named)}, expected columns r, phi, z or x, y, z", path=origin.path)
    if not round_ and scale != "mm":
        raise ConfigError(f"{origin}: got scale {scale!r} for x, y and z, expected mm; leave the scale out")
    if not round_:
        return cylindrical(*(decimals(origin, name, named[name]) for name in _CARTESIAN))
    given = [decimals(origin, name, named[name]) for name in _CYLINDRICAL]
    position = scale_named(scale).to_mm(np.stack(given, axis=1).astype(np.float32))
    if flat and scale == "mm":
        r = np.hypot(decimals(origin, "x", named["x"]), decimals(origin, "y", named["y"]))
        wrong = np.abs(position[:, 0] - r) > _CLOSE * np.maximum(r, 1.0)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise FileError(
                f"{origin}: got r = {position[row, 0]:g} where x and y give {r[row]:g} at row {row}, expected one unit"
                " for both; drop the columns that are not in mm",
                path=origin.path,
            )
    return position


def module_code(where: object, volume: ndarray, layer: ndarray, module: ndarray) -> UInt64[ndarray, " n_hits"]:
    """Identifiers of modules as ACTS packs them: volume << 56 | layer << 36 | module << 8.

    Args:
        where: file, for messages.
        volume: (n_hits,) number of the volume, below 2**8.
        layer: (n_hits,) number of the layer in it, below 2**12.
        module: (n_hits,) number of the module in it, below 2**28.

    Raises:
        FileError: a number is negative or too large.
    """
    for (name, bits), values in zip(_BITS, (volume, layer, module), strict=True):
        if len(values) and (values.min() < 0 or values.max() >= 1 << bits):
            raise FileError(
                f"{where}: got {name} numbers from {values.min()} to {values.max()}, expected 0 to {(1 << bits) - 1};"
                " number them anew, or rename the column to read the hits without modules"
            )
    volume, layer, module = (values.astype(np.uint64) for values in (volume, layer, module))
    return np.asarray(volume << np.uint64(56) | layer << np.uint64(36) | module << np.uint64(8), np.uint64)


def decimals(origin: Origin, name: str, values: ndarray) -> Float64[ndarray, " n"]:
    """A column of numbers as float64.

    Raises:
        FileError: it holds something else, or values are missing.
    """
    if values.dtype.kind not in "fiub":
        raise FileError(f"{origin}: got words or gaps as {name}, expected numbers", path=origin.path, name=name)
    return values.astype(np.float64)


def integers(origin: Origin, name: str, values: ndarray) -> Int64[ndarray, " n"]:
    """A column of whole numbers as int64; NaN in a column of decimals counts as 0, for "none".

    Raises:
        FileError: a number is not whole, or too large for int64.
    """
    if values.dtype.kind == "u" and len(values) and values.max() > np.iinfo(np.int64).max:
        raise FileError(f"{origin}: got {name} {values.max()}, expected less than 2**63", path=origin.path)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0)
        if (values != np.rint(values)).any() or (np.abs(values) > 2.0**53).any():
            raise FileError(
                f"{origin}: got decimals as {name} that are no exact whole numbers; write integers", path=origin.path
            )
    elif values.dtype.kind not in "iub":
        raise FileError(f"{origin}: got words or gaps as {name}, expected whole numbers", path=origin.path, name=name)
    return values.astype(np.int64)


def _module(origin: Origin, named: Mapping[str, ndarray]) -> UInt64[ndarray, " n_hits"] | None:
    if "geometry_id" in named:
        given = named["geometry_id"]  # of all 64 bits, so not by way of int64
        return given.astype(np.uint64) if given.dtype.kind == "u" else _unsigned(origin, given)
    last = next((name for name in ("module_id", "surface_id") if name in named), None)
    if last is None or not {"volume_id", "layer_id"} <= set(named):
        return None
    return module_code(origin, *(integers(origin, name, named[name]) for name in ("volume_id", "layer_id", last)))


def _unsigned(origin: Origin, values: ndarray) -> UInt64[ndarray, " n"]:
    numbers = integers(origin, "geometry_id", values)
    if len(numbers) and numbers.min() < 0:
        raise FileError(f"{origin}: got geometry_id {numbers.min()}, expected numbers from 0 on", path=origin.path)
    return numbers.astype(np.uint64)


def _truth(origin: Origin, named: Mapping[str, ndarray]) -> Truth | None:
    if not {"particle_id", "px", "py", "pz"} <= set(named):
        return None
    particle_id = integers(origin, "particle_id", named["particle_id"])
    if len(particle_id) and particle_id.min() < NOISE:
        raise FileError(
            f"{origin}: got particle_id {particle_id.min()}, expected numbers above 0, and 0 for noise",
            path=origin.path,
        )
    ids, first = np.unique(particle_id, return_index=True)
    ids, first = ids[ids != NOISE], first[ids != NOISE]

    def of_particle(names: tuple[str, ...], missing: float, dtype: type[np.generic]) -> ndarray:
        name = next((name for name in names if name in named), None)
        return (np.full(len(ids), missing) if name is None else decimals(origin, name, named[name][first])).astype(
            dtype
        )

    momentum, vertex = (
        np.stack([of_particle((f"{prefix}{axis}",), 0.0, np.float32) for axis in "xyz"], axis=1) for prefix in "pv"
    )
    near = np.hypot(vertex[:, 0], vertex[:, 1]) < PROMPT
    particles = Particles(
        ids,
        of_particle(("pdg", "pdg_id", "particle_type"), 0.0, np.int32),
        of_particle(("q", "charge"), 1.0, np.float32),
        momentum,
        vertex,
        of_particle(("primary",), 0.0, np.bool_) if "primary" in named else near,
    )
    return Truth(particle_id, particles)
