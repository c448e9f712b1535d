"""How what has died is brought back: a model beside its dead instances, or the whole server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from beampipe.errors import BeampipeError
from beampipe.processes import processor_time
from beampipe.triton.pausing import RestartPause
from beampipe.triton.supervision.answers import Answers
from beampipe.triton.supervision.census import Census
from beampipe.triton.supervision.stubs import Stub
from beampipe.triton.supervision.watched import AskedModels, WatchedServer

__all__ = ["Revival"]

_IDLE: Final = 5.0
"""Time [s] without any work after which a replaced stub is ended."""
_RETRY: Final = 5.0
"""Time [s] from a failed reload to the next."""
_FAILS_BY_ITSELF: Final = 1
"""Number of requests that may wait for a dead process: Triton fails one a second, as quick as a restart."""


class Revival:
    """Brings back a server's models, and the server.

    Args:
        server: the server.
        models: its models as they are asked.
        census: what is known of its models and processes.
        answers: the questions that wait for answers.
        ended: set when nothing is to be started any more.
        pauses: makes the pauses of something that keeps dying.
    """

    def __init__(
        self,
        server: WatchedServer,
        models: AskedModels,
        census: Census,
        answers: Answers,
        ended: threading.Event,
        pauses: Callable[[], RestartPause] = RestartPause,
    ) -> None:
        self._server = server
        self._models = models
        self._census = census
        self._answers = answers
        self._ended = ended
        self._new_pause = pauses
        self._pauses: dict[str, RestartPause] = {}
        self._due: dict[str, float] = {}  # models to bring back, and from when on
        self._retired: dict[int, tuple[Stub, float | None, float]] = {}  # replaced stubs: processor time, since when

    def add(self, model: str) -> bool:
        """Bring a model back from the next `work` on; False if that was known."""
        if model in self._due:
            return False
        pause = self._pause(model).before_next(time.monotonic())
        if pause:
            self._server.note("backing off", f"{model} keeps dying; fresh instances in {pause:g} s")
        self._due[model] = time.monotonic() + pause
        return True

    def work(self) -> None:
        """Bring back those models whose time has come."""
        for model, due in list(self._due.items()):
            if time.monotonic() >= due and model in self._due and self._server.pid is not None:
                self._revive_model(model)

    def server(self, reason: str, *, died: bool = True) -> None:
        """Start the server again with the models it had, however often that takes.

        Args:
            reason: why it has to be.
            died: whether it has died; else it is ended now.
        """
        server, begin = self._server, time.monotonic()
        models = self._census.loaded() or server.models
        server.note("server died" if died else "restarting", f"{reason}; starting it again with {', '.join(models)}")
        pauses = self._pause("")
        while not self._ended.is_set():
            if pause := pauses.before_next(time.monotonic()):
                server.note("backing off", f"the server keeps dying; starting it again in {pause:g} s")
                if self._ended.wait(pause):
                    return
            try:
                server.restart(models)
            except (BeampipeError, OSError) as error:
                if not self._ended.is_set():
                    server.note("server died", f"it does not start again: {error}")
            else:
                self._due, self._retired = {}, {}
                self._answers.forget()
                self._census.forget()
                self._census.take()
                server.note("server back", f"after {time.monotonic() - begin:.2f} s, process {server.pid}")
                return
            finally:
                pauses.started(time.monotonic())

    def retire(self) -> None:
        """End replaced stubs that have nothing left to do: beside a dead one Triton never ends them."""
        now = time.monotonic()
        for pid, (stub, spent, since) in list(self._retired.items()):
            if not stub.alive:
                del self._retired[pid]
            elif (current := processor_time(pid)) != spent:
                self._retired[pid] = (stub, current, now)
            elif now - since > _IDLE:
                stub.end()

    def _pause(self, what: str) -> RestartPause:
        return self._pauses.setdefault(what, self._new_pause())

    def _revive_model(self, model: str) -> None:
        """Give a model fresh instances in the place of the dead ones, or start the server again if requests wait."""
        census, begin = self._census, time.monotonic()
        if model not in census.loaded():  # unloaded on purpose since
            del self._due[model]
            return
        abandoned = census.living(model) == 0
        if abandoned and self._waiting(model) > _FAILS_BY_ITSELF:
            self.server(f"{self._waiting(model):.0f} requests wait for the dead process of {model}", died=False)
            return
        before, loaded = dict(census.stubs), census.loaded()
        try:
            self._models.reload(model)
        except BeampipeError as error:
            self._due[model] = time.monotonic() + _RETRY
            self._server.note("model lost", f"{model}: {error}; next attempt in {_RETRY:g} s")
            census.take()
            if self._server.pid is not None and not census.heard:
                self.server("the server does not answer", died=False)
            return
        finally:
            self._pause(model).started(time.monotonic())
        del self._due[model]
        self._replaced(model, before)
        census.take()
        for other in sorted(set(loaded) - set(census.loaded())):
            with suppress(BeampipeError):  # an ensemble that lost a step for a moment
                self._models.load(other)
        self._server.note("model back", f"{model} after {time.monotonic() - begin:.2f} s")
        if abandoned and self._waiting(model) > _FAILS_BY_ITSELF:
            waiting = self._waiting(model)
            self.server(f"{waiting:.0f} requests came to the dead process of {model} meanwhile", died=False)

    def _replaced(self, model: str, before: dict[int, Stub]) -> None:
        """Note the processes that a model had before, and ask it anew."""
        now = time.monotonic()
        self._answers.forget(model)
        for pid, stub in before.items():
            if stub.model == model and stub.alive:
                self._retired[pid] = (stub, processor_time(pid), now)
                self._census.retired.add(pid)

    def _waiting(self, model: str) -> float:
        """The number of requests that wait for a model, our own question left out; 0 if the server does not say."""
        try:
            load = self._models.loads().get(model)
        except (BeampipeError, ValueError):
            return 0.0
        return 0.0 if load is None else load.waiting - (model in self._answers.waiting())
