"""Leases: of many processes one does a piece of work, and whatever kills it ends its lease.

A lease is a file: who takes it makes it, touches it every few seconds, and removes it at the end. It holds the name of
its holder (``BOOT.NAMESPACE-PID-START-NUMBER``). The lease of a killed process of this machine ends at once. That of a
process on another machine, which may have lost its power, ends when nobody has touched it for `EXPIRY`, by the clock of
the file system. So leases work wherever a file can be made only once, on shared file systems without locks, too.

A process that was stopped for longer than that may go on beside another holder: what a lease guards must bear it.
"""

from __future__ import annotations

import itertools
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from beampipe import processes
from beampipe.errors import BusyError

__all__ = ["EXPIRY", "leased", "sweep_leases"]

EXPIRY: Final = 120.0
"""After so long [s] without a touch a lease has ended, whoever holds it."""

_BEAT: Final = 15.0
"""Time [s] between two touches."""

_PAUSE: Final = 0.2
"""Time [s] between two looks at a lease that somebody else holds."""

_HOLDER: Final = re.compile(r"(?P<place>[0-9a-f]{8}\.\d+)-(?P<pid>\d+)-(?P<started>\d+)-\d+")

_numbers = itertools.count()


@contextmanager
def leased(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lease during the block.

    Args:
        path: file of the lease; its folder must exist.
        wait: wait until nobody else holds it.

    Raises:
        BusyError: somebody else holds it.
        OSError: the file cannot be made.
    """
    me = _me()
    while (descriptor := _taken(path, me)) is None:
        if not wait:
            raise BusyError(f"{path}: another process does this work now; it is theirs until they end")
        time.sleep(_PAUSE)
    _renewer.keep(descriptor)
    try:
        yield
    finally:
        _renewer.release(descriptor)
        _remove(path, me)


def sweep_leases(folder: Path) -> int:
    """Remove the leases in a folder that have ended without being given back; returns how many there were.

    Args:
        folder: a folder that holds nothing but leases; none is an empty one.
    """
    removed = 0
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        with suppress(FileNotFoundError):
            removed += _ended(path)
    return removed


def _me() -> str:
    pid = os.getpid()
    return f"{processes.place()}-{pid}-{processes.start_time(pid)}-{next(_numbers)}"


def _taken(path: Path, me: str) -> int | None:
    """The descriptor of a lease that is ours now; None if it is somebody else's."""
    with suppress(FileExistsError):
        return _made(path, me)
    with suppress(FileNotFoundError, FileExistsError):  # given back meanwhile, or taken by somebody faster
        if _ended(path):
            return _made(path, me)
    return None


def _ended(path: Path) -> bool:
    """Remove a lease that has ended; False if it has not, or if somebody else removes it."""
    holder = path.read_text()
    if _holds(path, holder):
        return False
    # Of all who saw it end, one may remove it: a slow one would remove that of the next holder.
    guard = path.with_name(f".{path.name}.taken")
    try:
        os.close(_made(guard, ""))
    except FileExistsError:
        if _holds(guard, ""):
            return False
        guard.unlink()  # its maker was killed between two lines
        return False
    try:
        return _remove(path, holder)
    finally:
        guard.unlink(missing_ok=True)


def _made(path: Path, me: str) -> int:
    """Make the file of a lease; of all who try, one succeeds."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        os.write(descriptor, me.encode())
    except OSError:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        raise
    return descriptor


def _holds(path: Path, holder: str) -> bool:
    """Whether the holder of a lease lives, as far as can be told. One that has not yet written its name does."""
    touched = path.stat().st_mtime
    name = _HOLDER.fullmatch(holder)
    here = name is not None and name["place"] == processes.place()
    if here and name is not None and not processes.is_same(int(name["pid"]), int(name["started"])):
        return False
    return _now(path) - touched < EXPIRY


def _now(path: Path) -> float:
    """The time [s] by the clock of the file system that a lease is on, which is not always that of this machine."""
    probe = path.with_name(f".{path.name[:80]}.{_me()}")
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _remove(path: Path, holder: str) -> bool:
    """Remove a lease if it is that holder's."""
    with suppress(FileNotFoundError):
        if path.read_text() == holder:
            path.unlink()
            return True
    return False


class _Renewer:
    """Touches the leases of this process, in one thread, which ends when there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[int] = set()
        self._runs = False

    def keep(self, descriptor: int) -> None:
        """Touch a lease from now on. Another's file in its place is not touched: this is the file that we made."""
        with self._lock:
            self._held.add(descriptor)
            if self._runs:
                return
            with suppress(RuntimeError):  # no memory for a thread: the lease ends early, and work may be done twice
                threading.Thread(target=self._touch, daemon=True).start()
                self._runs = True

    def release(self, descriptor: int) -> None:
        """Touch it no more."""
        with self._lock:
            self._held.discard(descriptor)
            os.close(descriptor)

    def _touch(self) -> None:
        while True:
            time.sleep(_BEAT)
            with self._lock:
                if not self._held:
                    self._runs = False
                    return
                for descriptor in self._held:
                    with suppress(OSError):
                        os.utime(descriptor)


_renewer = _Renewer()


def _anew() -> None:
    """In a process that was forked, no thread goes on, and no lease is its own."""
    global _renewer
    _renewer = _Renewer()


os.register_at_fork(after_in_child=_anew)
