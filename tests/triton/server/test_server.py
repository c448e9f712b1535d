"""A server of our own: it answers, holds its models and ends."""

from __future__ import annotations

import http.client
import shutil
import socket
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from beampipe.errors import BeampipeError, ConfigError, FileError, UnknownNameError
from beampipe.triton.engine import ENGINE_VARIABLE, Engine, prepare_backends, this_interpreter
from beampipe.triton.metrics import read_metrics
from beampipe.triton.server import launch, management
from beampipe.triton.server import server as server_module
from beampipe.triton.server.cleanup import shared_memory_of
from beampipe.triton.server.launch import Ports, ServerSettings, free_ports
from beampipe.triton.server.server import TritonServer
from tests.triton.doublers import BROKEN, ask, write_model
from tests.triton.waiting import assert_nothing_left, kinds, wait_until


def test_it_answers_where_it_says(doubler_server: TritonServer) -> None:
    assert doubler_server.ready
    assert ask(doubler_server.http_url, "one", 0.0, 1.5) == (200, [0.0, 3.0])
    status, body = management.request(doubler_server.metrics_url, "GET", "/metrics")
    assert status == 200
    assert b"nv_inference_count" in body
    with socket.create_connection(("127.0.0.1", doubler_server.ports.grpc), timeout=60):
        pass
    stubs = sorted((stub.model, stub.instance) for stub in doubler_server.stubs())
    assert stubs == [("one", "one_0_0"), ("two", "two_0_0"), ("two", "two_0_1")]


def test_it_listens_on_loopback_only(doubler_server: TritonServer) -> None:
    for port in doubler_server.ports:
        tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        listening = {line.split()[1] for line in tables.splitlines() if " 0A " in line}
        addresses = {where.split(":")[0] for where in listening if where.endswith(f":{port:04X}")}
        # 127.0.0.1, or the same written as an address of version 6.
        assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F"}
        assert addresses


def test_two_servers_side_by_side(engine: Engine, doublers: Path, doubler_server: TritonServer) -> None:
    with TritonServer(ServerSettings(doublers, models=("one",), triton=engine.folder)) as other:
        assert other.prefix != doubler_server.prefix
        assert not set(other.ports) & set(doubler_server.ports)
        assert ask(other.http_url, "one", 0.0) == (200, [0.0])
        assert ask(other.http_url, "two", 0.0)[0] == 404
        other.load("two")
        assert ask(other.http_url, "two", 0.0) == (200, [0.0])
        other.unload("two")
        assert ask(other.http_url, "two", 0.0)[0] == 404
        with pytest.raises(UnknownNameError, match="got 'twi', expected one of one, two; did you mean 'two'"):
            other.load("twi")
        assert kinds(other) == ["started"]
        other.kill()
    assert_nothing_left(other.prefix)
    assert ask(doubler_server.http_url, "one", 0.0) == (200, [0.0])
    assert shared_memory_of(doubler_server.prefix)


def test_stop_finishes_work_and_ignores_idle_connections(engine: Engine, doublers: Path) -> None:
    server = TritonServer(ServerSettings(doublers, models=("one",), triton=engine.folder))
    server.start()
    log = server.log
    idle = http.client.HTTPConnection(server.http_url, timeout=60)
    idle.request("GET", "/v2/health/ready")
    assert idle.getresponse().read() == b""
    answers: list[object] = []
    workers = [threading.Thread(target=lambda: answers.append(ask(server.http_url, "one", 1.0))) for _ in range(2)]
    for worker in workers:
        worker.start()
    # The server works on one of them, and the other one waits.
    wait_until(lambda: read_metrics(server.metrics_url)["one"].values["pending"] > 0 or len(answers) == 2)
    server.stop()
    for worker in workers:
        worker.join()
    idle.close()
    assert answers == [(200, [2.0])] * 2
    assert not server.ready
    assert not log.exists(), "a temporary log is removed"
    assert_nothing_left(server.prefix)
    server.stop()


