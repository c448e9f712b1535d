"""Events and tracks on disk: what is read (`FORMATS`), what is written (`FORMS`), and in which units (`SCALES`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.tracking.formats.forms import FORMS, form_named, write_tracks
    from beampipe.tracking.formats.opening import (
        FORMATS,
        check_told,
        format_named,
        input_files,
        open_events,
        open_told,
    )
    from beampipe.tracking.formats.parquet import count_events, read_events, write_events
    from beampipe.tracking.formats.reading.format import Told
    from beampipe.tracking.formats.scale import SCALES, Scale, scale_named
    from beampipe.tracking.formats.writing.labels import TRACK_COLUMNS

__all__ = [
    "FORMATS",
    "FORMS",
    "SCALES",
    "TRACK_COLUMNS",
    "Scale",
    "Told",
    "check_told",
    "count_events",
    "form_named",
    "format_named",
    "input_files",
    "open_events",
    "open_told",
    "read_events",
    "scale_named",
    "write_events",
    "write_tracks",
]

__getattr__ = loader(
    __name__,
    {
        "forms": ("FORMS", "form_named", "write_tracks"),
        "opening": ("FORMATS", "check_told", "format_named", "input_files", "open_events", "open_told"),
        "parquet": ("count_events", "read_events", "write_events"),
        "reading.format": ("Told",),
        "scale": ("SCALES", "Scale", "scale_named"),
        "writing.labels": ("TRACK_COLUMNS",),
    },
)
