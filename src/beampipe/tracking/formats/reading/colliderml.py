"""Events of ColliderML, release 1: the Parquet tables `tracker_hits` and `particles`, one row per event.

Source: https://huggingface.co/datasets/CERN/ColliderML-Release-1 and `ColliderMLRelease1InputConverter.cpp` of ACTS
(https://github.com/acts-project/acts, Examples/Io/Arrow). In mm, GeV and e; positions are measured, not true ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.errors import ColumnError, FileError
from beampipe.tracking.events import Event, Particles, Truth
from beampipe.tracking.formats.reading.format import Format, Told
from beampipe.tracking.formats.reading.glimpse import Glimpse, take_glimpse
from beampipe.tracking.formats.tables.columns import Origin, decimals, event_of, integers
from beampipe.tracking.formats.tables.rows import event_rows

__all__ = ["COLLIDERML", "particles_beside", "read_colliderml"]

_HITS: Final = ("x", "y", "z", "volume_id", "layer_id", "surface_id")
_PARTICLES: Final = ("particle_id", "pdg_id", "charge", "px", "py", "pz", "vx", "vy", "vz", "primary")
_TABLES: Final = ("tracker_hits", "particles")


def read_colliderml(path: Path, told: Told) -> Iterator[Event]:
    """The events of a table of tracker hits, with the truth if there is a table of particles.

    The particles are those of `told.particles`; else of the file that has ``particles`` where the path of the hits, its
    last two folders included, has ``tracker_hits``. A particle of a hit that is not in the table has no momentum and
    counts for nothing.

    Raises:
        FileError: a file is missing or cut short, or the particles of an event are.
        ColumnError: a column is missing.
    """
    particles_path = Path(told.particles) if told.particles is not None else particles_beside(path)
    if particles_path is not None and not particles_path.is_file():
        raise FileError(f"{particles_path}: no such file, expected the table of particles", path=particles_path)
    particles = None if particles_path is None else _ByEvent(particles_path)
    for row, (values, columns) in enumerate(event_rows(path)):
        if "event_id" not in values:
            raise ColumnError(f"{path}: row {row}: got no event_id, expected a number", path=path)
        origin = Origin(path, COLLIDERML.name, int(values["event_id"]))
        if particles is None or "particle_id" not in columns:
            yield event_of(origin, columns)
            continue
        particle_id = integers(origin, "particle_id", columns["particle_id"])
        yield event_of(origin, columns, truth=Truth(particle_id, particles.of(origin.event_id)))


class _ByEvent:
    """The particles of one event after the other, from a table in the order of the hits; it may hold more events."""

    def __init__(self, path: Path) -> None:
        file = take_glimpse(path)
        missing = [name for name in ("event_id", *_PARTICLES) if name not in file.names]
        if missing:
            raise ColumnError(f"{path}: no column {', '.join(missing)}; got {file}", path=path, name=missing[0])
        self._path = path
        self._rows = event_rows(path)

    def of(self, event_id: int) -> Particles:
        """The particles of that event."""
        for values, columns in self._rows:
            if values.get("event_id") == event_id:
                return _particles(Origin(self._path, COLLIDERML.name, event_id), columns)
        raise FileError(
            f"{self._path}: got no event {event_id}, expected the events of the hits in the same order; write both"
            " tables again",
            path=self._path,
        )


def _particles(origin: Origin, columns: dict[str, ndarray]) -> Particles:
    missing = [name for name in _PARTICLES if name not in columns]
    if missing:
        raise ColumnError(f"{origin}: got no {', '.join(missing)}, expected lists", path=origin.path, name=missing[0])

    def triple(names: str) -> ndarray:
        return np.stack([decimals(origin, name, columns[name]) for name in names.split()], axis=1).astype(np.float32)

    return Particles(
        integers(origin, "particle_id", columns["particle_id"]),
        integers(origin, "pdg_id", columns["pdg_id"]).astype(np.int32),
        decimals(origin, "charge", columns["charge"]).astype(np.float32),
        triple("px py pz"),
        triple("vx vy vz"),
        decimals(origin, "primary", columns["primary"]).astype(np.bool_),
    )


def particles_beside(path: Path) -> Path | None:
    """The table of particles that belongs to a table of hits by its path, None if there is none."""
    if not any(_TABLES[0] in part for part in path.resolve().parts[-3:]):
        return None
    hits, particles = _TABLES
    parts = path.resolve().parts
    for n in (3, 2, 1):
        end = Path(*(part.replace(hits, particles) for part in parts[-n:]))
        candidate = Path(*parts[:-n]) / end
        if candidate != path.resolve() and candidate.is_file():
            return candidate
    return None


def _recognises(file: Glimpse) -> bool:
    return file.kind == "parquet" and file.has(*_HITS) and set(_HITS) <= file.lists


COLLIDERML: Final = Format("colliderml", _recognises, read_colliderml, frozenset({"particles"}))
"""ColliderML, release 1, in mm and GeV."""
