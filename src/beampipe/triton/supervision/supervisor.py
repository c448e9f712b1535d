"""Watches a Triton from outside, because its own health addresses stay green whatever happens to its models.

A dead stub is seen in the process table within a tenth of a second. Its model then gets fresh instances next to the old
ones (a reload under a configuration that differs in a counter), and new requests go to them; unloading first would take
the model away for a second at least, and for ever if a request is stuck at the dead stub. Other models notice nothing.
Only if requests wait for the dead stub the server is started again: Triton would fail them one a second.

A process that hangs is found by its answers (`hangs`), its stacks are written into the log, and it is killed. What
follows is what follows any death.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from beampipe.errors import BeampipeError
from beampipe.processes import is_alive
from beampipe.triton.pausing import RestartPause
from beampipe.triton.supervision.answers import Answers
from beampipe.triton.supervision.census import Census
from beampipe.triton.supervision.hangs import PATIENCE, Hang, Hangs, Look
from beampipe.triton.supervision.last_words import LastWords
from beampipe.triton.supervision.revival import Revival
from beampipe.triton.supervision.stacks import write_stacks
from beampipe.triton.supervision.stubs import Stub
from beampipe.triton.supervision.watched import AskedModels, Load, WatchedServer

__all__ = ["Supervisor"]

_PERIOD: Final = 0.1
"""Time [s] between two looks at the known processes."""
_REFRESH: Final = 0.5
"""Time [s] between two looks for new processes and for what hangs."""
_COUNT: Final = 5.0
"""Time [s] between two counts of all stubs, for a death that was not seen."""
_JOIN: Final = 10.0
"""Time [s] that the thread gets to end; a load in progress is cut off when the server ends."""
_FRESH: Final = 10.0
"""Time [s] for which a look at which nothing hung counts."""


class Supervisor:
    """A thread that brings back what dies, and ends what hangs; a context manager.

    Args:
        server: a server that was started.
        models: its models as they are asked.
        patience: time [s] without an answer and without work after which something hangs.
        pauses: makes the pauses of something that keeps dying.
    """

    def __init__(
        self,
        server: WatchedServer,
        models: AskedModels,
        patience: float = PATIENCE,
        pauses: Callable[[], RestartPause] = RestartPause,
    ) -> None:
        self._server = server
        self._models = models
        self._ended = threading.Event()
        self._census = Census(server, models)
        self._answers = Answers(models.ask_canary, lambda fault: server.note("canary", fault))
        self._revival = Revival(server, models, self._census, self._answers, self._ended, pauses)
        self._hangs = Hangs(patience)
        self._last_words = LastWords(server.log)
        self._pid = server.pid
        self._signalled: float | None = None
        self._died: list[Stub] = []  # processes whose death is yet to be judged
        self._counted = float("-inf")
        self._well = float("-inf")
        self._thread = threading.Thread(target=self._run, name="triton-supervisor", daemon=True)

    def __enter__(self) -> Supervisor:
        self._census.take()
        self._well = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join(_JOIN)

    @property
    def answering(self) -> bool:
        """Whether the server has answered and nothing hung at the last look, a few seconds ago at most."""
        return time.monotonic() - self._well < _FRESH

    def _run(self) -> None:
        while not self._ended.wait(_PERIOD):
            try:
                self._look()
            except Exception as error:  # whoever watches must not end of what nobody has foreseen
                self._server.note("watching", f"{type(error).__name__}: {error}; goes on")
                self._ended.wait(1.0)

    def _look(self) -> None:
        if self._server.pid is None:
            self._revival.server("the server died")
            return
        died = [stub for stub in self._census.stubs.values() if not stub.alive]
        if died or time.monotonic() - self._census.taken > _REFRESH:
            self._census.take()
            self._server.keep_watchdog()
            self._revival.retire()
            self._look_for_deaths(died)
            if not died:  # else what is left of the model is not judged by the clocks of what was there
                self._look_for_hangs()
        self._revival.work()

    def _look_for_deaths(self, died: list[Stub]) -> None:
        self._died += died
        if not self._census.heard:  # how many there should be is in the server's answer
            return
        suspects = {stub.model for stub in self._died}
        if time.monotonic() - self._counted > _COUNT:
            self._counted = time.monotonic()
            suspects |= set(self._census.loaded())
        for model in sorted(suspects):
            if self._census.lacks_stubs(model) and self._revival.add(model):
                which = [f"{stub.instance} (process {stub.pid})" for stub in self._died if stub.model == model]
                self._server.note("stub died", ", ".join(which) or f"one of {model}")
        self._died = []

    def _look_for_hangs(self) -> None:
        pid, now = self._server.pid, time.monotonic()
        if pid is None:
            return
        if pid != self._pid:  # another server since
            self._pid, self._signalled = pid, None
            self._last_words.skip()
            self._hangs.forget()
        homes = self._census.homes()
        self._answers.ask(homes)
        if self._last_words.said():
            self._signalled = self._signalled or now
        look = Look(
            now,
            pid,
            tuple(stub for stub in self._census.stubs.values() if stub.alive),
            homes,
            self._census.heard,
            self._loads(),
            self._answers.waiting(),
            self._signalled,
            self._census.loading(),
        )
        found = self._hangs.found(look)
        for hang in found:
            self._end(hang)
        if found:
            self._hangs.forget()
        elif self._census.heard:
            self._well = now

    def _loads(self) -> dict[str, Load]:
        with suppress(BeampipeError, ValueError):
            if self._census.heard:
                return dict(self._models.loads())
        return {}

    def _end(self, hang: Hang) -> None:
        self._server.note("hangs", f"{hang.reason}; the stacks of its processes are in the log, it is killed")
        write_stacks(hang.pids, self._server.log)
        for pid in hang.pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 1.0
        while any(map(is_alive, hang.pids)) and time.monotonic() < deadline:
            time.sleep(0.01)
