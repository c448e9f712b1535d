"""Track labels on disk: one row per hit, in input order."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from beampipe.errors import FileError, ShapeError
from beampipe.files import replacing
from beampipe.tracking.events import Event, Tracks
from beampipe.tracking.formats.arrow import arrow

__all__ = ["TRACK_COLUMNS", "write_tracks"]

TRACK_COLUMNS = ("event_id", "hit", "r", "phi", "z", "track_id")
"""Number of the event, row of the hit in it, r [mm], phi [rad], z [mm], label (-1: on no track)."""


def write_tracks(path: str | Path, found: Iterable[tuple[Event, Tracks]]) -> int:
    """Write one row per hit, with columns `TRACK_COLUMNS`; the file appears only when it is complete.

    Args:
        path: ends in ``.parquet`` (one row group per event) or ``.csv``.
        found: events and their tracks, taken one at a time.

    Returns:
        The number of events written.

    Raises:
        FileError: another ending, or a folder that is missing or closed.
        ShapeError: labels of another length than the hits.
    """
    suffix = Path(path).suffix
    if suffix not in (".parquet", ".csv"):
        raise FileError(f"{path}: got the ending {suffix!r}, expected .parquet or .csv")
    pa, writing = arrow(suffix[1:], "writing tracks")
    types = (pa.int64(), pa.int64(), pa.float32(), pa.float32(), pa.float32(), pa.int64())
    schema = pa.schema(list(zip(TRACK_COLUMNS, types, strict=True)))
    written = 0
    with replacing(path) as temporary:
        if suffix == ".csv":
            writer = writing.CSVWriter(temporary, schema)
        else:
            writer = writing.ParquetWriter(temporary, schema, compression="zstd")
        with writer:
            for event, tracks in found:
                writer.write_table(pa.table(_columns(event, tracks), schema=schema))
                written += 1
    return written


def _columns(event: Event, tracks: Tracks) -> dict[str, np.ndarray]:
    n = len(event.hits)
    if len(tracks.track_id) != n:
        raise ShapeError(f"event {event.event_id}: got {len(tracks.track_id)} labels, expected {n}, one per hit")
    r, phi, z = np.ascontiguousarray(event.hits.position.T)
    return dict(
        zip(
            TRACK_COLUMNS,
            (np.full(n, event.event_id, np.int64), np.arange(n, dtype=np.int64), r, phi, z, tracks.track_id),
            strict=True,
        )
    )
