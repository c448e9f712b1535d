"""Detects processes that live but make no progress: the rule, its clocks, and the fatal-signal line in the log.

A busy server is not a dead one. A canary may stand behind a queue of real work, sixty events of two seconds each. So
the criterion is not how long an answer takes but how long nothing moves. With the usual patience of 3 s:

- A *model* hangs if for 3 s its canary or any other request has waited, no request was answered well
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
"""Said on SIGABRT and SIGSEGV, and of other numbers on signals after which a server ends in order."""

_HALF: Final = 64
"""Length [bytes] of the longest half line that may become that one, and is therefore read again."""


class FatalSignalLog:
    """Finds the line with which Triton's handler of fatal signals begins in what was added to a log.

    The handler prints a stack trace, for which it needs memory. After a corruption of the heap it then waits for ever
    for the lock of `malloc`: the process does not end, and its health endpoints stay green.

    Args:
        log: file to which the server writes.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = 0
        self.skip()

    def skip(self) -> None:
        """Leave out what is there by now, which an earlier server has said."""
        with suppress(OSError):
            self._read = self._log.stat().st_size

    def said(self) -> bool:
        """Whether the line is in what was added since the last look, or since `skip`."""
        try:
            with self._log.open("rb") as stream:
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
"""Time [s] without a look at least after which clocks tell nothing; one look at a silent server takes more than 1 s."""

_DYING: Final = 2.0
"""Time [s] that a server gets to die of a fatal signal."""

_STUB_WORKS: Final = 0.03
"""Cores that the processes of a model use at least while it works."""

_SERVER_WORKS: Final = 0.10
"""Cores that a server uses at least while a model inside it works, or while it is busy itself."""

_SERVER: Final = ""
"""Name under which the server's own clock is kept."""


@dataclass(frozen=True)
class Observation:
    """What one look at a server has shown.

    Attributes:
        now: time of the look [s].
        server: process id of the server.
        stubs: the living processes of its models.
        homes: where each loaded model runs.
        heard: whether the server has answered the request for its models.
        loads: what there is to do for each model; empty if the server did not say.
        asked: since when [s] each canary is waited for that has not come.
        signalled: since when [s] the server tells of a fatal signal, None if it does not.
        loading: whether the server is loading a model.
    """

    now: float
    server: int
    stubs: tuple[Stub, ...]
    homes: Mapping[str, Placement]
    heard: bool
    loads: Mapping[str, Load]
    asked: Mapping[str, float]
    signalled: float | None = None
    loading: bool = False


@dataclass(frozen=True)
class Hang:
    """Something that lives and does nothing.

    Attributes:
        reason: what hangs, and how one knows.
        pids: ids of the processes to end.
        model: name of the model whose processes these are, None for the server.
    """

    reason: str
    pids: tuple[int, ...]
    model: str | None = None


@dataclass
class _Clock:
    """Since when something has shown nothing.

    Attributes:
        read: time [s] of the last look.
        spent: processor time [s] used up to then.
        answered: number of answers up to then; of the server, answers to the request for its models.
        worked_at: time [s] at which it was last seen to work.
        answered_at: time [s] at which the last answer was seen.
        waited_since: time [s] since when requests have waited at each look, None if none does.
    """

    read: float
    spent: float
    answered: float
    worked_at: float
    answered_at: float
    waited_since: float | None = None

    def take(self, now: float, spent: float, works: float, answered: float) -> None:
        """Note what a look has shown: processor time `spent`, more than `works` cores of which is work."""
        # Less than before: other processes, or another server that counts from 0.
        if spent < self.spent or spent - self.spent >= works * (now - self.read):
            self.worked_at = now
        if answered != self.answered:
            self.answered_at = now
        self.read, self.spent, self.answered = now, spent, answered


