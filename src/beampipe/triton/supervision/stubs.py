"""The processes in which a server runs its model instances (Triton's stubs): search, end, and log of their stacks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beampipe import processes
from beampipe.triton.engine import STUB

SHARED_MEMORY: Final = Path("/dev/shm")
"""Folder in which the system shows shared memory as files."""

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
    stubs = (_read(pid, processes.arguments(pid)) for pid in processes.children(server))
    return tuple(stub for stub in stubs if stub is not None)


def _read(pid: int, command: Sequence[str]) -> Stub | None:
    """The stub that has a command line, None if another program has it, or a shell that will become a stub."""
    if len(command) < _COMMAND or Path(command[0]).name != STUB or not command[5].isdigit():
        return None
    # REPOSITORY/MODEL/VERSION/model.py; that of a backend written in Python, such as vllm, belongs to no model.
    parts = Path(command[1]).parts
    if len(parts) < 3 or not parts[-2].isdigit():
        return None
    return Stub(pid, parts[-3], command[8], command[2], int(command[5]))


_DEBUGGERS: Final = (
    ("py-spy", "dump", "--native", "--pid"),
    ("eu-stack", "-p"),
    ("gdb", "-nx", "-batch", "-ex", "thread apply all backtrace 12", "-p"),
)
"""Command lines that print the stacks of a process, the process id left out."""

_LIMIT: Final = 1.0
"""Time limit [s] of the debuggers of all processes together."""


def write_stacks(pids: Iterable[int], log: Path, limit: float = _LIMIT) -> None:
    """Append the stacks of processes to a log, as far as they can be read.

    The kernel's view of the threads (``/proc/PID/task``) is always available. Their functions require a debugger, and
    are written if one is installed.

    Args:
        pids: ids of the processes.
        log: file to append to.
        limit: time [s] after which debuggers are cut off.
    """
    deadline = time.monotonic() + limit
    command = next((line for line in _DEBUGGERS if shutil.which(line[0])), None)
    with suppress(OSError), log.open("a", encoding="utf-8") as stream:
        running = []
        for pid in pids:
            stream.writelines(f"{line}\n" for line in _threads(pid))
            stream.flush()
            if command is not None:
                # All at once, to share one time limit; their lines may mix.
                running.append(
                    subprocess.Popen(
                        [*command, str(pid)], stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.DEVNULL
                    )
                )
        for debugger in running:
            with suppress(subprocess.TimeoutExpired):
                debugger.wait(max(0.0, deadline - time.monotonic()))
            debugger.kill()
            debugger.wait()


def _threads(pid: int) -> Iterator[str]:
    """One line for each thread of a process, then its kernel stack, if readable."""
    folder = Path(f"/proc/{pid}/task")
    yield f"stacks of process {pid} ({_text(folder.parent / 'comm')})"
    for task in sorted(folder.glob("*"), key=lambda path: int(path.name)):
        state = _text(task / "stat").rpartition(")")[2].split()[:1]
        what = {"state": "".join(state), "waits in": _text(task / "wchan"), "call": _text(task / "syscall")}
        facts = ", ".join(f"{name} {value}" for name, value in what.items() if value)
        yield f"  thread {task.name} {_text(task / 'comm')}: {facts}"
        yield from (f"    {line}" for line in _text(task / "stack").splitlines())


def _text(path: Path) -> str:
    """Content of a file in ``/proc``; empty if it is missing or not readable."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
