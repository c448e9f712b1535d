"""A submission to the TrackML challenge: `event_id`, `hit_id`, `track_id`.

Source: the evaluation page of https://www.kaggle.com/c/trackml-particle-identification: each hit once, on one track,
with non-negative numbers. Here tracks count from 1, and 0 is for the hits on no track.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.tracking.events import NO_TRACK, Event, Tracks
from beampipe.tracking.formats.tables.arrow import arrow
from beampipe.tracking.formats.writing.form import Form, Found, check_labels, own_hit_ids
from beampipe.tracking.formats.writing.growing import write_table

__all__ = ["SUBMISSION"]


def _write(path: Path, found: Found) -> int:
    pa, _ = arrow("lib")
    return write_table(path, dict.fromkeys(("event_id", "hit_id", "track_id"), pa.int64()), found, _columns)


def _columns(event: Event, tracks: Tracks) -> dict[str, ndarray]:
    check_labels(event, tracks)
    hit_id = _hit_ids(event)
    return {
        "event_id": np.full(len(hit_id), event.event_id, np.int64),
        "hit_id": hit_id,
        "track_id": tracks.track_id - NO_TRACK,
    }


def _hit_ids(event: Event) -> Int64[ndarray, " n_hits"]:
    return own_hit_ids(event, SUBMISSION.name, ())


SUBMISSION: Final = Form("trackml", (".csv",), _write, _hit_ids)
"""Needs an input with hit ids of its own."""
