"""Tables: columns that are declared once, rows with names, equality by content; and files of them (.npz)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import Field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload
from zipfile import BadZipFile

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from beampipe.arrays import Int64
from beampipe.errors import DtypeError, FileError, ShapeError, expect_type

if TYPE_CHECKING:
    from awkward import Array
    from pandas import DataFrame

T = TypeVar("T")
RowT = TypeVar("RowT", bound="Row")
Number = TypeVar("Number")
_Table = TypeVar("_Table", bound="Table[Any]")


def stored(dtype: type, *shape: int) -> dict[str, Any]:
    """Metadata of a field of a dataclass that is an array with one entry per row.

    Args:
        dtype: type of its numbers.
        shape: shape of one entry; none for a number.
    """
    return {"dtype": dtype, "shape": shape}


def stored_fields(table: Any) -> list[Field[Any]]:
    """The fields of a dataclass, or of its instance, that `stored` declares."""
    return [each for each in fields(table) if "shape" in each.metadata]


def expect_array(name: str, array: ndarray, dtype: type, shape: tuple[int | None, ...]) -> None:
    """Refuse an array that is not of the stated type and shape (None matches any length)."""
    expect_type(name, array, ndarray, "convert it with numpy.asarray, or make hits with Hits.from_xyz(x, y, z)")
    if array.dtype != dtype:
        raise DtypeError(f"{name}: got dtype {array.dtype}, expected {np.dtype(dtype)}; convert it first")
    if array.ndim != len(shape) or any(
        want is not None and length != want for length, want in zip(array.shape, shape, strict=True)
    ):
        expected = ", ".join("n" if length is None else str(length) for length in shape)
        raise ShapeError(f"{name}: got shape {array.shape}, expected ({expected})")


def expect_stored(table: Any, n: int) -> None:
    """Refuse a dataclass whose arrays are not of the declared types, with `n` rows; fields may be None by default."""
    for each in stored_fields(table):
        values = getattr(table, each.name)
        if values is not None or each.default is not None:
            expect_array(each.name, values, each.metadata["dtype"], (n, *each.metadata["shape"]))


class Quantity(Generic[Number]):
    """A column, declared once: an array of a table, a number of one of its rows; exports and files have it, too.

    Args:
        dtype: type of its values; `str` for words.
        unit: unit of its values; empty for numbers without one.
        meaning: what it is, in a few words.
        values: computes it for a table, one value per row.
        needs: attributes that the table must have (not None); without them exports lack the column.
        in_tables: whether exports, such as `Table.to_pandas`, have it.
        in_files: name of the column in files; empty if they do not have it.
    """

    def __init__(
        self,
        dtype: type[Number],
        unit: str,
        meaning: str,
        values: Callable[[Any], ndarray],
        *,
        needs: tuple[str, ...] = (),
        in_tables: bool = True,
        in_files: str = "",
    ) -> None:
        self.dtype, self.unit, self.meaning, self.values = dtype, unit, meaning, values
        self.needs, self.in_tables, self.in_files = needs, in_tables, in_files
        self.__doc__ = f"{meaning[:1].upper()}{meaning[1:]}{f' [{unit}]' if unit else ''}."

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, of: None, kind: object = None) -> Quantity[Number]: ...

    @overload
    def __get__(self, of: Row, kind: object = None) -> Number: ...

    @overload
    def __get__(self, of: object, kind: object = None) -> ndarray: ...

    def __get__(self, of: object, kind: object = None) -> Any:
        if of is None:
            return self
        return of.number(self.name) if isinstance(of, Row) else self.values(of)

    def is_known(self, table: object) -> bool:
        """Whether a table has what the column is computed from."""
        return all(getattr(table, name) is not None for name in self.needs)


def quantities(kind: type) -> list[Quantity[Any]]:
    """The columns that a class and its bases declare, in their order."""
    return [each for base in kind.__mro__ for each in vars(base).values() if isinstance(each, Quantity)]


class ByContent:
    """Base class of dataclasses that are equal if all their fields are; arrays are compared value by value."""

    def __hash__(self) -> int:
        return hash((type(self), len(self) if isinstance(self, Sized) else 0))

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        own: Any = fields(self)  # type: ignore[arg-type]
        return all(_equal(getattr(self, each.name), getattr(other, each.name)) for each in own if each.compare)


def _equal(one: object, other: object) -> bool:
    if isinstance(one, ndarray) and isinstance(other, ndarray):
        is_float = one.dtype.kind == other.dtype.kind == "f"
        return bool(np.array_equal(one, other, equal_nan=is_float))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other or (one != one and other != other))


class Row:
    """One row of a table: every column is an attribute, a number where the table has an array.

    Args:
        table: the table.
        row: number of the row in it.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, table: Table[Any], row: int) -> None:
        self._table, self._row = table, row

    def number(self, name: str) -> Any:
        """The entry of a column of the table in this row; None where the table lacks the column."""
        values = self._table.kept(name, lambda: getattr(self._table, name))
        return None if values is None else values[self._row]

    def __getattr__(self, name: str) -> Any:
        # Copies and pickles look for methods before there is a table.
        if name.startswith("_") or name not in (each.name for each in stored_fields(self._table)):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self.number(name)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return bool(self._table.take([self._row]) == other._table.take([other._row]))

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *(each.name for each in stored_fields(self._table))})

    def __repr__(self) -> str:
        numbers = ((name, self.number(name)) for name in self._table.columns())
        texts = (f"{name}: {n:.6g}" if isinstance(n, np.floating) else f"{name}: {n}" for name, n in numbers)
        return f"{type(self).__name__}({', '.join(texts)})"


