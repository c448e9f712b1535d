"""Watches a Triton from outside, because its own health addresses stay green when a model's process has died.

A dead stub is seen in the process table within a tenth of a second. Its model then gets fresh instances next to the old
ones (a reload under a configuration that differs in a counter), and new requests go to them; unloading first would take
the model away for a second at least, and for ever if a request is stuck at the dead stub. Other models notice nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import deque
from typing import Final, Protocol, runtime_checkable

from beampipe.errors import BeampipeError
from beampipe.processes import processor_time
from beampipe.triton.model.contract import instance_count
from beampipe.triton.server import control
from beampipe.triton.server.cleanup import SHARED_MEMORY
from beampipe.triton.server.incidents import IncidentKind
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.stubs import Stub

__all__ = ["RateLimit", "Supervised", "Supervisor"]

_PERIOD: Final = 0.1
"""Time [s] between two looks at the known processes."""
_REFRESH: Final = 1.0
"""Time [s] between two looks for new processes."""
_IDLE: Final = 5.0
"""Time [s] without any work after which a replaced stub is ended."""
_COUNT: Final = 5.0
"""Time [s] between two counts of all stubs, for a death that was not seen."""
_JOIN: Final = 10.0
"""Time [s] that the thread gets to end; a load in progress is cut off when the server ends."""
_RETRY: Final = 5.0
"""Time [s] from a failed or refused recovery to the next."""


@runtime_checkable
class Supervised(Protocol):
    """What the supervisor asks of a server, and does to it."""

    @property
    def settings(self) -> ServerSettings:
        """What the server is to be."""

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that are loaded at its start."""

    @property
    def http_url(self) -> str:
        """Address for HTTP, ``host:port``."""

    @property
    def pid(self) -> int | None:
        """Process id of the server, None if it does not run."""

    def stubs(self) -> tuple[Stub, ...]:
        """The processes of the models."""

    def restart(self, models: tuple[str, ...]) -> None:
        """Start the server again with these models."""

    def keep_watchdog(self) -> None:
        """See to it that somebody cleans up if the owner is killed."""

    def note(self, kind: IncidentKind, text: str) -> None:
        """Keep an incident."""


class RateLimit:
    """Allows something a number of times within a period.

    Args:
        count: largest number of times.
        period: length of the period [s].
    """

    def __init__(self, count: int, period: float) -> None:
        self.count = count
        self.period = period
        self._times: deque[float] = deque()

    def take(self, now: float) -> bool:
        """Whether it may be done once more at the time `now` [s]; if so, it counts as done."""
        while self._times and now - self._times[0] > self.period:
            self._times.popleft()
        if len(self._times) >= self.count:
            return False
        self._times.append(now)
        return True


