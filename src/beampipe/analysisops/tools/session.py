"""The tools of one assessment over one folder of data; each call is written to the ledger.

A session also records on which data files each number of its results depends. A number that an agent copies from a
result into another call keeps its origin.
"""

from __future__ import annotations

import json
import math
import threading
import time
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.tools.catalogue import tools
from beampipe.analysisops.tools.data_folder import DataFolder
from beampipe.analysisops.tools.handles import Content, HandleStore, ToolContext
from beampipe.errors import BeampipeError, UnknownNameError, nearest

_REPEATED: Final = frozenset({"edges", "window", "level", "initial_params", "bins"})
"""Parts of results that repeat arguments."""

_FEWEST_DIGITS: Final = 5
"""A rounded number with at least this many significant digits is recognised; with fewer, only an exact one."""


class CarriedNumbers:
    """The numbers of all results so far, with the files that each depends on."""

    def __init__(self) -> None:
        self._sorted: list[float] = []
        self._sources: dict[float, frozenset[str]] = {}

    def learn(self, result: Mapping[str, Any], sources: frozenset[str], arguments: Mapping[str, Any]) -> None:
        """Store the numbers of a result that depends on files, except those among the agent's own arguments."""
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
        """The files on which a number from a result, exact or rounded, depends; empty if no result contains it."""
        if value in self._sources:
            return self._sources[value]
        digits = 0
        if value != 0 and math.isfinite(value):
            text = f"{value:.17g}" if value == round(value) else repr(value).split("e")[0].replace(".", "").lstrip("-0")
            digits = len(text)
        if digits < _FEWEST_DIGITS:
            return frozenset()
        reach = 0.5001 * 10.0 ** (math.floor(math.log10(abs(value))) + 1 - digits)
        position = bisect_left(self._sorted, value - reach)
        sources: frozenset[str] = frozenset()
        while position < len(self._sorted) and self._sorted[position] <= value + reach:
            sources |= self._sources[self._sorted[position]]
            position += 1
        return sources


