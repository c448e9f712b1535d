"""Columns of a CSV file, plain or gzipped, by name and as the type asked for."""

from __future__ import annotations

import csv as python_csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.errors import ColumnError, FileError, NotFiniteError, nearest
from beampipe.tracking.formats.tables.arrow import arrow, as_numpy

__all__ = ["header_of", "read_columns", "read_matrix", "read_table"]


def read_columns(path: Path, wanted: Mapping[str, type[np.generic]]) -> dict[str, ndarray]:
    """The columns `wanted` of a CSV file with a header; others are not even converted.

    Raises:
        FileError: the file is missing, cut short, or holds a field that is no number of its type.
        ColumnError: a column is missing.
        NotFiniteError: a number is NaN or infinite.
    """
    return _read(path, _header(path, wanted), wanted, skip=1)


def read_table(path: Path, wanted: Mapping[str, type[np.generic]]) -> tuple[dict[str, ndarray], dict[str, ndarray]]:
    """The columns `wanted` of a CSV file with a header, and the others as they are: integers, decimals or words.

    Raises:
        FileError: the file is missing, cut short, holds a field that is no number of its type, or one name twice.
        ColumnError: a column is missing.
        NotFiniteError: a number of `wanted` is NaN or infinite.
    """
    header = _header(path, wanted)
    for name in header:
        if header.count(name) > 1:
            raise FileError(f"{path}: got the column {name!r} {header.count(name)} times; rename or drop all but one")
    columns = _read(path, header, wanted, skip=1, rest=True)
    return {name: columns[name] for name in wanted}, {name: columns[name] for name in header if name not in wanted}


def read_matrix(path: Path, names: tuple[str, ...]) -> ndarray:
    """A CSV file without header as (n, len(names)) float64.

    Raises:
        FileError: the file is missing, cut short, has a header, or another number of columns.
        NotFiniteError: a number is NaN or infinite.
    """
    fields = _first_line(path).split(",")
    if len(fields) != len(names):
        raise FileError(f"{path}: got {len(fields)} columns in row 0, expected {len(names)}: {', '.join(names)}")
    columns = _read(path, list(names), dict.fromkeys(names, np.float64), skip=0)
    return np.stack([columns[name] for name in names], axis=1)


def header_of(path: Path) -> list[str]:
    """The fields of the first line, without quotes and blanks around them."""
    return [name.strip() for name in next(python_csv.reader([_first_line(path)]))]


def _first_line(path: Path) -> str:
    """The first line, decompressed, or FileError if there is none."""
    pa, _ = arrow("csv")
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            # Long enough for any header; a binary file has no line end and is refused by its first field.
            line: bytes = stream.read(65536).split(b"\n", 1)[0]
    except (pa.ArrowException, OSError) as error:
        raise FileError(f"{path}: cannot be read ({error}); copy it again") from error
    if not line.strip():
        raise FileError(f"{path}: empty, expected comma-separated columns")
    return line.decode("utf-8", errors="replace").strip()


def _header(path: Path, wanted: Mapping[str, type[np.generic]]) -> list[str]:
    header = header_of(path)
    for name in wanted:
        if name not in header:
            raise ColumnError(f"{path}: no column {name!r}{nearest(name, header)}; got {', '.join(header)}")
    return header


def _read(
    path: Path, header: list[str], wanted: Mapping[str, type[np.generic]], skip: int, *, rest: bool = False
) -> dict[str, ndarray]:
    pa, csv = arrow("csv")
    bad: list[str] = []

    def refuse(row: Any) -> str:
        bad.append(f"got {row.actual_columns} columns in {row.text[:80]!r}, expected {row.expected_columns}")
        return "error"

    try:
        table = csv.read_csv(
            str(path),
            read_options=csv.ReadOptions(column_names=header, skip_rows=skip, use_threads=False),
            parse_options=csv.ParseOptions(invalid_row_handler=refuse),
            convert_options=csv.ConvertOptions(
                include_columns=header if rest else list(wanted),
                column_types={name: pa.from_numpy_dtype(dtype) for name, dtype in wanted.items()},
                null_values=[],
                strings_can_be_null=False,
            ),
        )
    except (pa.ArrowException, OSError, EOFError) as error:
        raise FileError(
            f"{path}: {bad[0] if bad else error}; the file may be cut short, copy or write it again"
        ) from error
    columns = {name: as_numpy(path, table.column(name)) for name in table.column_names}
    for name, values in columns.items():
        if wanted.get(name) in (np.float32, np.float64) and not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values)))
            raise NotFiniteError(
                f"{path}: got {name} = {values[row]} at row {row}, expected a finite number; drop or repair that row"
            )
    return columns
