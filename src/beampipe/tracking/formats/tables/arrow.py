"""pyarrow, which only those need who read or write files."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.errors import FileError

__all__ = ["arrow", "as_numpy"]


def arrow(part: str) -> tuple[Any, Any]:
    """pyarrow and its module `part`, imported when they are first needed.

    Args:
        part: name of the module, e.g. ``csv``.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    import pyarrow

    return pyarrow, import_module(f"pyarrow.{part}")


def as_numpy(path: str | Path, column: Any) -> ndarray:
    """A column of pyarrow as an array: of its own type if it holds numbers throughout, else of Python objects.

    Args:
        path: file that it is from, for messages.
        column: an array of pyarrow, chunked or not.

    Raises:
        FileError: it holds text that is damaged.
    """
    pa, _ = arrow("types")
    plain = pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type)
    if plain and column.null_count == 0:
        return np.asarray(column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy())
    values = np.empty(len(column), object)
    try:
        values[:] = column.to_pylist()
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: got text that is no UTF-8 ({error}); copy or write it again", path=path) from error
    return values
