"""The gateway as strangers meet it: what is refused, in which words, and that nobody else notices."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from beampipe.errors import BeampipeError, ConfigError, FileError, ServiceError
from beampipe.fleet.control.commands import GatewayCommands
from beampipe.fleet.gateway.haproxy import Gateway
from beampipe.fleet.gateway.plan import PROBE_HEADER, GatewayPlan
from beampipe.fleet.security import add_token, revoke_token
from beampipe.triton.client import ModelClient
from beampipe.triton.client.transports import traced
from beampipe.triton.engine import Engine
from beampipe.triton.server.haproxy import PublicPort
from beampipe.triton.server.launch import free_port
from tests.fleet.conftest import RunningFleet, running_fleet, until
from tests.triton.access.attacks import post, raw_answer, status_of
from tests.triton.collector import collecting

SERVICE = "/inference.GRPCInferenceService/"
ALLOWED = [
    "ServerLive",
    "ServerReady",
    "ServerMetadata",
    "ModelReady",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "RepositoryIndex",
    "ModelInfer",
]


def channel(port: int) -> Any:
    return closing(grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_send_message_length", -1)]))


def call(port: int, path: str, message: bytes = b"", **options: Any) -> tuple[str, str]:
    """Name and text of the status of a call."""
    with channel(port) as opened:
        try:
            opened.unary_unary(path)(message, timeout=60, **options)
        except grpc.RpcError as error:
            return error.code().name, error.details()
    return "OK", ""


def message_for(rpc: str) -> bytes:
    """A message that the server can answer."""
    if rpc == "ModelInfer":
        return infer([2], bytes(8))
    made = getattr(service_pb2, f"{rpc}Request")()
    if rpc.startswith("Model"):
        made.name = "one"
    return bytes(made.SerializeToString())


def infer(shape: list[int], data: bytes) -> bytes:
    request = service_pb2.ModelInferRequest(model_name="one")
    request.inputs.add(name="X", datatype="FP32", shape=shape)
    request.raw_input_contents.append(data)
    return bytes(request.SerializeToString())


@pytest.mark.parametrize("rpc", ALLOWED)
def test_what_clients_need_is_answered(fleet: RunningFleet, rpc: str) -> None:
    assert call(fleet.port, SERVICE + rpc, message_for(rpc)) == ("OK", "")


@pytest.mark.parametrize(
    "path",
    [
        *(
            SERVICE + rpc
            for rpc in (
                "RepositoryModelLoad",
                "RepositoryModelUnload",
                "SystemSharedMemoryStatus",
                "SystemSharedMemoryRegister",
                "SystemSharedMemoryUnregister",
                "CudaSharedMemoryStatus",
                "CudaSharedMemoryRegister",
                "CudaSharedMemoryUnregister",
                "TraceSetting",
                "LogSettings",
                "ModelStreamInfer",
                "modelInfer",
                "ModelInfer/",
            )
        ),
        "/" + SERVICE + "ModelInfer",
        "/inference.GRPCInferenceService//ModelInfer",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
def test_every_other_call_is_refused(fleet: RunningFleet, path: str) -> None:
    status, output = call(fleet.port, path)
    assert status == "PERMISSION_DENIED"
    assert output.startswith("fleet: got a call")


@pytest.mark.parametrize(
    "path",
    [
        "/v2/repository/index",
        "/v2/repository/models/one/load",
        "/v2/repository/models/one/unload",
        "/v2/systemsharedmemory/status",
        "/v2/cudasharedmemory/status",
        "/v2/logging",
        "/v2/trace/setting",
        "/v2/models/one/trace/setting",
        "/v2/models/one/generate",
        "/metrics",
        "//v2/health/ready",
        "/v2//repository/index",
        "/v2/models/one/../../repository/index",
        "/v2/models/%6fne/infer",
        "/v2/repository%2findex",
        "/V2/repository/index",
        "/",
    ],
)
def test_every_other_path_is_refused(fleet: RunningFleet, path: str) -> None:
    answer = raw_answer(fleet.port, post(path=path))
    assert status_of(answer) == 403
    assert b"fleet: got a path" in answer


def test_the_secret_of_the_servers_opens_nothing_here(fleet: RunningFleet) -> None:
    secret = fleet.reconciler.folder.secret.read_text()
    header = (("triton-grpc-protocol-beampipe", secret),)
    assert call(fleet.port, SERVICE + "RepositoryModelUnload", metadata=header)[0] == "PERMISSION_DENIED"
    written = fleet.reconciler.folder.path / "haproxy.cfg"
    assert written.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("stock", [tritonclient.grpc, tritonclient.http], ids=["grpc", "http"])
def test_servers_answer_the_gateway_but_no_other_client(fleet: RunningFleet, stock: Any) -> None:
    """Without the secret of the servers, which their user and the gateway can read."""
    protocol = stock.__name__.rpartition(".")[2]
    tensor = stock.InferInput("X", [2], "FP32")
    tensor.set_data_from_numpy(np.array([0, 3], np.float32))
    member = getattr(fleet.reconciler.records["cpu-0"], protocol)
    with stock.InferenceServerClient(f"127.0.0.1:{member}") as client:
        refused = pytest.raises(InferenceServerException, match=r"This protocol is restricted|without the secret")
        with refused:
            client.infer("one", [tensor])
        with refused:
            client.get_model_metadata("one")
    with stock.InferenceServerClient(f"127.0.0.1:{fleet.port}") as client:
        assert client.infer("one", [tensor]).as_numpy("Y").tolist() == [0, 6]


@pytest.mark.parametrize("protocol", ["grpc", "http", "auto"])
def test_the_user_of_the_servers_reaches_each_of_them(fleet: RunningFleet, protocol: Any) -> None:
    record = fleet.reconciler.records["cpu-0"]
    url = f"http://127.0.0.1:{record.http}" if protocol == "http" else f"grpc://127.0.0.1:{record.grpc}"
    values = np.zeros(100_000, np.float32)
    with ModelClient(url, "one", protocol=protocol, retries=0) as client:
        assert np.array_equal(client.infer({"X": values})["Y"], values)


def test_large_and_compressed_requests_are_refused_before_they_are_read(fleet: RunningFleet) -> None:
    size = fleet.reconciler.fleet.gateway.body + 4
    status, output = call(fleet.port, SERVICE + "ModelInfer", infer([size // 4], bytes(size)))
    assert (status, "larger request" in output) == ("RESOURCE_EXHAUSTED", True)
    gzipped = {"compression": grpc.Compression.Gzip}
    assert call(fleet.port, SERVICE + "ModelInfer", infer([10_000], bytes(40_000)), **gzipped)[0] == "UNIMPLEMENTED"
    path = "/v2/models/one/infer"
    assert status_of(raw_answer(fleet.port, post(path=path, Content_Length=size))) == 413
    assert status_of(raw_answer(fleet.port, post(gzip.compress(b"{}"), path=path, Content_Encoding="gzip"))) == 415
    chunked = post(b"2\r\n{}\r\n0\r\n\r\n", path=path, Content_Length=None, Transfer_Encoding="chunked")
    assert status_of(raw_answer(fleet.port, chunked)) == 411


@pytest.fixture(scope="module")
def guarded(engine: Engine) -> Iterator[RunningFleet]:
    """A fleet that wants tokens, with short times and little room."""
    settings = 'tokens = "FOLDER/tokens"\nrate = 30\narrival = 1.0\nin_flight = 1\nqueue = 2\nper_client = 20\n'
    settings += "[gateway.athena]\nport = 0\n"
    with running_fleet(1, settings, token="alice") as running:
        yield running


def test_only_known_tokens_are_let_in(guarded: RunningFleet) -> None:
    assert call(guarded.port, SERVICE + "ServerLive") == (
        "UNAUTHENTICATED",
        "fleet: got no token that is known, expected one in authorization: Bearer",
    )
    assert status_of(raw_answer(guarded.port, post(path="/v2/health/ready", method="GET"))) == 401
    with pytest.raises(ServiceError, match="token"), guarded.client(token="wrong") as client:
        client.infer({"X": np.zeros(1, np.float32)})
    for scheme in ("grpc", "http"):
        with guarded.client(scheme, token=guarded.token) as client:
            assert client.infer({"X": np.array([0, 3], np.float32)})["Y"].tolist() == [0, 6]


def test_a_token_is_added_and_revoked_while_it_runs(guarded: RunningFleet) -> None:
    tokens = guarded.reconciler.fleet.gateway.tokens
    assert tokens is not None
    assert guarded.token not in tokens.read_text()
    token = add_token(tokens, "bob")

    def let_in(who: str) -> bool:
        return call(guarded.port, SERVICE + "ServerLive", metadata=(("authorization", f"Bearer {who}"),))[0] == "OK"

    until(lambda: let_in(token))
    tokens.write_text(tokens.read_text() + "no hash\n")
    until(lambda: any("expected SHA256 NAME" in text for _, text in guarded.reconciler.incidents))
    assert let_in(token)  # a broken file changes nothing
    tokens.write_text(tokens.read_text().replace("no hash\n", ""))
    revoke_token(tokens, "bob")
    until(lambda: not let_in(token))
    assert let_in(guarded.token)


def test_a_rate_holds_for_one_token_only(guarded: RunningFleet) -> None:
    tokens = guarded.reconciler.fleet.gateway.tokens
    assert tokens is not None
    token = add_token(tokens, "eager")
    metadata = (("authorization", f"Bearer {token}"),)
    until(lambda: call(guarded.port, SERVICE + "ServerLive", metadata=metadata)[0] == "OK")
    output = [call(guarded.port, SERVICE + "ServerLive", metadata=metadata)[0] for _ in range(40)]
    assert output.count("OK") <= 30
    assert output[-1] == "RESOURCE_EXHAUSTED"
    other = (("authorization", f"Bearer {guarded.token}"),)
    until(lambda: call(guarded.port, SERVICE + "ServerLive", metadata=other)[0] == "OK")


def test_what_does_not_fit_into_the_queue_is_refused_at_once(guarded: RunningFleet) -> None:
    clients = [guarded.client(token=guarded.token, retries=0, timeout=60.0) for _ in range(8)]
    begin = time.monotonic()
    pending = [client.submit({"X": np.array([1.0], np.float32)}) for client in clients]
    answered, refused = 0, []
    for future in pending:
        try:
            future.result()
            answered += 1
        except BeampipeError as error:
            refused.append(str(error))
    for client in clients:
        client.close()
    assert 1 <= answered <= 4  # one at the server, two that wait, and one between the two counts
    assert len(refused) == 8 - answered
    assert [text for text in refused if "waiting requests" not in text] == []
    assert time.monotonic() - begin < 45


def test_slow_senders_are_cut_off(guarded: RunningFleet) -> None:
    for sent in (b"POST /v2/models/one/infer HTTP/1.1\r\nHost: x\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", guarded.port), timeout=60) as connection:
            connection.sendall(sent)
            with suppress(ConnectionResetError):
                while connection.recv(1 << 16):
                    pass


def test_it_takes_no_more_connections_than_the_system_lets_it_have(fleet: RunningFleet) -> None:
    output = fleet.reconciler.gateway.api.ask("show info")
    info = dict(line.split(": ", 1) for line in output.splitlines() if ": " in line)
    assert int(info["Maxsock"]) <= int(info["Ulimit-n"])
    assert 0.4 * int(info["Maxsock"]) < int(info["Maxconn"]) < 0.5 * int(info["Maxsock"])  # the rest is for servers


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_slow_bodies_take_no_place_from_others(guarded: RunningFleet, protocol: str) -> None:
    # As many as would fill the only server and its queue, if they were sent on before they are there.
    tokens = guarded.reconciler.fleet.gateway.tokens
    assert tokens is not None
    token = add_token(tokens, f"slow-{protocol}")
    metadata = (("authorization", f"Bearer {token}"),)
    until(lambda: call(guarded.port, SERVICE + "ServerLive", metadata=metadata)[0] == "OK")
    begun = slow_post(token) if protocol == "http" else slow_call(token)
    slow = [socket.create_connection(("127.0.0.1", guarded.port), timeout=60) for _ in range(8)]
    for connection in slow:
        connection.sendall(begun)
    time.sleep(0.3)
    with guarded.client(protocol, token=token, retries=0, timeout=60.0) as client:
        assert client.infer({"X": np.array([0, 3], np.float32)})["Y"].tolist() == [0, 6]
    for connection in slow:
        connection.close()


def slow_post(token: str) -> bytes:
    """The begin of a request over HTTP, of whose body the most part is missing."""
    path = "/v2/models/one/infer"
    return post(b"{", path=path, Content_Length=1000, Authorization=f"Bearer {token}")


def slow_call(token: str) -> bytes:
    """The begin of a call over gRPC, of whose message the most part is missing."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": SERVICE + "ModelInfer",
        ":authority": "fleet",
        "content-type": "application/grpc",
        "te": "trailers",
        "authorization": f"Bearer {token}",
    }
    headers = b"".join(  # each literally, none of which is to be remembered
        b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )
    settings, message = b"", b"\0" + (1000).to_bytes(4, "big") + b"begin"
    frames = ((4, 0, 0, settings), (1, 4, 1, headers), (0, 0, 1, message))
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(
        len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body
        for kind, flags, stream, body in frames
    )


