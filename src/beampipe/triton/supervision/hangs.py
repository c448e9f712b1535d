"""Detects processes that live but make no progress: the rule, its clocks, and the fatal-signal line in the log.

A busy server is not a hanging one: a canary may wait behind a queue of real work, such as sixty events of two seconds.
So the criterion is not how long an answer takes but for how long there is no progress. With the usual patience of 3 s:

- A *model* hangs if for 3 s its canary or any other request has waited, no request was answered successfully
  (`nv_inference_request_success`), and it did not work. It works while its processes use 3% of a core; one inside the
  server, while the server uses 10%, far more than answering the supervisor takes.
- A model that works, but has answered nothing for 20 times as long, 60 s, while requests wait, hangs too: it loops, or
  it is inside the server and another model did the work.
- The *server* hangs if for 3 s it did not answer (the list of its models, requested twice a second) and did not work,
  or for 60 s even though it worked.
- While the server does not answer, no model counts as hanging: requests may not reach it. While a model is being loaded
  everything counts as working: each load holds one of the few threads of the server's API.
- A process that was stopped (SIGSTOP) for 1 s hangs. Without this rule the other instances of its model would hide it.
- A server that began to report a fatal signal 2 s ago, and still lives, hangs in its signal handler.

From a hang to its detection it takes 1 s (the next canary), 3 s and two observations at most.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import Final

from beampipe import processes
from beampipe.triton.supervision.interfaces import Load, Placement
from beampipe.triton.supervision.stubs import Stub

_FATAL: Final = re.compile(rb"^Signal \((6|11)\) received", re.M)
"""Logged on SIGABRT and SIGSEGV; after other signals a server shuts down normally."""

_HALF: Final = 64
"""Largest length [bytes] of an incomplete line that is read again, since it may become a match."""


class FatalSignalLog:
    """Searches new text of a log for the first line of Triton's handler of fatal signals.

    The handler prints a stack trace, for which it needs memory. After a corruption of the heap it then waits
    indefinitely for the lock of `malloc`: the process does not end, and its health endpoints still report success.

    Args:
        log: file to which the server writes.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = 0
        self.skip()

    def skip(self) -> None:
        """Ignore the current content, which is from an earlier server."""
        with suppress(OSError):
            self._read = self._log.stat().st_size

    def seen(self) -> bool:
        """Whether the line was added since the last call, or since `skip`."""
        try:
            with self._log.open("rb") as stream:
                if stream.seek(0, os.SEEK_END) < self._read:  # the log has begun anew
                    self._read = 0
                stream.seek(self._read)
                added = stream.read()
        except OSError:
            return False
        if _FATAL.search(added):
            self._read += len(added)
            return True
        half = len(added) - 1 - added.rfind(b"\n")
        self._read += len(added) - (half if half < _HALF else 0)
        return False


PATIENCE: Final = 3.0
"""Usual time [s] without an answer and without work after which something hangs."""

_LONGEST: Final = 20.0
"""How many times as long something may work without an answer until it hangs."""

_STOPPED: Final = 1.0
"""Time [s] for which a process is stopped until it hangs."""

_BLIND: Final = 3.0
"""Time [s] without an observation after which clocks are invalid; one of a silent server takes more than 1 s."""

_DYING: Final = 2.0
"""Time limit [s] for a server to end after a fatal signal."""

_STUB_WORKS: Final = 0.03
"""Cores that the processes of a model use at least while it works."""

_SERVER_WORKS: Final = 0.10
"""Cores that a server uses at least while a model inside it works, or while it is busy itself."""

_SERVER: Final = ""
"""Name under which the server's own clock is kept."""


@dataclass(frozen=True)
class Observation:
    """The state of a server at one time.

    Attributes:
        now: time [s].
        server: process id of the server.
        stubs: the living processes of its models.
        placements: where each loaded model runs.
        responded: whether the server has answered the request for its models.
        loads: number of answered and waiting requests by model; empty if the server did not answer.
        canaries_since: start time [s] of each canary in flight.
        signalled: time [s] since which the server reports a fatal signal, None if it does not.
        loading: whether the server is loading a model.
    """

    now: float
    server: int
    stubs: tuple[Stub, ...]
    placements: Mapping[str, Placement]
    responded: bool
    loads: Mapping[str, Load]
    canaries_since: Mapping[str, float]
    signalled: float | None = None
    loading: bool = False


@dataclass(frozen=True)
class Hang:
    """A process that lives and makes no progress.

    Attributes:
        reason: what hangs, and why it counts as hanging.
        pids: ids of the processes to end.
        model: name of the model whose processes these are, None for the server.
    """

    reason: str
    pids: tuple[int, ...]
    model: str | None = None