class HangDetector:
    """Keeps the clocks of a server and its models, and tells from each look what hangs.

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
        """Start all clocks anew: something was ended or started, and everything gets its time again."""
        self._clocks.clear()
        self._stopped.clear()

    def found(self, look: Observation) -> tuple[Hang, ...]:
        """What hangs: processes of models, or else the server."""
        if look.now - self._last > max(self._patience, _BLIND):  # nobody has looked for so long
            self.forget()
        self._last = look.now
        self._read_clocks(look)
        if look.signalled is not None and look.now - look.signalled > _DYING:
            return (Hang("the server tells of a fatal signal and does not end", (look.server,)),)
        stubs = (*self._stopped_stubs(look), *self._silent(look, inside=False))
        return stubs or tuple(self._server(look)) or tuple(self._silent(look, inside=True))

    def _read_clocks(self, look: Observation) -> None:
        server = processes.processor_time(look.server) or 0.0
        self._server_answers += look.heard
        self._clock(_SERVER, look, server, _SERVER_WORKS, self._server_answers)
        for model, home in look.homes.items():
            workers = home.steps or (model,)
            spent = fsum(processes.processor_time(stub.pid) or 0.0 for stub in look.stubs if stub.model in workers)
            inside = any(not look.homes[name].stubs for name in workers if name in look.homes)
            load = look.loads.get(model)
            answered = load.answered if load is not None else self._answered(model)
            clock = self._clock(model, look, spent, _STUB_WORKS, answered)
            if inside:
                clock.worked_at = max(clock.worked_at, self._clocks[_SERVER].worked_at)
            if load is not None:
                clock.waited_since = (clock.waited_since or look.now) if load.waiting > 0 else None
        for gone in self._clocks.keys() - look.homes.keys() - {_SERVER}:
            del self._clocks[gone]

    def _answered(self, model: str) -> float:
        return self._clocks[model].answered if model in self._clocks else 0.0

    def _clock(self, name: str, look: Observation, spent: float, works: float, answered: float) -> _Clock:
        if name not in self._clocks:
            self._clocks[name] = _Clock(look.now, spent, answered, look.now, look.now)
        clock = self._clocks[name]
        clock.take(look.now, spent, works, answered)
        if look.loading or not (look.heard or name == _SERVER):
            clock.worked_at = look.now
        return clock

    def _stopped_stubs(self, look: Observation) -> Iterator[Hang]:
        pids = {look.server, *(stub.pid for stub in look.stubs)}
        stopped = {pid for pid in pids if processes.is_stopped(pid)}
        self._stopped = {pid: self._stopped.get(pid, look.now) for pid in stopped}
        for stub in look.stubs:
            if self._is_stopped(stub.pid, look.now):
                yield Hang(f"{stub.instance}: its process {stub.pid} is stopped", (stub.pid,), stub.model)

    def _is_stopped(self, pid: int, now: float) -> bool:
        return pid in self._stopped and now - self._stopped[pid] >= _STOPPED

    def _silent(self, look: Observation, *, inside: bool) -> Iterator[Hang]:
        """Models that let somebody wait; those inside the server can only be ended with it."""
        for model, home in look.homes.items():
            if (home.stubs == 0) != inside:
                continue
            clock = self._clocks[model]
            since = [time for time in (look.asked.get(model), clock.waited_since) if time is not None]
            if since and (reason := self._reason(look.now, min(since), clock)):
                own = tuple(stub.pid for stub in look.stubs if stub.model == model)
                yield Hang(f"{model}: {reason}", (look.server,) if inside else own, None if inside else model)

    def _server(self, look: Observation) -> Iterator[Hang]:
        clock = self._clocks[_SERVER]
        if self._is_stopped(look.server, look.now):
            yield Hang("the server: its process is stopped", (look.server,))
        elif not look.heard and (reason := self._reason(look.now, clock.answered_at, clock)):
            yield Hang(f"the server: {reason}", (look.server,))

    def _reason(self, now: float, since: float, clock: _Clock) -> str:
        """Why something that lets others wait since a time hangs, nothing if it does not."""
        silent = now - max(since, clock.answered_at)
        idle = min(silent, now - clock.worked_at)
        if idle >= self._patience:
            return f"no answer and no work for {idle:.1f} s"
        return f"work without an answer for {silent:.0f} s" if silent >= _LONGEST * self._patience else ""
