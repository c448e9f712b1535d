"""Types shared by several packages: requests to agents, hidden references, and the error of a refused tool call."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol, cast, runtime_checkable

from beampipe.errors import BeampipeError, InputError, nearest

Level = Literal[1, 2, 3]
"""Level of detail of the prompt: 1 lists all steps, 2 describes the analysis, 3 only states the question."""

PROGRAM_RUN: Final = "program"
"""Name in the ledger of a run of an agent's own program; no tool has it."""


@dataclass(frozen=True)
class Quantity:
    """A number with its uncertainty.

    Attributes:
        value: the number, in `unit`.
        uncertainty: its standard uncertainty, positive, in `unit`.
        unit: unit such as ``"GeV"``; empty for a pure number.
    """

    value: float
    uncertainty: float
    unit: str = ""


@dataclass(frozen=True)
class HistogramReference:
    """Reference histogram of an answer.

    Attributes:
        edges: edges of the bins, one more than there are bins.
        values: contents of the bins.
    """

    edges: tuple[float, ...]
    values: tuple[float, ...]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HistogramReference:
        """Read an object with lists ``edges`` and ``values``."""
        return cls(tuple(data["edges"]), tuple(data["values"]))


@dataclass(frozen=True)
class Reference:
    """The reference of one instance, hidden from agents.

    Attributes:
        quantities: results of the reference analysis of the same data, by the name of the answer.
        truth: values that the data were generated with, by the same names.
        histograms: histograms of that analysis.
        words: word answers, such as whether there is a signal (``"yes"``, ``"no"``), or the name of a fault.
        shifts: change of the answer of a composed task if a fault of the data is missed, in units of the uncertainty.
    """

    quantities: Mapping[str, Quantity] = field(default_factory=dict)
    truth: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, HistogramReference] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    shifts: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON types, for `from_json`."""
        return cast("dict[str, Any]", json.loads(json.dumps(asdict(self), allow_nan=False)))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reference:
        """Read the output of `to_json`."""
        return cls(
            {name: Quantity(**quantity) for name, quantity in data["quantities"].items()},
            dict(data["truth"]),
            {name: HistogramReference.from_json(histogram) for name, histogram in data["histograms"].items()},
            dict(data["words"]),
            dict(data.get("shifts", {})),
        )


@dataclass(frozen=True)
class TaskRequest:
    """The request to an agent; it contains no hidden information.

    Attributes:
        task_id: name of the task.
        task_type: family of the task, such as ``"zmumu"``.
        level: level of detail of the prompt.
        prompt: text of the task, with the form of the answer.
        tools_url: address of the MCP server with the tools of this assessment; None if there are none.
        files: names of the data files for the tools.
        data: further public facts about the data, such as ``release``, ``skim`` or the luminosity.
        constraints: ``time_limit_sec``, ``max_tool_calls``, ``allow_network``.
    """

    task_id: str
    task_type: str
    level: Level
    prompt: str
    tools_url: str | None = None
    files: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    constraints: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The message that goes to an agent."""
        return {
            "role": "task_request",
            "task_id": self.task_id,
            "task_type": self.task_type,
            "level": self.level,
            "prompt": self.prompt,
            "tools": {"mcp": self.tools_url},
            "data": {**self.data, "files": list(self.files)},
            "constraints": dict(self.constraints),
        }

    @classmethod
    def from_json(cls, message: Mapping[str, Any]) -> TaskRequest:
        """Read a request from `to_json`, or one of the public benchmark, which has neither level nor tools.

        Raises:
            InputError: the object is not the request of a task.
        """
        data = message.get("data") or {}
        if message.get("role") != "task_request" or not isinstance(message.get("prompt"), str):
            raise InputError(f"task request: got {str(message)[:80]}, expected role 'task_request' and a prompt")
        level = message.get("level", 1)
        return cls(
            str(message.get("task_id", "")),
            str(message.get("task_type", "")),
            cast("Level", level if level in (1, 2, 3) else 1),
            message["prompt"],
            (message.get("tools") or {}).get("mcp"),
            tuple(data.get("files", ())),
            {key: value for key, value in data.items() if key != "files"},
            dict(message.get("constraints") or {}),
        )


@runtime_checkable
class RunningSystem(Protocol):
    """A system that runs during one assessment, such as a fleet of servers; refusals are `ToolRefusedError`.

    Attributes:
        data: folder with a manifest, and with metrics and logs that are written meanwhile.
        settings: the settings that may be changed, by name.
    """

    data: Path
    settings: Mapping[str, int | str]

    def members(self) -> dict[str, Any]:
        """Its servers and the last incidents."""

    def change(self, changes: Mapping[str, int | str]) -> dict[str, Any]:
        """Run with other values of settings."""

    def command(self, command: str, server: str) -> dict[str, Any]:
        """Drain, resume or restart a server."""

    def send(self, number: int) -> dict[str, Any]:
        """Send test requests."""

    def measured(self) -> dict[str, Any]:
        """What the host measured, as evidence for checks; called once, after the answer."""


class ToolRefusedError(BeampipeError):
    """A tool refused its arguments; the message is for the agent and gives a remedy."""


_WALL_TIME: Final = 10.0
"""Limit on wall time over that on processor time: ends calls that only wait, and allows for a busy machine."""


def exceeded_time(limit: float, processor: float, wall: float) -> str:
    """Which time limit is exceeded, as part of an error message; empty if none is.

    The limit is on processor time, which does not depend on the load of the machine; wall time may be ten times as
    long.

    Args:
        limit: limit on processor time [s].
        processor: processor time that was used [s].
        wall: wall time since the start [s].
    """
    for used, most, kind in ((processor, limit, "processor time"), (wall, _WALL_TIME * limit, "wall time")):
        if used > most:
            return f"time: got more than {most:g} s of {kind}, expected less"
    return ""


class TimeLimit:
    """A time limit on the work of the thread that creates it, from then on; `check` is for this thread alone.

    Args:
        seconds: limit on processor time [s]; wall time may be longer, see `exceeded_time`.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds, self._processor, self._wall = seconds, time.thread_time(), time.monotonic()

    def check(self) -> None:
        """Check the limit; long loops call this in each step.

        Raises:
            ToolRefusedError: it is exceeded.
        """
        exceeded = exceeded_time(self._seconds, time.thread_time() - self._processor, time.monotonic() - self._wall)
        if exceeded:
            raise ToolRefusedError(f"{exceeded}; ask for less: fewer events, bins or parameters")


def require_name(what: str, name: str, valid: Collection[str]) -> None:
    """Refuse a name in the arguments of a tool that is not one of the valid ones.

    Args:
        what: what it names.
        name: the name.
        valid: the valid names, in the order in which the message lists them.

    Raises:
        ToolRefusedError: it is none of them; the message suggests the nearest one.
    """
    if name not in valid:
        listed = ", ".join(list(valid)[:60]) or "none"
        raise ToolRefusedError(f"{what}: got {name[:60]!r}, expected one of {listed}{nearest(name, valid)}")
