"""Events as beampipe writes them itself; `beampipe.tracking.formats.parquet` tells the columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from beampipe.tracking.events import Event
from beampipe.tracking.formats.parquet import read_events
from beampipe.tracking.formats.reading.format import Format, Told
from beampipe.tracking.formats.reading.glimpse import Glimpse

__all__ = ["OWN"]


def _recognises(file: Glimpse) -> bool:
    return file.kind == "parquet" and file.has("event_id", "hit_r", "hit_phi", "hit_z")


def _read(path: Path, told: Told) -> Iterator[Event]:
    return read_events(path)


OWN: Final = Format("beampipe", _recognises, _read)
"""Our own events, in mm, rad and GeV."""