def test_athena_needs_no_token_and_may_infer_only(guarded: RunningFleet) -> None:
    athena = guarded.reconciler.fleet.gateway.athena
    assert athena is not None
    assert call(athena.port, SERVICE + "ModelInfer", infer([2], bytes(8))) == ("OK", "")
    for rpc in ("ModelConfig", "RepositoryIndex", "ServerLive", "RepositoryModelLoad"):
        assert call(athena.port, SERVICE + rpc)[0] == "PERMISSION_DENIED"
    assert status_of(raw_answer(athena.port, post(path="/v2/health/ready"))) != 200


def test_configurations_one_right_after_the_other_are_all_loaded(fleet: RunningFleet) -> None:
    """On a busy machine all probes may fall into reloads, during which HAProxy refuses connections."""
    gateway, steps = fleet.reconciler.gateway, GatewayCommands(fleet.reconciler)
    before = gateway.pid
    for queue in range(900, 920):
        wanted = replace(fleet.reconciler.fleet, gateway=replace(fleet.reconciler.fleet.gateway, queue=queue))
        steps.configure_gateway(wanted)
        assert gateway.observe().configuration == gateway.desired_configuration
    assert gateway.pid == before
    fleet.orders.apply(str(fleet.write()))


def test_a_gateway_that_is_reloaded_during_a_probe_does_not_hang(
    fleet: RunningFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = fleet.reconciler.gateway

    def no_answer_during_a_reload() -> bool:
        gateway.reload()
        return True

    monkeypatch.setattr(gateway._probe, "hangs", no_answer_during_a_reload)
    gateway.probe()
    assert gateway.condition == "running"


def test_a_port_of_another_gateway_is_refused(fleet: RunningFleet, tmp_path: Path) -> None:
    """Both would get a part of the connections."""
    plan = fleet.reconciler.gateway.plan
    other = Gateway(replace(plan, socket=tmp_path / "socket", status_port=free_port(), access_log=None), tmp_path)
    with pytest.raises(ServiceError, match="Address already in use"):
        other.start()


def test_a_configuration_that_cannot_be_loaded_leaves_the_gateway_as_it_is(fleet: RunningFleet) -> None:
    gateway, before = fleet.reconciler.gateway, fleet.reconciler.fleet
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        wanted = replace(before, gateway=replace(before.gateway, port=taken.getsockname()[1]))
        pid = gateway.pid
        with pytest.raises(ConfigError, match=r"does not load: .*Address already in use"):
            GatewayCommands(fleet.reconciler).configure_gateway(wanted)
    until(fleet.reconciler.gateway_is_configured)
    assert (fleet.reconciler.fleet, gateway.pid) == (before, pid)
    with fleet.client() as client:
        assert client.infer({"X": np.array([0, 3], np.float32)})["Y"].tolist() == [0, 6]


def intercepted(fleet: RunningFleet) -> str:
    """Number of requests that the gateway itself has answered: by it the operator is alarmed."""
    rows = {(row["pxname"], row["svname"]): row for row in fleet.reconciler.gateway.api.statistics()}
    return rows["fleet", "FRONTEND"]["intercepted"]


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_large_requests_of_our_clients_count_as_no_refusal(fleet: RunningFleet, scheme: str) -> None:
    """A server on this machine could map their memory, but a gateway refuses that."""
    before = intercepted(fleet)
    with ModelClient(f"{scheme}://127.0.0.1:{fleet.port}", "one", protocol="auto") as client:
        assert client.infer({"X": np.zeros(100_000, np.float32)})["Y"].shape == (100_000,)
    assert intercepted(fleet) == before


@pytest.mark.parametrize("grpc", [False, True])
def test_a_probe_is_answered_without_a_server_and_counts_as_no_refusal(guarded: RunningFleet, grpc: bool) -> None:
    plan = guarded.reconciler.gateway.plan
    before = intercepted(guarded)
    path = SERVICE + "ServerReady" if grpc else "/v2/health/ready"
    port = PublicPort("0.0.0.0", guarded.port, grpc, False, path, {PROBE_HEADER: plan.secret})
    assert port.answers()
    assert intercepted(guarded) == before
    assert replace(port, headers={PROBE_HEADER: "x" * 64}).answers(), "a refusal is an answer"
    assert intercepted(guarded) != before
    assert not replace(port, port=free_port()).answers()


def test_a_trace_leads_through_the_gateway(engine: Engine) -> None:
    trace, client = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with collecting() as collector:
        telemetry = f'[telemetry]\ntraces = "{collector.url}"'
        with running_fleet(count=1, gateway=telemetry) as fleet, fleet.client("http") as asking:
            with traced(f"00-{trace}-{client}-01"):
                asking.infer({"X": np.zeros(2, np.float32)})
            until(lambda: collector.of(trace).keys() >= {"InferRequest", "one", "compute"})
    spans = collector.of(trace)
    assert spans["InferRequest"].parent == client
    assert spans["one"].parent == spans["InferRequest"].span


def test_on_a_full_disk_it_starts_with_its_last_configuration(
    fleet: RunningFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, tried = fleet.reconciler.gateway, list[Path]()
    write = gateway._write

    def fail(plan: GatewayPlan, file: Path) -> None:
        tried.append(file)
        raise FileError(f"{file}: cannot be written whole (No space left on device)")

    monkeypatch.setattr(gateway, "_write", fail)
    before = gateway.pid
    gateway.kill()
    until(lambda: gateway.pid not in (before, None) and fleet.orders.status()["ready"])
    assert tried
    with fleet.client() as client:
        assert client.infer({"X": np.array([0, 4], np.float32)})["Y"].tolist() == [0, 8]
    monkeypatch.setattr(gateway, "_write", write)
    until(fleet.reconciler.gateway_is_configured)
