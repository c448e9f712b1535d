"""Which data a number stands for that an agent takes from one result and puts into another call."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

__all__ = ["Numbers", "numbers_in"]

_REPEATED: Final = frozenset({"edges", "window", "level", "initial_params", "bins"})
"""Parts of results that repeat what the agent chose itself."""

_FEWEST_DIGITS: Final = 5
"""A rounded number with so many significant digits is known again; with fewer, only if it is exact."""


class Numbers:
    """The numbers of all results so far, with the files that each descends from."""

    def __init__(self) -> None:
        self._sorted: list[float] = []
        self._sources: dict[float, frozenset[str]] = {}

    def learn(self, result: Mapping[str, Any], sources: frozenset[str], arguments: Mapping[str, Any]) -> None:
        """Remember the numbers of a result that descends from files; what the agent gave itself does not count."""
        if not sources:
            return
        given = set(numbers_in(arguments))
        for value in _measured(result):
            if value in given:
                continue
            if value not in self._sources:
                insort(self._sorted, value)
            self._sources[value] = self._sources.get(value, frozenset()) | sources

    def sources(self, value: float) -> frozenset[str]:
        """The files that a number descends from: none if no result had it.

        A number that was rounded to five or more significant digits is known again.
        """
        if value in self._sources:
            return self._sources[value]
        digits = _significant_digits(value)
        if digits < _FEWEST_DIGITS:
            return frozenset()
        reach = 0.5001 * 10.0 ** (math.floor(math.log10(abs(value))) + 1 - digits)
        place = bisect_left(self._sorted, value - reach)
        found: frozenset[str] = frozenset()
        while place < len(self._sorted) and self._sorted[place] <= value + reach:
            found |= self._sources[self._sorted[place]]
            place += 1
        return found


def numbers_in(value: Any) -> Iterator[float]:
    """All finite numbers in JSON, at any depth."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        if math.isfinite(value):
            yield float(value)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from numbers_in(one)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for one in value:
            yield from numbers_in(one)


def _measured(result: Any, in_list: bool = False) -> Iterator[float]:
    """Numbers that came out; whole numbers in lists, such as counts in bins, are too common to tell anything."""
    if isinstance(result, Mapping):
        for key, value in result.items():
            if key not in _REPEATED:
                yield from _measured(value)
    elif isinstance(result, list | tuple):
        for value in result:
            yield from _measured(value, True)
    else:
        yield from (value for value in numbers_in(result) if not in_list or value != round(value))


def _significant_digits(value: float) -> int:
    if value == 0 or not math.isfinite(value):
        return 0
    return len(f"{value:.17g}" if value == round(value) else repr(value).split("e")[0].replace(".", "").lstrip("-0"))
