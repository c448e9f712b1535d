"""Proto tracks as ACTS writes and reads them: `eventNNN-prototracks.csv`, one file per event.

Columns `trackId`, `measurementId`, `x`, `y`, `z` [mm].
Source: `CsvProtoTrackWriter` of ACTS (https://github.com/acts-project/acts, Examples/Io/Csv).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import FileError
from beampipe.files import make_folder
from beampipe.tracking.events import Event, Tracks
from beampipe.tracking.formats.tables.arrow import arrow
from beampipe.tracking.formats.writing.form import Form, Found, lists_of, own_hit_ids
from beampipe.tracking.formats.writing.growing import write_table

__all__ = ["PROTOTRACKS"]

_FORMATS: Final = ("acts", "acts-spacepoints")
_SECOND: Final = "measurement_id_2"
_NONE: Final = -1


def _write(path: Path, found: Found) -> int:
    """Write a folder with one file per event; or, where the path ends in .csv, one file of the only event."""
    written = 0
    for event, tracks in found:
        if path.suffix == ".csv" and written:
            raise FileError(
                f"{path}: got a second event (number {event.event_id}) for one file of {PROTOTRACKS.name}, expected a"
                " folder as output; the first event is written",
                path=path,
            )
        _write_event(path if path.suffix == ".csv" else _file(path, event), event, tracks)
        written += 1
    return written


def _file(folder: Path, event: Event) -> Path:
    make_folder(folder)
    return folder / f"event{event.event_id:09d}-prototracks.csv"


def _write_event(path: Path, event: Event, tracks: Tracks) -> None:
    pa, _ = arrow("lib")
    types = dict.fromkeys(("trackId", "measurementId"), pa.int64()) | dict.fromkeys("xyz", pa.float64())
    write_table(path, types, [(event, tracks)], _columns)


def _measurements(event: Event) -> Int64[ndarray, "n_hits 2"]:
    """The measurements of each hit; the second is -1, but for space points of two strips."""
    first = own_hit_ids(event, PROTOTRACKS.name, _FORMATS)
    extra = {} if event.source is None else event.source.extra
    return np.stack([first, extra.get(_SECOND, np.full(len(first), _NONE))], axis=1)


def _columns(event: Event, tracks: Tracks) -> dict[str, ndarray]:
    lists = lists_of(event, tracks)
    rows = np.concatenate([np.empty(0, np.int64), *lists])
    number = np.repeat(np.arange(len(lists), dtype=np.int64), [len(one) for one in lists])
    # Space points of one track may share a strip, which the track then names once.
    measurement = _measurements(event)[rows]
    _, first = np.unique(np.stack([np.repeat(number, 2), measurement.ravel()]), axis=1, return_index=True)
    kept = np.sort(first[measurement.ravel()[first] != _NONE])
    r, phi, z = event.hits.position[rows[kept // 2]].astype(np.float64).T
    return {
        "trackId": number[kept // 2],
        "measurementId": measurement.ravel()[kept],
        "x": r * np.cos(phi),
        "y": r * np.sin(phi),
        "z": z,
    }


PROTOTRACKS: Final = Form("acts", ("", ".csv"), _write, _measurements)
"""Needs an input of ACTS, whose measurements the numbers are."""
