"""The tools of one assessment over one folder of data; each call is written to the ledger.

Each result has a name, ``"call": "call_7"``, by which later calls and the submission refer to its numbers. The ledger
records on which data files a result depends: those of its handles and of the results that it refers to.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from beampipe.analysisops.contract import Level, RunningSystem, TimeLimit, ToolRefusedError, require_name
from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.references import CALL, CONSTANTS, call_name, plain_arguments, referenced
from beampipe.analysisops.tools.catalogue import Tool, tools_for
from beampipe.analysisops.tools.data_folder import DataFolder
from beampipe.analysisops.tools.handles import Content, HandleStore, ToolContext
from beampipe.errors import BeampipeError, UnknownNameError

_LONGEST_ARGUMENTS: Final = 64 * 1024
"""Arguments with more characters than this, as JSON, are refused."""

_SHOWN: Final = 1000
"""Number of characters that the ledger keeps of arguments that were refused for their length."""


@dataclass(frozen=True)
class SessionLimits:
    """Limits of one assessment.

    Attributes:
        calls: number of calls, including refused ones.
        seconds_per_call: limit on processor time of one call [s]; wall time may be longer, see
            `beampipe.analysisops.contract.exceeded_time`.
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
        literals: numbers that calculations may contain, beside `beampipe.analysisops.references.CONSTANTS`.
        level: level of the prompt; tools that do the main step of a task are there at level 1 only.
        system: the system that runs during the assessment; None if there is none.

    Raises:
        FileError: the manifest of the folder is missing or invalid.
    """

    def __init__(
        self,
        data: Path,
        ledger: Ledger,
        limits: SessionLimits | None = None,
        literals: Iterable[float] = (),
        level: Level = 1,
        system: RunningSystem | None = None,
    ) -> None:
        self._limits = limits or SessionLimits()
        self._folder = DataFolder(data)
        self._ledger = ledger
        self._store = HandleStore(self._limits.bytes_held)
        self._literals = frozenset((*CONSTANTS, *map(abs, literals)))
        self._level, self._system = level, system
        self._calls = 0
        self._lock = threading.Lock()

    @property
    def ledger(self) -> Ledger:
        """Where each call is written; the host adds the runs of programs."""
        return self._ledger

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The tools that are of use with the data, by name."""
        return tools_for((file.name for file in self._folder.files()), self._level)

    def names(self) -> tuple[str, ...]:
        """Names of the tools."""
        return tuple(self.tools)

    def content(self, handle: str) -> Content:
        """The content of a handle.

        Raises:
            UnknownNameError: no tool has returned that handle.
        """
        try:
            return self._store.get(handle)[0]
        except KeyError as error:
            raise UnknownNameError("handle", handle, self._store.handles) from error

    def keep(self, content: Content, files: Iterable[str]) -> str:
        """Store a content that an agent's program made of data files; returns its handle."""
        return self._store.put(content, frozenset(files))

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
        calls = self._ledger.entries
        limit = TimeLimit(self._limits.seconds_per_call)
        context = ToolContext(self._folder, self._store, limit.check, calls, self._literals, self._system)
        result: dict[str, Any] | None = None
        error = ""
        try:
            arguments = _plain_arguments(arguments)
            result = {CALL: call_name(len(calls) + 1), **self._run(context, tool, arguments)}
        except ToolRefusedError as refused_error:
            error = str(refused_error)
            raise
        finally:
            seconds = time.monotonic() - started
            if len(text := str(arguments)) > _LONGEST_ARGUMENTS:
                arguments = {"too_long": text[:_SHOWN]}
            sources = frozenset(context.used) if result is not None else frozenset()
            self._ledger.append(tool[:100], arguments, result, error=error, sources=tuple(sources), seconds=seconds)
        return result

    def _run(self, context: ToolContext, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        available = self.tools
        require_name("tool", name, available)
        tool = available[name]
        try:
            checked = tool.checked(arguments)
            result = tool.run(context, **checked)
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
            {"name": tool.name, "description": tool.description, "parameters": tool.schema}
            for tool in self._session.tools.values()
        ]

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The result of a tool; its numbers are `beampipe.analysisops.references.Referenced`.

        Raises:
            ToolRefusedError: the tool refused.
        """
        return referenced(self._session.call(tool, **plain_arguments(tool, arguments)))
