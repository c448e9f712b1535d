"""Track labels: one row per hit, in input order, with the input's own columns of the hits."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.tracking.events import Event, Tracks
from beampipe.tracking.formats.tables.arrow import arrow
from beampipe.tracking.formats.writing.form import Form, Found, check_labels
from beampipe.tracking.formats.writing.growing import write_table

__all__ = ["LABELS", "TRACK_COLUMNS", "kept_columns"]

TRACK_COLUMNS: Final = ("event_id", "hit", "r", "phi", "z", "track_id")
"""Number of the event, row of the hit in it, r [mm], phi [rad], z [mm], label (-1: on no track)."""

_POSITION: Final = ("r", "phi", "z")
_RENAMED: Final = "input_"


def kept_columns(event: Event) -> dict[str, ndarray]:
    """The input's own columns of the hits, but for the position as far as `TRACK_COLUMNS` has it.

    Another one whose name is in `TRACK_COLUMNS` gets ``input_`` before it, such as a `track_id` of other tracks.
    """
    kept = {} if event.source is None else event.source.columns()
    same = {*(_POSITION if set(_POSITION) <= set(kept) else ()), *("z" if {"x", "y", "z"} <= set(kept) else ())}
    return {
        (f"{_RENAMED}{name}" if name in TRACK_COLUMNS else name): values
        for name, values in kept.items()
        if name not in same
    }


def _write(path: Path, found: Found) -> int:
    pa, _ = arrow("lib")
    kinds = (pa.int64(), pa.int64(), pa.float32(), pa.float32(), pa.float32(), pa.int64())
    return write_table(path, dict(zip(TRACK_COLUMNS, kinds, strict=True)), found, _columns)


def _columns(event: Event, tracks: Tracks) -> dict[str, ndarray]:
    check_labels(event, tracks)
    n = len(event.hits)
    r, phi, z = np.ascontiguousarray(event.hits.position.T)
    values = (np.full(n, event.event_id, np.int64), np.arange(n, dtype=np.int64), r, phi, z, tracks.track_id)
    return {**dict(zip(TRACK_COLUMNS, values, strict=True)), **kept_columns(event)}


LABELS: Final = Form("labels", (".parquet", ".csv"), _write)
"""Columns `TRACK_COLUMNS`, then those of `kept_columns`."""
