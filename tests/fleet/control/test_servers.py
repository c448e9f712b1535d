"""A server that the fleet manages, and records that are late, old, wrong or gone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from beampipe import processes
from beampipe.errors import FileError
from beampipe.fleet.control.daemon import run_gateway
from beampipe.fleet.control.differences import ServerState
from beampipe.fleet.control.intent import Intent
from beampipe.fleet.control.managed_server import LocalServer
from beampipe.fleet.control.reconciler import RegistryReconciler
from beampipe.fleet.gateway.haproxy import GatewayState, SlotState
from beampipe.fleet.gateway.plan import Address, GatewayPlan, Slot
from beampipe.fleet.registry import SILENCE, Record, read_records, remove_record, write_record
from beampipe.fleet.run_folder import RunFolder
from beampipe.fleet.server import FleetServerSettings
from beampipe.fleet.specification import read_fleet
from beampipe.triton.server.launch import ServerSettings
from tests.fleet.conftest import until
from tests.triton.doublers import write_model


@pytest.fixture
def server(tmp_path: Path) -> LocalServer:
    triton = ServerSettings(tmp_path, log=tmp_path / "log")
    return LocalServer(
        FleetServerSettings("cpu-0", "cpu", tmp_path, tmp_path / "none", triton), tmp_path / "member.json"
    )


def test_a_stopped_process_of_an_earlier_fleet_is_managed(server: LocalServer, tmp_path: Path) -> None:
    for arguments, ours in (
        (["fleet", "member", str(tmp_path / "member.json")], True),
        (["beampipe", "other.json"], False),
    ):
        process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()", *arguments])
        try:
            process.send_signal(signal.SIGSTOP)
            until(partial(processes.is_stopped, process.pid))
            assert server.adopt() == ours
            assert (server.pid == process.pid) == ours
        finally:
            process.kill()
            process.wait()


def test_starts_that_fail_slowly_have_pauses_that_double(server: LocalServer, tmp_path: Path) -> None:
    """A start may fail after a minute of loading; only a server that was ready is restarted at once."""
    record, now, pauses = Record("cpu-0", "cpu", "127.0.0.1", 1, 2, 3, 0, "starting"), 0.0, []
    for number in range(10):
        started = now
        server._process.start([sys.executable, "-c", "import signal; signal.pause()"])
        pid = server.pid
        assert pid is not None
        record = replace(record, state="ready" if number == 8 else "starting", pid=pid)
        for now in (started + 1.0, started + 60.0, started + 90.0):
            server.observe(replace(record, beat=time.time()), now)
        os.kill(pid, signal.SIGKILL)
        until(lambda: server.pid is None)
        ended, now = now, now + 0.1
        while not server.observe(None, now).may_start:
            now += 0.5
        pauses.append(round(now - ended - 0.1, 1))
        server._state = ServerState("cpu-0", "cpu-0")  # as its start makes it
    assert pauses == [0.0] * 5 + [0.5, 1.0, 2.0, 0.0, 0.0]


FLEET = """
repository = "models"
[servers.cpu]
count = 1
most = 2
[monitoring]
prometheus = false
"""


class Notebook:
    """A gateway that does what it is asked to, unless a test has it fail."""

    desired_configuration = "same"

    def __init__(self, plan: GatewayPlan) -> None:
        self.plan = plan
        self.healthy = True
        self.states = {slot.server: SlotState("MAINT", mode="maint") for slot in plan.slots}

    def observe(self) -> GatewayState:
        return GatewayState("running", "same", self.states)

    def apply(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            self.states[slot.server] = SlotState("UP", address=slot.address, mode=slot.mode)
        self.check_health()

    def check_health(self) -> None:
        for name, state in self.states.items():
            status = {"ready": "UP", "drain": "DRAIN"}.get(state.mode or "", "MAINT") if self.healthy else "DOWN"
            self.states[name] = replace(state, status=status)

    @property
    def in_service(self) -> dict[str, Address | None]:
        """Address of each slot that is in service or drained."""
        return {name: state.address for name, state in self.states.items() if state.mode != "maint"}


class Scene:
    """A follower whose clock, registry and gateway a test turns by hand."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_model(folder / "models", "one")
        (folder / "fleet.toml").write_text(FLEET)
        run = RunFolder(folder / "run", folder / "shared")
        run.make()
        self.follower = RegistryReconciler(read_fleet(folder / "fleet.toml"), run, Intent())
        self.gateway = Notebook(self.follower.gateway.plan)
        self.follower.gateway = self.gateway  # type: ignore[assignment]
        monkeypatch.setattr(self.follower.credentials, "update", lambda gateway: ())  # there are none
        self.registry = run.registry
        self.now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)

    def says(self, name: str, **changes: object) -> None:
        """A server writes its record once more."""
        record = Record(name, "cpu", "192.0.2.7", 1, 2, 1, 77, "ready", ("one",))
        write_record(self.registry, replace(record, **changes))  # type: ignore[arg-type]

    def reconcile(self, seconds: float = 0.5) -> None:
        """Time passes, and the follower looks."""
        self.now += seconds
        self.gateway.check_health()
        self.follower.reconcile()

    def arrive(self, *names: str) -> None:
        """Servers come, and are placed."""
        for _ in range(2):
            for name in names:
                self.says(name)
            self.reconcile()

    def notes(self) -> str:
        return "\n".join(text for _, text in self.follower.incidents)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    with TemporaryDirectory(prefix="follow") as folder, monkeypatch.context() as patch:
        made = Scene(Path(folder), patch)
        made.follower.page.start()
        yield made
        patch.undo()
        made.follower.page.stop()