class Supervisor:
    """A thread that brings back what dies; a context manager.

    Args:
        server: a server that was started.
        restarts: largest number of times that the server, or one model, is brought back within `period`. Beyond that a
            model has to wait, and the server is given up.
        period: length of the period [s] in which restarts are counted.
    """

    def __init__(self, server: Supervised, restarts: int = 5, period: float = 60.0) -> None:
        self.server = server
        self._limits: dict[str, RateLimit] = {}
        self._restarts, self._within = restarts, period
        self._known: dict[int, Stub] = {}
        self._retired: dict[int, tuple[Stub, float | None, float]] = {}  # replaced stubs: processor time, since when
        self._dead: dict[str, float] = {}  # models to bring back, and from when on
        self._states: dict[str, str] = {}
        self._refreshed = self._counted = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="triton-supervisor", daemon=True)

    def __enter__(self) -> Supervisor:
        self._refresh()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join(_JOIN)

    def _run(self) -> None:
        while not self._ended.wait(_PERIOD):
            try:
                self._look()
            except (BeampipeError, OSError, ValueError) as error:
                self.server.note("watching", f"{error}; goes on")
                self._ended.wait(1.0)

    def _look(self) -> None:
        if self.server.pid is None:
            self._revive_server("the server died")
            return
        died = [stub for stub in self._known.values() if not stub.alive]
        now = time.monotonic()
        count_all = now - self._counted > _COUNT
        if died or count_all or now - self._refreshed > _REFRESH:
            self._refresh()
            self.server.keep_watchdog()
            self._retire()
        suspects = {stub.model for stub in died}
        if count_all:
            self._counted = now
            suspects |= self._states.keys()
        for model in suspects - self._dead.keys():
            if self._lacks_stubs(model):
                which = [f"{stub.instance} (process {stub.pid})" for stub in died if stub.model == model]
                self.server.note("stub died", ", ".join(which) or f"one of {model}")
                self._dead[model] = 0.0
        for model, since in list(self._dead.items()):
            if now >= since and self.server.pid is not None:
                self._revive_model(model)

    def _refresh(self) -> None:
        """Learn which stubs and models there are."""
        stubs = self.server.stubs()
        self._known = {stub.pid: stub for stub in stubs if stub.pid not in self._retired and stub.alive}
        with contextlib.suppress(BeampipeError):  # it may have died just now; what was known before still holds
            self._states = control.model_states(self.server.http_url, timeout=2.0)
        self._refreshed = time.monotonic()

    def _lacks_stubs(self, model: str) -> bool:
        """Whether fewer processes run than the loaded model should have; false while it is being unloaded."""
        if self._states.get(model) != "READY":
            return False
        try:
            wanted = instance_count(control.model_config(self.server.http_url, model))
        except BeampipeError:  # it is being unloaded just now; else the next count sees it
            return False
        return sum(stub.model == model for stub in self._known.values()) < wanted

    def _may(self, what: str) -> bool:
        limit = self._limits.setdefault(what, RateLimit(self._restarts, self._within))
        return limit.take(time.monotonic())

    def _revive_model(self, model: str) -> None:
        """Give a model fresh instances in the place of the dead ones."""
        server, begin = self.server, time.monotonic()
        if self._states.get(model) != "READY":  # unloaded on purpose since
            del self._dead[model]
            return
        if not self._may(model):
            self._dead[model] = begin + _RETRY
            return
        before = dict(self._known)
        ready = {name for name, state in self._states.items() if state == "READY"}
        try:
            control.reload_model(server.http_url, model, timeout=server.settings.start_timeout)
        except BeampipeError as error:
            self._dead[model] = time.monotonic() + _RETRY
            server.note("model lost", f"{model}: {error}; next attempt in {_RETRY:g} s")
            if server.pid is not None and not control.is_live(server.http_url):
                self._revive_server("the server does not answer")
            return
        del self._dead[model]
        now = time.monotonic()
        for pid, stub in before.items():
            if stub.model == model and stub.alive:
                self._retired[pid] = (stub, processor_time(pid), now)
        self._refresh()
        for other in sorted(ready - {name for name, state in self._states.items() if state == "READY"}):
            with contextlib.suppress(BeampipeError):  # an ensemble that lost a step for a moment
                control.load_model(server.http_url, other, timeout=server.settings.start_timeout)
        server.note("model back", f"{model} after {time.monotonic() - begin:.2f} s")

    def _retire(self) -> None:
        """End replaced stubs that have nothing left to do: beside a dead one Triton never ends them."""
        now = time.monotonic()
        for pid, (stub, spent, since) in list(self._retired.items()):
            if not stub.alive:
                del self._retired[pid]
            elif (current := processor_time(pid)) != spent:
                self._retired[pid] = (stub, current, now)
            elif now - since > _IDLE:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                    (SHARED_MEMORY / stub.region).unlink()

    def _revive_server(self, reason: str) -> None:
        """Start the server again with the models it had."""
        server, begin = self.server, time.monotonic()
        models = tuple(sorted(name for name, state in self._states.items() if state == "READY")) or server.models
        server.note("server died", f"{reason}; starting it again with {', '.join(models)}")
        while not self._ended.is_set():
            if not self._may(""):
                self._ended.set()
                server.note("gave up", "the server died too often; see the log")
                return
            try:
                server.restart(models)
            except (BeampipeError, OSError) as error:
                server.note("server died", f"it does not start again: {error}")
                self._ended.wait(1.0)
            else:
                self._known, self._retired, self._dead = {}, {}, {}
                self._refresh()
                server.note("server back", f"{server.http_url} after {time.monotonic() - begin:.2f} s")
                return
