"""What an agent answered, as bounded, plain JSON: whatever comes in, checks see texts, finite numbers, lists, objects.

An agent may answer anything: None, a list, NaN, a million keys, a nesting that overflows a stack. Here it is cut to
size once, and every cut is noted, so that no check has to fear its input. What is no value (NaN, infinity, a number
beyond double precision, an object of a program) becomes None, which no check takes for a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["MISSING", "Submission", "look_up", "number_of", "read_submission"]

_DEEPEST: Final = 16
"""So many levels of lists and objects are read; what lies deeper is None."""

_LONGEST: Final = 16_384
"""Characters that are read of a text."""

_ALL_TEXTS: Final = 262_144
"""Characters that are read of all texts together."""

_MOST: Final = 20_000
"""Values that are read of a submission, in their order."""

_LARGEST: Final = 2**53
"""Integers beyond it are no exact doubles; as numbers of physics they are none either."""

MISSING: Final[Any] = object()
"""What `look_up` gives where there is nothing; null in JSON is None."""


@dataclass(frozen=True)
class Submission:
    """A submission as checks see it.

    Attributes:
        content: its fields; empty if it was no object.
        is_object: whether it was an object.
        notes: what was cut, one sentence each.
    """

    content: Mapping[str, Any]
    is_object: bool = True
    notes: tuple[str, ...] = ()

    def section(self, name: str) -> Mapping[str, Any]:
        """The object of that name, such as ``"answers"``; an empty one if there is none."""
        found = self.content.get(name)
        return found if isinstance(found, Mapping) else {}

    def answer(self, name: str) -> tuple[float | None, float | None]:
        """Value and uncertainty of an answer; None where there is no finite number. A number alone is a value."""
        found = self.section("answers").get(name)
        if isinstance(found, Mapping):
            return number_of(found.get("value")), number_of(found.get("uncertainty"))
        return number_of(found), None


def read_submission(raw: object) -> Submission:
    """A submission from whatever an agent gave; it never raises."""
    if not isinstance(raw, Mapping):
        return Submission({}, False, (f"got {type(raw).__name__}, expected an object",))
    reader = _Reader()
    content = reader.read(raw, "", 0)
    return Submission(content, True, tuple(reader.notes))


def look_up(content: object, path: str) -> Any:
    """The value at a dotted path through objects, `MISSING` if there is none."""
    for key in path.split("."):
        if not isinstance(content, Mapping) or key not in content:
            return MISSING
        content = content[key]
    return content


def number_of(value: object) -> float | None:
    """A finite number as float; None for everything else, texts and true among them."""
    if type(value) not in (int, float):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # its type was looked at
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


class _Reader:
    """Copies a value within bounds."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._left = _MOST
        self._text_left = _ALL_TEXTS

    def read(self, value: object, where: str, depth: int) -> Any:
        self._left -= 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, where)
        if isinstance(value, int | float):
            return self._number(value, where)
        if depth >= _DEEPEST:
            self._note(f"{where}: nested deeper than {_DEEPEST} levels, not read")
            return None
        if isinstance(value, Mapping):
            return self._object(value, where, depth)
        if isinstance(value, list | tuple):
            return self._list(value, where, depth)
        self._note(f"{where}: {type(value).__name__} is no JSON, not read")
        return None

    def _text(self, value: str, where: str) -> str:
        length = min(_LONGEST, self._text_left)
        if len(value) > length:
            self._note(f"{where}: {len(value)} characters, of which {length} are read")
        self._text_left -= min(length, len(value))
        return value[:length].encode("utf-8", "replace").decode("utf-8")

    def _number(self, value: int | float, where: str) -> int | float | None:
        number = number_of(value)
        if number is None:
            self._note(f"{where}: no finite number")
        elif isinstance(value, int) and abs(value) > _LARGEST:
            return number
        return None if number is None else value

    def _object(self, value: Mapping[Any, Any], where: str, depth: int) -> dict[str, Any]:
        found = {}
        for key, inside in value.items():
            if self._left <= 0:
                self._note(f"{where}: more than {_MOST} values, the rest is not read")
                break
            if not isinstance(key, str) or len(key) > 200:
                self._note(f"{where}: a key that is no text of at most 200 characters, not read")
                continue
            name = key.encode("utf-8", "replace").decode("utf-8")
            found[name] = self.read(inside, f"{where}.{name[:40]}".lstrip("."), depth + 1)
        return found

    def _list(self, value: list[Any] | tuple[Any, ...], where: str, depth: int) -> list[Any]:
        found = []
        for number, inside in enumerate(value):
            if self._left <= 0:
                self._note(f"{where}: more than {_MOST} values, the rest is not read")
                break
            found.append(self.read(inside, f"{where}[{number}]", depth + 1))
        return found

    def _note(self, note: str) -> None:
        if len(self.notes) < 20:
            self.notes.append(note[:300])
