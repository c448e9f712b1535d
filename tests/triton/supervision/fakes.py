"""A server without Triton: what a supervisor sees of it is what a test sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from beampipe.errors import ServiceError
from beampipe.triton.supervision.interfaces import IncidentKind, Load, Placement
from beampipe.triton.supervision.stubs import Stub


class FakeServer:
    """Never runs, unless a restart gives it a process id.

    Args:
        log: file that it would write to.
        restarts: called at each restart with its number from 1 on; gives the process id, or raises.
    """

    def __init__(self, log: Path, restarts: Callable[[int], int | None]) -> None:
        self.log = log
        self.models: tuple[str, ...] = ("one",)
        self.pid: int | None = None
        self.processes: tuple[Stub, ...] = ()
        self.notes: list[tuple[str, str]] = []
        self.restarted = 0
        self._restarts = restarts

    def stubs(self) -> tuple[Stub, ...]:
        return self.processes

    def restart(self, models: tuple[str, ...]) -> None:
        self.restarted += 1
        self.pid = self._restarts(self.restarted)

    def ensure_watchdog(self) -> None:
        pass

    def note(self, kind: IncidentKind, text: str) -> None:
        self.notes.append((kind, text))


class FakeModels:
    """One model inside the server, which answers; `fault` is raised in place of its state."""

    reloads = True

    def __init__(self) -> None:
        self.fault: Exception | None = None

    def states(self) -> dict[str, str]:
        if self.fault is not None:
            raise self.fault
        return {"one": "READY"}

    def placement(self, model: str) -> Placement:
        return Placement(0)

    def loads(self) -> dict[str, Load]:
        return {"one": Load(0.0, 0.0)}

    def probe_canary(self, model: str) -> bool:
        return True

    def load(self, model: str) -> None:
        raise ServiceError("no such model")

    def reload(self, model: str) -> None:
        raise ServiceError("no such model")
