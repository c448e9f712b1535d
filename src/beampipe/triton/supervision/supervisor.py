"""Supervises a Triton from outside, because its health endpoints report no crash or hang of its models.

A dead stub is seen in the process table within a tenth of a second. Its model then gets fresh instances beside the old
ones (a reload under a configuration that differs in a counter), and new requests go to them. Unloading first would take
the model away for at least a second, and permanently if a request is stuck at the dead stub. Other models are not
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
from typing import TYPE_CHECKING, Final

from beampipe.errors import BeampipeError
from beampipe.processes import is_alive, processor_time
from beampipe.triton.backoff import RestartPause
from beampipe.triton.supervision.hangs import PATIENCE, FatalSignalLog, HangDetector, Observation
from beampipe.triton.supervision.interfaces import Load, Placement
from beampipe.triton.supervision.stubs import Stub, write_stacks

if TYPE_CHECKING:
    from beampipe.triton.server.management import HttpModelProbe
    from beampipe.triton.server.server import TritonServer


class Inventory:
    """The models and processes of a server, as of the last refresh.

    Args:
        server: the server.
        models: probe of its models.

    Attributes:
        server: the server.
        models: probe of its models.
        stubs: the processes of the models, by process id; without replaced ones.
        retired: ids of processes that were replaced.
        responded: whether the server has answered the last request for its models.
        refreshed_at: time [s] of the last refresh.
    """

    def __init__(self, server: TritonServer, models: HttpModelProbe) -> None:
        self.server, self.models = server, models
        self._states: dict[str, str] = {}
        self._placements: dict[str, Placement] = {}
        self.stubs: dict[int, Stub] = {}
        self.retired: set[int] = set()
        self.responded = False
        self.refreshed_at = float("-inf")

    def refresh(self) -> None:
        """Read processes and models again. A server that does not answer is assumed to have its previous models."""
        stubs = self.server.stubs()
        self.stubs = {stub.pid: stub for stub in stubs if stub.pid not in self.retired and stub.alive}
        try:
            self._states = dict(self.models.states())
            self.responded = True
        except (BeampipeError, ValueError):  # it may have crashed
            self.responded = False
        for gone in self._placements.keys() - set(self.loaded()):
            del self._placements[gone]
        for model in self.loaded() if self.responded else ():
            if model not in self._placements:
                self._read_placement(model)
        self.refreshed_at = time.monotonic()

    def forget(self) -> None:
        """Forget all processes after a restart of the server; its models are assumed to be the same."""
        self.stubs, self.retired, self._placements = {}, set(), {}

    def loaded(self) -> tuple[str, ...]:
        """The models that are loaded and not being unloaded."""
        return tuple(sorted(model for model, state in self._states.items() if state == "READY"))

    def loading(self) -> bool:
        """Whether a model is being loaded, by its state or by processes of a model that is not loaded yet."""
        loaded = self.loaded()
        return "LOADING" in self._states.values() or any(stub.model not in loaded for stub in self.stubs.values())

    def placements(self) -> dict[str, Placement]:
        """Where each loaded model runs, for models whose configuration the server has sent."""
        return {model: self._placements[model] for model in self.loaded() if model in self._placements}

    def lacks_stubs(self, model: str) -> bool:
        """Whether fewer processes run than a loaded model should have; false while it is being unloaded."""
        if model not in self.loaded():
            return False
        self._placements.pop(model, None)  # it may have been loaded with another number of instances
        self._read_placement(model)
        placement = self._placements.get(model)
        return placement is not None and self.living(model) < placement.stubs

    def living(self, model: str) -> int:
        """The number of living processes of a model."""
        return sum(stub.model == model and stub.alive for stub in self.stubs.values())

    def _read_placement(self, model: str) -> None:
        with suppress(BeampipeError):  # being unloaded; otherwise the next refresh reads it
            self._placements[model] = self.models.placement(model)


_PROBE_PERIOD: Final = 1.0
"""Time [s] from an answer to the next request."""

_CHECK_PERIOD: Final = 5.0
"""Time [s] from the end of a check to the next one."""

_FAULTS: Final = 3
"""Number of bad answers in a row after which they are reported: one may come from a model that is being unloaded."""


@dataclass(eq=False)
class _Probe:
    """The canary of one model in flight.

    Attributes:
        since: time [s] of the request.
        ended: time [s] of the answer, None until then.
        fault: what was wrong with the answer, empty if it was the stored one.
    """

    since: float = field(default_factory=time.monotonic)
    ended: float | None = None
    fault: str = ""


class CanaryProbes:
    """Keeps one canary in flight to each model, through the server's own port.

    A model that hangs blocks its request. So each request waits in a separate thread, and the supervisor only reads
    since when.

    Args:
        send: function that sends a model its canary, waits, and raises if the answer is not the stored one.
        report: function that is called with the fault if a model keeps giving bad answers.
        period: time [s] from an answer to the next request.
    """

    def __init__(
        self,
        send: Callable[[str], bool],
        report: Callable[[str], None] = lambda fault: None,
        period: float = _PROBE_PERIOD,
    ) -> None:
        self._send = send
        self._report = report
        self._period = period
        self._probes: dict[str, _Probe] = {}
        self._faults: dict[str, int] = {}

    def send(self, models: Collection[str]) -> None:
        """Send the canary to those models that have none in flight, and forget all other models."""
        for model in self._probes.keys() - set(models):
            self.forget(model)
        now = time.monotonic()
        for model in models:
            last = self._probes.get(model)
            if last is not None and last.ended is None:
                continue
            if last is not None and last.ended is not None:
                if now - last.ended < self._period:
                    continue
                faults = self._faults.get(model, 0) + 1 if last.fault else 0
                if faults == _FAULTS:
                    self._report(last.fault)
                self._faults[model] = faults
            probe = self._probes[model] = _Probe()
            # A daemon: a program must be able to end while a model hangs.
            threading.Thread(target=self._wait, args=(model, probe), name=f"canary-{model}", daemon=True).start()

    @property
    def failing(self) -> bool:
        """Whether a model keeps giving bad answers."""
        return any(faults >= _FAULTS for faults in list(self._faults.values()))

    def waiting(self) -> dict[str, float]:
        """Start time [s] of each canary in flight, by name of the model."""
        return {model: probe.since for model, probe in list(self._probes.items()) if probe.ended is None}

    def forget(self, model: str | None = None) -> None:
        """Discard the canary in flight to a model, or to all, after the end of the process that had it."""
        for name in [model] if model is not None else list(self._probes):
            self._probes.pop(name, None)
            self._faults.pop(name, None)

    def _wait(self, model: str, probe: _Probe) -> None:
        try:
            self._send(model)
        except (BeampipeError, OSError, ValueError) as error:
            probe.fault = str(error)
        probe.ended = time.monotonic()


_IDLE: Final = 5.0
"""Time [s] without any work after which a replaced stub is ended."""

_RETRY: Final = 5.0
"""Time [s] from a failed reload to the next."""

_FAILS_BY_ITSELF: Final = 1
"""Number of requests that may wait for a dead process without a restart: Triton fails one a second."""


class Recovery:
    """Restarts a server's models, and the server.

    Args:
        inventory: the models and processes of the server.
        canaries: the canaries in flight.
        ended: event that is set when nothing may be started any more.
        pauses: makes the pauses between restarts of one thing.
    """

    def __init__(
        self, inventory: Inventory, canaries: CanaryProbes, ended: threading.Event, pauses: Callable[[], RestartPause]
    ) -> None:
        self._server, self._models = inventory.server, inventory.models
        self._inventory = inventory
        self._canaries = canaries
        self._ended = ended
        self._new_pause = pauses
        self._pauses: dict[str, RestartPause] = {}
        self._due: dict[str, float] = {}  # models to reload, and from when on
        # By process id: a replaced stub, its processor time, and since when it has not changed.
        self._replaced_stubs: dict[int, tuple[Stub, float | None, float]] = {}

    def add(self, model: str) -> bool:
        """Schedule the reload of a model; False if it was scheduled already."""
        if model in self._due:
            return False
        pause = self._pause(model).before_next(time.monotonic())
        if pause:
            self._server.note("backing off", f"{model} keeps dying; fresh instances in {pause:g} s")
        self._due[model] = time.monotonic() + pause
        return True

    def reload_due(self) -> None:
        """Reload the models whose time has come."""
        for model, due in list(self._due.items()):
            if time.monotonic() >= due and model in self._due and self._server.pid is not None:
                self._reload(model)

    def restart_server(self, reason: str, *, died: bool = True) -> None:
        """Restart the server with its previous models; attempts are repeated without limit.

        Args:
            reason: reason, for the incident.
            died: whether it has crashed; else it is killed now.
        """
        server, begin = self._server, time.monotonic()
        models = self._inventory.loaded() or server.models
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
                self._due, self._replaced_stubs = {}, {}
                self._canaries.forget()
                self._inventory.forget()
                self._inventory.refresh()
                server.note("server back", f"after {time.monotonic() - begin:.2f} s, process {server.pid}")
                return
            finally:
                pauses.started(time.monotonic())

    def end_replaced(self) -> None:
        """End replaced stubs that are idle: Triton never ends them if one of the instances is dead."""
        now = time.monotonic()
        for pid, (stub, spent, since) in list(self._replaced_stubs.items()):
            if not stub.alive:
                del self._replaced_stubs[pid]
            elif (current := processor_time(pid)) != spent:
                self._replaced_stubs[pid] = (stub, current, now)
            elif now - since > _IDLE:
                stub.end()

    def _pause(self, what: str) -> RestartPause:
        return self._pauses.setdefault(what, self._new_pause())

    def _reload(self, model: str) -> None:
        """Replace the dead instances of a model, or restart the server if requests wait for them."""
        inventory, begin = self._inventory, time.monotonic()
        if model not in inventory.loaded():  # unloaded on purpose since
            del self._due[model]
            return
        if not self._models.reloads:
            self.restart_server(f"{model} has lost a process, and this server cannot load a model again", died=False)
            return
        abandoned = inventory.living(model) == 0
        if abandoned and self._waiting(model) > _FAILS_BY_ITSELF:
            self.restart_server(f"{self._waiting(model):.0f} requests wait for the dead process of {model}", died=False)
            return
        before, loaded = dict(inventory.stubs), inventory.loaded()
        try:
            self._models.reload(model)
        except BeampipeError as error:
            self._due[model] = time.monotonic() + _RETRY
            self._server.note("model lost", f"{model}: {error}; next attempt in {_RETRY:g} s")
            inventory.refresh()
            if self._server.pid is not None and not inventory.responded:
                self.restart_server("the server does not answer", died=False)
            return
        finally:
            self._pause(model).started(time.monotonic())
        del self._due[model]
        for pid, stub in before.items():  # its previous processes, which end when their last requests are answered
            if stub.model == model and stub.alive:
                self._replaced_stubs[pid] = (stub, processor_time(pid), time.monotonic())
                inventory.retired.add(pid)
        inventory.refresh()
        for other in sorted(set(loaded) - set(inventory.loaded())):
            with suppress(BeampipeError):  # an ensemble whose step was briefly unavailable
                self._models.load(other)
        self._server.note("model back", f"{model} after {time.monotonic() - begin:.2f} s")
        if abandoned and self._waiting(model) > _FAILS_BY_ITSELF:
            waiting = self._waiting(model)
            self.restart_server(f"{waiting:.0f} requests came to the dead process of {model} meanwhile", died=False)
        self._canaries.forget(model)  # only now: that of the dead process still counts as a request that waits

    def _waiting(self, model: str) -> float:
        """The number of requests that wait for a model, our own canary left out; 0 if the server does not answer."""
        own = model in self._canaries.waiting()  # asked first: it may be answered meanwhile
        try:
            load = self._models.loads().get(model)
        except (BeampipeError, ValueError):
            return 0.0
        return 0.0 if load is None else load.waiting - own


_PERIOD: Final = 0.1
"""Time [s] between two checks of the known processes."""

_REFRESH: Final = 0.5
"""Time [s] between two refreshes of the inventory, and checks for hangs."""

_COUNT: Final = 5.0
"""Time [s] between two counts of all stubs, for crashes between two refreshes."""

_JOIN: Final = 10.0
"""Time limit [s] for the thread to end; a load in progress fails when the server ends."""

_FRESH: Final = 10.0
"""Time [s] for which a check without a hang remains valid."""


class Supervisor:
    """A thread that restarts dead models and servers, and kills hanging ones; a context manager.

    Args:
        server: a server that was started.
        models: probe of its models.
        patience: time [s] without an answer and without work after which something hangs.
        pauses: makes the pauses between restarts of one thing.
    """

    def __init__(
        self,
        server: TritonServer,
        models: HttpModelProbe,
        patience: float = PATIENCE,
        pauses: Callable[[], RestartPause] = RestartPause,
    ) -> None:
        self._server = server
        self._models = models
        self._ended = threading.Event()
        self._inventory = Inventory(server, models)
        self._canaries = CanaryProbes(models.probe_canary, lambda fault: server.note("canary", fault))
        self._checks = CanaryProbes(models.probe_check, lambda fault: server.note("check", fault), _CHECK_PERIOD)
        self._recovery = Recovery(self._inventory, self._canaries, self._ended, pauses)
        self._hangs = HangDetector(patience)
        self._fatal_log = FatalSignalLog(server.log)
        self._pid = server.pid
        self._signalled: float | None = None
        self._died: list[Stub] = []  # processes whose death was not handled yet
        self._counted = float("-inf")
        self._well = float("-inf")
        self._thread = threading.Thread(target=self._run, name="triton-supervisor", daemon=True)

    def __enter__(self) -> Supervisor:
        self._inventory.refresh()
        self._well = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join(_JOIN)

    @property
    def answering(self) -> bool:
        """Whether the server has answered and nothing hung a few seconds ago at most, and no check of a model fails."""
        return time.monotonic() - self._well < _FRESH and not self._checks.failing

    def _run(self) -> None:
        while not self._ended.wait(_PERIOD):
            try:
                self._check()
            except Exception as error:  # an unforeseen error must not end the supervision
                self._server.note("watching", f"{type(error).__name__}: {error}; goes on")
                self._ended.wait(1.0)

    def _check(self) -> None:
        if self._server.pid is None:
            self._recovery.restart_server("the server died")
            return
        died = [stub for stub in self._inventory.stubs.values() if not stub.alive]
        if died or time.monotonic() - self._inventory.refreshed_at > _REFRESH:
            self._inventory.refresh()
            self._server.ensure_watchdog()
            self._recovery.end_replaced()
            self._check_deaths(died)
            if not died:  # else the clocks still belong to the model as it was
                self._check_hangs()
        self._recovery.reload_due()

    def _check_deaths(self, died: list[Stub]) -> None:
        self._died += died
        if not self._inventory.responded:  # the number of processes that should run is in the server's answer
            return
        suspects = {stub.model for stub in self._died}
        if time.monotonic() - self._counted > _COUNT:
            self._counted = time.monotonic()
            suspects |= set(self._inventory.loaded())
        for model in sorted(suspects):
            if self._inventory.lacks_stubs(model) and self._recovery.add(model):
                dead = [f"{stub.instance} (process {stub.pid})" for stub in self._died if stub.model == model]
                self._server.note("stub died", ", ".join(dead) or f"one of {model}")
        self._died = []

    def _check_hangs(self) -> None:
        pid, now = self._server.pid, time.monotonic()
        if pid is None:
            return
        if pid != self._pid:  # restarted since
            self._pid, self._signalled = pid, None
            self._fatal_log.skip()
            self._hangs.forget()
        placements = self._inventory.placements()
        self._canaries.send(placements)
        self._checks.send(placements)
        if self._fatal_log.seen():
            self._signalled = self._signalled or now
        loads: dict[str, Load] = {}
        with suppress(BeampipeError, ValueError):
            loads = dict(self._models.loads()) if self._inventory.responded else {}
        observation = Observation(
            now,
            pid,
            tuple(stub for stub in self._inventory.stubs.values() if stub.alive),
            placements,
            self._inventory.responded,
            loads,
            self._canaries.waiting(),
            self._signalled,
            self._inventory.loading(),
        )
        hangs = self._hangs.check(observation)
        for hang in hangs:
            self._server.note("hangs", f"{hang.reason}; the stacks of its processes are in the log, it is killed")
            write_stacks(hang.pids, self._server.log)
            for pid in hang.pids:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + 1.0
            while any(map(is_alive, hang.pids)) and time.monotonic() < deadline:
                time.sleep(0.01)
        if hangs:
            self._hangs.forget()
        elif self._inventory.responded:
            self._well = now
