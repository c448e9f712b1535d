from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from beampipe.errors import BeampipeError, ConfigError, FileError, UnknownNameError
from beampipe.triton.engine import Engine, Interpreter, prepare_backends, this_interpreter
from beampipe.triton.server import control, preflight
from beampipe.triton.server.cleanup import (
    SHARED_MEMORY,
    clean_up_after_dead_owners,
    folders_of,
    new_prefix,
    processes_of,
    shared_memory_of,
)
from beampipe.triton.server.launch import Ports, ServerSettings, free_ports, port_is_free, server_environment
from beampipe.triton.server.server import TritonServer
from tests.triton.doublers import BROKEN, ask, write_model

OWNER = """
import sys, time
from pathlib import Path
from beampipe.triton.server.server import ServerSettings, TritonServer

server = TritonServer(ServerSettings(Path(sys.argv[1]), models=("one",), triton=Path(sys.argv[2])))
server.start()
print(server.prefix, server.http_url, flush=True)
time.sleep(600)
"""


def wait_until(condition: Callable[[], bool], limit: float = 60.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def assert_nothing_left(prefix: str) -> None:
    assert not processes_of(prefix)
    assert not shared_memory_of(prefix)
    assert not folders_of(prefix)


def watchdogs_of(prefix: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"beampipe.triton.server.watchdog\0{prefix}" in path.read_text():
                found.append(int(path.parent.name))
    assert found
    return found


def ask_in_vain(url: str) -> None:
    with pytest.raises(OSError, match=r".*"):
        ask(url, "one", 30.0)


def test_it_answers_where_it_says(doubler_server: TritonServer) -> None:
    assert doubler_server.ready
    assert ask(doubler_server.http_url, "one", 0.0, 1.5) == (200, [0.0, 3.0])
    status, body = control.ask(doubler_server.metrics_url, "GET", "/metrics")
    assert status == 200
    assert b"nv_inference_count" in body
    with socket.create_connection(("127.0.0.1", doubler_server.ports.grpc), timeout=5):
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


def test_models_are_loaded_and_unloaded_while_it_runs(engine: Engine, doublers: Path) -> None:
    with TritonServer(ServerSettings(doublers, models=("one",), triton=engine.folder)) as server:
        assert ask(server.http_url, "two", 0.0)[0] == 404
        server.load("two")
        assert ask(server.http_url, "two", 0.0) == (200, [0.0])
        server.unload("two")
        assert ask(server.http_url, "two", 0.0)[0] == 404
        assert ask(server.http_url, "one", 0.0) == (200, [0.0])
        with pytest.raises(UnknownNameError, match="got 'twi', expected one of one, two; did you mean 'two'"):
            server.load("twi")
        assert [incident.kind for incident in server.incidents] == ["started"]
        server.kill()
    assert_nothing_left(server.prefix)


def test_two_servers_side_by_side(engine: Engine, doublers: Path, doubler_server: TritonServer) -> None:
    with TritonServer(ServerSettings(doublers, models=("one",), triton=engine.folder)) as other:
        assert other.prefix != doubler_server.prefix
        assert not set(other.ports) & set(doubler_server.ports)
        assert ask(other.http_url, "one", 0.0) == (200, [0.0])
        other.kill()
    assert_nothing_left(other.prefix)
    assert ask(doubler_server.http_url, "one", 0.0) == (200, [0.0])
    assert shared_memory_of(doubler_server.prefix)


def test_stop_finishes_work_and_ignores_idle_connections(engine: Engine, doublers: Path) -> None:
    server = TritonServer(ServerSettings(doublers, models=("one",), triton=engine.folder))
    server.start()
    log = server.log
    idle = http.client.HTTPConnection(server.http_url, timeout=20)
    idle.request("GET", "/v2/health/ready")
    assert idle.getresponse().read() == b""
    answers: list[object] = []
    worker = threading.Thread(target=lambda: answers.append(ask(server.http_url, "one", 1.0)))
    worker.start()
    time.sleep(0.3)
    server.stop()
    worker.join()
    idle.close()
    assert answers == [(200, [2.0])]
    assert not server.ready
    assert not log.exists(), "a temporary log is removed"
    assert_nothing_left(server.prefix)
    server.stop()


def test_nothing_is_left_when_the_owner_is_killed(engine: Engine, doublers: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(doublers), str(engine.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        prefix, url = owner.stdout.readline().split()
        # Busy stubs are what stays behind otherwise: they ignore polite signals.
        busy = threading.Thread(target=ask_in_vain, args=(url,))
        busy.start()
        time.sleep(0.3)
        assert len(processes_of(prefix)) == 2
        owner.kill()
        wait_until(lambda: not processes_of(prefix) and not shared_memory_of(prefix) and not folders_of(prefix))
        busy.join()


def test_the_next_start_ends_orphans_when_the_watchdog_is_killed_too(engine: Engine, doublers: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(doublers), str(engine.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        prefix, url = owner.stdout.readline().split()
        for watchdog in watchdogs_of(prefix):
            os.kill(watchdog, signal.SIGSTOP)  # the owner would replace a dead one
        owner.kill()
        owner.wait()
        for watchdog in watchdogs_of(prefix):
            os.kill(watchdog, signal.SIGKILL)
        assert ask(url, "one", 0.0) == (200, [0.0]), "nobody has told it to end"
        assert prefix in clean_up_after_dead_owners()
        assert_nothing_left(prefix)


def test_what_a_dead_owner_left_is_removed_at_the_next_start() -> None:
    mine = new_prefix()
    pid, started, rest = mine.split("_", 3)[1:]
    dead = f"beampipe_{pid}_{int(started) + 1}_{rest}"
    elsewhere = f"beampipe_{pid}_{int(started) + 1}_1_0_"
    for prefix in (mine, dead, elsewhere):
        (SHARED_MEMORY / f"{prefix}region").touch()
    folder = Path(tempfile.mkdtemp(prefix=dead))
    kept = Path(tempfile.mkdtemp(prefix=mine))
    try:
        assert dead in clean_up_after_dead_owners()
        assert not shared_memory_of(dead)
        assert not folder.exists()
        assert kept.exists()
        assert shared_memory_of(mine), "its owner lives"
        assert shared_memory_of(elsewhere), "its owner cannot be seen from here"
    finally:
        kept.rmdir()
        for prefix in (mine, elsewhere):
            (SHARED_MEMORY / f"{prefix}region").unlink()


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


def test_a_port_in_use_is_refused(engine: Engine, doublers: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = TritonServer(ServerSettings(doublers, triton=engine.folder, grpc_port=port))
        with pytest.raises(ConfigError, match=f"--grpc-port: got {port}, which is in use"):
            server.start()
    assert_nothing_left(server.prefix)


@pytest.mark.parametrize("taken_one", [0, 1, 2])
def test_a_free_port_that_somebody_else_took_is_replaced(
    engine: Engine, doublers: Path, monkeypatch: pytest.MonkeyPatch, taken_one: int
) -> None:
    settings = ServerSettings(doublers, models=("one",), triton=engine.folder)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = list(free_ports(settings))
        ports[taken_one] = taken.getsockname()[1]
        choices = iter([Ports(*ports), free_ports(settings)])
        monkeypatch.setattr("beampipe.triton.server.server.free_ports", lambda settings: next(choices))
        monkeypatch.setattr(preflight, "check_ports", lambda settings, ports: None)
        with TritonServer(settings) as server:
            assert taken.getsockname()[1] not in list(server.ports)
            assert ask(server.http_url, "one", 0.0) == (200, [0.0])
            server.kill()
    assert_nothing_left(server.prefix)


def test_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="different ones"):
        ServerSettings(tmp_path, http_port=8000, grpc_port=8000)
    with pytest.raises(ConfigError, match="got 70000"):
        ServerSettings(tmp_path, http_port=70000)
    settings = ServerSettings(tmp_path, host="203.0.113.1")
    with pytest.raises(ConfigError, match=r"got 203\.0\.113\.1, expected an address of this machine"):
        preflight.check_ports(settings, Ports(1, 2, 3))


def test_free_ports_are_free_and_different(tmp_path: Path) -> None:
    settings = ServerSettings(tmp_path, grpc_port=29999)
    ports = free_ports(settings)
    assert ports.grpc == 29999
    assert len(set(ports)) == 3
    assert port_is_free("127.0.0.1", ports.http)


def test_a_repository_must_have_the_models(doublers: Path, tmp_path: Path) -> None:
    assert preflight.check_repository(doublers, ()) == ("one", "two")
    assert preflight.check_repository(doublers, ("two",)) == ("two",)
    with pytest.raises(FileError, match="no such folder"):
        preflight.check_repository(tmp_path / "no", ())
    with pytest.raises(FileError, match="without models"):
        preflight.check_repository(tmp_path, ())
    with pytest.raises(UnknownNameError, match="got 'too', expected one of one, two"):
        preflight.check_repository(doublers, ("too",))


def test_a_python_that_cannot_be_embedded_is_refused(engine: Engine, tmp_path: Path) -> None:
    good = this_interpreter()
    preflight.check_interpreter(engine, good)
    with pytest.raises(ConfigError, match=r"expected one for Python 3\.99"):
        preflight.check_interpreter(engine, replace(good, version="3.99"))
    with pytest.raises(ConfigError, match="without a shared library"):
        preflight.check_interpreter(engine, replace(good, library=None))
    with pytest.raises(ConfigError, match="no python3 there"):
        preflight.check_interpreter(engine, replace(good, bin=tmp_path))


def test_a_stub_that_cannot_start_is_noticed(engine: Engine, doublers: Path, tmp_path: Path) -> None:
    python = this_interpreter()
    backends = prepare_backends(engine, python, tmp_path)
    good = server_environment(ServerSettings(doublers), engine, python, backends)
    preflight.check_stub(backends, good)
    with pytest.raises(ConfigError, match="no bash"):
        preflight.check_stub(backends, {**good, "PATH": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"libcudart|libpython|libb64|\.so"):
        preflight.check_stub(backends, {**good, "LD_LIBRARY_PATH": str(tmp_path)})


def test_the_environment_of_the_stubs(engine: Engine, doublers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine")
    python = Interpreter("3.11", Path("/venv/bin"), Path("/usr/lib/libpython3.11.so.1.0"))
    environ = server_environment(ServerSettings(doublers, threads=3), engine, python, engine.folder)
    assert "PYTHONPATH" not in environ
    assert environ["PATH"].split(os.pathsep)[0] == "/venv/bin"
    assert environ["LD_LIBRARY_PATH"].split(os.pathsep)[0] == "/usr/lib"
    assert environ["LD_LIBRARY_PATH"].split(os.pathsep)[-1] == "/mine"
    assert environ["OMP_NUM_THREADS"] == "3"


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
