"""Three columns r, phi, z without header, one event per file, in one of the `SCALES`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import numpy as np

from beampipe.tracking.events import Event, Hits
from beampipe.tracking.formats.scale import scale_named
from beampipe.tracking.formats.table import read_matrix

__all__ = ["FEATURE_COLUMNS", "event_number", "read_features"]

FEATURE_COLUMNS: Final = ("r", "phi", "z")


def read_features(path: str | Path, scale: str = "mm") -> Event:
    """The event of a three-column file.

    Args:
        path: CSV, plain or gzipped.
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


def event_number(path: str | Path) -> int:
    """The last number in a file's name, 0 if there is none."""
    numbers = re.findall(r"\d+", Path(path).name)
    return int(numbers[-1]) if numbers else 0
