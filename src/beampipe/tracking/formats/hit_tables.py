"""Tables of hits: with named columns, one row per hit or one row of lists per event; or three columns without header.

`beampipe.tracking.formats.tables.event_of` lists the names of columns and their units. `event_id` tells the events
apart; without it a table of hits is one event, whose number is the last one in the file's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.errors import ColumnError, FileError
from beampipe.events import Event, Hits, scale_named
from beampipe.tracking.formats import tables
from beampipe.tracking.formats.colliderml import COLLIDERML
from beampipe.tracking.formats.format import EventFormat, FileProbe, ReadOptions, one_event, probe_file
from beampipe.tracking.formats.parquet import OWN


def read_tables(path: Path, options: ReadOptions) -> Iterator[Event]:
    """The events of a table, Parquet or CSV.

    Raises:
        FileError: the file is cut short, or the rows of one event are not consecutive.
        ColumnError: there is no position.
    """
    file = probe_file(path)
    if not has_position(file):
        raise ColumnError(f"{path}: got {file}, expected columns r, phi, z or x, y, z", path=path)
    by = next((name for name in ("event_id", "event") if name in file.names), None)
    if any(tables.without_prefix(name) == "z" for name in file.lists):
        events = _events_of_lists(path, by)
    else:
        events = tables.hit_groups(path, by) if file.kind == "parquet" else _events_of_csv(path, by)
    event_ids: set[int] = set()
    for event_id, columns in events:
        number = tables.event_number(path) if event_id is None else event_id
        if not isinstance(number, int) or number in event_ids:
            raise FileError(
                f"{path}: got the event {number!r} {'again' if number in event_ids else 'as its number'}, expected each"
                " event once, with a whole number, all its rows together; sort the table by event",
                path=path,
            )
        event_ids.add(number)
        yield tables.event_of(tables.Origin(path, TABLE.name, number), columns, options.scale)


def has_position(file: FileProbe) -> bool:
    """Whether a table has columns of positions, all of them lists or none."""
    names = {tables.without_prefix(name): name for name in file.names}
    for axes in tables.POSITIONS:
        if set(axes) <= set(names) and len({names[name] in file.lists for name in axes}) == 1:
            return True
    return False


def _events_of_lists(path: Path, by: str | None) -> Iterator[tuple[object, dict[str, ndarray]]]:
    """The lists with one value per hit, by event; columns that have one per hit in the first event need it in all."""
    of_hits: set[str] | None = None
    for row, (values, lists) in enumerate(tables.event_rows(path)):
        z = next((values for name, values in lists.items() if tables.without_prefix(name) == "z"), np.empty(0))
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
    _, columns = tables.read_table(path, {})
    if by is None:
        yield None, columns
        return
    number = tables.integers(tables.Origin(path, TABLE.name, 0), by, columns.pop(by))
    for begin, end in tables.equal_runs(number):
        yield int(number[begin]), {name: values[begin:end] for name, values in columns.items()}


def _is_hit_table(file: FileProbe) -> bool:
    # CSV with further columns may be anything, and labels are an output: both need an explicit `format`.
    if file.kind == "csv":
        names = {tables.without_prefix(name) for name in file.names} - {"event_id", "event", "id"}
        return names in map(set, tables.POSITIONS)
    taken = OWN.recognises(file) or COLLIDERML.recognises(file) or file.has("hit", "track_id")
    return file.kind == "parquet" and has_position(file) and not taken


TABLE: Final = EventFormat(
    "table",
    _is_hit_table,
    read_tables,
    frozenset({"scale"}),
    readable=lambda file: file.kind in ("parquet", "csv") and has_position(file),
)
"""Tables of hits, in mm, rad and GeV."""


def read_features(path: Path, options: ReadOptions) -> Iterator[Event]:
    """The event of a CSV file of three columns r, phi, z without header, in the units of `options.scale`.

    The event has hits only; its number is the last number in the file's name, else 0.

    Raises:
        FileError: missing, cut short, with a header, or not of three columns.
        NotFiniteError: a coordinate is NaN or infinite.
        UnknownNameError: no such scale.
    """
    unit = scale_named(options.scale)
    features = tables.read_matrix(path, ("r", "phi", "z")).astype(np.float32)
    yield Event(tables.event_number(path), Hits(unit.to_mm(features)))


FEATURES: Final = EventFormat(
    "features", lambda file: file.kind == "numbers", read_features, frozenset({"scale"}), count=one_event
)
"""Three columns in the units of a scale, as the Exa.TrkX and ACTS clients write them."""
