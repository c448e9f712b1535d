"""Names and units of the columns of a table, where the user states them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.columns import recognised
from beampipe.errors import ColumnError, ConfigError, UnknownNameError, look_up, nearest
from beampipe.tracking.formats.format import FileProbe
from beampipe.tracking.formats.read_options import NO_EVENT_COLUMN, ReadOptions
from beampipe.tracking.formats.tables import EVENT, HIT_COLUMNS, hit_columns

_QUANTITIES: Final = (EVENT, *HIT_COLUMNS)

_UNITS: Final[Mapping[str, Mapping[str, float]]] = {
    "mm": {"mm": 1.0, "um": 1e-3, "cm": 10.0, "m": 1e3},
    "rad": {"rad": 1.0, "mrad": 1e-3, "deg": np.pi / 180},
    "GeV": {"GeV": 1.0, "MeV": 1e-3, "TeV": 1e3},
    "e": {"e": 1.0},
}
"""Unit of a quantity in this package -> the units that it may be given in, in terms of it."""


@dataclass(frozen=True)
class Naming:
    """Names and units of the columns of a table, where the user states them.

    Attributes:
        names: quantity of `HIT_COLUMNS` or `EVENT` -> column of the table that it is read from.
        factors: quantity -> factor to mm, rad and GeV.
    """

    names: Mapping[str, str]
    factors: Mapping[str, float]

    @classmethod
    def of(cls, options: ReadOptions) -> Naming:
        """The naming that options of a command or of `open_events` state.

        Raises:
            ConfigError: an option is no pair ``QUANTITY=COLUMN``, or a quantity has no unit.
            UnknownNameError: no such quantity or unit.
        """
        factors = {}
        if options.scale != "mm" and options.units:
            raise ConfigError(f"units: got the scale {options.scale!r} as well, which states them; leave one out")
        for name, unit in _pairs("units", options.units).items():
            own = next(column.unit for column in _QUANTITIES if column.name == name)
            if own not in _UNITS:
                raise ConfigError(f"units: got {unit} for {name}, which has no unit; leave it out")
            factors[name] = look_up("unit", unit, _UNITS[own])
        return cls(_pairs("columns", options.columns), factors)

    @property
    def is_one_event(self) -> bool:
        """Whether the user says that the table is one event."""
        return self.names.get(EVENT.name) == NO_EVENT_COLUMN

    def fits(self, file: FileProbe) -> bool:
        """Whether a table has all columns that the user names."""
        return file.has(*(column for column in self.names.values() if column != NO_EVENT_COLUMN))

    def probed(self, file: FileProbe) -> FileProbe:
        """The properties of a table with the names of the quantities in place of those of its columns.

        Raises:
            ColumnError: a column that the user names is not there.
        """
        for column in self.names.values():
            if not file.has(column) and column != NO_EVENT_COLUMN:
                raise ColumnError(
                    f"{file.path}: no column {column!r}{nearest(column, file.names)}; got {file}", path=file.path
                )
        new = self._new_names(file.names)
        lists = frozenset(new[name] for name in file.lists)
        return replace(file, names=tuple(new[name] for name in file.names), lists=lists)

    def event_column(self, file: FileProbe) -> str | None:
        """The column of a table with the number of the event, None if it has none."""
        if self.is_one_event:
            return None
        return self.names.get(EVENT.name) or recognised([EVENT], file.names).get(EVENT.name)

    def applied(self, columns: Mapping[str, ndarray]) -> dict[str, ndarray]:
        """The columns by the names of their quantities, in mm, rad and GeV; all others as they are."""
        new = self._new_names(columns)
        return {
            new[name]: values * self.factors[new[name]] if new[name] in self.factors else values
            for name, values in columns.items()
        }

    def _new_names(self, names: Iterable[str]) -> dict[str, str]:
        """Each name -> its new one; a column that is in the way of a quantity is kept as ``input_NAME``."""
        names = list(names)
        new = {name: f"input_{name}" if name in self.names else name for name in names}
        new |= {column: quantity for quantity, column in self.names.items() if column in new}
        known = hit_columns(new.values())
        scaled = {known[quantity]: quantity for quantity in self.factors if quantity in known}
        return {name: scaled.get(renamed, renamed) for name, renamed in new.items()}


def stated(option: str, given: Mapping[str, str] | Collection[str] | None) -> tuple[str, ...]:
    """An argument such as ``columns={"r": "hit_r"}`` as an option of a command, ``r=hit_r``.

    Raises:
        ConfigError: it is neither a mapping of words nor a list of pairs.
    """
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, Mapping):
        return tuple(given or ())
    if wrong := [each for pair in given.items() for each in pair if not isinstance(each, str)]:
        raise ConfigError(f"{option}: got {wrong[0]!r}, expected words, such as {option}={{'event': 'evt'}}")
    return tuple(f"{name}={value}" for name, value in given.items())


def _pairs(option: str, given: Iterable[str]) -> dict[str, str]:
    """Quantity -> word of the pairs ``QUANTITY=WORD``, several of which may stand in one text between commas."""
    pairs: dict[str, str] = {}
    for pair in ",".join(given).split(","):
        if not pair:
            continue
        name, equal, word = (part.strip() for part in pair.partition("="))
        if not (name and equal and word):
            raise ConfigError(f"{option}: got {pair!r}, expected pairs such as r=hit_r,event=evt")
        quantity = next(iter(recognised(_QUANTITIES, [name])), None)
        if quantity is None:
            raise UnknownNameError("quantity", name, [column.name for column in _QUANTITIES])
        if quantity in pairs:
            raise ConfigError(f"{option}: got {name} twice, expected each quantity once")
        pairs[quantity] = word
    return pairs
