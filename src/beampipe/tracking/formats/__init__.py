"""Events and tracks in files: formats that can be read (`EVENT_FORMATS`) and written (`TRACK_FORMATS`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.events import SCALES, Scale, scale_named
    from beampipe.tracking.formats.format import ReadOptions
    from beampipe.tracking.formats.parquet import write_events
    from beampipe.tracking.formats.registry import (
        EVENT_FORMATS,
        TRACK_FORMATS,
        check_options,
        event_format,
        input_files,
        open_events,
        open_with,
        track_format,
        write_tracks,
    )
    from beampipe.tracking.formats.writing import TRACK_COLUMNS

__all__ = [
    "EVENT_FORMATS",
    "SCALES",
    "TRACK_COLUMNS",
    "TRACK_FORMATS",
    "ReadOptions",
    "Scale",
    "check_options",
    "event_format",
    "input_files",
    "open_events",
    "open_with",
    "scale_named",
    "track_format",
    "write_events",
    "write_tracks",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "beampipe.events": ["SCALES", "Scale", "scale_named"],
        "format": ["ReadOptions"],
        "parquet": ["write_events"],
        "registry": [
            "EVENT_FORMATS",
            "TRACK_FORMATS",
            "check_options",
            "event_format",
            "input_files",
            "open_events",
            "open_with",
            "track_format",
            "write_tracks",
        ],
        "writing": ["TRACK_COLUMNS"],
    },
)
