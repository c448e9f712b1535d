"""Leases on files: at most one of many processes does a piece of work, and a lease ends when its holder dies.

A lease is a file. Its holder creates it exclusively, touches it every few seconds, and removes it at the end. The file
contains the identity of the holder (``BOOT.NAMESPACE-PID-START-NUMBER``). The lease of a killed process on this machine
ends at once. The lease of a process on another machine ends when its file has not been touched for `EXPIRY`, by the
clock of the file system. Leases therefore need only exclusive creation of files, and also work on shared file systems
without locks.

A process that was suspended for longer than `EXPIRY` may resume while another process holds the lease. The guarded work
must tolerate this, e.g. by writing the same bytes twice.
"""

from __future__ import annotations

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
from beampipe.files import WRITER, writer_name

EXPIRY: Final = 120.0
"""A lease ends after this time [s] without a touch."""

_BEAT: Final = 15.0
"""Time [s] between two touches."""

_PAUSE: Final = 0.2
"""Time [s] between two checks of a lease that another process holds."""

_HOLDER: Final = re.compile(WRITER)


@contextmanager
def leased(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lease during the block.

    Args:
        path: file of the lease; its folder must exist.
        wait: wait until no other process holds it.

    Raises:
        BusyError: another process holds it.
        OSError: the file cannot be created.
    """
    me = writer_name()
    while (descriptor := _taken(path, me)) is None:
        if not wait:
            raise BusyError(f"{path}: locked by another process that does this work; retry later")
        time.sleep(_PAUSE)
    _renewer.keep(descriptor)
    try:
        yield
    finally:
        _renewer.release(descriptor)
        _remove(path, me)


def sweep_leases(folder: Path) -> int:
    """Remove the expired leases in a folder that were never released; returns their number.

    Args:
        folder: a folder that contains only leases; a missing folder counts as empty.
    """
    removed = 0
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        with suppress(FileNotFoundError):
            removed += _ended(path)
    return removed


def _taken(path: Path, me: str) -> int | None:
    """Take a lease: its file descriptor, or None if another process holds it."""
    with suppress(FileExistsError):
        return _made(path, me)
    with suppress(FileNotFoundError, FileExistsError):  # released meanwhile, or taken by a faster process
        if _ended(path):
            return _made(path, me)
    return None


def _ended(path: Path) -> bool:
    """Remove a lease that has ended; False if it has not, or if another process removes it."""
    holder = path.read_text()
    if _holds(path, holder):
        return False
    # Only one of the processes that see it expired may remove it: a slow one would remove the next holder's lease.
    guard = path.with_name(f".{path.name}.taken")
    try:
        os.close(_made(guard, ""))
    except FileExistsError:
        if _holds(guard, ""):
            return False
        guard.unlink()  # the process that created it was killed before it removed it
        return False
    try:
        return _remove(path, holder)
    finally:
        guard.unlink(missing_ok=True)


def _made(path: Path, me: str) -> int:
    """Create the file of a lease exclusively: one of several competing processes succeeds."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        os.write(descriptor, me.encode())
    except OSError:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        raise
    return descriptor


def _holds(path: Path, holder: str) -> bool:
    """Whether the holder of a lease seems to be alive; one that has not yet written its identity counts as alive."""
    touched = path.stat().st_mtime
    name = _HOLDER.fullmatch(holder)
    here = name is not None and name["place"] == processes.pid_scope()
    if here and name is not None and not processes.is_same(int(name["pid"]), int(name["started"])):
        return False
    return _now(path) - touched < EXPIRY


def _now(path: Path) -> float:
    """The time [s] by the clock of the lease's file system, which may differ from that of this machine."""
    probe = path.with_name(f".{path.name[:80]}.{writer_name()}")
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _remove(path: Path, holder: str) -> bool:
    """Remove a lease if `holder` holds it."""
    with suppress(FileNotFoundError):
        if path.read_text() == holder:
            path.unlink()
            return True
    return False


class _Renewer:
    """Touches the leases of this process in one thread, which ends when no lease is left."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[int] = set()
        self._runs = False

    def keep(self, descriptor: int) -> None:
        """Touch a lease regularly, by its descriptor: a file that replaced ours is not touched."""
        with self._lock:
            self._held.add(descriptor)
            if self._runs:
                return
            with suppress(RuntimeError):  # no memory for a thread: the lease ends early, and work may be done twice
                threading.Thread(target=self._touch, daemon=True).start()
                self._runs = True

    def release(self, descriptor: int) -> None:
        """Stop touching a lease."""
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
    """Reset the state after a fork: the child has no renewal thread and holds no lease."""
    global _renewer
    _renewer = _Renewer()


os.register_at_fork(after_in_child=_anew)
