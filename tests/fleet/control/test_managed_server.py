"""A server of the fleet: which process it manages, whichever thread reads its state and when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from beampipe import processes
from beampipe.fleet.control.differences import ServerState
from beampipe.fleet.control.managed_server import LocalServer
from beampipe.fleet.registry import Record
from beampipe.fleet.server import FleetServerSettings
from beampipe.triton.server.launch import ServerSettings
from tests.fleet.conftest import until


@pytest.fixture
def server(tmp_path: Path) -> LocalServer:
    triton = ServerSettings(tmp_path, log=tmp_path / "log")
    return LocalServer(
        FleetServerSettings("cpu-0", "cpu", tmp_path, tmp_path / "none", triton), tmp_path / "member.json"
    )


def test_a_stopped_process_of_an_earlier_fleet_is_managed(server: LocalServer, tmp_path: Path) -> None:
    record = Record(
        "cpu-0", "cpu", "127.0.0.1", 1, 2, 3, 0, "ready", beat=time.time() - 60
    )  # it has not reported since
    for arguments, ours in (
        (["fleet", "member", str(tmp_path / "member.json")], True),
        (["beampipe", "other.json"], False),
    ):
        process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()", *arguments])
        try:
            process.send_signal(signal.SIGSTOP)
            until(partial(processes.is_stopped, process.pid))
            assert server.adopt(replace(record, pid=process.pid)) == ours
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
