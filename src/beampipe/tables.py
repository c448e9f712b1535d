"""Dataclasses of arrays in .npz files: several in a file, each under a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np

from beampipe.errors import FileError

T = TypeVar("T")


def save_tables(path: Path, /, **tables: Any) -> None:
    """Write dataclasses of arrays by name; the same arrays give the same bytes."""
    arrays: dict[str, Any] = {}
    for name, table in tables.items():
        arrays |= {f"{name}:{each.name}": getattr(table, each.name) for each in fields(table)}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_table(path: Path, name: str, kind: type[T], **given: Any) -> T:
    """Read one table that `save_tables` wrote.

    Args:
        path: the file.
        name: name of the table.
        kind: its dataclass.
        given: values of fields that are not read.

    Raises:
        FileError: the file is damaged, or has no such table.
    """
    return _load(path, kind, name, given)[name]


def load_tables(path: Path, kind: type[T]) -> dict[str, T]:
    """Read all tables of a file, which have the same dataclass, by name.

    Raises:
        FileError: the file is damaged, or has tables of another kind.
    """
    return _load(path, kind, "", {})


def _load(path: Path, kind: type[T], name: str, given: Mapping[str, Any]) -> dict[str, T]:
    """The table of a name, or all of them."""
    read = [each.name for each in fields(kind) if each.name not in given]  # type: ignore[arg-type]
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = [name] if name else dict.fromkeys(each.rpartition(":")[0] for each in arrays)
            return {table: kind(**{each: arrays[f"{table}:{each}"] for each in read}, **given) for table in names}
    except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
        raise FileError(f"{path}: got no table {name or kind.__name__!r} ({error})", path=path) from error
