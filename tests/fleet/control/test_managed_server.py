"""A seat of the fleet: which process it means, whoever asks and when."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from beampipe import processes
from beampipe.fleet.control.managed_server import LocalServer
from beampipe.fleet.server import FleetServerSettings
from beampipe.triton.server.launch import ServerSettings
from tests.fleet.conftest import until


def test_a_question_while_it_starts_does_not_lose_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The command `status` may ask from another thread at any moment; a lost process would live on beside its successor.
    settings = FleetServerSettings(
        "cpu-0", "cpu", tmp_path, tmp_path / "none", ServerSettings(tmp_path, log=tmp_path / "log")
    )
    server = LocalServer(settings, tmp_path / "member.json")
    start_time = processes.start_time
    request: list[bool] = []

    def asked_meanwhile(pid: int) -> int | None:
        if not request and pid != os.getpid():
            request.append(True)
            request.append(server.pid is not None)
        return start_time(pid)

    monkeypatch.setattr(processes, "start_time", asked_meanwhile)
    server.start()
    assert request == [True, False]
    assert server.pid is not None
    server.signal(signal.SIGKILL)
    until(lambda: server.pid is None)
    server.start()
    assert server.pid is not None
    server.signal(signal.SIGKILL)
    until(lambda: server.pid is None)
