"""Tracks as lists of hits: one row or line per track."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from beampipe.files import replacing
from beampipe.tracking.events import Event, Tracks
from beampipe.tracking.formats.tables.arrow import arrow
from beampipe.tracking.formats.writing.form import Form, Found, lists_of
from beampipe.tracking.formats.writing.growing import write_table

__all__ = ["LISTS"]


def _write(path: Path, found: Found) -> int:
    return _write_parquet(path, found) if path.suffix == ".parquet" else _write_lines(path, found)


def _write_parquet(path: Path, found: Found) -> int:
    pa, _ = arrow("lib")
    types = {"event_id": pa.int64(), "track_id": pa.int64(), "hits": pa.list_(pa.int64())}
    return write_table(path, types, found, _columns)


def _write_lines(path: Path, found: Found) -> int:
    written = 0
    with replacing(path) as part, part.open("w", encoding="utf-8") as stream:
        for event, tracks in found:
            for row in _rows(event, tracks):
                stream.write(json.dumps({name: np.asarray(value).tolist() for name, value in row.items()}) + "\n")
            written += 1
    return written


def _columns(event: Event, tracks: Tracks) -> dict[str, list[Any]]:
    rows = _rows(event, tracks)
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ["event_id"])}


def _rows(event: Event, tracks: Tracks) -> list[dict[str, Any]]:
    """Number of the event and of the track, rows of its hits from the inside out, and their own ids."""
    hit_id = None if event.source is None else event.source.hit_id
    out = []
    for number, rows in enumerate(lists_of(event, tracks)):
        row = {"event_id": event.event_id, "track_id": number, "hits": rows}
        out.append(row if hit_id is None else row | {"hit_id": hit_id[rows]})
    return out


LISTS: Final = Form("lists", (".parquet", ".jsonl"), _write)
"""Keys `event_id`, `track_id`, `hits` (rows of the hits in the event) and, where the input has it, `hit_id`."""
