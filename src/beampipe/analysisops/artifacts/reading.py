"""Read untrusted files: bounded sizes, and few formats, none of which can execute code.

Lists are ``.csv``, ``.json`` or ``.npy`` files. Three kinds of formats are refused: compressed ones (a few bytes become
gigabytes), pickles, which execute code, and ROOT, whose files define their own readers.
"""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.errors import FileError

COLUMNS: Final = ("event", "mass")
"""Columns of a list: number of the event, and its mass [GeV]."""

FORMATS: Final = (".csv", ".json", ".npy")
LARGEST: Final = 16 << 20
"""Number of bytes that a list may have; as objects of Python it takes some twenty times as much."""

MOST_ROWS: Final = 500_000
"""Number of rows that a list may have; an unbinned fit takes no more."""

_MAGIC: Final = b"\x93NUMPY"


@dataclass(frozen=True)
class Rows:
    """A submitted list, not yet verified.

    Attributes:
        event: number of each event.
        mass: its stated mass [GeV].
    """

    event: Float64[ndarray, " n"]
    mass: Float64[ndarray, " n"]


def read_json(folder: Path, name: str, largest: int = LARGEST) -> Any:
    """Read a JSON file of at most so many bytes.

    Raises:
        FileError: the folder has no plain file of that name, or it is too large, or no JSON.
    """
    try:
        return json.loads(_bytes(folder, name, largest))
    except (ValueError, RecursionError) as error:
        raise _fault(name, f"something that is no JSON ({str(error)[:80]})", "JSON") from error


def read_rows(folder: Path, name: str) -> Rows:
    """Read a list of events with masses.

    Args:
        folder: folder that the agent wrote to.
        name: plain name of the file; its suffix determines the format.

    Raises:
        FileError: the folder has no plain file of that name, or it is too large, of another format, or lacks a column.
    """
    suffix = Path(name).suffix.lower()
    readers = {".csv": _from_csv, ".json": _from_json, ".npy": _from_npy}
    if suffix not in readers:
        raise _fault(name, f"the format {suffix or 'without a suffix'!r}", f"one of {', '.join(FORMATS)}")
    content = _bytes(folder, name, LARGEST)
    try:
        event, mass = readers[suffix](content)
    except Exception as error:  # an untrusted file may make a reader fail in any way
        fault = f"what is no such list ({' '.join(str(error).split())[:120]})"
        raise _fault(name, fault, f"columns {' and '.join(COLUMNS)} of one length, of numbers") from error
    if len(event) > MOST_ROWS or len(event) != len(mass):
        raise _fault(name, f"{len(event)} events and {len(mass)} masses", f"as many, at most {MOST_ROWS}")
    return Rows(event, mass)


def _bytes(folder: Path, name: str, largest: int) -> bytes:
    """Read a plain file. Links, pipes and devices are refused, since they could lead to files of the host."""
    if Path(name).name != name or name in ("", ".", ".."):
        raise _fault(name, "a path", "the plain name of a file beside artifacts.json")
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _fault(name, f"no such file ({getattr(error, 'strerror', error)})", "a plain file") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _fault(name, "a folder, pipe or device", "a plain file")
        if status.st_size > largest:
            raise _fault(name, f"{status.st_size} bytes", f"at most {largest}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(largest)
    finally:
        os.close(descriptor)


def _from_csv(content: bytes) -> tuple[ndarray, ndarray]:
    head, _, body = content.decode("utf-8-sig").partition("\n")
    names = [name.strip() for name in next(csv.reader([head.strip()]), [])]
    places = [names.index(column) for column in COLUMNS]
    if not body.strip():
        return np.empty(0), np.empty(0)
    if body.count("\n") > MOST_ROWS:
        raise ValueError(f"more than {MOST_ROWS} lines")
    table = np.loadtxt(io.StringIO(body), float, comments=None, delimiter=",", usecols=places, ndmin=2)
    return table[:, 0].copy(), table[:, 1].copy()


def _from_json(content: bytes) -> tuple[ndarray, ndarray]:
    table = json.loads(content)
    columns = [table[column] for column in COLUMNS]
    for column in columns:
        if not isinstance(column, list) or not {type(one) for one in column} <= {int, float}:
            raise TypeError("a column that is no list of numbers")
    event, mass = (np.asarray(column, float) for column in columns)
    return event, mass


def _from_npy(content: bytes) -> tuple[ndarray, ndarray]:
    """Read an ``.npy`` file by the type and shape in its header; Python objects are refused."""
    if not content.startswith(_MAGIC):
        raise ValueError("it does not begin as .npy does")
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version}")
    shape, by_columns, dtype = read(file)
    if dtype.hasobject:
        raise TypeError("objects of Python")
    number = int(np.prod(shape, dtype=object)) if shape else 1
    if number * dtype.itemsize != len(content) - file.tell() or not dtype.itemsize:
        raise ValueError("another number of values than its header says")
    table = np.frombuffer(content, dtype, offset=file.tell()).reshape(shape, order="F" if by_columns else "C")
    if dtype.names:
        event, mass = (_numbers(table[column]) for column in COLUMNS)
    elif table.ndim == 2 and table.shape[1] == len(COLUMNS):
        event, mass = _numbers(table[:, 0]), _numbers(table[:, 1])
    else:
        raise ValueError(f"the shape {shape}")
    return event, mass


def _numbers(values: ndarray) -> ndarray:
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise TypeError(f"values of type {values.dtype}")
    return values.astype(float)


def _fault(name: str, got: str, expected: str) -> FileError:
    shown = name[:60].encode("utf-8", "replace").decode()
    return FileError(f"artifact {shown!r}: got {got}, expected {expected}", name=shown)
