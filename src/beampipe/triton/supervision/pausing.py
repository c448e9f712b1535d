"""How long to wait before something is started again that keeps dying: never for good."""

from __future__ import annotations

from typing import Final

__all__ = ["RestartPause"]

_FIRST: Final = 0.5
"""The first pause [s]; each further one is twice as long."""


class RestartPause:
    """Pauses that double while something dies again and again, and are forgotten once it holds.

    Args:
        free: number of restarts in a row that need no pause.
        held: time [s] that something has to live until its restarts are no longer in a row.
        longest: the longest pause [s].
    """

    def __init__(self, free: int = 5, held: float = 2.0, longest: float = 30.0) -> None:
        self.free = free
        self.held = held
        self.longest = longest
        self._row = 0
        self._started = float("-inf")

    def before_next(self, now: float) -> float:
        """The pause [s] before the next restart of what has died at the time `now` [s]."""
        self._row = 1 if now - self._started > self.held else self._row + 1
        beyond = self._row - self.free
        return 0.0 if beyond <= 0 else min(self.longest, _FIRST * 2.0 ** min(beyond - 1, 32))

    def started(self, now: float) -> None:
        """Note that a restart has ended at the time `now` [s], well or not."""
        self._started = now
