"""Requests at a gateway: their numbers and times, and on request a line for each in a file, over reloads."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.errors import ServiceError
from beampipe.fleet.cli import _print_status
from beampipe.fleet.gateway import access_log
from beampipe.fleet.gateway.access_log import BOUNDS, RECENT, AccessLog, Traffic
from tests.fleet.conftest import RunningFleet, until
from tests.triton.access.attacks import post, raw_answer, status_of


@pytest.fixture(scope="module")
def logged(single: RunningFleet) -> Iterator[RunningFleet]:
    """A fleet that asks for tokens and logs requests."""
    with single.configured('tokens = "FOLDER/tokens"\naccess_log = true\n', "alice") as configured:
        yield configured


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
    assert line.items() >= {**known, "status": 200, "server": "cpu-0", "refused": "-", "end": "--"}.items()
    assert line["received"] > 1200 < line["sent"]
    assert begin - 1 < line["time"] < time.time() + 1
    assert 0 <= line["time_ms"] <= 1e3 * (time.time() - begin) + 1
    assert abs(int(line["time_us"]) / 1e3 - line["time_ms"]) < 2.0
    assert line["id"]


def test_refusals_are_logged_and_probes_are_not(logged: RunningFleet) -> None:
    before = len(lines_of(logged))
    sent = post(path="/v2/health/ready", method="GET", X_Request_Id='mine"\\')
    answer = raw_answer(logged.port, sent)
    assert status_of(answer) == 401
    assert b'x-request-id: mine"\\' in answer
    assert b"x-beampipe-refused" not in answer
    until(lambda: len(lines_of(logged)) > before, 20.0)
    assert [(line["id"], line["status"], line["client"], line["refused"]) for line in lines_of(logged)[before:]] == [
        ('mine"\\', 401, "-", "token")
    ]


def test_it_goes_on_over_a_reload(logged: RunningFleet) -> None:
    logged.reconciler.gateway.reload()
    before = len(lines_of(logged))
    with logged.client("http", token=logged.token) as client:
        client.infer({"X": np.zeros(3, np.float32)})
    until(lambda: len(lines_of(logged)) > before, 20.0)


def test_without_a_file_requests_are_counted_and_timed(fleet: RunningFleet, capsys: pytest.CaptureFixture[str]) -> None:
    """The status, its table and the metrics have the same numbers; the file is not written."""
    before = fleet.orders.status()["gateway"]
    with fleet.client("grpc") as grpc, fleet.client("http") as http:
        for _ in range(10):
            grpc.infer({"X": np.zeros(3, np.float32)})
            http.infer({"X": np.zeros(3, np.float32)})
    for path in ("/v2/repository/index", "/v2/logging"):
        assert status_of(raw_answer(fleet.port, post(path=path))) == 403

    def counted() -> bool:
        gateway = fleet.orders.status()["gateway"]
        answered = gateway["requests"]["answered"] - before["requests"]["answered"]
        refused = gateway["refused"]["call"] - before["refused"]["call"]
        return bool(answered >= 20 and refused == 2)

    until(counted, 20.0)
    status = fleet.orders.status()
    gateway = status["gateway"]
    assert gateway["state"] == "running"
    assert 0 <= gateway["silent_s"] < 60
    assert 0 < gateway["p50_ms"] <= gateway["p95_ms"] <= gateway["p99_ms"] < 6e4
    assert gateway["per_s"] > 0
    assert any(row["p99_ms"] is not None for row in status["servers"])
    assert not fleet.reconciler.folder.access_log.exists()
    _print_status(status)
    printed = capsys.readouterr().out
    assert re.search(rf"refused \(.*call {gateway['refused']['call']}\b", printed)
    assert f"{gateway['requests']['answered']} answered" in printed
    url = fleet.reconciler.page.url.removeprefix("http://").rstrip("/")
    host, _, port = url.partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET /metrics HTTP/1.1\r\nHost: {url}\r\nConnection: close\r\n\r\n".encode())
        metrics = connection.makefile("rb").read().decode()
    assert re.search(r'beampipe_gateway_refused_total\{reason="call"\} [2-9]', metrics)
    counts = re.findall(r'beampipe_gateway_request_seconds_count\{server="(cpu-\d)"\} (\d+)', metrics)
    assert sum(int(count) for _, count in counts) >= 20


def line(server: str = "cpu-0", milliseconds: float = 1.0, **other: object) -> dict[str, object]:
    times = {"time_us": str(round(1e3 * milliseconds)), "time_ms": round(milliseconds)}
    answer = {"model": "one", "status": 200, "grpc_status": "-", "refused": "-", "end": "--"}
    return {"path": "/v2/models/one/infer", "server": server, **answer, **times, **other}


def test_percentiles_are_those_of_the_times(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic, times = Traffic(), np.random.default_rng(1).lognormal(2.0, 0.8, 5000)
    assert traffic.recent()["p50_ms"] is None
    for number, time_ms in enumerate(times):
        traffic.add(line(f"cpu-{number % 2}", time_ms))
    recent = traffic.recent("cpu-1")
    for share in (50, 95, 99):
        assert recent[f"p{share}_ms"] == pytest.approx(np.percentile(times[1::2], share), rel=0.1)
    traffic.add(line("cpu-2", 1e6))
    assert traffic.recent("cpu-2")["p99_ms"] == BOUNDS[-1]
    later = time.monotonic() + RECENT + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert traffic.recent() == {"per_s": 0.0, "p50_ms": None, "p95_ms": None, "p99_ms": None}


def test_ends_of_requests_are_told_apart() -> None:
    traffic = Traffic()
    ends = [{}, {"end": "LR", "refused": "rate", "server": "<NOSRV>"}, {"end": "CD"}, {"end": "cR"}, {"end": "SH"}]
    for end in ends:
        traffic.add(line(**end))  # type: ignore[arg-type]
    traffic.add(line(path="/v2/health/ready", milliseconds=7e3))  # no request to a model
    traffic.add(line(milliseconds=3.0, time_us="-"))  # without a start
    assert traffic.outcomes == {"answered": 3, "refused": 1, "left": 2, "failed": 1}
    assert {reason: count for reason, count in traffic.refused.items() if count} == {"rate": 1}
    assert traffic.recent()["p99_ms"] == pytest.approx(3.15, rel=0.26)


def test_answers_that_state_a_fault_are_failures_of_their_model() -> None:
    """Triton counts what a Python model answers with an error as a success; errors of the client are no failures."""
    traffic = Traffic()
    for other in (
        *[{"grpc_status": number} for number in ("0", "2", "3", "5", "13", "14", "15")],
        *[{"status": number} for number in (400, 404, 500, 503)],
        {"end": "SH", "status": -1},
        {"model": "two", "grpc_status": "13"},
        {"model": 'x"}\nup 1', "status": 500},
        {"path": "/v2/models/one/config", "status": 500},
    ):
        traffic.add(line(**other))  # type: ignore[arg-type]
    assert traffic.models == {"answered": {"one": 1}, "failed": {"one": 7, "two": 1, "other": 1}}
    assert traffic.outcomes == {"answered": 5, "refused": 0, "left": 0, "failed": 10}
    metrics = list(traffic.metrics())
    assert 'beampipe_gateway_model_requests_total{model="two",outcome="failed"} 1' in metrics
    assert not any("up 1" in metric for metric in metrics)


@pytest.mark.parametrize("n_values", [1, 400_000])  # a small request, and one larger than the gateway's buffer
def test_errors_of_a_python_model_are_counted_as_failures(
    fleet: RunningFleet, capsys: pytest.CaptureFixture[str], n_values: int
) -> None:
    def failed() -> int:
        return int(fleet.orders.status()["gateway"]["failed"].get("one", 0))

    before, wrong = failed(), np.full(n_values, -1, np.float32)  # it cannot sleep for less than no time
    with fleet.client("grpc") as grpc, fleet.client("http") as http:
        for client in (grpc, http):
            with pytest.raises(ServiceError, match="sleep length"):
                client.infer({"X": wrong})
    until(lambda: failed() == before + 2, 20.0)
    _print_status(fleet.orders.status())
    assert f"failed (one {before + 2})" in " ".join(capsys.readouterr().out.split())


@pytest.mark.prometheus
def test_prometheus_reads_the_metrics() -> None:
    traffic = Traffic()
    for milliseconds in (0.2, 1.0, 20.0, 1e6):
        traffic.add(line(milliseconds=milliseconds))
    text = "".join(f"{metric}\n" for metric in traffic.metrics())
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    name = "beampipe_gateway_request_seconds"
    assert f'{name}_bucket{{server="cpu-0",le="0.001"}} 2' in text
    assert f'{name}_bucket{{server="cpu-0",le="+Inf"}} 4' in text
    assert f'{name}_sum{{server="cpu-0"}} 1000.02' in text


def test_files_are_rotated_and_lines_that_are_no_requests_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log, "_SIZE", 1000)
    path, file = tmp_path / "sock", tmp_path / "access.jsonl"
    log = AccessLog(path, file)
    log.start()
    with socket.socket(socket.AF_UNIX) as sender:
        sender.connect(str(path))
        sender.sendall(json.dumps(line()).encode() + b"\n")
        until(lambda: log.traffic.outcomes["answered"] == 1, 20.0)
        assert not file.exists()
        log.writes = True
        for number in range(600):
            sender.sendall(b'{"id": 1%03d}\n' % number)
        sender.sendall(b'Proxy fleet started.\n{"id": \n{"path": "without id"}\n')
        until(lambda: file.exists() and '"id": 1599' in file.read_text(), 20.0)
    log.stop()
    rotated = sorted(tmp_path.glob("access.jsonl*"))
    assert [each.name for each in rotated] == ["access.jsonl", *(f"access.jsonl.{number}" for number in range(1, 5))]
    assert all(each.stat().st_size <= 1000 for each in rotated)
    written = "".join(each.read_text() for each in rotated)
    assert "started" not in written
    assert "without" not in written
    assert not path.exists()
