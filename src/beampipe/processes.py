"""Processes of this machine, read from ``/proc``: whether they are alive, their start time and what they use; signals.

Linux reuses process ids. A process is therefore identified by its id and its start time, within one boot of one machine
and one namespace of process ids (a container has its own).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import active_children, resource_tracker
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import Final

__all__ = [
    "arguments",
    "children",
    "command_lines",
    "end_on_interrupts",
    "ending_workers",
    "holding_interrupts",
    "is_alive",
    "is_same",
    "is_stopped",
    "is_used",
    "namespace",
    "place",
    "processor_time",
    "resident_memory",
    "start_time",
]

_PROC: Final = Path("/proc")
_ENDED: Final = (FileNotFoundError, ProcessLookupError)
"""Errors when the files of an ended process are read."""


@contextmanager
def holding_interrupts() -> Iterator[None]:
    """Delay Ctrl-C until the block ends. Processes started in it inherit the blocked signal, see `end_on_interrupts`.

    Ctrl-C reaches all processes of a terminal. A process that is still importing modules, or whose parent has left
    before sending it work, would print a traceback.
    """
    resource_tracker.ensure_running()  # its first start would unblock Ctrl-C
    came: list[tuple[int, FrameType | None]] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.getsignal(signal.SIGINT)
    if held := callable(handler) and current_thread() is main_thread():  # another thread may receive the signal
        signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        if held:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if came and callable(handler):
            handler(*came[0])


def end_on_interrupts() -> None:
    """Let Ctrl-C end this worker process at once without a message; a delayed signal takes effect now."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextmanager
def ending_workers() -> Iterator[None]:
    """Terminate the workers that `multiprocessing` started in the block if the block raises an exception.

    A pool waits for its workers, which may spend many seconds in one call of C++. Ctrl-C in a terminal reaches them
    too, but a signal to their parent alone does not.
    """
    before = set(active_children())
    try:
        yield
    except BaseException:
        for worker in set(active_children()) - before:
            worker.terminate()
        raise


def start_time(pid: int) -> int | None:
    """Start time of a process [clock ticks since boot]; None if there is no such process."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def is_used(pid: int) -> bool:
    """Whether a process id is in use, also by a zombie or by a process of another user."""
    return (_PROC / str(pid)).exists()


def is_alive(pid: int) -> bool:
    """Whether a process exists and has not ended; a zombie has ended."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal (SIGSTOP, Ctrl-Z); a process in a debugger does not count."""
    return _stat(pid)[:1] == ["T"]


def is_same(pid: int, started: int) -> bool:
    """Whether the process with this id and start time still exists.

    Args:
        pid: process id.
        started: `start_time` of the process; another process with the same id has another one.

    Returns:
        True also for a process that this user may not inspect: its files must be kept.
    """
    try:
        return start_time(pid) == started
    except PermissionError:
        return True


def namespace() -> int:
    """Number of the process id namespace of this process."""
    return os.stat(_PROC / "self/ns/pid").st_ino


def place() -> str:
    """Scope in which process ids are unique, as ``BOOT.NAMESPACE``: boot of this machine, and namespace."""
    return f"{_boot()}.{namespace()}"


def arguments(pid: int) -> tuple[str, ...]:
    """Command line of a process, program first; empty if the process has ended or belongs to the kernel."""
    try:
        raw = (_PROC / str(pid) / "cmdline").read_bytes()
    except _ENDED:
        return ()
    return tuple(part.decode(errors="replace") for part in raw.removesuffix(b"\0").split(b"\0")) if raw else ()


def command_lines() -> Iterator[tuple[int, tuple[str, ...]]]:
    """Process id and command line of all processes that this user may inspect and that have a command line."""
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit():
            continue
        try:
            line = arguments(int(entry.name))
        except PermissionError:
            continue
        if line:
            yield int(entry.name), line


def children(pid: int) -> tuple[int, ...]:
    """Process ids of the children of a process, whichever of its threads started them."""
    found: list[int] = []
    with suppress(*_ENDED):
        for path in (_PROC / str(pid) / "task").glob("*/children"):
            with suppress(*_ENDED):  # a thread may end meanwhile
                found.extend(map(int, path.read_text().split()))
    return tuple(found)


def processor_time(pid: int) -> float | None:
    """CPU time of a process [s], user and system; None if there is no such process."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else None


def resident_memory(pid: int) -> int | None:
    """Resident memory of a process [bytes], shared pages included; None if there is no such process."""
    try:
        pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    except _ENDED:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> list[str]:
    """Fields of ``/proc/PID/stat`` from the third on; empty if there is no such process."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except _ENDED:
        return []
    # The second field is the program's name in parentheses, which may itself contain parentheses.
    return text.rpartition(")")[2].split()


@cache
def _boot() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text()[:8]
