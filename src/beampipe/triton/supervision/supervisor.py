"""Supervises a Triton from outside, because its own health endpoints stay green whatever happens to its models.

A dead stub is seen in the process table within a tenth of a second. Its model then gets fresh instances beside the old
ones (a reload under a configuration that differs in a counter), and new requests go to them. Unloading first would take
the model away for a second at least, and for ever if a request is stuck at the dead stub. Other models are not
affected. The server is restarted only if requests wait for the dead stub: Triton would fail them one a second.

A process that hangs (`hangs`) is killed after its stacks were written into the log, and then treated as any dead one.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from beampipe.errors import BeampipeError
from beampipe.processes import is_alive, processor_time
from beampipe.triton.backoff import RestartPause
from beampipe.triton.supervision.hangs import PATIENCE, FatalSignalLog, Hang, HangDetector, Observation
from beampipe.triton.supervision.interfaces import Load, ModelProbe, Placement, WatchedServer
from beampipe.triton.supervision.stubs import Stub, write_stacks


class Inventory:
    """What was last known of a server's models and processes.

    Args:
        server: the server.
        models: its models as they are asked.

    Attributes:
        stubs: the processes of the models, by process id; without replaced ones.
        retired: ids of processes that were replaced.
        heard: whether the server has answered the last question for its models.
        taken: time [s] of the last look.
    """

    def __init__(self, server: WatchedServer, models: ModelProbe) -> None:
        self._server = server
        self._models = models
        self._states: dict[str, str] = {}
        self._homes: dict[str, Placement] = {}
        self.stubs: dict[int, Stub] = {}
        self.retired: set[int] = set()
        self.heard = False
        self.taken = float("-inf")

    def take(self) -> None:
        """Learn which processes and models there are. A server that does not answer is taken to have those it had."""
        found = self._server.stubs()
        self.stubs = {stub.pid: stub for stub in found if stub.pid not in self.retired and stub.alive}
        try:
            self._states = dict(self._models.states())
            self.heard = True
        except (BeampipeError, ValueError):  # it may have died just now
            self.heard = False
        for gone in self._homes.keys() - set(self.loaded()):
            del self._homes[gone]
        for model in self.loaded() if self.heard else ():
            if model not in self._homes:
                self._learn(model)
        self.taken = time.monotonic()

    def forget(self) -> None:
        """Forget all processes: there is another server. Its models are those that it had, until it says so itself."""
        self.stubs, self.retired, self._homes = {}, set(), {}

    def loaded(self) -> tuple[str, ...]:
        """The models that are loaded and not being unloaded."""
        return tuple(sorted(model for model, state in self._states.items() if state == "READY"))

    def loading(self) -> bool:
        """Whether a model is being loaded: the server says so, or processes run of one that it does not have yet."""
        loaded = self.loaded()
        return "LOADING" in self._states.values() or any(stub.model not in loaded for stub in self.stubs.values())

    def homes(self) -> dict[str, Placement]:
        """Where each loaded model runs, as far as the server has said so."""
        return {model: self._homes[model] for model in self.loaded() if model in self._homes}

    def lacks_stubs(self, model: str) -> bool:
        """Whether fewer processes run than a loaded model should have; false while it is being unloaded."""
        if model not in self.loaded():
            return False
        self._homes.pop(model, None)  # it may have been loaded with another number of instances
        self._learn(model)
        home = self._homes.get(model)
        return home is not None and self.living(model) < home.stubs

    def living(self, model: str) -> int:
        """The number of living processes of a model."""
        return sum(stub.model == model and stub.alive for stub in self.stubs.values())

    def _learn(self, model: str) -> None:
        with suppress(BeampipeError):  # it is being unloaded just now; else the next look sees it
            self._homes[model] = self._models.home(model)


_PROBE_PERIOD: Final = 1.0
"""Time [s] from an answer to the next question."""

_FAULTS: Final = 3
"""Number of bad answers in a row after which they are told: one may come from a model that is just being unloaded."""


@dataclass(eq=False)
class _Probe:
    """The canary of one model on its way.

    Attributes:
        since: time [s] at which it was asked.
        ended: time [s] at which the answer came, None while it is waited for.
        fault: what was wrong with the answer, empty if it was the stored one.
    """

    since: float = field(default_factory=time.monotonic)
    ended: float | None = None
    fault: str = ""


class CanaryProbes:
    """Keeps one question to each model on its way.

    Args:
        ask: asks a model for its canary, waits, and raises if the answer is not the stored one.
        tell: told the text of the fault if a model keeps giving bad answers.
        period: time [s] from an answer to the next question.
    """

    def __init__(
        self,
        ask: Callable[[str], bool],
        tell: Callable[[str], None] = lambda fault: None,
        period: float = _PROBE_PERIOD,
    ) -> None:
        self._ask = ask
        self._tell = tell
        self._period = period
        self._questions: dict[str, _Probe] = {}
        self._faults: dict[str, int] = {}

    def ask(self, models: Collection[str]) -> None:
        """Ask those models that no question waits for, and forget the others."""
        for model in self._questions.keys() - set(models):
            self.forget(model)
        now = time.monotonic()
        for model in models:
            last = self._questions.get(model)
            if last is not None and last.ended is None:
                continue
            if last is not None and last.ended is not None:
                if now - last.ended < self._period:
                    continue
                self._count(model, last.fault)
            question = self._questions[model] = _Probe()
            # A daemon: a program must be able to end while a model hangs.
            threading.Thread(target=self._wait, args=(model, question), name=f"canary-{model}", daemon=True).start()

    def waiting(self) -> dict[str, float]:
        """Since when [s] the answers that have not come have been waited for, by name of the model."""
        return {model: one.since for model, one in list(self._questions.items()) if one.ended is None}

    def forget(self, model: str | None = None) -> None:
        """Wait no longer for the answer of a model, or of all, because whoever had the question is gone."""
        for name in [model] if model is not None else list(self._questions):
            self._questions.pop(name, None)
            self._faults.pop(name, None)

    def _wait(self, model: str, question: _Probe) -> None:
        try:
            self._ask(model)
        except (BeampipeError, OSError, ValueError) as error:
            question.fault = str(error)
        question.ended = time.monotonic()

    def _count(self, model: str, fault: str) -> None:
        self._faults[model] = self._faults.get(model, 0) + 1 if fault else 0
        if self._faults[model] == _FAULTS:
            self._tell(fault)


_IDLE: Final = 5.0
"""Time [s] without any work after which a replaced stub is ended."""

_RETRY: Final = 5.0
"""Time [s] from a failed reload to the next."""

_FAILS_BY_ITSELF: Final = 1
"""Number of requests that may wait for a dead process: Triton fails one a second, as quick as a restart."""


class Recovery:
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
        models: ModelProbe,
        census: Inventory,
        answers: CanaryProbes,
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
        models: ModelProbe,
        patience: float = PATIENCE,
        pauses: Callable[[], RestartPause] = RestartPause,
    ) -> None:
        self._server = server
        self._models = models
        self._ended = threading.Event()
        self._census = Inventory(server, models)
        self._answers = CanaryProbes(models.ask_canary, lambda fault: server.note("canary", fault))
        self._revival = Recovery(server, models, self._census, self._answers, self._ended, pauses)
        self._hangs = HangDetector(patience)
        self._last_words = FatalSignalLog(server.log)
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
        look = Observation(
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