@dataclass
class _Clock:
    """Times of the last signs of life of a model or server.

    Attributes:
        read: time [s] of the last observation.
        spent: processor time [s] used up to then.
        answered: number of answers up to then; of the server, answers to the request for its models.
        worked_at: time [s] at which it was last seen to work.
        answered_at: time [s] at which the last answer was seen.
        waited_since: time [s] since when requests have waited at each observation, None if none does.
    """

    read: float
    spent: float
    answered: float
    worked_at: float
    answered_at: float
    waited_since: float | None = None

    def update(self, now: float, spent: float, works: float, answered: float) -> None:
        """Take an observation into account: processor time `spent`, of which more than `works` cores is work."""
        # Less than before: other processes, or another server that counts from 0.
        if spent < self.spent or spent - self.spent >= works * (now - self.read):
            self.worked_at = now
        if answered != self.answered:
            self.answered_at = now
        self.read, self.spent, self.answered = now, spent, answered


class HangDetector:
    """Updates the clocks of a server and its models, and detects hangs at each observation.

    Args:
        patience: time [s] without an answer and without work after which something hangs.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._clocks: dict[str, _Clock] = {}
        self._stopped: dict[int, float] = {}
        self._server_answers = 0.0
        self._last = float("-inf")

    def forget(self) -> None:
        """Restart all clocks, since something was ended or started."""
        self._clocks.clear()
        self._stopped.clear()

    def check(self, observation: Observation) -> tuple[Hang, ...]:
        """The processes of models that hang, or else the server."""
        if observation.now - self._last > max(self._patience, _BLIND):  # no observation for so long
            self.forget()
        self._last = observation.now
        self._read_clocks(observation)
        if observation.signalled is not None and observation.now - observation.signalled > _DYING:
            return (Hang("the server reports a fatal signal and does not end", (observation.server,)),)
        stubs = (*self._stopped_stubs(observation), *self._silent(observation, inside=False))
        return stubs or tuple(self._server(observation)) or tuple(self._silent(observation, inside=True))

    def _read_clocks(self, observation: Observation) -> None:
        server = processes.processor_time(observation.server) or 0.0
        self._server_answers += observation.responded
        self._clock(_SERVER, observation, server, _SERVER_WORKS, self._server_answers)
        for model, placement in observation.placements.items():
            workers = placement.steps or (model,)
            spent = fsum(
                processes.processor_time(stub.pid) or 0.0 for stub in observation.stubs if stub.model in workers
            )
            inside = any(not observation.placements[name].stubs for name in workers if name in observation.placements)
            load = observation.loads.get(model)
            before = self._clocks[model].answered if model in self._clocks else 0.0
            answered = before if load is None else load.answered
            clock = self._clock(model, observation, spent, _STUB_WORKS, answered)
            if inside:
                clock.worked_at = max(clock.worked_at, self._clocks[_SERVER].worked_at)
            if load is not None:
                clock.waited_since = (clock.waited_since or observation.now) if load.waiting > 0 else None
        for gone in self._clocks.keys() - observation.placements.keys() - {_SERVER}:
            del self._clocks[gone]

    def _clock(self, name: str, observation: Observation, spent: float, works: float, answered: float) -> _Clock:
        if name not in self._clocks:
            self._clocks[name] = _Clock(observation.now, spent, answered, observation.now, observation.now)
        clock = self._clocks[name]
        clock.update(observation.now, spent, works, answered)
        if observation.loading or not (observation.responded or name == _SERVER):
            clock.worked_at = observation.now
        return clock

    def _stopped_stubs(self, observation: Observation) -> Iterator[Hang]:
        pids = {observation.server, *(stub.pid for stub in observation.stubs)}
        stopped = {pid for pid in pids if processes.is_stopped(pid)}
        self._stopped = {pid: self._stopped.get(pid, observation.now) for pid in stopped}
        for stub in observation.stubs:
            if self._is_stopped(stub.pid, observation.now):
                yield Hang(f"{stub.instance}: its process {stub.pid} is stopped", (stub.pid,), stub.model)

    def _is_stopped(self, pid: int, now: float) -> bool:
        return pid in self._stopped and now - self._stopped[pid] >= _STOPPED

    def _silent(self, observation: Observation, *, inside: bool) -> Iterator[Hang]:
        """Models with waiting requests and no progress; those inside the server can only be ended with it."""
        for model, placement in observation.placements.items():
            if (placement.stubs == 0) != inside:
                continue
            clock = self._clocks[model]
            since = [time for time in (observation.canaries_since.get(model), clock.waited_since) if time is not None]
            if since and (reason := self._reason(observation.now, min(since), clock)):
                own = tuple(stub.pid for stub in observation.stubs if stub.model == model)
                yield Hang(f"{model}: {reason}", (observation.server,) if inside else own, None if inside else model)

    def _server(self, observation: Observation) -> Iterator[Hang]:
        clock = self._clocks[_SERVER]
        if self._is_stopped(observation.server, observation.now):
            yield Hang("the server: its process is stopped", (observation.server,))
        elif not observation.responded and (reason := self._reason(observation.now, clock.answered_at, clock)):
            yield Hang(f"the server: {reason}", (observation.server,))

    def _reason(self, now: float, since: float, clock: _Clock) -> str:
        """Why something with requests that wait since a time counts as hanging; empty if it does not."""
        silent = now - max(since, clock.answered_at)
        idle = min(silent, now - clock.worked_at)
        if idle >= self._patience:
            return f"no answer and no work for {idle:.1f} s"
        return f"work without an answer for {silent:.0f} s" if silent >= _LONGEST * self._patience else ""
