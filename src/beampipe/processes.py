"""Looks at processes of this machine in ``/proc``: whether they live, since when, and what they use.

A process id is used again after its process has ended. A process is therefore named by its id and its start time,
within what ids are unique in: one boot of one machine, and one namespace of process ids (a container has its own).
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
"""What reading a file of an ended process raises. Any other error says nothing about the process, and is passed on."""


@contextmanager
def holding_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends. A process that starts in it inherits that, and holds it back for good.

    Ctrl-C reaches all processes of a terminal; one that is importing its modules would print a traceback, and so would
    one whose parent leaves before it has told it what to do.
    """
    resource_tracker.ensure_running()  # which lets Ctrl-C through again, where a process is the first that needs it
    came: list[tuple[int, FrameType | None]] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.getsignal(signal.SIGINT)
    if held := callable(handler) and current_thread() is main_thread():  # other threads take the signal, for this one
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
    """Let Ctrl-C end this worker process, at once and without a word; also one that was held back until now."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextmanager
def ending_workers() -> Iterator[None]:
    """End the workers that `multiprocessing` has started in the block, at once, if an exception leaves it.

    A pool waits for what its workers do, which may be many seconds within one call of C++. Ctrl-C in a terminal reaches
    them as well, but a signal to their parent alone does not.
    """
    before = set(active_children())
    try:
        yield
    except BaseException:
        for worker in set(active_children()) - before:
            worker.terminate()
        raise


def start_time(pid: int) -> int | None:
    """The time at which a process was started, in clock ticks since boot; None if there is no such process."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def is_used(pid: int) -> bool:
    """Whether a process id is in use, be it by a zombie or by a process that this user may not look at."""
    return (_PROC / str(pid)).exists()


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended; a zombie, which only waits for its parent, has ended."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped a process (SIGSTOP, Ctrl-Z). One that a debugger holds for a moment is not meant."""
    return _stat(pid)[:1] == ["T"]


def is_same(pid: int, started: int) -> bool:
    """Whether the process that had this id and this start time is still there.

    Args:
        pid: the id of the process.
        started: its `start_time`. Another process that has got the id since was started at another time.

    Returns:
        True also for a process that this user may not look at: it is there, and whatever belongs to it must stay.
    """
    try:
        return start_time(pid) == started
    except PermissionError:
        return True


def namespace() -> int:
    """The number of the namespace in which this process has its id."""
    return os.stat(_PROC / "self/ns/pid").st_ino


def place() -> str:
    """What process ids are unique within: this boot of this machine, and this namespace, as ``BOOT.NAMESPACE``."""
    return f"{_boot()}.{namespace()}"


def arguments(pid: int) -> tuple[str, ...]:
    """The command line of a process, program first; empty if the process has ended or belongs to the kernel."""
    try:
        raw = (_PROC / str(pid) / "cmdline").read_bytes()
    except _ENDED:
        return ()
    return tuple(part.decode(errors="replace") for part in raw.removesuffix(b"\0").split(b"\0")) if raw else ()


def command_lines() -> Iterator[tuple[int, tuple[str, ...]]]:
    """The id and the command line of each process that this user may look at and that has a command line."""
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
    """The ids of the child processes of a process, whichever of its threads has started them."""
    found: list[int] = []
    with suppress(*_ENDED):
        for path in (_PROC / str(pid) / "task").glob("*/children"):
            with suppress(*_ENDED):  # a thread may end while the others go on
                found.extend(map(int, path.read_text().split()))
    return tuple(found)


def processor_time(pid: int) -> float | None:
    """The processor time that a process has used [s], user and system together; None if there is no such process."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else None


def resident_memory(pid: int) -> int | None:
    """The memory that a process has in use [bytes], shared pages included; None if there is no such process."""
    try:
        pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    except _ENDED:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` from the third on; empty if there is no such process."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except _ENDED:
        return []
    # The second field is the program's name in parentheses, which may contain anything, parentheses included.
    return text.rpartition(")")[2].split()


@cache
def _boot() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text()[:8]
