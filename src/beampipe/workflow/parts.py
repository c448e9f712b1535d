"""Unfinished files, named after their writer, so that those of a dead one can be told and removed."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

__all__ = ["sweep_parts", "unfinished"]

_STALE_SECONDS = 7 * 24 * 3600.0
_numbers = itertools.count()


@contextmanager
def unfinished(folder: Path, suffix: str) -> Iterator[Path]:
    """A path in `folder` for something unfinished, with that suffix; whatever is still there is removed afterwards."""
    writer = f"{_place()}-{os.getpid()}-{_started(os.getpid())}"
    path = folder / f"{writer}-{next(_numbers)}{suffix}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def sweep_parts(folder: Path) -> int:
    """Remove what dead writers left; a file that a living process may be writing stays.

    A writer on another machine cannot be asked: its file goes when it was not touched for a week.

    Returns:
        How many files were removed.
    """
    removed = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            if _is_dead(path):
                path.unlink()
                removed += 1
        except FileNotFoundError:
            pass  # its writer finished, or somebody else sweeps
    return removed


def _is_dead(path: Path) -> bool:
    place, _, rest = path.name.partition("-")
    pid, _, rest = rest.partition("-")
    if place == _place():
        return _started(pid) != rest.partition("-")[0]
    return time.time() - path.stat().st_mtime > _STALE_SECONDS


@cache
def _place() -> str:
    """What process ids are unique within: this boot of this machine, this namespace of processes."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    return f"{boot}.{os.stat('/proc/self/ns/pid').st_ino}"


def _started(pid: int | str) -> str:
    """When a process started, in ticks; empty if there is none. Ids are used again, ids with this are not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    # The name of the program stands in parentheses and may contain anything.
    return stat.rpartition(")")[2].split()[19]
