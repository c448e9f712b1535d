"""Events and tracks in files: formats that can be read (`EVENT_FORMATS`) and written (`TRACK_FORMATS`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.events import SCALES as SCALES
    from beampipe.events import Scale as Scale
    from beampipe.events import scale_named as scale_named
    from beampipe.tracking.formats.parquet import write_events as write_events
    from beampipe.tracking.formats.read_options import ReadOptions as ReadOptions
    from beampipe.tracking.formats.registry import EVENT_FORMATS as EVENT_FORMATS
    from beampipe.tracking.formats.registry import TRACK_FORMATS as TRACK_FORMATS
    from beampipe.tracking.formats.registry import check_options as check_options
    from beampipe.tracking.formats.registry import event_format as event_format
    from beampipe.tracking.formats.registry import input_files as input_files
    from beampipe.tracking.formats.registry import open_events as open_events
    from beampipe.tracking.formats.registry import open_with as open_with
    from beampipe.tracking.formats.registry import track_format as track_format
    from beampipe.tracking.formats.registry import write_tracks as write_tracks
    from beampipe.tracking.formats.writing import TRACK_COLUMNS as TRACK_COLUMNS

__getattr__, __dir__, __all__ = loader(__name__)
