"""Where each thread of a process stands, written into a log before the process is killed.

The kernel's view of the threads (`/proc/PID/task`) costs nothing and is always there. The functions they are in take a
debugger: the first of `py-spy`, `eu-stack` and `gdb` that is installed gets a second.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["write_stacks"]

_DEBUGGERS: Final = (
    ("py-spy", "dump", "--native", "--pid"),
    ("eu-stack", "-p"),
    ("gdb", "-nx", "-batch", "-ex", "thread apply all backtrace 12", "-p"),
)
"""Command lines that print the stacks of a process, the process id left out."""
_LIMIT: Final = 1.0
"""Time [s] that the debuggers of all processes together get."""


def write_stacks(pids: Iterable[int], log: Path, limit: float = _LIMIT) -> None:
    """Append the stacks of processes to a log, as far as they can be read.

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
                # One after the other would cost one limit each; their lines may mix.
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
    """One line for each thread of a process, then the kernel's functions that it is in if one may read them."""
    folder = Path(f"/proc/{pid}/task")
    yield f"stacks of process {pid} ({_text(folder.parent / 'comm')})"
    for task in sorted(folder.glob("*"), key=lambda path: int(path.name)):
        state = _text(task / "stat").rpartition(")")[2].split()[:1]
        what = {"state": "".join(state), "waits in": _text(task / "wchan"), "call": _text(task / "syscall")}
        told = ", ".join(f"{name} {value}" for name, value in what.items() if value)
        yield f"  thread {task.name} {_text(task / 'comm')}: {told}"
        yield from (f"    {line}" for line in _text(task / "stack").splitlines())


def _text(path: Path) -> str:
    """What a file of the process table says, nothing if it is gone or closed to us."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