def test_a_record_that_never_changes_is_of_no_server(scene: Scene) -> None:
    scene.says("cpu-0-1")
    scene.reconcile()
    scene.reconcile()
    assert scene.gateway.in_service == {}
    scene.reconcile(100.0)
    scene.reconcile()
    assert read_records(scene.registry) == {}
    assert scene.follower.servers == {}


def test_clocks_that_are_hours_apart_do_no_harm(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", iter(float(second) for second in range(99)).__next__)  # it is 1970 over there
    scene.arrive("cpu-0-1")
    assert scene.gateway.in_service == {"cpu-0": Address("192.0.2.7", 1, 2)}


def test_a_silent_server_keeps_its_place_while_it_answers(scene: Scene) -> None:
    scene.arrive("cpu-0-1")
    scene.reconcile(SILENCE + 60.0)  # the file system has stopped, say
    assert "cpu-0" in scene.gateway.in_service
    scene.gateway.healthy = False
    scene.reconcile()
    assert scene.gateway.in_service == {}
    assert "is silent and does not answer" in scene.notes()
    scene.gateway.healthy = True
    scene.says("cpu-0-1")
    scene.reconcile()
    assert "cpu-0" in scene.gateway.in_service, "it has come back"


def test_a_registry_that_is_not_to_be_seen_changes_nothing(scene: Scene) -> None:
    scene.arrive("cpu-0-1")
    shutil.rmtree(scene.registry)
    scene.reconcile(100.0)
    assert "servers keep places" in scene.notes()
    assert "cpu-0" in scene.gateway.in_service


def test_a_server_that_ends_is_emptied_before_it_is_gone(scene: Scene) -> None:
    scene.arrive("cpu-0-1", "cpu-0-2")
    assert set(scene.gateway.in_service) == {"cpu-0", "cpu-1"}
    for _ in range(2):
        scene.says("cpu-0-1", state="ending")
        scene.reconcile()
    assert scene.gateway.states["cpu-0"].mode == "drain", "it has requests yet"
    remove_record(scene.registry, "cpu-0-1")
    scene.gateway.healthy = False
    scene.says("cpu-0-2")
    scene.reconcile(SILENCE + 1.0)
    scene.reconcile()
    assert set(scene.gateway.in_service) == {"cpu-1"}
    assert "cpu-0-1" not in scene.follower.servers


def test_servers_without_a_place_are_told_of_and_get_the_next_one(scene: Scene) -> None:
    scene.arrive("cpu-0-1", "cpu-1-1", "cpu-0-2")
    assert "cpu-1-1: got a server more than servers.cpu.most" in scene.notes()
    scene.says("cpu-0-1", state="hangs")
    scene.says("cpu-1-1")
    scene.reconcile()
    scene.says("cpu-1-1")
    scene.reconcile()
    assert scene.follower.servers["cpu-1-1"].slot == "cpu-0"


def test_a_server_of_another_fleet_gets_no_place(scene: Scene) -> None:
    for _ in range(2):
        scene.says("tpu-0-1", group="tpu")
        scene.reconcile()
    assert scene.gateway.in_service == {}
    assert "of no group that the specification has" in scene.notes()


def test_a_gateway_without_the_secret_of_its_servers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    with pytest.raises(FileError, match="secret of the servers; do: beampipe fleet slurm"):
        run_gateway(tmp_path / "fleet.toml", tmp_path, tmp_path / "run")
