"""Pauses between attempts at something that keeps failing, and programs that are restarted with them, indefinitely."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from beampipe.files import shorten_log
from beampipe.processes import ManagedProcess

_FIRST: Final = 0.5
"""The first pause [s] between restarts."""

_DOUBLED: Final = 64
"""Maximum number of doublings, against overflow."""


@dataclass(frozen=True)
class Backoff:
    """Pauses that double from one failure to the next.

    Attributes:
        longest: pause that is not exceeded [s].
        first: pause after the first failure [s].
    """

    longest: float
    first: float = 0.25

    def pause(self, failures: int) -> float:
        """How long to wait [s] after so many failures before the last one."""
        return min(self.longest, self.first * 2.0 ** min(failures, _DOUBLED))


class RestartPause:
    """Pauses that double while something keeps dying, and are reset once it has lived for a while.

    Args:
        free: number of restarts in a row that need no pause.
        held: time [s] that something has to live until its restarts are no longer in a row.
        longest: the longest pause [s].
    """

    def __init__(self, free: int = 5, held: float = 2.0, longest: float = 30.0) -> None:
        self.free = free
        self.held = held
        self._backoff = Backoff(longest, _FIRST)
        self._row = 0
        self._started = float("-inf")
        self._restart: float | None = None

    def due(self, now: float) -> bool:
        """Whether to restart something at the time `now` [s]; to be called while it does not run, until it is True.

        The pause begins with the first call after an end.
        """
        if self._restart is None:
            self._restart = now + self.before_next(now)
        if now < self._restart:
            return False
        self._restart = None
        self.started(now)
        return True

    def before_next(self, now: float) -> float:
        """The pause [s] before the next restart of what has died at the time `now` [s]."""
        self._row = 1 if now - self._started > self.held else self._row + 1
        beyond = self._row - self.free
        return 0.0 if beyond <= 0 else self._backoff.pause(beyond - 1)

    def started(self, now: float) -> None:
        """Record that a restart has ended at the time `now` [s], successful or not."""
        self._started = now


class RestartedProgram:
    """A program that is started, again after each end, and killed first if it hangs.

    Args:
        name: its name in messages.
        process: its process.
        launch: starts it.
        hangs: whether it hangs; called while it runs.
        note: called with the text of each incident.
        pause: the pauses before its restarts.
    """

    def __init__(
        self,
        name: str,
        process: ManagedProcess,
        launch: Callable[[], None],
        hangs: Callable[[], bool],
        note: Callable[[str], None],
        pause: RestartPause,
    ) -> None:
        self._name, self._process, self._pause = name, process, pause
        self._launch, self._hangs, self._note = launch, hangs, note

    def update(self) -> None:
        """Check it once, and start or kill it if due; raises what its launch raises. A large log begins anew."""
        if self._process.log is not None:
            shorten_log(self._process.log)
        if (pid := self._process.pid) is None:
            if self._pause.due(time.monotonic()):
                if self._process.was_started:
                    lines = " / ".join(self._process.last_lines())
                    self._note(f"{self._name}: has ended{f' ({lines})' if lines else ''}; starting another")
                self._launch()
        elif self._hangs():
            self._note(f"{self._name}: hangs; killing process {pid}")
            self._process.kill()
