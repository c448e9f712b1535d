"""Events and tracks on disk: what is read (`FORMATS`), what is written (`FORMS`), and in which units (`SCALES`)."""

from beampipe.tracking.formats.forms import FORMS, form_named, write_tracks
from beampipe.tracking.formats.opening import FORMATS, input_files, open_events
from beampipe.tracking.formats.parquet import count_events, read_events, write_events
from beampipe.tracking.formats.scale import SCALES, Scale, scale_named
from beampipe.tracking.formats.writing.labels import TRACK_COLUMNS

__all__ = [
    "FORMATS",
    "FORMS",
    "SCALES",
    "TRACK_COLUMNS",
    "Scale",
    "count_events",
    "form_named",
    "input_files",
    "open_events",
    "read_events",
    "scale_named",
    "write_events",
    "write_tracks",
]