def test_a_model_that_cannot_start_is_named_with_its_reason(engine: Engine, tmp_path: Path) -> None:
    write_model(tmp_path, "broken", BROKEN)
    server = TritonServer(ServerSettings(tmp_path, triton=engine.folder, log=tmp_path / "log"))
    with pytest.raises(BeampipeError, match=r"exit code 1, expected it to load broken(?s:.*)weights are from Mars"):
        server.start()
    assert_nothing_left(server.prefix)
    assert "Mars" in (tmp_path / "log").read_text(), "a log that was asked for stays"


def test_a_start_is_bounded(engine: Engine, tmp_path: Path) -> None:
    write_model(tmp_path, "sleeper", "import time\ntime.sleep(60)\n")
    server = TritonServer(ServerSettings(tmp_path, triton=engine.folder, start_timeout=1.0))
    with pytest.raises(BeampipeError, match="no answer within 1 s"):
        server.start()
    assert_nothing_left(server.prefix)


def test_a_log_that_cannot_be_written_is_refused(engine: Engine, doublers: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    server = TritonServer(ServerSettings(doublers, triton=engine.folder, log=tmp_path / "file" / "triton.log"))
    with pytest.raises(FileError, match=r"triton.log: .*expected to write the server's log there"):
        server.start()
    assert_nothing_left(server.prefix)


def test_a_port_in_use_is_refused(engine: Engine, doublers: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = TritonServer(ServerSettings(doublers, triton=engine.folder, grpc_port=port))
        with pytest.raises(ConfigError, match=f"--grpc-port: got {port}, which is in use"):
            server.start()
    assert_nothing_left(server.prefix)


def test_free_ports_that_somebody_else_took_are_replaced(
    engine: Engine, doublers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServerSettings(doublers, models=("one",), triton=engine.folder)
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(3)]
        free = free_ports(settings)
        choices = [free, Ports(free.http, *taken[1:]), Ports(taken[0], *free[1:])]
        monkeypatch.setattr(server_module, "free_ports", lambda settings: choices.pop())
        monkeypatch.setattr(launch, "check_ports", lambda settings, ports: None)
        with TritonServer(settings) as server:
            assert not set(taken) & set(server.ports)
            assert ask(server.http_url, "one", 0.0) == (200, [0.0])
            server.kill()
    assert choices == []
    assert_nothing_left(server.prefix)


def test_a_wrong_triton_is_refused(doublers: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no such folder, expected an install of Triton, with bin/tritonserver"):
        TritonServer(ServerSettings(doublers, triton=tmp_path / "no")).start()


def test_another_install_of_triton_is_used(engine: Engine, doublers: Path, tmp_path: Path) -> None:
    """An install like NVIDIA's container: one stub, beside the backend; made here of the engine's parts."""
    python = this_interpreter()
    other = tmp_path / "opt"
    backend = prepare_backends(engine, python, tmp_path) / "python"
    shutil.copytree(backend, other / "backends" / "python")
    (other / "bin").mkdir()
    (other / "bin" / "tritonserver").symlink_to(engine.binary)
    (other / "lib").symlink_to(engine.libraries[0])
    with TritonServer(ServerSettings(doublers, models=("one",), triton=other)) as server:
        assert ask(server.http_url, "one", 0.0) == (200, [0.0])
        server.kill()


def test_a_copy_of_the_engine_in_another_folder_is_used_alone(
    engine: Engine, doublers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of a Triton that is named with --triton may come from the installed engine."""
    copy = tmp_path / "triton"
    shutil.copytree(engine.folder, copy, symlinks=True)
    monkeypatch.setenv(ENGINE_VARIABLE, str(tmp_path / "none"))
    with TritonServer(ServerSettings(doublers, models=("one",), triton=copy)) as server:
        assert ask(server.http_url, "one", 0.0) == (200, [0.0])
        pids = [server.pid, *(stub.pid for stub in server.stubs())]
        assert len(pids) == 2
        for pid in pids:
            assert Path(f"/proc/{pid}/exe").readlink().is_relative_to(copy)
            libraries = {line.split()[-1] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()}
            assert not [name for name in libraries if name.startswith(f"{engine.folder}/")]
        server.kill()
    assert_nothing_left(server.prefix)