class Table(ByContent, Generic[RowT]):
    """Base class of frozen dataclasses with rows: arrays of one length, declared by `stored`, and `Quantity`s.

    ``len``, iteration, one row by its number, and the rows of a slice, of a mask or of a list of numbers work as for
    arrays.
    """

    row_type: ClassVar[type[Row]]
    """Class of one row."""

    @abstractmethod
    def __len__(self) -> int: ...

    def take(self: _Table, selection: ArrayLike) -> _Table:
        """The rows of a mask or of row numbers, in that order.

        Raises:
            IndexError: the mask has another length, or there is no such row.
            TypeError: the selection is neither.
        """
        rows = selected_rows(selection, len(self), type(self).__name__.lower())
        arrays = ((each.name, getattr(self, each.name)) for each in stored_fields(self))
        chosen: Any = {name: values[rows] for name, values in arrays if values is not None}
        return replace(self, **chosen)  # type: ignore[type-var]

    @overload
    def __getitem__(self, selection: int) -> RowT: ...

    @overload
    def __getitem__(self: _Table, selection: slice | ArrayLike) -> _Table: ...

    def __getitem__(self, selection: Any) -> Any:
        """One row by its number; a table of the rows of a slice, of a mask or of a list of numbers."""
        if isinstance(selection, slice):
            return self.take(np.arange(len(self))[selection])
        if isinstance(selection, int | np.integer):
            return self._one(int(selected_rows([int(selection)], len(self), type(self).__name__.lower())[0]))
        return self.take(selection)

    def __iter__(self) -> Iterator[RowT]:
        """Each row."""
        return map(self._one, range(len(self)))

    def _one(self, row: int) -> Any:
        return self.row_type(self, row)

    @cached_property
    def _kept(self) -> dict[str, Any]:
        return {}

    def kept(self, name: str, compute: Callable[[], Any]) -> Any:
        """A value of that name, computed once for this object; copies, equal objects and files do not have it."""
        if name not in self._kept:
            self._kept[name] = compute()
        return self._kept[name]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_kept"}

    def columns(self) -> dict[str, ndarray]:
        """Every column by name; all have the same length."""
        plain = {each.name: each for each in stored_fields(self) if not each.metadata["shape"]}
        first = {name: getattr(self, name) for name, each in plain.items() if each.default is not None}
        last = {name: values for name in plain if name not in first and (values := getattr(self, name)) is not None}
        computed = {
            each.name: each.values(self) for each in quantities(type(self)) if each.in_tables and each.is_known(self)
        }
        return {**first, **computed, **last}

    def to_numpy(self) -> ndarray:
        """A structured array with a field for each column."""
        columns = self.columns()
        table = np.empty(len(next(iter(columns.values()))), [(name, values.dtype) for name, values in columns.items()])
        for name, values in columns.items():
            table[name] = values
        return table

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> ndarray:
        return np.array(self.to_numpy(), dtype, copy=copy)

    def to_pandas(self) -> DataFrame:
        """A table of pandas; needs pandas.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        from pandas import DataFrame

        return DataFrame(self.columns())

    def to_awkward(self) -> Array:
        """An array of records of awkward.

        Raises:
            MissingExtraError: awkward is not installed.
        """
        from awkward import zip as records

        return records(self.columns())


def selected_rows(selection: ArrayLike, n: int, what: str) -> Int64[ndarray, " n"]:
    """The row numbers that a mask or an array of row numbers selects.

    Args:
        selection: (n,) mask, or row numbers; negative ones count from the end.
        n: number of rows.
        what: name of the rows in messages, e.g. ``"hits"``.

    Raises:
        IndexError: the mask has another length, or there is no such row.
        TypeError: the selection is neither.
    """
    array = np.asarray(selection)
    if array.dtype == np.bool_ and array.ndim == 1:
        if len(array) != n:
            raise IndexError(f"{what}: got a mask of length {len(array)}, expected one value for each of the {n}")
        return np.flatnonzero(array)
    if array.ndim == 1 and array.size == 0:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise TypeError(f"{what}: got {array.dtype} of shape {array.shape}, expected a mask or row numbers")
    outside = array[(array < -n) | (array >= n)]
    if len(outside):
        raise IndexError(f"{what}: got row {outside[0]}, but there are {n}")
    rows = array.astype(np.int64)
    return np.where(rows < 0, rows + n, rows)


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
