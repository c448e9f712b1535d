"""Events and tracks on disk: Parquet, TrackML and ACTS CSV, and three columns r, phi, z."""

from beampipe.tracking.formats.opening import open_events
from beampipe.tracking.formats.parquet import count_events, read_events, write_events
from beampipe.tracking.formats.scale import SCALES, Scale, scale_named
from beampipe.tracking.formats.tracks import TRACK_COLUMNS, write_tracks

__all__ = [
    "SCALES",
    "TRACK_COLUMNS",
    "Scale",
    "count_events",
    "open_events",
    "read_events",
    "scale_named",
    "write_events",
    "write_tracks",
]
