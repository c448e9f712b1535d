"""References to numbers in the results of tools, such as ``call_7.mu``: the key ``mu`` in the result of call 7.

Every result of a tool holds its own name, ``"call": "call_7"``. Calculations take references, and a submission names
one for each of its numbers, so the origin of a number is a fact of the ledger. Keys of nested results are joined by
dots, and indices of lists start at 0: ``call_3.solution.0``.

A number of a result that the agent chose cannot be referenced: an argument that is returned, the edges of a histogram,
and descriptions of columns, which an agent can fill with any number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from beampipe.analysisops.ledger import Entry
from beampipe.errors import InputError, nearest

CALL: Final = "call"
"""Key of a result under which its own name stands."""

CONSTANTS: Final = (0.0, 1.0, 2.0, 3.0, 10.0, 100.0, 1000.0)
"""Literals that every task permits in calculations, beside its own constants and the numbers of its prompt."""

_REFERENCE: Final = re.compile(r"call_([1-9][0-9]{0,5})\.([0-9A-Za-z_]+(?:\.[0-9A-Za-z_]+){0,11})")

_CHOSEN: Final = frozenset(
    {"edges", "window", "initial_params", "fixed", "bins", "low", "high", "level", "seconds", "line", "workspace"}
)
"""Keys of results whose values the agent chose, or can choose."""

_READERS: Final = ("inspect_root_schema_tool", "load_kinematics_tool")
"""Tools that describe columns as they are in the files; those of other tools may contain anything."""

_NUMBER: Final = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", re.ASCII)

_MOST_NUMBERS: Final = 5000
"""Maximum number of numbers that are read from a text."""


def call_name(number: int) -> str:
    """The name of a call by its number in the ledger, from 1 on."""
    return f"call_{number}"


def numbers_in(text: str) -> list[float]:
    """The numbers in a text."""
    return [float(digits) for digits in _NUMBER.findall(text)[:_MOST_NUMBERS]]


def number_at(calls: Sequence[Entry], reference: object) -> tuple[float, Entry, str]:
    """The number that a reference names, its call, and its path in the result.

    Raises:
        InputError: there is no such number, or the agent chose it.
    """
    match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
    if match is None:
        raise InputError(f"got {str(reference)[:60]!r}, expected a call and a key of its result, such as call_7.mu")
    number, path = int(match[1]), match[2]
    if number > len(calls):
        raise InputError(f"got {call_name(number)}, expected one of the {len(calls)} calls so far")
    call = calls[number - 1]
    if call.result is None:
        raise InputError(f"got {call_name(number)}, which was refused; expected a call with a result")
    value: Any = call.result
    for key in path.split("."):
        if key in _CHOSEN or (key == "columns" and call.tool not in _READERS):
            raise InputError(f"{match[0]}: got a number under {key}, which is chosen, not measured")
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            keys = list(value) if isinstance(value, Mapping) else []
            there = ", ".join(keys) or (f"indices below {len(value)}" if isinstance(value, list) else "nothing")
            raise InputError(f"{match[0]}: got no {key}, expected one of {there}{nearest(key, keys)}")
    if type(value) not in (int, float):
        raise InputError(f"{match[0]}: got {str(value)[:40]}, expected the path of a number")
    if call.tool not in _COUNTS and value in _given(call.arguments):
        raise InputError(f"{match[0]}: got {value}, an argument of this call, expected a result")
    return float(value), call, path


_COUNTS: Final = frozenset(
    {"count_tool", "select_tool", "calculate_tool", "efficiency_tool", "limit_tool", "query_metrics_tool"}
)
"""Tools that count events, read metrics, or take references: a result equals one of their arguments by chance."""


def _given(value: object) -> Iterator[float]:
    """All numbers among arguments, also those in texts such as expressions."""
    if isinstance(value, str):
        yield from numbers_in(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _given(item)
    elif isinstance(value, list):
        for item in value:
            yield from _given(item)
    elif type(value) in (int, float):
        yield float(value)  # type: ignore[arg-type]  # its type was checked


class Referenced(float):
    """A number in the result of a tool, with its reference.

    Attributes:
        reference: such as ``"call_7.mu"``.
        plain: the number as the tool returned it.
    """

    reference: str
    plain: int | float

    def __new__(cls, number: int | float, reference: str) -> Referenced:
        """A number with its reference."""
        made = super().__new__(cls, number)
        made.reference, made.plain = reference, number
        return made

    def __reduce__(self) -> tuple[type[Referenced], tuple[int | float, str]]:
        return type(self), (self.plain, self.reference)


def referenced(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result of a tool whose numbers have their references."""
    call = result.get(CALL)
    return dict(result) if call is None else _with_references(dict(result), str(call))


def _with_references(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _with_references(item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_with_references(item, f"{path}.{index}") for index, item in enumerate(value)]
    return Referenced(value, path) if type(value) in (int, float) else value


_CALCULATIONS: Final = (
    "calculate_tool",
    "efficiency_tool",
    "limit_tool",
    "solve_linear_tool",
    "build_workspace_tool",
)
"""Tools that take references in place of numbers."""


def plain_arguments(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a tool as JSON types: calculations get references in place of `Referenced` numbers.

    Args:
        name: name of the tool.
        arguments: arguments, in which numbers of earlier results are `Referenced`.
    """
    return dict(_arguments(arguments, as_references=name in _CALCULATIONS))


def _arguments(value: Any, *, as_references: bool) -> Any:
    if isinstance(value, Referenced):
        return value.reference if as_references else value.plain
    if isinstance(value, Mapping):
        return {key: _arguments(item, as_references=as_references) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_arguments(item, as_references=as_references) for item in value]
    return value
