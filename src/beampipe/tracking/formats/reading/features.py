"""Three columns r, phi, z without header, one event per file, in one of the `SCALES`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from beampipe.tracking.events import Event, Hits
from beampipe.tracking.formats.reading.format import Format, Told
from beampipe.tracking.formats.reading.glimpse import Glimpse
from beampipe.tracking.formats.scale import scale_named
from beampipe.tracking.formats.tables.columns import event_number
from beampipe.tracking.formats.tables.csv import read_matrix

__all__ = ["FEATURES", "FEATURE_COLUMNS", "read_features"]

FEATURE_COLUMNS: Final = ("r", "phi", "z")


def read_features(path: str | Path, scale: str = "mm") -> Event:
    """The event of a three-column file.

    Args:
        path: CSV file, plain or gzipped.
        scale: a name of `SCALES`: what one unit of each column means.

    Returns:
        Hits only; the event's number is the last number in the file's name, else 0.

    Raises:
        FileError: missing, cut short, with a header, or not of three columns.
        NotFiniteError: a coordinate is NaN or infinite.
        UnknownNameError: no such scale.
    """
    unit = scale_named(scale)
    features = read_matrix(Path(path), FEATURE_COLUMNS).astype(np.float32)
    return Event(event_number(path), Hits(unit.to_mm(features)))


def _recognises(file: Glimpse) -> bool:
    return file.kind == "numbers"


def _read(path: Path, told: Told) -> Iterator[Event]:
    yield read_features(path, told.scale)


FEATURES: Final = Format("features", _recognises, _read, frozenset({"scale"}))
"""Three columns in the units of a scale; what the Exa.TrkX and ACTS clients write."""
