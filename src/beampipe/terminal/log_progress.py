"""Progress as lines of text, for logs of batch jobs and pipes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from beampipe.terminal import Progress

_PAUSE: Final = 30.0
"""Least time [s] between two lines of one batch of tasks."""


def progress_lines(
    say: Callable[[str], object], *, pause: float = _PAUSE, clock: Callable[[], float] = time.monotonic
) -> Progress:
    """Progress that writes a line when a batch of tasks starts, now and then while it runs, and when it ends.

    Args:
        say: writes a line, at once.
        pause: least time between two lines of one batch [s].
        clock: gives the time [s].
    """

    def opened(what: str, total: int | None) -> AbstractContextManager[Callable[[], None]]:
        return _log_lines(say, what, total, pause, clock)

    return opened


@contextmanager
def _log_lines(
    say: Callable[[str], object], what: str, total: int | None, pause: float, clock: Callable[[], float]
) -> Iterator[Callable[[], None]]:
    began = told = clock()
    count = 0

    def tell() -> None:
        of = "" if total is None else f" of {total}"
        say(f"{what}: {count}{of}, {clock() - began:.0f} s")

    def step() -> None:
        nonlocal count, told
        count += 1
        if count != total and clock() - told >= pause:
            told = clock()
            tell()

    tell()
    yield step
    tell()
