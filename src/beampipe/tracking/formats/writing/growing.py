"""A table that grows by one event after the other, and appears when it is complete."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from numpy import ndarray

from beampipe.errors import FileError
from beampipe.files import replacing
from beampipe.tracking.events import Event, Tracks
from beampipe.tracking.formats.tables.arrow import arrow
from beampipe.tracking.formats.writing.form import Found

__all__ = ["GrowingTable", "growing_table", "write_table"]


class GrowingTable:
    """A table to which events are added; the first event with rows says which columns there are.

    Args:
        part: file to write.
        suffix: ``.parquet`` (one row group per event) or ``.csv``.
        types: name -> pyarrow type of the columns that every event has.
    """

    def __init__(self, part: Path, suffix: str, types: Mapping[str, Any]) -> None:
        self._part = part
        self._suffix = suffix
        self._types = dict(types)
        self._schema: Any = None
        self._writer: Any = None
        self._open = ExitStack()

    def add(self, event_id: int, columns: Mapping[str, ndarray | Sequence[Any]]) -> None:
        """Add the rows of one event; what it lacks of the columns of the first event is null.

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
        """Finish the file; without any row it has the columns that every event has."""
        if self._writer is None:
            pa, _ = arrow("lib")
            self._start(pa.schema(list(self._types.items())))
        self._open.close()

    def abandon(self) -> None:
        """Let the file go as it is, whole or not."""
        with suppress(Exception):  # what was wrong is being told already
            self._open.close()

    def _start(self, schema: Any) -> None:
        _, writing = arrow(self._suffix[1:])
        self._schema = schema
        self._types = {field.name: field.type for field in schema}
        if self._suffix == ".csv":
            # The header without quotes, which the readers of ACTS would take for part of the names.
            with self._part.open("w", encoding="utf-8", newline="") as header:
                csv.writer(header, lineterminator="\n").writerow(schema.names)
            stream = self._open.enter_context(self._part.open("ab"))
            rows_only = writing.WriteOptions(include_header=False)
            self._writer = writing.CSVWriter(stream, schema, write_options=rows_only)
        else:
            self._writer = writing.ParquetWriter(self._part, schema, compression="zstd")
        self._open.enter_context(self._writer)


@contextmanager
def growing_table(path: Path, types: Mapping[str, Any]) -> Iterator[GrowingTable]:
    """A table that takes the place of `path` if the block ends well.

    Args:
        path: ends in ``.parquet`` or ``.csv``.
        types: name -> pyarrow type of the columns that every event has.

    Raises:
        FileError: the folder is missing or closed, or there is no space.
    """
    with replacing(path) as part:
        table = GrowingTable(part, path.suffix, types)
        try:
            yield table
        except BaseException:
            table.abandon()
            raise
        table.close()


def write_table(
    path: Path,
    types: Mapping[str, Any],
    found: Found,
    columns: Callable[[Event, Tracks], Mapping[str, ndarray | Sequence[Any]]],
) -> int:
    """Write a table of events and their tracks, taken one at a time.

    Args:
        path: ends in ``.parquet`` or ``.csv``.
        types: name -> pyarrow type of the columns that every event has.
        found: events and their tracks.
        columns: the columns of one event.

    Returns:
        The number of events written.

    Raises:
        FileError: the folder is missing or closed, there is no space, or columns differ between events.
    """
    written = 0
    with growing_table(path, types) as table:
        for event, tracks in found:
            table.add(event.event_id, columns(event, tracks))
            written += 1
    return written
