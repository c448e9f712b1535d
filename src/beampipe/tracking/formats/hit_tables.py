"""Tables of hits: with named columns, one row per hit or one row of lists per event; or three columns without header.

`beampipe.tracking.formats.tables.event_of` lists the names of columns and their units. `event_id`, or a column of a
similar name, tells the events apart; without it a table of hits is one event, whose number is the last one in the
file's name.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.columns import recognised
from beampipe.errors import ColumnError, FileError
from beampipe.events import Event, Hits, scale_named
from beampipe.tracking.formats import tables
from beampipe.tracking.formats.colliderml import COLLIDERML
from beampipe.tracking.formats.format import (
    TABLE_KINDS,
    EventFormat,
    FileProbe,
    one_event,
    probe_columns,
    probe_file,
    read_whole,
)
from beampipe.tracking.formats.naming import Naming
from beampipe.tracking.formats.parquet import OWN
from beampipe.tracking.formats.read_options import NO_EVENT_COLUMN, ReadOptions

_EVENT_NAME: Final = re.compile(r"evt|event|collision")
"""What names of columns with the number of the event contain."""

HOW_TO_NAME: Final = "--columns r=NAME,phi=NAME,z=NAME (columns={'r': 'NAME', ...}) says which they are"

_FEWEST_OF_EVENT: Final = 20
"""Fewest rows of a block that may be an event."""

_MOST_BLOCKS: Final = 50
"""Number of blocks of rows that are compared with the whole detector."""

_SHARE_OF_DETECTOR: Final = 0.5
"""Extent of the hits of an event in r, phi and |z|, at least, as a share of that of all hits."""


def read_tables(path: Path, options: ReadOptions) -> Iterator[Event]:
    """The events of a table, of one of `TABLE_KINDS`; Parquet is read as it is used, all others as a whole.

    Raises:
        FileError: the file is cut short, or the rows of one event are not consecutive.
        ColumnError: there is no position, or no column of a name that `options` state.
    """
    naming, file = Naming.of(options), probe_file(path)
    by, named = naming.event_column(file), naming.probed(file)
    _require_position(named)
    if file.kind not in ("parquet", "csv"):
        yield from events_in_memory(read_whole(path, file.kind), options, path)
        return
    if tables.hit_columns(named.names)["z"] in named.lists:
        events = _events_of_lists(path, by, naming)
    else:
        groups = tables.hit_groups(path, by) if file.kind == "parquet" else _events_of_csv(path, by)
        events = ((number, naming.applied(columns)) for number, columns in groups)
    yield from _checked(file, events, naming, options.scale)


def events_in_memory(table: Any, options: ReadOptions, path: Path | None = None) -> Iterator[Event]:
    """The events of a table in memory, with one row per hit: a DataFrame, or arrays by name.

    An array of awkward has one row per event where its fields are lists. Messages name `path`, or the table's type.

    Raises:
        FileError: the rows of one event are not consecutive, or the columns differ in length.
        ColumnError: there is no position, or no column of a name that `options` state.
        TypeError: it is no such table.
    """
    if not isinstance(table, Mapping) and not hasattr(table, "columns") and not hasattr(table, "fields"):
        raise TypeError(
            f"open_events: got {type(table).__name__}, expected the path of a file or folder, a DataFrame, arrays by"
            " name, or an array of awkward"
        )
    naming, path = Naming.of(options), path or Path(type(table).__name__)
    if hasattr(table, "reset_index") and (table.index.has_duplicates or list(table.index.names) != [None]):
        # The events may be numbered by the index alone, as uproot does it.
        levels = [level for level, name in enumerate(table.index.names) if name not in table.columns]
        table = table.reset_index(level=levels)
    columns = {name: table[name] for name in getattr(table, "fields", None) or table}
    if len({len(values) for values in columns.values()}) > 1:
        lengths = ", ".join(f"{len(values)} of {name}" for name, values in columns.items())
        raise FileError(f"{path}: got {lengths}, expected columns of one length", path=path)
    file = probe_columns(path, "memory", columns)
    by, named = naming.event_column(file), naming.probed(file)
    _require_position(named)
    if tables.hit_columns(named.names)["z"] in named.lists:
        of_hits = [name for name in columns if name in file.lists]
        rows = zip(*(columns[name] for name in of_hits), strict=True)
        numbers = itertools.count() if by is None else _flat(columns[by]).tolist()
        groups: Iterator[tuple[object, dict[str, ndarray]]] = (
            (number, dict(zip(of_hits, map(_flat, row), strict=True)))
            for number, row in zip(numbers, rows, strict=False)
        )
    else:
        groups = _split(path, {name: _flat(values) for name, values in columns.items() if name not in file.lists}, by)
    events = ((number, naming.applied(of_event)) for number, of_event in groups)
    yield from _checked(file, events, naming, options.scale)


def _flat(column: Any) -> ndarray:
    """A column as an array; of Python objects, None for a gap, where values are missing."""
    values = column.to_numpy() if hasattr(column, "to_numpy") else column
    return np.array(values.tolist(), object) if np.ma.is_masked(values) else np.asarray(values)


def _require_position(file: FileProbe) -> None:
    if not has_position(file):
        raise ColumnError(f"{file.path}: got {file}, expected columns r, phi, z or x, y, z; {HOW_TO_NAME}")


def _checked(
    file: FileProbe, events: Iterable[tuple[object, dict[str, ndarray]]], naming: Naming, scale: str
) -> Iterator[Event]:
    """The events with these numbers and columns; each number is there once."""
    path, by = file.path, naming.event_column(file)
    runs = tuple(recognised(tables.RUN, file.names).values())
    others = {name for name in file.names if name != by and recognised([tables.EVENT], [name])}
    event_ids: set[int] = set()
    for event_id, columns in events:
        number = tables.event_number(path) if by is None and event_id is None else event_id
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if not isinstance(number, int) or number in event_ids or not -(2**63) <= number < 2**63:
            raise FileError(
                f"{path}: got the event {number!r} {'again' if number in event_ids else 'as its number'}, expected each"
                " event once, with a whole number, all its rows together; sort the table by event, or write a file for"
                " each run",
                path=path,
            )
        event_ids.add(number)
        for name in runs:
            if name in columns and len(tables.equal_runs(columns[name])) > 1:
                n_runs = len(np.unique(columns[name]))
                raise FileError(
                    f"{path}: event {number}: got rows of {n_runs} numbers in {name!r}, expected one, as numbers of"
                    " events repeat between runs; number the events anew, or write a file for each run",
                    path=path,
                    name=name,
                )
        event = tables.event_of(tables.Origin(path, TABLE.name, number), columns, scale)
        if tables.EVENT.name not in naming.names:
            suspects = columns if by is None else {name: columns[name] for name in others & set(columns)}
            _require_one_event(path, event, suspects, by)
        yield event


def _require_one_event(path: Path, event: Event, columns: Mapping[str, ndarray], by: str | None) -> None:
    """Refuse hits that are read as one event if a column that has no meaning here looks like the number of many."""
    known = set(tables.hit_columns(columns).values())
    for name, column in columns.items():
        if name in known or column.dtype.kind == "b":
            continue
        values = column.astype(str) if column.dtype == object else column
        blocks = tables.equal_runs(values)
        if len(blocks) < 2:
            continue
        by_name = _EVENT_NAME.search(name.lower()) and (values.dtype.kind != "f" or (values == np.rint(values)).all())
        if not (by_name or by is not None or _are_events(event, values, blocks)):
            continue
        stated = "no column with the number of the event" if by is None else f"one number of the event in {by!r}"
        raise ColumnError(
            f"{path}: got {stated}, but {name!r}, which is the same in {len(blocks)} blocks of rows: is {name!r} the"
            f" event? Then give --columns event={name} (columns={{'event': {name!r}}}); if all {len(values)} hits are"
            f" of one event, --columns event={by or NO_EVENT_COLUMN}",
            path=path,
            name=name,
        )


def _are_events(event: Event, values: ndarray, blocks: list[tuple[int, int]]) -> bool:
    """Whether blocks of rows are as events are: each with a value of its own, long, and all over the detector."""
    if np.median(np.diff(blocks)) < _FEWEST_OF_EVENT or len(np.unique(values)) < len(blocks):
        return False
    place = np.abs(event.hits.position - [0, np.pi, 0])  # the two ends of a detector often have one number
    reach = np.array([np.ptp(place[begin:end], axis=0) for begin, end in blocks[:_MOST_BLOCKS]])
    return bool((np.median(reach, axis=0) > _SHARE_OF_DETECTOR * np.ptp(place, axis=0)).all())


def has_position(file: FileProbe) -> bool:
    """Whether a table has columns of positions, all of them lists or none."""
    names = tables.hit_columns(file.names)
    return any(
        set(axes) <= set(names) and len({names[name] in file.lists for name in axes}) == 1 for axes in tables.POSITIONS
    )


def _events_of_lists(path: Path, by: str | None, naming: Naming) -> Iterator[tuple[object, dict[str, ndarray]]]:
    """The lists with one value per hit, by event; columns that have one per hit in the first event need it in all."""
    of_hits: set[str] | None = None
    for row, (values, as_named) in enumerate(tables.event_rows(path)):
        lists = naming.applied(as_named)
        z = lists.get(tables.hit_columns(lists).get("z", ""), np.empty(0))
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
    yield from _split(path, columns, by)


def _split(path: Path, columns: dict[str, ndarray], by: str | None) -> Iterator[tuple[object, dict[str, ndarray]]]:
    """The events of columns with one entry per hit."""
    if by is None:
        yield None, columns
        return
    if columns[by].dtype.kind == "f" and (gaps := np.count_nonzero(np.isnan(columns[by]))):
        raise FileError(
            f"{path}: got {gaps} of {len(columns[by])} rows without a number in {by!r}, expected the event of each hit;"
            " number or drop these rows",
            path=path,
            name=by,
        )
    number = tables.integers(tables.Origin(path, TABLE.name, tables.event_number(path)), by, columns[by])
    for begin, end in tables.equal_runs(number):
        yield int(number[begin]), {name: values[begin:end] for name, values in columns.items() if name != by}


def _note(file: FileProbe, options: ReadOptions) -> str:
    """What a user should know of how a table is read."""
    naming = Naming.of(options)
    if naming.event_column(file) is not None or naming.is_one_event or file.lists:
        return ""
    return "read as one event, as no column has the number of the event; --columns event=NAME states it"


def _is_hit_table(file: FileProbe) -> bool:
    # CSV with further columns may be anything, and labels are an output: both need an explicit `format`.
    if file.kind == "csv":
        events = recognised([tables.EVENT], file.names).values()
        names = tables.hit_columns(file.names)
        return set(names) in map(set, tables.POSITIONS) and set(file.names) <= {*names.values(), *events, "id"}
    taken = OWN.recognises(file) or COLLIDERML.recognises(file) or file.has("hit", "track_id")
    return file.kind in TABLE_KINDS and has_position(file) and not taken


TABLE: Final = EventFormat(
    "table",
    _is_hit_table,
    read_tables,
    frozenset({"scale", "columns", "units"}),
    readable=lambda file: file.kind in TABLE_KINDS and has_position(file),
    note=_note,
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
