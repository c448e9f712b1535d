"""The process of a fleet: killed or stopped it has a successor, and even then the fleet can be ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from beampipe import processes
from beampipe.errors import BeampipeError, DeadlineError
from beampipe.fleet.cli import status_command
from beampipe.fleet.control import daemon
from beampipe.fleet.control.control_socket import send_command
from beampipe.fleet.run_folder import RunFolder
from beampipe.triton.engine import Engine
from beampipe.triton.server.launch import free_port
from tests.fleet.conftest import FLEET, Behind, one_doubler, until


def test_a_keeper_that_takes_no_orders_is_ended_by_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specification = tmp_path / "fleet.toml"
    specification.write_text('repository = "models"\n[servers.cpu]\n')
    RunFolder(tmp_path / "run").make()
    with subprocess.Popen(["sleep", "60"]) as reconciler:  # it starts, or ends already: there is no socket
        monkeypatch.setattr(daemon, "daemon_pid", lambda folder: reconciler.pid)
        assert "ended" in daemon.stop_fleet(specification, tmp_path / "run")
        assert reconciler.wait(1.0) < 0


def test_a_killed_or_stopped_process_has_a_successor_and_no_request_is_lost(engine: Engine) -> None:
    with TemporaryDirectory(prefix="fleet") as temporary:
        folder, port = Path(temporary), free_port()
        one_doubler(folder / "models")
        specification, run = folder / "fleet.toml", RunFolder(folder / "run")
        specification.write_text(FLEET.format(count=1, patience=3.0, port=port, gateway=""))
        try:
            servers = daemon.start_fleet(specification, run.path)["servers"]
            with Behind(port).client() as client:

                def successor_of(pid: int) -> bool:
                    number = time.monotonic() % 1000
                    assert client.infer({"X": np.array([0, number], np.float32)})["Y"][1] == np.float32(2 * number)
                    try:
                        status = send_command(run.socket, {"do": "status"}, 0.5)
                    except BeampipeError:
                        return False
                    return daemon.daemon_pid(run) != pid and bool(status["ready"])

                for number in (signal.SIGKILL, signal.SIGSTOP):
                    pid = daemon.daemon_pid(run)
                    assert pid is not None
                    os.kill(pid, number)
                    if number == signal.SIGSTOP:
                        with pytest.raises(DeadlineError, match="the process of the fleet hangs or is busy"):
                            status_command(specification, run.path)
                    until(lambda pid=pid: successor_of(pid))  # type: ignore[misc]
                    assert not processes.is_alive(pid)
                status = send_command(run.socket, {"do": "status"})
                assert [row["pid"] for row in status["servers"]] == [row["pid"] for row in servers], "they go on"
                assert any("its process was killed or hung" in text for _, text in status["incidents"])
            pid = daemon.daemon_pid(run)
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
        finally:
            daemon.stop_fleet(specification, run.path)
        lines = [line for _, line in processes.command_lines() if any(temporary in argument for argument in line)]
        assert lines == []
