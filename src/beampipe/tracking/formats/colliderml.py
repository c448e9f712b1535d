"""Events of ColliderML, of its event display, and predictions for its tracking task. In mm, GeV and e.

Events, release 1: the Parquet tables `tracker_hits` and `particles`, one row per event; positions are measured, not
true ones. Source: https://huggingface.co/datasets/CERN/ColliderML-Release-1 and `ColliderMLRelease1InputConverter.cpp`
of ACTS (https://github.com/acts-project/acts, Examples/Io/Arrow).

Event display: one JSON object per event, with its hits and the particles that made them. Source:
https://github.com/OpenDataDetector/ColliderML, docs/public/event-display/events. Its `tracks` are particles, not
reconstructed tracks.

Predictions: `event_id`, `hit_id` (row in `tracker_hits`), `track_id`, for hits on tracks only: the metric of the task
would take all others as one track. Source: `colliderml/tasks/tracking/metrics.py` and `task.py` there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.errors import ColumnError, FileError, InputError
from beampipe.events import NO_TRACK, NOISE, Event, Particles, Tracks, Truth
from beampipe.tracking.formats import tables
from beampipe.tracking.formats.format import EventFormat, one_event, probe_file, read_json
from beampipe.tracking.formats.read_options import ReadOptions
from beampipe.tracking.formats.writing import TrackFormat, check_labels

_HIT_COLUMNS: Final = ("x", "y", "z", "volume_id", "layer_id", "surface_id")

_PARTICLE_COLUMNS: Final = ("particle_id", "pdg_id", "charge", "px", "py", "pz", "vx", "vy", "vz", "primary")

_TABLES: Final = ("tracker_hits", "particles")


def read_colliderml(path: Path, options: ReadOptions) -> Iterator[Event]:
    """The events of a table of tracker hits, with the truth if there is a table of particles.

    The particles are those of `options.particles`; else of the file that has ``particles`` where the path of the hits,
    its last two folders included, has ``tracker_hits``. A particle that is not in the table has no momentum and is
    not counted in any efficiency.

    Raises:
        FileError: a file is missing or cut short, or the particles of an event are.
        ColumnError: a column is missing.
    """
    particles_path = Path(options.particles) if options.particles is not None else particles_beside(path)
    if particles_path is not None and not particles_path.is_file():
        raise FileError(f"{particles_path}: no such file, expected the table of particles", path=particles_path)
    particles = None if particles_path is None else _ParticleTable(particles_path)
    for row, (values, columns) in enumerate(tables.event_rows(path)):
        if "event_id" not in values:
            raise ColumnError(f"{path}: row {row}: got no event_id, expected a number", path=path)
        origin = tables.Origin(path, COLLIDERML.name, int(values["event_id"]))
        if particles is None or "particle_id" not in columns:
            yield tables.event_of(origin, columns)
            continue
        particle_id = tables.integers(origin, "particle_id", columns["particle_id"])
        yield tables.event_of(origin, columns, truth=Truth(particle_id, particles.of(origin.event_id)))


class _ParticleTable:
    """Reads particles event by event from a table in the order of the hits; it may hold more events."""

    def __init__(self, path: Path) -> None:
        file = probe_file(path)
        missing = [name for name in ("event_id", *_PARTICLE_COLUMNS) if name not in file.names]
        if missing:
            raise ColumnError(f"{path}: no column {', '.join(missing)}; got {file}", path=path, name=missing[0])
        self._path = path
        self._rows = tables.event_rows(path)

    def of(self, event_id: int) -> Particles:
        """The particles of that event."""
        for values, columns in self._rows:
            if values.get("event_id") == event_id:
                return _particles(tables.Origin(self._path, COLLIDERML.name, event_id), columns)
        raise FileError(
            f"{self._path}: got no event {event_id}, expected the events of the hits in the same order; write both"
            " tables again",
            path=self._path,
        )


def _particles(origin: tables.Origin, columns: dict[str, ndarray]) -> Particles:
    missing = [name for name in _PARTICLE_COLUMNS if name not in columns]
    if missing:
        raise ColumnError(f"{origin}: got no {', '.join(missing)}, expected lists", path=origin.path, name=missing[0])
    return Particles(
        tables.integers(origin, "particle_id", columns["particle_id"]),
        tables.integers(origin, "pdg_id", columns["pdg_id"]).astype(np.int32),
        tables.decimals(origin, "charge", columns["charge"]).astype(np.float32),
        tables.decimal_columns(origin, columns, "px py pz").astype(np.float32),
        tables.decimal_columns(origin, columns, "vx vy vz").astype(np.float32),
        tables.decimals(origin, "primary", columns["primary"]).astype(np.bool_),
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


COLLIDERML: Final = EventFormat(
    "colliderml",
    lambda file: file.kind == "parquet" and file.has(*_HIT_COLUMNS) and set(_HIT_COLUMNS) <= file.lists,
    read_colliderml,
    frozenset({"particles"}),
)
"""ColliderML, release 1, in mm and GeV."""

_DISPLAY_HITS: Final = "all_tracker_hits"

_LEPTONS: Final = (11, 13, 15)


def read_display(path: Path, options: ReadOptions) -> Iterator[Event]:
    """The event of one file of the event display.

    The file gives the pT of each particle, but neither its direction nor where it starts. Its direction is taken from
    the event's vertex to its innermost hit, its start is the vertex: so pT is exact, eta good to about .01 for
    particles from the vertex, and displaced particles cannot be distinguished from others. The charge is that of the
    PDG code.

    Raises:
        FileError: no whole JSON object, or a hit is not usable.
        ColumnError: hits lack a coordinate or their number.
    """
    body = read_json(path)
    metadata = body.get("metadata")
    number = metadata.get("event_id") if isinstance(metadata, Mapping) else None
    origin = tables.Origin(path, DISPLAY.name, number if isinstance(number, int) else tables.event_number(path))
    rows = body.get(_DISPLAY_HITS)
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise FileError(f"{path}: got no list of hits as {_DISPLAY_HITS}, expected one", path=path)
    names = list(rows[0]) if rows else ["x", "y", "z"]
    columns = {("hit_id" if name == "HIT_ID" else name): _display_column(origin, rows, name) for name in names}
    yield tables.event_of(origin, columns, truth=_display_truth(origin, columns, body.get("vertex")))


def _display_column(origin: tables.Origin, rows: list[Mapping[str, Any]], name: str) -> ndarray:
    row = next((row for row, hit in enumerate(rows) if name not in hit or hit[name] is None), None)
    if row is not None:
        raise ColumnError(f"{origin}: hit {row} has no {name}, expected it for each", path=origin.path, name=name)
    return np.array([hit[name] for hit in rows])


def _display_truth(origin: tables.Origin, columns: dict[str, ndarray], vertex: object) -> Truth | None:
    if not {"particle_id", "pT", "pdg_id"} <= set(columns):
        return None
    particle_id = tables.integers(origin, "particle_id", columns["particle_id"])
    position = tables.decimal_columns(origin, columns, "x y z")
    has_vertex = isinstance(vertex, list) and [isinstance(value, int | float) for value in vertex] == [True] * 3
    start = np.array(vertex if has_vertex else (0.0, 0.0, 0.0), np.float64)
    way = position - start
    # Innermost hit of each particle: the first of it in order of the distance from the vertex.
    order = np.argsort((way**2).sum(axis=1), kind="stable")
    ids, first = np.unique(particle_id[order], return_index=True)
    first, ids = order[first[ids != NOISE]], ids[ids != NOISE]
    along = way[first] / np.maximum(np.hypot(way[first, 0], way[first, 1]), 1e-6)[:, np.newaxis]
    pdg = tables.integers(origin, "pdg_id", columns["pdg_id"])[first].astype(np.int32)
    charge = np.where(np.isin(np.abs(pdg), _LEPTONS), -np.sign(pdg), np.sign(pdg))
    particles = Particles(
        ids,
        pdg,
        charge.astype(np.float32),
        (along * tables.decimals(origin, "pT", columns["pT"])[first][:, np.newaxis]).astype(np.float32),
        np.tile(start, (len(ids), 1)).astype(np.float32),
        np.ones(len(ids), np.bool_),
    )
    return Truth(particle_id, particles)


DISPLAY: Final = EventFormat(
    "event-display", lambda file: file.kind == "json" and file.has(_DISPLAY_HITS), read_display, count=one_event
)
"""Events of ColliderML's event display, in mm and GeV."""


def _prediction_columns(event: Event, tracks: Tracks) -> dict[str, ndarray]:
    check_labels(event, tracks)
    _require_tracker_hits(event)
    rows = np.flatnonzero(tracks.track_id != NO_TRACK)
    return {
        "event_id": np.full(len(rows), event.event_id, np.int64),
        "hit_id": rows,
        "track_id": tracks.track_id[rows],
    }


def _require_tracker_hits(event: Event) -> None:
    if event.source is None or event.source.format != COLLIDERML.name:
        origin = "another kind" if event.source is None else event.source.format
        raise InputError(
            f"event {event.event_id}: got an input of {origin}, expected tracker_hits of ColliderML to predict on,"
            " as hits are named by their rows in it; write labels instead"
        )


PREDICTIONS: Final = TrackFormat(
    "colliderml",
    (".parquet",),
    {"event_id": np.int64, "hit_id": np.int64, "track_id": np.int64},
    _prediction_columns,
    _require_tracker_hits,
)
"""Predictions for the tracking task of ColliderML; the input must be of ColliderML."""
