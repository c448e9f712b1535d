"""Writes tracks as labels, as lists of hits and as fitted parameters; base of all formats of tracks."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import FileError, InputError, ShapeError
from beampipe.events import TRACK_FILE_COLUMNS, Event, TrackParameters, Tracks, hit_lists, split_hit_lists
from beampipe.files import MARK, replacing
from beampipe.tracking.formats.tables import arrow

_ENDINGS: Final = (".parquet", ".csv", ".jsonl", ".json", ".root")

EventsWithTracks = Iterable[tuple[Event, Tracks]]
"""Events and the tracks found in them."""


Columns = Mapping[str, ndarray | Sequence[Any]]
"""Name -> one value per row."""


@dataclass(frozen=True)
class TrackFormat:
    """One way to write tracks.

    Attributes:
        name: name of the format on the command line.
        endings: endings of its files, the usual one first; an empty one stands for a folder.
        types: name -> type of the columns that every event has: a type of numpy, or `list` for lists of int64.
        columns: function from an event and its tracks to columns; the first event with rows fixes those of the file.
        needs: refuses an event that lacks what the format requires, by an `InputError`; called before tracks are found.
        writer: writes events and their tracks, taken one at a time, and returns the number of events; if not given,
            `write_table`.
    """

    name: str
    endings: tuple[str, ...]
    types: Mapping[str, type]
    columns: Callable[[Event, Tracks], Columns]
    needs: Callable[[Event], object] = lambda event: None
    writer: Callable[[TrackFormat, Path, EventsWithTracks], int] | None = None

    def write(self, path: Path, events: EventsWithTracks) -> int:
        """Write events and their tracks, taken one at a time; returns the number of events."""
        return (self.writer or write_table)(self, path, events)

    def marks(self, path: Path) -> tuple[str, ...]:
        """Text that identifies a file of this format if the format cannot contain `beampipe.files.MARK`."""
        return {".csv": (",".join(self.types),), ".jsonl": ('{"event_id": ',)}.get(path.suffix, ())

    def check(self, path: Path) -> None:
        """Refuse a path of another ending.

        Raises:
            FileError: the ending is another.
        """
        # A suffix that is no known ending may be part of the name of a folder.
        ending = path.suffix if path.suffix in _ENDINGS or "" not in self.endings else ""
        if ending not in self.endings:
            raise FileError(
                f"{path}: got the ending {path.suffix!r}, expected"
                f" {' or '.join(ending or 'a folder' for ending in self.endings)} for {self.name}",
                path=path,
            )


def check_labels(event: Event, tracks: Tracks) -> None:
    """Refuse labels of another length than the hits.

    Raises:
        ShapeError: they are not as many.
    """
    if len(tracks.track_id) != len(event.hits):
        raise ShapeError(
            f"event {event.event_id}: got {len(tracks.track_id)} labels, expected {len(event.hits)}, one per hit"
        )


def parameters_of(event: Event, tracks: Tracks) -> TrackParameters:
    """The parameters of fitted tracks.

    Raises:
        InputError: they were not fitted.
    """
    if tracks.parameters is None:
        raise InputError(
            f"event {event.event_id}: got tracks without parameters, expected fitted ones; use FittedFinder"
        )
    return tracks.parameters


def own_hit_ids(event: Event, form: str, formats: tuple[str, ...]) -> Int64[ndarray, " n_hits"]:
    """The input's own hit ids, for a format that names hits by them.

    Args:
        event: an event.
        form: name of the format, for the message.
        formats: formats of input that the ids must come from; with none any will do, but then ids must not repeat.

    Raises:
        InputError: the input has no hit ids, repeats one, or is of another format.
    """
    source = event.source
    if source is None or source.hit_id is None or (formats and source.format not in formats):
        origin = "one without hit ids" if source is None or source.hit_id is None else f"one of {source.format}"
        raise InputError(
            f"event {event.event_id}: got an input that is {origin}, expected {' or '.join(formats) or 'hit ids'} to"
            f" write {form}; write labels or lists instead"
        )
    ids, counts = np.unique(source.hit_id, return_counts=True)
    if not formats and len(ids) < len(source.hit_id):
        raise InputError(
            f"event {event.event_id}: got the hit id {ids[counts > 1][0]} {counts.max()} times, expected each once to"
            f" write {form}; write labels instead"
        )
    return source.hit_id.astype(np.int64)


class IncrementalWriter:
    """A table to which events are appended; the first event with rows defines the columns.

    Args:
        part: file to write.
        suffix: ``.parquet`` (one row group per event) or ``.csv``.
        types: name -> type of the columns that every event has, as in `TrackFormat`.
    """

    def __init__(self, part: Path, suffix: str, types: Mapping[str, type]) -> None:
        pa, _ = arrow("lib")
        special: dict[type, Any] = {list: pa.list_(pa.int64()), str: pa.string()}
        self._part = part
        self._suffix = suffix
        self._types = {name: special.get(kind) or pa.from_numpy_dtype(kind) for name, kind in types.items()}
        self._schema: Any = None
        self._writer: Any = None
        self._open = ExitStack()

    def add(self, event_id: int, columns: Columns) -> None:
        """Add the rows of one event; columns of the first event that it lacks are null.

        Raises:
            FileError: a column that the first event does not have, or values that the file cannot hold.
        """
        pa, _ = arrow("lib")
        n = len(next(iter(columns.values())))
        if n == 0:
            return
        try:
            arrays = {name: pa.array(values, type=self._types.get(name)) for name, values in columns.items()}
            if self._schema is None:
                self._start(pa.schema([(name, values.type) for name, values in arrays.items()]))
            if strange := [name for name in arrays if name not in self._types]:
                raise FileError(
                    f"event {event_id}: got the columns {', '.join(strange)}, which the first event does not have;"
                    " expected the same in each, write such inputs apart"
                )
            whole = [arrays[name] if name in arrays else pa.nulls(n, kind) for name, kind in self._types.items()]
            self._writer.write_table(pa.table(whole, schema=self._schema))
        except pa.ArrowException as error:
            raise FileError(
                f"event {event_id}: cannot be written as {self._suffix} ({error}); expected the types of"
                " the first event, and lists in .parquet only"
            ) from error

    def close(self) -> None:
        """Finish the file; without any row it has the columns `types`."""
        if self._writer is None:
            pa, _ = arrow("lib")
            self._start(pa.schema(list(self._types.items())))
        self._open.close()

    def abandon(self) -> None:
        """Close the incomplete file."""
        with suppress(Exception):  # the error that caused this is being raised already
            self._open.close()

    def _start(self, schema: Any) -> None:
        _, writing = arrow(self._suffix[1:])
        self._schema = schema
        self._types = {field.name: field.type for field in schema}
        if self._suffix == ".csv":
            # No quotes in the header: the readers of ACTS would take them for part of the names.
            with self._part.open("w", encoding="utf-8", newline="") as header:
                csv.writer(header, lineterminator="\n").writerow(schema.names)
            stream = self._open.enter_context(self._part.open("ab"))
            rows_only = writing.WriteOptions(include_header=False)
            self._writer = writing.CSVWriter(stream, schema, write_options=rows_only)
        else:
            self._writer = writing.ParquetWriter(self._part, schema, compression="zstd", write_page_checksum=True)
            self._writer.add_key_value_metadata({"generator": MARK})
        self._open.enter_context(self._writer)


@contextmanager
def incremental_writer(path: Path, types: Mapping[str, type]) -> Iterator[IncrementalWriter]:
    """A table that takes the place of `path` if the block ends well.

    Args:
        path: ends in ``.parquet`` or ``.csv``.
        types: name -> type of the columns that every event has, as in `TrackFormat`.

    Raises:
        FileError: the folder is missing or closed, or there is no space.
    """
    with replacing(path) as part:
        table = IncrementalWriter(part, path.suffix, types)
        try:
            yield table
        except BaseException:
            table.abandon()
            raise
        table.close()


def write_table(form: TrackFormat, path: Path, events: EventsWithTracks) -> int:
    """Write a table of events and their tracks, taken one at a time.

    Args:
        form: columns of the table.
        path: ends in ``.parquet`` or ``.csv``.
        events: events and their tracks.

    Returns:
        The number of events written.

    Raises:
        FileError: the folder is missing or closed, there is no space, or columns differ between events.
    """
    written = 0
    with incremental_writer(path, form.types) as table:
        for event, tracks in events:
            table.add(event.event_id, form.columns(event, tracks))
            written += 1
    return written


TRACK_COLUMNS: Final = ("event_id", "hit", "r", "phi", "z", "track_id")
"""Number of the event, row of the hit in it, r [mm], phi [rad], z [mm], label (-1: on no track)."""


def kept_columns(event: Event) -> dict[str, ndarray]:
    """The input's own columns of the hits, without the coordinates in `TRACK_COLUMNS`.

    Other columns with a name in `TRACK_COLUMNS`, such as an earlier `track_id`, get the prefix ``input_``.
    """
    kept = {} if event.source is None else event.source.columns()
    repeated: set[str] = set()
    if {"r", "phi", "z"} <= set(kept):
        repeated = {"r", "phi", "z"}
    elif {"x", "y", "z"} <= set(kept):
        repeated = {"z"}
    return {
        (f"input_{name}" if name in TRACK_COLUMNS else name): values
        for name, values in kept.items()
        if name not in repeated
    }


def _label_columns(event: Event, tracks: Tracks) -> dict[str, ndarray]:
    check_labels(event, tracks)
    n = len(event.hits)
    r, phi, z = np.ascontiguousarray(event.hits.position.T)
    values = (np.full(n, event.event_id, np.int64), np.arange(n, dtype=np.int64), r, phi, z, tracks.track_id)
    return {**dict(zip(TRACK_COLUMNS, values, strict=True)), **kept_columns(event)}


LABELS: Final = TrackFormat(
    "labels",
    (".parquet", ".csv"),
    dict(zip(TRACK_COLUMNS, (np.int64, np.int64, np.float32, np.float32, np.float32, np.int64), strict=True)),
    _label_columns,
)
"""One row per hit: columns `TRACK_COLUMNS`, then those of `kept_columns`."""


def _list_columns(event: Event, tracks: Tracks) -> dict[str, list[Any]]:
    check_labels(event, tracks)
    lists = split_hit_lists(*hit_lists(event.hits, tracks, outwards=True))
    n = len(lists)
    columns: dict[str, list[Any]] = {"event_id": [event.event_id] * n, "track_id": list(range(n)), "hits": lists}
    if event.source is not None and event.source.hit_id is not None:
        columns["hit_id"] = [event.source.hit_id[rows] for rows in lists]
    return columns


def _write_lists(form: TrackFormat, path: Path, events: EventsWithTracks) -> int:
    if path.suffix == ".parquet":
        return write_table(form, path, events)
    written = 0
    with replacing(path) as part, part.open("w", encoding="utf-8") as stream:
        for event, tracks in events:
            columns = form.columns(event, tracks)
            for values in zip(*columns.values(), strict=True):
                row = {name: np.asarray(value).tolist() for name, value in zip(columns, values, strict=True)}
                stream.write(json.dumps(row) + "\n")
            written += 1
    return written


LISTS: Final = TrackFormat(
    "lists",
    (".parquet", ".jsonl"),
    {"event_id": np.int64, "track_id": np.int64, "hits": list},
    _list_columns,
    writer=_write_lists,
)
"""One row or line per track: `event_id`, `track_id`, `hits` (rows of the hits in the event, from the inside out) and,
where the input has it, `hit_id`."""


_PARAMETER_TYPES: Final[dict[str, type]] = {
    **dict.fromkeys(("event_id", "track_id"), np.int64),
    **{name: column.dtype for name, column in TRACK_FILE_COLUMNS.items()},
}

PARAMETER_COLUMNS: Final = tuple(_PARAMETER_TYPES)
"""Number of the event and of the track, then those of `TRACK_FILE_COLUMNS`."""

PARAMETER_MARK: Final = ",".join(PARAMETER_COLUMNS)
"""The first line of the table in CSV."""


def parameters_path(labels: Path) -> Path:
    """Path of the parameters of the tracks in the file `labels`: ``NAME.parameters.parquet`` or .csv."""
    ending = labels.suffix if labels.suffix in (".csv", ".parquet") else ".parquet"
    return labels.with_name(f"{labels.stem}.parameters{ending}")


def writing_parameters(path: Path, events: EventsWithTracks) -> Iterator[tuple[Event, Tracks]]:
    """The same events and tracks, whose parameters are written to a table as they pass.

    The file appears when the last event has passed.

    Args:
        path: ends in ``.parquet`` (one row group per event) or ``.csv``.
        events: events and their fitted tracks, taken one at a time.

    Raises:
        FileError: a folder that is missing or closed.
        InputError: tracks that were not fitted.
    """
    with incremental_writer(path, _PARAMETER_TYPES) as table:
        for event, tracks in events:
            n = len(parameters_of(event, tracks))
            columns = {"event_id": np.full(n, event.event_id, np.int64), "track_id": np.arange(n, dtype=np.int64)}
            columns |= {name: column.values(tracks) for name, column in TRACK_FILE_COLUMNS.items()}
            table.add(event.event_id, columns)
            yield event, tracks
