"""Events of ColliderML's event display: one JSON object per event, with its hits and the particles that made them.

Source: https://github.com/OpenDataDetector/ColliderML, docs/public/event-display/events. In mm and GeV. The entries
called `tracks` are particles, so they are no tracks to compare with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.errors import ColumnError, FileError
from beampipe.tracking.events import NOISE, Event, Particles, Truth
from beampipe.tracking.formats.reading.format import Format, Told
from beampipe.tracking.formats.reading.glimpse import Glimpse, read_json
from beampipe.tracking.formats.tables.columns import Origin, decimals, event_number, event_of, integers

__all__ = ["DISPLAY", "read_display"]

_HITS: Final = "all_tracker_hits"
_NUMBER: Final = "HIT_ID"
_LEPTONS: Final = (11, 13, 15)


def read_display(path: Path) -> Event:
    """The event of one file.

    The file gives the pT of each particle, but neither its direction nor where it starts. Its direction is taken from
    the event's vertex to its innermost hit, its start is the vertex: so pT is exact, eta good to about .01 for
    particles from the vertex, and displaced particles cannot be told from others. Charge is that of the PDG code.

    Raises:
        FileError: no whole JSON object, or a hit is not usable.
        ColumnError: hits lack a coordinate or their number.
    """
    body = read_json(path)
    metadata = body.get("metadata")
    number = metadata.get("event_id") if isinstance(metadata, Mapping) else None
    origin = Origin(path, DISPLAY.name, number if isinstance(number, int) else event_number(path))
    rows = body.get(_HITS)
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise FileError(f"{path}: got no list of hits as {_HITS}, expected one", path=path)
    names = list(rows[0]) if rows else ["x", "y", "z"]
    columns = {("hit_id" if name == _NUMBER else name): _column(origin, rows, name) for name in names}
    return event_of(origin, columns, truth=_truth(origin, columns, body.get("vertex")))


def _column(origin: Origin, rows: list[Mapping[str, Any]], name: str) -> ndarray:
    row = next((row for row, hit in enumerate(rows) if name not in hit or hit[name] is None), None)
    if row is not None:
        raise ColumnError(f"{origin}: hit {row} has no {name}, expected it for each", path=origin.path, name=name)
    return np.array([hit[name] for hit in rows])


def _truth(origin: Origin, columns: dict[str, ndarray], vertex: object) -> Truth | None:
    if not {"particle_id", "pT", "pdg_id"} <= set(columns):
        return None
    particle_id = integers(origin, "particle_id", columns["particle_id"])
    position = np.stack([decimals(origin, name, columns[name]) for name in "xyz"], axis=1)
    given = isinstance(vertex, list) and len(vertex) == 3 and all(isinstance(value, int | float) for value in vertex)
    start = np.array(vertex if given else (0.0, 0.0, 0.0), np.float64)
    way = position - start
    # Innermost hit of each particle: the first of it in order of the distance from the vertex.
    order = np.argsort((way**2).sum(axis=1), kind="stable")
    ids, first = np.unique(particle_id[order], return_index=True)
    first, ids = order[first[ids != NOISE]], ids[ids != NOISE]
    along = way[first] / np.maximum(np.hypot(way[first, 0], way[first, 1]), 1e-6)[:, np.newaxis]
    pdg = integers(origin, "pdg_id", columns["pdg_id"])[first].astype(np.int32)
    charge = np.where(np.isin(np.abs(pdg), _LEPTONS), -np.sign(pdg), np.sign(pdg))
    particles = Particles(
        ids,
        pdg,
        charge.astype(np.float32),
        (along * decimals(origin, "pT", columns["pT"])[first][:, np.newaxis]).astype(np.float32),
        np.tile(start, (len(ids), 1)).astype(np.float32),
        np.ones(len(ids), np.bool_),
    )
    return Truth(particle_id, particles)


def _recognises(file: Glimpse) -> bool:
    return file.kind == "json" and file.has(_HITS)


def _read(path: Path, told: Told) -> Iterator[Event]:
    yield read_display(path)


DISPLAY: Final = Format("event-display", _recognises, _read)
"""Events of ColliderML's event display, in mm and GeV."""
