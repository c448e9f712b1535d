"""The processes in which a server runs the instances of its models: Triton's stubs, as the process table shows them."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beampipe import processes
from beampipe.triton.engine import STUB

__all__ = ["SHARED_MEMORY", "Stub", "memory_of_stubs", "stubs_of"]

SHARED_MEMORY: Final = Path("/dev/shm")
"""Folder in which the system shows shared memory as files."""

_LOCAL: Final = ("127.0.0.1", "localhost", "[::1]")
_COMMAND: Final = 9
"""Number of parts of a stub's command line up to the last that is used: program, file of the model, region, its size
and growth, process of the server, folder of the backend, handle of the region, instance."""


@dataclass(frozen=True)
class Stub:
    """The process of one instance of a model.

    Attributes:
        pid: process id of the stub.
        model: name of the model.
        instance: name of the instance.
        region: name of the shared memory between server and stub.
        server: process id of the server.
    """

    pid: int
    model: str
    instance: str
    region: str
    server: int

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return processes.is_alive(self.pid)

    def end(self) -> None:
        """Kill the process and remove its shared memory, which it can no longer remove itself."""
        with suppress(OSError):  # it may have ended meanwhile, and taken its shared memory along
            os.kill(self.pid, signal.SIGKILL)
            (SHARED_MEMORY / self.region).unlink()


def stubs_of(server: int) -> tuple[Stub, ...]:
    """The stubs of a server, dead ones included for as long as they have a command line.

    Args:
        server: process id of the server.
    """
    found = (_read(pid, processes.arguments(pid)) for pid in processes.children(server))
    return tuple(stub for stub in found if stub is not None)


def memory_of_stubs(metrics_url: str) -> dict[str, float]:
    """The resident memory of the stubs of each model [MB], by name of the model.

    Args:
        metrics_url: address of the server's metrics, ``host:port``; nothing is found for a server of another machine.
    """
    host, _, port = metrics_url.rpartition(":")
    found: dict[str, float] = {}
    if host.removeprefix("http://") not in _LOCAL:
        return found
    commands = dict(processes.command_lines())
    servers = {pid for pid, line in commands.items() if f"--metrics-port={port}" in line}
    for pid, line in commands.items():
        stub = _read(pid, line)
        if stub is not None and stub.server in servers:
            found[stub.model] = found.get(stub.model, 0.0) + (processes.resident_memory(pid) or 0) / 1e6
    return found


def _read(pid: int, command: Sequence[str]) -> Stub | None:
    """The stub that has a command line, None if another program has it, or a shell that will become a stub."""
    if len(command) < _COMMAND or Path(command[0]).name != STUB or not command[5].isdigit():
        return None
    # REPOSITORY/MODEL/VERSION/model.py
    return Stub(pid, Path(command[1]).parts[-3], command[8], command[2], int(command[5]))
