"""The access log: a line for each request of a client, also of refused ones, over reloads."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.fleet.gateway import access_log
from beampipe.fleet.gateway.access_log import AccessLog
from beampipe.triton.engine import Engine
from tests.fleet.conftest import RunningFleet, running_fleet, until
from tests.triton.access.attacks import post, raw_answer, status_of


@pytest.fixture(scope="module")
def logged(engine: Engine) -> Iterator[RunningFleet]:
    """A fleet that asks for tokens and logs requests."""
    with running_fleet(1, 'tokens = "FOLDER/tokens"\naccess_log = true\n', token="alice") as running:
        yield running


def lines_of(fleet: RunningFleet) -> list[dict[str, Any]]:
    file = fleet.reconciler.folder.access_log
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def inferences(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["path"].endswith(("/ModelInfer", "/infer"))]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_request_is_logged_with_its_client_and_model(logged: RunningFleet, protocol: str) -> None:
    before, begin = len(lines_of(logged)), time.time()
    with logged.client(protocol, token=logged.token) as client:
        client.infer({"X": np.zeros(300, np.float32)})
    until(lambda: bool(inferences(lines_of(logged)[before:])), 20.0)
    (line,) = inferences(lines_of(logged)[before:])
    known = {"client": "alice", "address": "127.0.0.1", "protocol": protocol, "model": "one", "size": "300"}
    assert line.items() >= {**known, "status": 200, "server": "cpu-0"}.items()
    assert line["received"] > 1200 < line["sent"]
    assert begin - 1 < line["time"] < time.time() + 1
    assert 0 <= line["time_ms"] <= 1e3 * (time.time() - begin) + 1
    assert line["id"]


def test_refusals_are_logged_and_probes_are_not(logged: RunningFleet) -> None:
    before = len(lines_of(logged))
    sent = post(path="/v2/health/ready", method="GET", X_Request_Id='mine"\\')
    answer = raw_answer(logged.port, sent)
    assert status_of(answer) == 401
    assert b'x-request-id: mine"\\' in answer
    until(lambda: len(lines_of(logged)) > before, 20.0)
    assert [(line["id"], line["status"], line["client"]) for line in lines_of(logged)[before:]] == [
        ('mine"\\', 401, "-")
    ]


def test_it_goes_on_over_a_reload(logged: RunningFleet) -> None:
    logged.reconciler.gateway.reload()
    before = len(lines_of(logged))
    with logged.client("http", token=logged.token) as client:
        client.infer({"X": np.zeros(3, np.float32)})
    until(lambda: len(lines_of(logged)) > before, 20.0)


def test_files_are_rotated_and_lines_that_are_no_requests_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "_SIZE", 1000)
    path, file = tmp_path / "sock", tmp_path / "access.jsonl"
    log = AccessLog(path, file)
    log.set_running(True)
    log.set_running(True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(str(path))
        for number in range(300):
            sender.send(b'{"number": %03d}\n' % number)
        sender.send(b"Proxy fleet started.\n")
    until(lambda: file.exists() and '"number": 299' in file.read_text(), 20.0)
    log.stop()
    log.stop()
    files = sorted(tmp_path.glob("access.jsonl*"))
    assert [each.name for each in files] == ["access.jsonl", *(f"access.jsonl.{number}" for number in range(1, 5))]
    assert all(each.stat().st_size <= 1000 for each in files)
    assert "started" not in "".join(each.read_text() for each in files)
    assert not path.exists()