def numbers_in(value: Any) -> Iterator[float]:
    """All finite numbers in JSON, at any depth."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        if math.isfinite(value):
            yield float(value)
    elif isinstance(value, Mapping):
        for inside in value.values():
            yield from numbers_in(inside)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inside in value:
            yield from numbers_in(inside)


def _measured(result: Any, in_list: bool = False) -> Iterator[float]:
    """Numbers of a result, except integers in lists (bin counts): these are too common to identify an origin."""
    if isinstance(result, Mapping):
        for key, value in result.items():
            if key not in _REPEATED:
                yield from _measured(value)
    elif isinstance(result, list | tuple):
        for value in result:
            yield from _measured(value, True)
    else:
        yield from (value for value in numbers_in(result) if not in_list or value != round(value))


_LONGEST_ARGUMENTS: Final = 64 * 1024
"""Arguments with more characters than this, as JSON, are refused."""

_TELLING: Final = 10
"""Smaller integers occur in almost any result, so they do not identify an origin."""

_SHOWN: Final = 1000
"""Number of characters that the ledger keeps of arguments that were refused for their length."""


@dataclass(frozen=True)
class SessionLimits:
    """Limits of one assessment.

    Attributes:
        calls: number of calls, including refused ones.
        seconds_per_call: time limit of one call [s].
        bytes_held: memory limit of all handles together [bytes].
    """

    calls: int = 200
    seconds_per_call: float = 60.0
    bytes_held: int = 1 << 30


class Session:
    """The tools of one assessment; several threads may call them, one call runs at a time.

    Args:
        data: folder with a manifest and the files that it lists.
        ledger: where each call is written, refused ones too.
        limits: limits of the calls.

    Raises:
        FileError: the manifest of the folder is missing or invalid.
    """

    def __init__(self, data: Path, ledger: Ledger, limits: SessionLimits | None = None) -> None:
        self._limits = limits or SessionLimits()
        self._folder = DataFolder(data)
        self._ledger = ledger
        self._store = HandleStore(self._limits.bytes_held)
        self._numbers = CarriedNumbers()
        self._calls = 0
        self._lock = threading.Lock()

    @property
    def ledger(self) -> Ledger:
        """Where each call is written; the host adds calls of its own for artifacts that agents submit."""
        return self._ledger

    def names(self) -> tuple[str, ...]:
        """Names of the tools."""
        return tuple(tools())

    def content(self, handle: str) -> Content:
        """The content of a handle.

        Raises:
            UnknownNameError: no tool has returned that handle.
        """
        try:
            return self._store.get(handle)[0]
        except KeyError as error:
            raise UnknownNameError("handle", handle, self._store.handles) from error

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool.

        Args:
            tool: its name.
            **arguments: JSON types.

        Returns:
            Its result: JSON types, numbers finite or None.

        Raises:
            ToolRefusedError: there is no such tool, the arguments do not fit, or a limit is reached; the message is for
                the agent.
        """
        with self._lock:
            return self._locked_call(tool, arguments)

    def _locked_call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self._calls += 1
        if self._calls > self._limits.calls:
            refused = f"calls: got more than {self._limits.calls}, expected no more; answer with what you have"
            if self._calls == self._limits.calls + 1:  # only once, so that the ledger cannot grow without limit
                self._ledger.append(tool[:100], {}, None, error=refused)
            raise ToolRefusedError(refused)
        started = time.monotonic()
        context = ToolContext(self._folder, self._store, self._limits.seconds_per_call)
        result: dict[str, Any] | None = None
        error = ""
        try:
            arguments = _plain_arguments(arguments)
            result = self._run(context, tool, arguments)
        except ToolRefusedError as refused_error:
            error = str(refused_error)
            raise
        finally:
            seconds = time.monotonic() - started
            if len(text := str(arguments)) > _LONGEST_ARGUMENTS:
                arguments = {"too_long": text[:_SHOWN]}
            sources = frozenset(context.used) if result is not None else frozenset()
            self._ledger.append(tool[:100], arguments, result, error=error, sources=tuple(sources), seconds=seconds)
        self._numbers.learn(result, sources, arguments)
        return result

    def _run(self, context: ToolContext, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        available = tools()
        if name not in available:
            raise ToolRefusedError(
                f"tool: got {name[:60]!r}, expected one of {', '.join(available)}{nearest(name, available)}"
            )
        tool = available[name]
        try:
            checked = tool.checked(arguments)
            context.numbers = self._carried({key: checked[key] for key in arguments})
            result = tool.run(context, **checked)
            if not context.numbers_judged:
                context.used.update(*context.numbers.values())
            context.check_time()
            return {key: _plain(value) for key, value in result.items()}
        except ToolRefusedError:
            raise
        except BeampipeError as error:
            raise ToolRefusedError(f"{name}: {error}") from error
        except Exception as error:  # a bug in a tool must not end the host or the assessment
            raise ToolRefusedError(
                f"{name}: failed inside ({type(error).__name__}); call it with other arguments, or take another way"
            ) from error

    def _carried(self, arguments: Mapping[str, Any]) -> dict[float, frozenset[str]]:
        """The numbers among the arguments that occur in earlier results.

        Small integers are too common to identify an origin, unless the argument is a count and the call has no handle.
        """
        counts = {float(value) for value in arguments.values() if type(value) is int}
        if any(isinstance(value, str) and value in self._store.handles for value in arguments.values()):
            counts = set()
        return {
            value: self._numbers.sources(value)
            for value in numbers_in(arguments)
            if value in counts or value != round(value) or abs(value) >= _TELLING
        }


def _plain_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments as JSON types of bounded length."""
    try:
        text = json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolRefusedError(f"arguments: got {str(error)[:80]}, expected JSON with finite numbers") from error
    if len(text) > _LONGEST_ARGUMENTS:
        raise ToolRefusedError(
            f"arguments: got {len(text)} characters, expected at most {_LONGEST_ARGUMENTS}; pass handles, not data"
        )
    return dict(json.loads(text))


def _plain(value: Any) -> Any:
    """JSON types; non-finite numbers become None."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


class LocalTools:
    """The tools of a session in this process, with the interface of `McpTools`.

    Args:
        session: the session; anything with `names` and `call`.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    def names(self) -> tuple[str, ...]:
        """Names of the tools."""
        return tuple(self._session.names())

    def schemas(self) -> list[dict[str, Any]]:
        """For each tool its name, description and the JSON schema of its arguments."""
        return [
            {"name": tool.name, "description": tool.description, "parameters": tool.schema} for tool in tools().values()
        ]

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The result of a tool.

        Raises:
            ToolRefusedError: the tool refused.
        """
        return dict(self._session.call(tool, **arguments))
