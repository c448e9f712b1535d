"""What a supervisor does on and on, without a server: it neither gives up nor ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beampipe.errors import ServiceError
from beampipe.triton.backoff import RestartPause
from beampipe.triton.supervision.interfaces import IncidentKind, Load, Placement
from beampipe.triton.supervision.stubs import Stub
from beampipe.triton.supervision.supervisor import Inventory, Supervisor
from tests.triton.waiting import wait_until


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

    def probe_check(self, model: str) -> bool:
        return False

    def load(self, model: str) -> None:
        raise ServiceError("no such model")

    def reload(self, model: str) -> None:
        raise ServiceError("no such model")


def supervisor_of(server: Any, models: Any, **options: Any) -> Supervisor:
    """A supervisor of what stands for a server and the probe of its models."""
    return Supervisor(server, models, **options)


def test_a_server_that_does_not_start_is_tried_on_and_on(tmp_path: Path) -> None:
    def restarts(number: int) -> int | None:
        if number < 20:
            raise ServiceError("the port is taken")
        return os.getpid()

    server = FakeServer(tmp_path / "log", restarts)
    with supervisor_of(server, FakeModels(), pauses=lambda: RestartPause(free=3, longest=0.01)) as supervisor:
        wait_until(lambda: server.pid is not None)
        wait_until(lambda: supervisor.answering)
    kinds = [kind for kind, _ in server.notes]
    assert kinds.count("server died") == 1 + 19
    assert kinds.count("backing off") == 20 - 3
    assert kinds[-1] == "server back"


def test_a_supervisor_ends_in_a_pause(tmp_path: Path) -> None:
    server = FakeServer(tmp_path / "log", lambda number: None)
    with supervisor_of(server, FakeModels(), pauses=lambda: RestartPause(free=0, longest=3600.0, held=0.0)):
        wait_until(lambda: server.restarted > 0)
    assert server.restarted >= 1


def test_nothing_ends_the_watching(tmp_path: Path) -> None:
    """Not even a fault of its own, which it tells."""
    server, models = FakeServer(tmp_path / "log", lambda number: None), FakeModels()
    server.pid = os.getpid()
    with supervisor_of(server, models):
        models.fault = ZeroDivisionError("what nobody has foreseen")
        wait_until(lambda: bool(server.notes))
        models.fault = None
        server.pid = None
        wait_until(lambda: server.restarted > 0)
    assert ("watching", "ZeroDivisionError: what nobody has foreseen; goes on") in server.notes


def test_a_process_of_an_unknown_model_is_one_that_is_being_loaded(tmp_path: Path) -> None:
    server: Any = FakeServer(tmp_path / "log", lambda number: None)
    models: Any = FakeModels()
    inventory = Inventory(server, models)
    for model, loading in (("one", False), ("two", True)):
        server.processes = (Stub(os.getpid(), model, f"{model}_0_0", "region", 1),)
        inventory.refresh()
        assert inventory.loaded() == ("one",)
        assert inventory.loading() is loading
