"""Tables of hits with named columns: one row per hit, or one row per event with lists.

The columns and their units are told by `beampipe.tracking.formats.tables.columns.event_of`. `event_id` tells the events
apart; without it a table of hits is one event, whose number is the last one in the file's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.errors import ColumnError, FileError
from beampipe.tracking.events import Event
from beampipe.tracking.formats.reading.colliderml import COLLIDERML
from beampipe.tracking.formats.reading.format import Format, Told
from beampipe.tracking.formats.reading.glimpse import Glimpse, take_glimpse
from beampipe.tracking.formats.reading.own import OWN
from beampipe.tracking.formats.tables.columns import Origin, event_number, event_of, integers, short
from beampipe.tracking.formats.tables.csv import read_table
from beampipe.tracking.formats.tables.rows import event_rows, hit_groups, runs

__all__ = ["TABLE", "has_position", "read_tables"]

_EVENT: Final = ("event_id", "event")


def read_tables(path: Path, told: Told) -> Iterator[Event]:
    """The events of a table, Parquet or CSV.

    Raises:
        FileError: the file is cut short, or the rows of one event do not stand together.
        ColumnError: there is no position.
    """
    file = take_glimpse(path)
    if not has_position(file):
        raise ColumnError(f"{path}: got {file}, expected columns r, phi, z or x, y, z", path=path)
    by = next((name for name in _EVENT if name in file.names), None)
    if any(short(name) == "z" for name in file.lists):
        events = _events_of_lists(path, by)
    else:
        events = hit_groups(path, by) if file.kind == "parquet" else _events_of_csv(path, by)
    seen: set[int] = set()
    for given, columns in events:
        number = event_number(path) if given is None else given
        if not isinstance(number, int) or number in seen:
            raise FileError(
                f"{path}: got the event {number!r} {'again' if number in seen else 'as its number'}, expected each"
                " event once, with a whole number, all its rows together; sort the table by event",
                path=path,
            )
        seen.add(number)
        yield event_of(Origin(path, TABLE.name, number), columns, told.scale)


def has_position(file: Glimpse) -> bool:
    """Whether a table has columns of positions, all of them lists or none."""
    names = {short(name): name for name in file.names}
    for wanted in (("r", "phi", "z"), ("x", "y", "z")):
        if set(wanted) <= set(names) and len({names[name] in file.lists for name in wanted}) == 1:
            return True
    return False


def _events_of_lists(path: Path, by: str | None) -> Iterator[tuple[object, dict[str, ndarray]]]:
    """The lists of each event that are as long as its positions; a column that is not so in all events is refused."""
    of_hits: set[str] | None = None
    for row, (values, lists) in enumerate(event_rows(path)):
        z = next((values for name, values in lists.items() if short(name) == "z"), np.empty(0))
        columns = {name: values for name, values in lists.items() if len(values) == len(z)}
        if of_hits is None and len(z):
            of_hits = set(columns)
        kept = set(columns) if of_hits is None else of_hits
        if not kept <= set(columns):
            raise FileError(
                f"{path}: event in row {row}: got {len(z)} hits and lists of other lengths:"
                f" {', '.join(sorted(kept - set(columns)))}; expected one value per hit",
                path=path,
            )
        yield (row if by is None else values.get(by)), {name: columns[name] for name in lists if name in kept}


def _events_of_csv(path: Path, by: str | None) -> Iterator[tuple[object, dict[str, ndarray]]]:
    _, columns = read_table(path, {})
    if by is None:
        yield None, columns
        return
    number = integers(Origin(path, TABLE.name, 0), by, columns.pop(by))
    for begin, end in runs(number):
        yield int(number[begin]), {name: values[begin:end] for name, values in columns.items()}


def _recognises(file: Glimpse) -> bool:
    # A CSV file with such a header may be anything, and labels are a result: a user says that it is a table of hits.
    taken = OWN.recognises(file) or COLLIDERML.recognises(file) or file.has("hit", "track_id")
    return file.kind == "parquet" and has_position(file) and not taken


TABLE: Final = Format(
    "table",
    _recognises,
    read_tables,
    frozenset({"scale"}),
    readable=lambda file: file.kind in ("parquet", "csv") and has_position(file),
)
"""Tables of hits, in mm, rad and GeV."""
