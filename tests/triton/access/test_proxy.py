"""The reverse proxy as a program: kept alive, kept over a restart, missing."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import time
from collections.abc import Collection
from pathlib import Path

import pytest

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.processes import is_alive
from beampipe.triton.engine import Engine
from beampipe.triton.server import access
from beampipe.triton.server.access import PRELOAD_LIBRARY, AccessControl, AccessSettings, Limits
from beampipe.triton.server.cleanup import processes_of
from beampipe.triton.server.haproxy import PublicPort
from beampipe.triton.server.launch import ServerSettings, free_port, free_ports
from beampipe.triton.server.server import TritonServer
from tests.triton.access.attacks import post, raw_answer, status_of
from tests.triton.access.bystander import request_without_secret
from tests.triton.waiting import assert_nothing_left, kinds, wait_until


def test_it_is_started_again_and_outlives_the_server(engine: Engine, doublers: Path, proxied: TritonServer) -> None:
    # Nobody else is to start the server again while the test does.
    settings = ServerSettings(doublers, models=("one",), triton=engine.folder, supervise=False)
    with TritonServer(settings) as server:
        first = server.access.proxy_pid
        assert first is not None
        server.restart(server.models)
        assert server.access.proxy_pid == first
        assert request_without_secret(server.ports.http, 0.0, 1.5)
        os.kill(first, signal.SIGKILL)
        port = PublicPort("127.0.0.1", server.ports.http, False, False, "/")
        wait_until(lambda: server.access.proxy_pid not in (None, first) and port.answers())
        assert request_without_secret(server.ports.http, 0.0, 1.5)
        assert kinds(server) == ["started", "proxy"]
        server.kill()
    assert_nothing_left(server.prefix)


@pytest.mark.parametrize("grpc", [False, True])
def test_one_that_hangs_is_replaced(proxied: TritonServer, grpc: bool) -> None:
    first, incidents = proxied.access.proxy_pid, len(proxied.incidents)
    assert first is not None
    port = PublicPort("127.0.0.1", proxied.ports.grpc if grpc else proxied.ports.http, grpc, False, "/")
    assert port.answers()
    os.kill(first, signal.SIGSTOP)
    begin = time.monotonic()
    wait_until(lambda: proxied.access.proxy_pid not in (None, first) and port.answers(0.2))
    assert time.monotonic() - begin < 6.0
    assert not is_alive(first)
    hung, ended = (incident.text for incident in proxied.incidents[incidents:])
    assert hung == f"HAProxy: hangs; killing process {first}"
    assert ended.startswith("HAProxy: has ended")


def test_one_with_all_connections_taken_is_no_hanging_one(tmp_path: Path) -> None:
    outer, output = free_ports(ServerSettings(tmp_path)), list[str]()
    closed = AccessControl(
        AccessSettings(proxy=True, limits=Limits(connections=20)), "127.0.0.1", tmp_path, output.append
    )
    with contextlib.ExitStack() as opened:
        closed.open(*outer, lambda taken: free_port(taken=taken))
        opened.callback(closed.close)
        pid = closed.proxy_pid
        for _ in range(40):
            opened.enter_context(socket.create_connection(("127.0.0.1", outer.http))).sendall(b"GET")
        time.sleep(3.5)  # two failed probes
        assert closed.proxy_pid == pid
        assert output == []


def test_it_is_watched_after_a_time_without_file_descriptors(tmp_path: Path) -> None:
    outer, output = free_ports(ServerSettings(tmp_path)), list[str]()
    closed = AccessControl(AccessSettings(proxy=True), "127.0.0.1", tmp_path, output.append)
    closed.open(*outer, lambda taken: free_port(taken=taken))
    try:
        first, limits = closed.proxy_pid, resource.getrlimit(resource.RLIMIT_NOFILE)
        assert first is not None
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        try:
            time.sleep(3.5)  # two failed probes
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert closed.proxy_pid == first
        assert output == []
        os.kill(first, signal.SIGSTOP)
        wait_until(lambda: closed.proxy_pid not in (None, first))
    finally:
        closed.close()


def test_the_ports_behind_it_are_none_of_those_before_it(proxied: TritonServer, tmp_path: Path) -> None:
    request = []

    def choose(taken: Collection[int]) -> int:
        request.append(set(taken))
        return free_port(taken=taken)

    outer = free_ports(ServerSettings(tmp_path))
    closed = AccessControl(AccessSettings(proxy=True, proxy_grpc=True), "127.0.0.1", tmp_path, print)
    try:
        closed.open(*outer, choose)
        assert request == [set(outer), {*outer, closed.connection.inner_http}]
    finally:
        closed.close()


def test_without_haproxy_the_server_closes_its_management_itself(
    engine: Engine, doublers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "find_haproxy", lambda: None)
    with TritonServer(ServerSettings(doublers, models=("one",), triton=engine.folder)) as server:
        assert server.access.proxy_pid is None
        assert {Path(process.arguments[0]).name for process in processes_of(server.prefix)} >= {"tritonserver"}
        assert any("no proxy" in text for text in server.access.weaknesses())
        assert request_without_secret(server.ports.http, 0.0, 1.5)
        assert status_of(raw_answer(server.ports.http, post(b"{}", "/v2/repository/index"))) == 403
        # What the larger stacks are for.
        if PRELOAD_LIBRARY is not None:
            assert status_of(raw_answer(server.ports.http, post(b"[" * 200_000))) in (400, 500)
        server.unload("one")
        server.load("one")
        server.kill()


@pytest.mark.parametrize("open_http", [False, True])
def test_other_machines_reach_grpc_alone_and_only_behind_the_proxy(
    proxied: TritonServer, tmp_path: Path, open_http: bool
) -> None:
    outer = free_ports(ServerSettings(tmp_path))
    control = AccessControl(AccessSettings(open_http=open_http), "0.0.0.0", tmp_path, print)
    control.open(*outer, lambda taken: free_port(taken=taken))
    try:
        tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        listening = {tuple(line.split()[1].split(":")) for line in tables.splitlines() if " 0A " in line}
        ours = {f"{port:04X}" for port in (*control.connection.ports, *outer)}
        everywhere = {port for address, port in listening if set(address) == {"0"} and port in ours}
        assert everywhere == {f"{port:04X}" for port in (outer.grpc, outer.http)[: 1 + open_http]}
        assert control.proxies_grpc
    finally:
        control.close()


def test_with_open_http_metrics_are_behind_the_proxy(engine: Engine, doublers: Path, proxied: TritonServer) -> None:
    settings = ServerSettings(
        doublers, models=("one",), triton=engine.folder, host="0.0.0.0", access=AccessSettings(open_http=True)
    )
    with TritonServer(settings) as server:
        assert b"nv_inference_count" in raw_answer(server.ports.http, post(path="/metrics", method="GET"))
        assert request_without_secret(server.ports.http, 0.0, 1.5)
        server.kill()


def test_other_machines_are_refused_without_haproxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(access, "find_haproxy", lambda: None)
    with pytest.raises(ConfigError, match=r"--host 0\.0\.0\.0: got no HAProxy, expected it"):
        AccessControl(AccessSettings(), "0.0.0.0", tmp_path, print)
    with pytest.raises(ConfigError, match="--proxy: got no HAProxy"):
        AccessControl(AccessSettings(proxy=True), "127.0.0.1", tmp_path, print)


def test_settings_are_checked() -> None:
    with pytest.raises(UnknownNameError, match=r"got 'trac', expected one of .*; did you mean 'trace'"):
        AccessSettings(opened=("trac",))
    with pytest.raises(ConfigError, match="expected either"):
        AccessSettings(proxy=False, proxy_grpc=True)
    with pytest.raises(ConfigError, match=r"limits\.queue: got 0"):
        Limits(queue=0)
    with pytest.raises(ConfigError, match="expected header <= json <= body"):
        Limits(json=1 << 30)


def test_what_is_left_open_needs_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "PRELOAD_LIBRARY", None)
    settings = AccessSettings(opened=("model-repository", "trace"), proxy=False, secret="s" * 32)
    control = AccessControl(settings, "127.0.0.1", tmp_path, print)
    control.open(*free_ports(ServerSettings(tmp_path)), lambda taken: free_port(taken=taken))
    http, grpc = control.arguments().command
    control.close()
    assert http == f"--http-restricted-api=shared-memory,logging:triton-grpc-protocol-beampipe={'s' * 32}"
    assert grpc == f"--grpc-restricted-protocol=shared-memory,logging:beampipe={'s' * 32}"
