"""Space points as ACTS writes them: `eventNNN-spacepoint.csv`, with the truth of their measurements.

Source: `CsvSpacePointWriter` and `CsvOutputData.hpp` of ACTS (https://github.com/acts-project/acts, Examples/Io/Csv).
Three generations: `measurement_id_1, measurement_id_2, geometry_id_1, geometry_id_2, x, y, z, t, var_r, var_z` (checked
on files that ACTS 48.1 wrote); the same with one measurement only; `measurement_id, sp_x, sp_y, sp_z, ...`. All in mm.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.errors import ColumnError
from beampipe.tracking.events import NOISE, Event, HitColumns, Hits, Truth
from beampipe.tracking.events.arrays import cylindrical
from beampipe.tracking.formats.families import Family, family_of, rows_of
from beampipe.tracking.formats.reading.acts import ACTS, acts_truth
from beampipe.tracking.formats.reading.format import Format, Told
from beampipe.tracking.formats.reading.glimpse import Glimpse, take_glimpse
from beampipe.tracking.formats.tables.columns import Origin, decimals, event_number
from beampipe.tracking.formats.tables.csv import read_columns, read_table

__all__ = ["SPACEPOINTS", "read_spacepoints"]

_POSITION: Final = (("x", "y", "z"), ("sp_x", "sp_y", "sp_z"))
_MEASUREMENT: Final = ("measurement_id_1", "measurement_id")
_SECOND: Final = "measurement_id_2"
_NONE: Final = 2**31 - 1
"""From here on, or below 0, a number stands for "no second measurement": -1 as the type of the column has it.

In what is read it is -1.
"""


def read_spacepoints(path: Path) -> Event:
    """The event of one file of space points.

    A space point of two strips has the particle of its first measurement; another particle of the second shares it.

    Args:
        path: file; the truth is read from the files beside it, if its name is ``eventNNN-KIND.csv``.

    Raises:
        FileError: a file is missing or cut short, or names a measurement, hit or particle that is not there.
        ColumnError: a column is missing.
    """
    header = take_glimpse(path).names
    position = next((names for names in _POSITION if set(names) <= set(header)), None)
    number = next((name for name in _MEASUREMENT if name in header), None)
    if position is None or number is None:
        raise ColumnError(
            f"{path}: got {', '.join(header)}, expected measurement_id or measurement_id_1, and x, y, z or sp_x, sp_y,"
            " sp_z",
            path=path,
        )
    module = number.replace("measurement", "geometry")
    wanted: dict[str, type[np.generic]] = {number: np.int64, **dict.fromkeys(position, np.float64)}
    wanted |= {name: np.uint64 for name in (module,) if name in header}
    table, rest = read_table(path, wanted)
    if _SECOND in rest:
        second = decimals(Origin(path, SPACEPOINTS.name, 0), _SECOND, rest[_SECOND])
        rest[_SECOND] = np.where((second >= 0) & (second < _NONE), second, -1).astype(np.int64)
    hits = Hits(cylindrical(*(table[name] for name in position)), table.get(module))
    measurement = table.pop(number)
    # Whole numbers in one event and decimals in the next: all but the identifiers are decimals.
    rest = {name: values.astype(np.float64) if _is_decimal(name, values) else values for name, values in rest.items()}
    family = family_of(path)
    event_id = event_number(path) if family is None else family[0].event_id
    truth = None if family is None else _truth(family[0], path, measurement, rest.get(_SECOND))
    return Event(event_id, hits, truth, HitColumns(SPACEPOINTS.name, measurement, table | rest))


def _is_decimal(name: str, values: ndarray) -> bool:
    return "_id" not in name and values.dtype.kind in "iuf"


def _truth(family: Family, path: Path, first: ndarray, second: ndarray | None) -> Truth | None:
    """The truth of space points, from that of their measurements."""
    measurements = family.path("measurements")
    known = (
        read_columns(measurements, {"measurement_id": np.int64})["measurement_id"]
        if measurements.is_file()
        else np.unique(first if second is None else np.concatenate([first, second]))
    )
    truth = acts_truth(family, known, measurements if measurements.is_file() else path)
    if truth is None:
        return None

    def rows(measurement: ndarray) -> ndarray:
        return rows_of(measurement, known, path, "measurement_id", measurements)

    leading = truth.particle_id[rows(first)]
    if second is None:
        return Truth(leading, truth.particles)
    further = truth.particle_id[rows(np.where(second >= 0, second, first))]
    shared = np.flatnonzero((further != leading) & (further != NOISE))
    return Truth(leading, truth.particles, shared, further[shared])


def _recognises(file: Glimpse) -> bool:
    family = family_of(file.path)
    named = family is not None and family[1].startswith("spacepoint")
    return file.kind == "csv" and named and any(name in file.names for name in _MEASUREMENT)


def _read(path: Path, told: Told) -> Iterator[Event]:
    yield read_spacepoints(path)


SPACEPOINTS: Final = Format(
    "acts-spacepoints",
    _recognises,
    _read,
    yields_to=frozenset({ACTS.name}),
)
"""Space points as ACTS writes them, in mm and GeV."""
