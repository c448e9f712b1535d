"""Declared columns: what a column from outside may be called, its unit and its range, and one check of its numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

__all__ = ["MOST_UNUSABLE", "Column", "ColumnScan", "is_sampled", "recognised", "suspicion"]

MOST_UNUSABLE: Final = 0.01
"""Largest share of numbers outside the declared range, NaN or infinite that is reported but not refused."""

_OFTEN: Final = 64

_DENORMAL: Final = float(np.finfo(np.float32).tiny)
"""Numbers below it, but not 0, are what remains of a type that was misread; no quantity of the field is that small."""

_SENTINEL_SHARE: Final = 0.005
_SENTINEL_DISTANCE: Final = 10.0
"""Distance of one repeated value from the bulk, in widths of the bulk, from which on it stands for a missing value."""


@dataclass(frozen=True)
class Column:
    """What is expected of a column.

    Attributes:
        name: its name in this package.
        aliases: other names; case, underscores, blanks and dots do not count.
        unit: unit of its numbers, for messages.
        low: smallest possible number.
        high: largest possible number.
    """

    name: str
    aliases: tuple[str, ...] = ()
    unit: str = ""
    low: float = -np.inf
    high: float = np.inf

    @property
    def words(self) -> list[str]:
        """Its names in lower case, without signs; the first one is `name`."""
        return [_plain(word) for word in (self.name, *self.aliases)]


def is_sampled(number: int) -> bool:
    """Whether a check that takes time is made of this one of a series: of numbers 1, 2, 4, 8 ... and of each 64th."""
    return number & (number - 1) == 0 or number % _OFTEN == 0


def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-z]", "", name.lower())


def recognised(columns: Iterable[Column], names: Iterable[str]) -> dict[str, str]:
    """Name of each declared column -> the column of the file that it is read from.

    Of several that fit, the one of exactly this name is taken, then the one whose alias is declared first.

    >>> recognised([Column("event_id", ("event", "eventNumber"))], ["x", "EVENT_NUMBER"])
    {'event_id': 'EVENT_NUMBER'}
    """
    found: dict[str, str] = {}
    plain = {name: _plain(name) for name in names}
    for column in columns:
        words = column.words
        fitting = [name for name in plain if plain[name] in words]
        if fitting:
            found[column.name] = min(fitting, key=lambda name: (name != column.name, words.index(plain[name])))
    return found


@dataclass
class ColumnScan:
    """Counts of the unusable numbers of one column, by cause.

    Attributes:
        column: what is expected.
        n: numbers seen.
        causes: cause -> number of unusable numbers.
    """

    column: Column
    n: int = 0

    def __post_init__(self) -> None:
        self.causes: dict[str, int] = {}

    def add(self, values: ndarray) -> ndarray:
        """Count more numbers.

        Args:
            values: (n,) numbers.

        Returns:
            (n,) bool: which of them are usable: finite and within the declared range.
        """
        usable: ndarray = np.isfinite(values)
        counts: dict[str, int] = {"NaN": int(np.count_nonzero(np.isnan(values)))}
        counts["infinite"] = len(values) - int(np.count_nonzero(usable)) - counts["NaN"]
        low, high = self.column.low, self.column.high
        with np.errstate(invalid="ignore"):
            outside = usable & ((values < low) | (values > high))
        if outside.any():
            value, count = _most_frequent(values[outside])
            n_outside = int(np.count_nonzero(outside))
            counts |= (
                {f"equal to {value:g}, outside {low:g} to {high:g}": n_outside}
                if count == n_outside
                else {f"outside {low:g} to {high:g}": n_outside}
            )
            usable &= ~outside
        self.n += len(values)
        for cause, count in counts.items():
            if count:
                self.causes[cause] = self.causes.get(cause, 0) + count
        return usable

    @property
    def share(self) -> float:
        """Share of unusable numbers."""
        return sum(self.causes.values()) / self.n if self.n else 0.0

    def __str__(self) -> str:
        """The counts, e.g. ``12 of 300 numbers (4 %) cannot be used: 12 NaN``; empty if all can be."""
        if not self.causes:
            return ""
        total = sum(self.causes.values())
        causes = ", ".join(f"{count} {cause}" for cause, count in self.causes.items())
        return f"{total} of {self.n} numbers ({self.share:.2%}) cannot be used: {causes}"


def suspicion(values: ndarray) -> str:
    """What looks wrong in the numbers of a column whatever it holds; empty if nothing does.

    Found are numbers too small for any quantity, as of a type that was misread, and one value, repeated and far outside
    of all others, that stands for "missing".

    Args:
        values: (n,) numbers of a sample.
    """
    if values.dtype.kind != "f" or not len(values):
        return ""
    finite = values[np.isfinite(values)].astype(np.float64)
    others = finite[finite != 0]
    if len(others) and np.median(np.abs(others)) < _DENORMAL:
        return f"numbers around {np.median(np.abs(others)):.1g}, as if their type had been misread"
    if not len(finite):
        return ""
    for value in {float(finite.min()), float(finite.max())}:
        bulk = finite[finite != value]
        count = len(finite) - len(bulk)
        if len(bulk) < 20 or count < max(3, _SENTINEL_SHARE * len(finite)):
            continue
        low, high = np.quantile(bulk, [0.01, 0.99])
        gap = min(abs(value - bulk.min()), abs(value - bulk.max()))
        if gap > _SENTINEL_DISTANCE * max(high - low, np.spacing(abs(value))):
            return f"the value {value:g} {count} of {len(finite)} times, far from all others ({low:g} to {high:g})"
    return ""


def _most_frequent(values: ndarray) -> tuple[float, int]:
    numbers, counts = np.unique(values, return_counts=True)
    best = int(np.argmax(counts))
    return float(numbers[best]), int(counts[best])
