"""The gateway as strangers meet it: what is refused, in which words, and that nobody else notices."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
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
from beampipe.fleet.gateway.plan import GatewayPlan
from beampipe.fleet.security import add_token, revoke_token
from beampipe.triton.server.launch import free_port
from tests.fleet.conftest import RunningFleet, until
from tests.triton.access.attacks import post, raw_answer, status_of

PREFACE, SETTINGS, GOAWAY = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 4, 7
SERVICE = "/inference.GRPCInferenceService/"
OF_SERVERS = ["ServerLive", "ServerReady", "ServerMetadata", "RepositoryIndex"]
OF_MODELS = ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "ModelInfer"]


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


@pytest.mark.parametrize("rpc", [*OF_SERVERS, *OF_MODELS])
def test_what_clients_need_is_answered(fleet: RunningFleet, rpc: str) -> None:
    assert call(fleet.port, SERVICE + rpc, message_for(rpc)) == ("OK", "")


@pytest.mark.parametrize(
    "path",
    [
        *(SERVICE + rpc for rpc in ("RepositoryModelLoad", "RepositoryModelUnload", "TraceSetting", "LogSettings")),
        *(SERVICE + f"SystemSharedMemory{what}" for what in ("Status", "Register", "Unregister")),
        *(SERVICE + f"CudaSharedMemory{what}" for what in ("Status", "Register", "Unregister")),
        *(SERVICE + rpc for rpc in ("ModelStreamInfer", "modelInfer", "ModelInfer/")),
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


def test_requests_of_another_form_are_refused_and_are_no_faults_of_a_model(fleet: RunningFleet) -> None:
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
    before = fleet.orders.status()["gateway"]["requests"]
    assert status_of(raw_answer(fleet.port, post(b"{}", path=path, X="a" * 17_000))) == 431
    status, output = call(fleet.port, SERVICE + "ServerLive", metadata=(("x", "a" * 17_000),))
    assert (status, "longer headers" in output) == ("INVALID_ARGUMENT", True)
    assert status_of(raw_answer(fleet.port, post(b"{", path=path))) == 400
    until(lambda: fleet.orders.status()["gateway"]["requests"]["answered"] > before["answered"])
    assert fleet.orders.status()["gateway"]["requests"]["failed"] == before["failed"]


@pytest.fixture(scope="module")
def guarded(single: RunningFleet) -> Iterator[RunningFleet]:
    """A fleet that wants tokens, with short times and little room."""
    settings = 'tokens = "FOLDER/tokens"\nrate = 30\narrival = 1.0\nin_flight = 1\nqueue = 2\nper_client = 20\n'
    settings += "[gateway.athena]\nport = 0\n"
    with single.configured(settings, "alice") as configured:
        yield configured


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
    for queue in range(900, 908):
        wanted = replace(fleet.reconciler.fleet, gateway=replace(fleet.reconciler.fleet.gateway, queue=queue))
        steps.configure_gateway(wanted)
        assert gateway.observe().configuration == gateway.desired_configuration
    assert gateway.pid == before
    fleet.orders.apply(str(fleet.write()))


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


def test_a_gateway_that_is_being_reloaded_does_not_hang(fleet: RunningFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway, conditions = fleet.reconciler.gateway, list[str]()

    def refuse(command: str, timeout: float) -> str:
        gateway.probe()  # as another thread may, while HAProxy accepts no connection
        conditions.append(gateway.condition)
        return "Success=0"

    with monkeypatch.context() as patched:
        patched.setattr(gateway._probe, "hangs", lambda: True)
        patched.setattr(gateway._master, "ask", refuse)
        with pytest.raises(ConfigError, match="does not load"):
            gateway.reload()
    assert conditions == ["running"]


def goodbyes(connection: socket.socket) -> list[int]:
    """Last stream of each frame GOAWAY of HTTP/2 that comes until the connection is closed."""
    last = []
    with connection.makefile("rb") as file:
        while len(head := file.read(9)) == 9:
            content = file.read(int.from_bytes(head[:3]))
            if head[3] == GOAWAY:
                last.append(int.from_bytes(content[:4]))
    return last


def test_a_reload_greets_no_new_connection_with_a_goodbye(fleet: RunningFleet) -> None:
    """gRPC's clients that read it with the settings miss it, and lose their request. Connections end all the same."""
    with ExitStack() as opened:
        address = ("127.0.0.1", fleet.port)
        clients = [opened.enter_context(socket.create_connection(address, timeout=60)) for _ in range(20)]
        for client in clients:
            client.sendall(PREFACE + bytes([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]))
            assert client.recv(9, socket.MSG_PEEK)[3] == SETTINGS  # of the worker that is the old one then
        fleet.reconciler.gateway.renew()
        said = [goodbyes(client) for client in clients]
    assert sum(last == [0] for last in said) > 10  # when they were closed; at once it would be for any stream, 2^31 - 1


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


def test_two_states_are_checked_at_once(fleet: RunningFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = fleet.reconciler.gateway
    write, written = gateway._write, list[Path]()

    def write_and_check_another(plan: GatewayPlan, file: Path) -> None:
        write(plan, file)
        written.append(file)
        if len(written) == 1:
            gateway.check(plan)

    monkeypatch.setattr(gateway, "_write", write_and_check_another)
    gateway.check(gateway.plan)
    assert len(written) == 2
    assert not any(file.exists() for file in written)
