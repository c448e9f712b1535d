"""What the tests of fleets share: a fleet that runs, of the tiny models of Triton's tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from beampipe.errors import BeampipeError
from beampipe.fleet.control.commands import LocalCommands
from beampipe.fleet.control.control_socket import ControlSocket
from beampipe.fleet.control.intent import prepare
from beampipe.fleet.control.reconciler import LocalReconciler
from beampipe.fleet.run_folder import RunFolder
from beampipe.fleet.security import add_token
from beampipe.triton import ModelClient
from beampipe.triton.engine import Engine
from beampipe.triton.server.launch import free_port
from tests.triton.doublers import add_canary, write_model
from tests.triton.waiting import wait_until as until

__all__ = ["Behind", "Load", "RunningFleet", "running_fleet", "until"]

FLEET = """
name = "test"
repository = "models"
patience = {patience}
[servers.cpu]
count = {count}
most = 3
[monitoring]
prometheus = false
[gateway]
port = {port}
{gateway}
"""


WORK = 0.02
"""Time [s] that a model sleeps for a request of `Load`: long, so that most clients wait for an answer at any time."""


class Behind:
    """A gateway of this machine, as any client sees it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def client(self, scheme: str = "grpc", model: str = "one", **options: object) -> ModelClient:
        """A client of the gateway, as any program has it."""
        return ModelClient(f"{scheme}://127.0.0.1:{self.port}", model, protocol=scheme[:4], **options)  # type: ignore[arg-type]


class RunningFleet(Behind):
    """A fleet that runs, with what a test asks of it."""

    def __init__(self, reconciler: LocalReconciler, specification: Path) -> None:
        self.token, self.tokens = "", dict[str, str]()
        self.reconciler = reconciler
        self.orders = LocalCommands(reconciler)
        self.specification = specification
        self.folder = specification.parent
        self._values = {"count": reconciler.fleet.servers["cpu"].count, "patience": reconciler.fleet.patience}
        super().__init__(reconciler.fleet.gateway.port)

    def write(self, **changes: object) -> Path:
        """Write the specification again with other values."""
        self.specification.write_text(FLEET.format(**{**self._values, "port": self.port, "gateway": "", **changes}))
        return self.specification

    @contextmanager
    def configured(self, gateway: str, *names: str) -> Iterator[RunningFleet]:
        """The same servers behind a gateway with these settings, and with tokens of these names."""
        self.tokens = {name: add_token(self.folder / "tokens", name) for name in names}
        self.token = next(iter(self.tokens.values()), "")
        self.orders.apply(str(self.write(gateway=settings_of(gateway, self.folder))))
        until(lambda: bool(self.orders.status()["ready"]))
        try:
            yield self
        finally:
            self.orders.apply(str(self.write()))
            (self.folder / "tokens").unlink(missing_ok=True)


def settings_of(gateway: str, folder: Path) -> str:
    """Settings of a gateway with the folder of the fleet, and a port that is free."""
    return gateway.replace("FOLDER", str(folder)).replace("port = 0", f"port = {free_port()}")


def one_doubler(repository: Path) -> None:
    """The model of most tests: it doubles numbers."""
    write_model(repository, "one")
    add_canary(repository, "one")


@contextmanager
def running_fleet(
    count: int = 2, gateway: str = "", models: Callable[[Path], object] = one_doubler, patience: float = 3.0
) -> Iterator[RunningFleet]:
    """Run a fleet in this process, its servers in others."""
    # Not pytest's folder, whose long name leaves no room for sockets.
    with TemporaryDirectory(prefix="fleet") as temporary:
        folder = Path(temporary)
        models(folder / "models")
        specification = folder / "fleet.toml"
        specification.write_text(
            FLEET.format(count=count, patience=patience, port=free_port(), gateway=settings_of(gateway, folder))
        )
        run = RunFolder(folder / "run")
        run.make()
        intent, _ = prepare(run, specification)
        reconciler = LocalReconciler(intent.fleet, run, intent)
        running = RunningFleet(reconciler, specification)
        with reconciler.running(), ControlSocket(run.socket, running.orders.obey):
            until(lambda: bool(running.orders.status()["ready"]))
            yield running


class Load:
    """Clients that ask all the time; at the end each request must have been answered, and rightly.

    Args:
        fleet: the gateway.
        clients: their number.
        schemes: protocols that they use in turn.
        attempts: how often each tries by itself; 0 for clients with the usual options.
    """

    def __init__(
        self, fleet: Behind, clients: int = 4, schemes: Sequence[str] = ("http", "grpc"), attempts: int = 2
    ) -> None:
        self.answered = 0
        self._schemes, self._attempts = schemes, attempts
        self._lost: list[str] = []
        self._wrong = 0
        self._fleet = fleet
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        until(lambda: self.answered > len(self._threads))
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        if kind is None:
            assert (self._lost, self._wrong) == ([], 0)

    def _ask(self, number: int) -> None:
        options: dict[str, Any] = {"timeout": 60.0, "retries": 0} if self._attempts else {}
        with self._fleet.client(self._schemes[number % len(self._schemes)], **options) as client:
            while not self._ended.is_set():
                request = np.array([WORK, number, self.answered], np.float32)
                for left in reversed(range(self._attempts or 1)):
                    try:
                        got = client.infer({"X": request})["Y"]
                    except BeampipeError as error:
                        if not left:
                            self._lost.append(str(error))
                        time.sleep(1.0)
                    else:
                        with self._lock:
                            self.answered += 1
                            self._wrong += not np.array_equal(got, 2 * request)
                        break


@pytest.fixture(scope="package")
def fleet(engine: Engine) -> Iterator[RunningFleet]:
    """A fleet of two servers, for tests that leave it as they find it."""
    with running_fleet() as running:
        yield running


@pytest.fixture(scope="package")
def single(engine: Engine) -> Iterator[RunningFleet]:
    """A fleet of one server; the tests of a file configure its gateway, and leave it as they find it."""
    with running_fleet(count=1) as running:
        yield running
