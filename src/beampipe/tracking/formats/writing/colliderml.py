"""Predictions for the tracking task of ColliderML: `event_id`, `hit_id` (row in `tracker_hits`), `track_id`.

Only hits on tracks are written: its metric would take all others for one track.
Source: `colliderml/tasks/tracking/metrics.py` and `task.py` of https://github.com/OpenDataDetector/ColliderML.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.errors import InputError
from beampipe.tracking.events import NO_TRACK, Event, Tracks
from beampipe.tracking.formats.tables.arrow import arrow
from beampipe.tracking.formats.writing.form import Form, Found, check_labels
from beampipe.tracking.formats.writing.growing import write_table

__all__ = ["PREDICTIONS"]

_INPUT: Final = "colliderml"


def _write(path: Path, found: Found) -> int:
    pa, _ = arrow("lib")
    return write_table(path, dict.fromkeys(("event_id", "hit_id", "track_id"), pa.int64()), found, _columns)


def _columns(event: Event, tracks: Tracks) -> dict[str, ndarray]:
    check_labels(event, tracks)
    _check_rows(event)
    rows = np.flatnonzero(tracks.track_id != NO_TRACK)
    return {
        "event_id": np.full(len(rows), event.event_id, np.int64),
        "hit_id": rows,
        "track_id": tracks.track_id[rows],
    }


def _check_rows(event: Event) -> None:
    if event.source is None or event.source.format != _INPUT:
        given = "another kind" if event.source is None else event.source.format
        raise InputError(
            f"event {event.event_id}: got an input of {given}, expected tracker_hits of ColliderML to predict on,"
            " as hits are named by their rows in it; write labels instead"
        )


PREDICTIONS: Final = Form("colliderml", (".parquet",), _write, _check_rows)
"""Needs an input of ColliderML."""
