"""Rows of Parquet tables that hold one row per event, and the events of those that hold one row per hit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.errors import FileError
from beampipe.tracking.formats.tables.arrow import arrow, as_numpy

__all__ = ["event_rows", "hit_groups", "open_parquet", "runs"]

_ROWS: Final = 65536


def open_parquet(path: str | Path) -> Any:
    """The Parquet file, opened by pyarrow.

    Raises:
        FileError: it is no Parquet file or is cut short.
    """
    pa, pq = arrow("parquet")
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: not a whole Parquet file ({error}); copy or write it again", path=path) from error


def event_rows(path: Path) -> Iterator[tuple[dict[str, Any], dict[str, ndarray]]]:
    """Each row of a table with one row per event: its plain values, and its lists as arrays; a null is left out.

    Raises:
        FileError: the file is cut short or damaged.
    """
    for batch in _batches(path, 1):
        values, lists = {}, {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if not column[0].is_valid:
                continue
            if hasattr(column[0], "values"):
                lists[name] = as_numpy(path, column[0].values)
            else:
                values[name] = as_numpy(path, column).tolist()[0]
        yield values, lists


def hit_groups(path: Path, by: str | None) -> Iterator[tuple[object, dict[str, ndarray]]]:
    """The events of a table with one row per hit: their number, and the columns of their hits.

    Args:
        path: Parquet file.
        by: name of the column with the number of the event; None if the file is one event, whose number is None.

    Raises:
        FileError: the file is cut short or damaged.
    """
    pa, _ = arrow("parquet")
    waiting: list[Any] = []
    for batch in _batches(path, _ROWS):
        number = None if by is None else as_numpy(path, batch.column(by))
        for begin, end in [(0, batch.num_rows)] if number is None else runs(number):
            part = batch.slice(begin, end - begin)
            if waiting and by is not None and waiting[0].column(by)[0] != part.column(by)[0]:
                yield _joined(path, pa.Table.from_batches(waiting), by)
                waiting = []
            waiting.append(part)
    if waiting:
        yield _joined(path, pa.Table.from_batches(waiting), by)


def runs(number: ndarray) -> list[tuple[int, int]]:
    """Begin and end of each run of equal numbers: the rows of an event that stand together."""
    cuts = np.flatnonzero(number[1:] != number[:-1]) + 1
    return list(itertools.pairwise([0, *cuts.tolist(), len(number)])) if len(number) else []


def _joined(path: Path, table: Any, by: str | None) -> tuple[object, dict[str, ndarray]]:
    columns = {name: as_numpy(path, table.column(name)) for name in table.column_names if name != by}
    return None if by is None else as_numpy(path, table.column(by)[:1]).tolist()[0], columns


def _batches(path: Path, rows: int) -> Iterator[Any]:
    pa, _ = arrow("parquet")
    with open_parquet(path) as file:
        try:
            yield from file.iter_batches(batch_size=rows)
        except (pa.ArrowException, OSError) as error:
            raise FileError(f"{path}: cannot be read ({error}); copy or write it again", path=path) from error
