"""A real fleet: it is mended, told and changed while clients ask, and no answer is lost or wrong."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from beampipe import processes
from beampipe.errors import ConfigError, ServiceError, UnknownNameError
from beampipe.fleet.cli import app, status_command
from beampipe.fleet.control.control_socket import send_command
from beampipe.triton.engine import Engine
from beampipe.triton.server.launch import free_port
from tests.fleet.conftest import FLEET, Load, RunningFleet, one_doubler, until
from tests.triton.doublers import BROKEN, DOUBLER


def tritons(fleet: RunningFleet) -> list[int]:
    """Process ids of the servers themselves."""
    members = [row["pid"] for row in fleet.orders.status()["servers"]]
    results = [child for member in members if member for child in processes.children(member)]
    return [pid for pid in results if processes.arguments(pid)[:1] and "tritonserver" in processes.arguments(pid)[0]]


def whole(fleet: RunningFleet) -> bool:
    """Whether every server takes requests."""
    status = fleet.orders.status()
    return bool(status["ready"]) and all(row["gateway"] == "UP" for row in status["servers"])


def kill_server(fleet: RunningFleet) -> None:
    os.kill(tritons(fleet)[0], signal.SIGKILL)


def stop_server(fleet: RunningFleet) -> None:
    os.kill(tritons(fleet)[0], signal.SIGSTOP)


def kill_member(fleet: RunningFleet) -> None:
    os.kill(fleet.orders.status()["servers"][0]["pid"], signal.SIGKILL)


def kill_gateway(fleet: RunningFleet) -> None:
    os.killpg(fleet.orders.status()["gateway"]["pid"], signal.SIGKILL)


def test_the_status_exits_with_1_while_a_server_takes_no_requests(fleet: RunningFleet) -> None:
    until(lambda: whole(fleet))
    arguments = fleet.specification, fleet.reconciler.folder.path
    fleet.orders.drain("cpu-0")
    status_command(*arguments)  # drained on purpose
    fleet.orders.drain("cpu-1")
    with pytest.raises(typer.Exit) as caught:
        status_command(*arguments)
    assert caught.value.exit_code == 1
    for name in ("cpu-0", "cpu-1"):
        fleet.orders.resume(name)
    until(lambda: whole(fleet))
    stop_server(fleet)
    until(lambda: not fleet.orders.status()["ready"])
    until(lambda: whole(fleet))


@pytest.mark.parametrize("fault", [kill_server, stop_server, kill_member, kill_gateway])
def test_a_fault_loses_nothing_and_is_mended(fleet: RunningFleet, fault: Callable[[RunningFleet], None]) -> None:
    until(lambda: whole(fleet))
    before = {row["server"]: row["pid"] for row in fleet.orders.status()["servers"]}, set(tritons(fleet))
    gateway = fleet.orders.status()["gateway"]["pid"]
    with Load(fleet) as load:
        fault(fleet)

        def mended() -> bool:
            after = {row["server"]: row["pid"] for row in fleet.orders.status()["servers"]}, set(tritons(fleet))
            changed = after != before or fleet.orders.status()["gateway"]["pid"] != gateway
            return changed and len(after[1]) == 2 and whole(fleet)

        until(mended)
        answered = load.answered
        until(lambda: load.answered > answered + 20)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_request_to_a_server_that_has_just_died_is_answered_by_another(fleet: RunningFleet, scheme: str) -> None:
    until(lambda: whole(fleet))
    dead = tritons(fleet)[0]
    with fleet.client(scheme, retries=0, timeout=60.0) as client:
        assert client.infer({"X": np.array([0, 1], np.float32)})["Y"].tolist() == [0, 2]
        os.kill(dead, signal.SIGKILL)
        for number in range(6):
            assert client.infer({"X": np.array([0, number], np.float32)})["Y"].tolist() == [0, 2 * number]
    until(lambda: dead not in tritons(fleet) and len(tritons(fleet)) == 2 and whole(fleet))


def test_servers_are_drained_restarted_and_scaled_without_loss(fleet: RunningFleet) -> None:
    with Load(fleet):
        fleet.orders.drain("cpu-0")
        slot = fleet.reconciler.gateway.observe().slots["cpu-0"]
        assert (slot.status, slot.idle) == ("DRAIN", True)
        fleet.orders.resume("cpu-0")
        before = [row["pid"] for row in fleet.orders.status()["servers"]]
        fleet.orders.restart()
        after = [row["pid"] for row in fleet.orders.status()["servers"]]
        assert not set(before) & set(after)
        fleet.orders.scale("cpu", 3)
        assert len(fleet.orders.status()["servers"]) == 3
        fleet.orders.scale("cpu", 2)
        assert [row["server"] for row in fleet.orders.status()["servers"]] == ["cpu-0", "cpu-1"]


def test_models_are_updated_without_loss_and_broken_ones_are_taken_back(single: RunningFleet) -> None:
    model, updated = single.folder / "models" / "one" / "1" / "model.py", DOUBLER + "# an update\n"
    with Load(single):
        first = single.orders.status()["servers"][0]["digest"]
        model.write_text(updated)
        assert single.orders.update()["servers"] == 1  # the only one: a second serves meanwhile
        second = single.orders.status()["servers"][0]["digest"]
        assert second != first
        assert single.orders.update()["servers"] == 0
        model.write_text(BROKEN)
        try:
            with pytest.raises(ServiceError, match="old models are served again"):
                single.orders.update()
        finally:
            model.write_text(updated)
        until(lambda: whole(single))
        assert single.orders.status()["servers"][0]["digest"] == second


def test_a_second_specification_changes_only_what_differs(fleet: RunningFleet) -> None:
    pids = [row["pid"] for row in fleet.orders.status()["servers"]]
    assert fleet.orders.apply(str(fleet.write()))["changed"] == []
    assert fleet.orders.apply(str(fleet.write(gateway="queue = 99")))["changed"] == ["gateway"]
    until(lambda: "queue(grpc) ge 99" in (fleet.reconciler.folder.path / "haproxy.cfg").read_text())
    assert fleet.orders.apply(str(fleet.write(count=3)))["changed"] == ["gateway", "servers.cpu"]
    assert [row["pid"] for row in fleet.orders.status()["servers"]][:2] == pids
    assert fleet.orders.apply(str(fleet.write()))["changed"] == ["servers.cpu"]


def test_what_cannot_be_done_is_refused(fleet: RunningFleet) -> None:
    with pytest.raises(UnknownNameError, match="cpu-0"):
        fleet.orders.drain("cpu-9")
    with pytest.raises(UnknownNameError, match="cpu"):
        fleet.orders.scale("gpu", 1)
    with pytest.raises(ConfigError, match="most"):
        fleet.orders.scale("cpu", 4)
    socket = fleet.reconciler.folder.socket
    with pytest.raises(ServiceError, match="status"):
        send_command(socket, {"do": "stauts"})
    with pytest.raises(ServiceError, match="expected one of this version"):
        send_command(socket, {"do": "drain", "srever": "cpu-0"})
    other = fleet.specification.with_name("other.toml")
    other.write_text(fleet.specification.read_text().replace('"test"', '"other"'))
    with pytest.raises(ConfigError, match=rf"{other}, expected {fleet.specification}.*--take-over"):
        fleet.orders.apply(str(other))
    with pytest.raises(ConfigError, match="another fleet"):
        fleet.orders.apply(str(other), take_over=True)


@pytest.mark.prometheus
def test_the_commands_start_and_end_a_fleet_and_leave_nothing(engine: Engine) -> None:
    with TemporaryDirectory(prefix="fleet") as temporary:
        folder = Path(temporary)
        one_doubler(folder / "models")
        text = FLEET.format(count=1, patience=3.0, port=free_port(), gateway="")
        (folder / "fleet.toml").write_text(text.replace("prometheus = false", "prometheus = true"))

        def beampipe(command: str) -> str:
            done = CliRunner().invoke(app, [command, "-f", str(folder / "fleet.toml"), "--folder", str(folder / "run")])
            assert done.exit_code == 0, done.output
            return done.output

        try:
            assert "ready" in beampipe("up")
            assert "nothing" in beampipe("up")
            until(lambda: "without Prometheus" not in beampipe("status"))
        finally:
            output = beampipe("down")
        assert "ended" in output
        assert "did not run" in beampipe("down")
        time.sleep(0.2)
        assert [line for _, line in processes.command_lines() if temporary in " ".join(line)] == []


def test_a_server_that_cannot_write_its_record_keeps_its_place(fleet: RunningFleet) -> None:
    """As on a full disk: it is silent and yet answers, so there is nothing to mend."""
    until(lambda: whole(fleet))
    before = [row["pid"] for row in fleet.orders.status()["servers"]]
    registry, away = fleet.reconciler.folder.registry, fleet.reconciler.folder.path / "away"
    registry.rename(away)
    registry.write_text("no folder, so nobody can write into it")
    try:
        with Load(fleet) as load:
            until(lambda: not any(record.lives() for record in fleet.reconciler.records.values()))
            answered = load.answered
            until(lambda: load.answered > answered + 50)
    finally:
        registry.unlink()
        away.rename(registry)
    until(lambda: whole(fleet))
    assert [row["pid"] for row in fleet.orders.status()["servers"]] == before
