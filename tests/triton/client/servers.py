"""Servers that speak KServe v2 and do as a test tells them: fail, hang, lie."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.json_format import ParseDict
from numpy import ndarray
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from beampipe.triton.client import ModelClient
from beampipe.triton.client.signature import Due

MODEL = "exatrkx"

CONFIG: dict[str, Any] = {
    "name": "exatrkx",
    "max_batch_size": 0,
    "input": [{"name": "FEATURES", "data_type": "TYPE_FP32", "dims": [-1, 3]}],
    "output": [{"name": "LABELS", "data_type": "TYPE_INT64", "dims": [-1]}],
    "parameters": {"FEATURE_SCALE": {"string_value": "mm"}},
}


def event(n: int = 5, seed: int = 1) -> ndarray:
    """FEATURES of one event."""
    return np.random.default_rng(seed).uniform(1, 1000, (n, 3)).astype(np.float32)


def labels_of(features: ndarray) -> ndarray:
    """What a fake answers: r in whole mm."""
    return features[..., 0].astype(np.int64)


@dataclass(frozen=True)
class Refusal(Exception):
    """An answer that is an error: name of the gRPC status, number of the HTTP one."""

    code: str
    message: str = ""
    status: int = 500


@dataclass
class Fake:
    """How a server behaves, and what it has seen.

    Attributes:
        answer: labels for features; may raise `Refusal`, or wait.
        config: of its model.
        datatype: that it states for the labels.
        lose: bytes of the labels are not sent.
        most_bytes: longest request that is taken.
        restricted: shared memory is kept to who knows a secret.
        mapped: requests to map shared memory so far.
        asked: inferences so far.
        busy: at this moment, and at most.
        headers: of each request.
        gone: is set when a request was cancelled.
    """

    answer: Callable[[ndarray], ndarray] = labels_of
    config: dict[str, Any] = field(default_factory=lambda: CONFIG)
    datatype: str = "INT64"
    lose: bool = False
    most_bytes: int = 1 << 31
    restricted: bool = False
    mapped: int = 0
    asked: int = 0
    busy: int = 0
    most: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def labels(self, features: ndarray) -> ndarray:
        with self.lock:
            self.asked += 1
            self.busy += 1
            self.most = max(self.most, self.busy)
        try:
            return self.answer(features)
        finally:
            with self.lock:
                self.busy -= 1


class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # generated, without types
    def __init__(self, fake: Fake) -> None:
        self.fake = fake

    def ModelConfig(self, request: Any, context: Any) -> Any:
        config = ParseDict(self.fake.config, model_config_pb2.ModelConfig())
        return service_pb2.ModelConfigResponse(config=config)

    def SystemSharedMemoryRegister(self, request: Any, context: Any) -> Any:
        self.fake.mapped += 1
        if self.fake.restricted:  # in Triton's words, and with its code
            output = "This protocol is restricted, expecting header 'triton-grpc-protocol-key'"
            context.abort(grpc.StatusCode.UNAVAILABLE, output)
        context.abort(grpc.StatusCode.INTERNAL, f"Unable to open shared memory region: '{request.key}'")

    def ModelInfer(self, request: Any, context: Any) -> Any:
        self.fake.headers.append(dict(context.invocation_metadata()))
        context.add_callback(lambda: None if context.code() else self.fake.gone.set())
        features = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(request.inputs[0].shape)
        try:
            labels = self.fake.labels(features)
        except Refusal as refusal:
            context.abort(grpc.StatusCode[refusal.code], refusal.message)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        answer.outputs.add(name="LABELS", datatype=self.fake.datatype, shape=labels.shape)
        answer.raw_output_contents.append(b"" if self.fake.lose else labels.tobytes())
        context.set_code(grpc.StatusCode.OK)
        return answer


@contextmanager
def grpc_server(
    fake: Fake, certificate: tuple[Path, Path] | None = None, address: str = "127.0.0.1:0"
) -> Iterator[str]:
    """Runs until the end of the block; gives its URL."""
    limit = min(fake.most_bytes, (1 << 31) - 1)
    server = grpc.server(ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", limit)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(fake), server)
    if certificate is None:
        port = server.add_insecure_port(address)
    else:
        pair = (certificate[1].read_bytes(), certificate[0].read_bytes())
        port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    server.start()
    try:
        yield f"grpc{'' if certificate is None else 's'}://localhost:{port}"
    finally:
        server.stop(0).wait()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: Fake

    def do_GET(self) -> None:
        self.send(200, json.dumps(self.fake.config if self.path.endswith("/config") else []).encode())

    def do_POST(self) -> None:
        if int(self.headers["Content-Length"]) > self.fake.most_bytes:  # as a gateway does, before it reads
            self.close_connection = True
            self.send(413, b"<html><body><h1>413 Request Entity Too Large</h1></body></html>")
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "infer" not in self.path:
            self.map()
            return
        self.fake.headers.append({key.lower(): value for key, value in self.headers.items()})
        length = int(self.headers["Inference-Header-Content-Length"])
        tensor = json.loads(body[:length])["inputs"][0]
        try:
            labels = self.fake.labels(np.frombuffer(body[length:], np.float32).reshape(tensor["shape"]))
        except Refusal as refusal:
            self.send(refusal.status, json.dumps({"error": refusal.message}).encode())
            return
        raw = b"" if self.fake.lose else labels.tobytes()
        output = {"name": "LABELS", "datatype": self.fake.datatype, "shape": list(labels.shape)}
        head = json.dumps({"outputs": [{**output, "parameters": {"binary_data_size": len(raw)}}]}).encode()
        self.send(200, head + raw, len(head))

    def map(self) -> None:
        self.fake.mapped += "/register" in self.path
        if self.fake.restricted:
            self.send(403, b'{"error":"This API is restricted, expecting header \'key\'"}')
        else:
            self.send(500, b'{"error":"Unable to open shared memory region"}')

    def send(self, status: int, body: bytes, head: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if head is not None:
            self.send_header("Inference-Header-Content-Length", str(head))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Not in the test's output."""


@contextmanager
def http_server(
    fake: Fake, certificate: tuple[Path, Path] | None = None, address: str = "127.0.0.1:0"
) -> Iterator[str]:
    """Runs until the end of the block; gives its URL."""
    host, _, port = address.partition(":")
    server = ThreadingHTTPServer((host, int(port)), type("Bound", (Handler,), {"fake": fake}))
    server.handle_error = lambda *args: None  # type: ignore[method-assign]  # a client that goes is part of the test
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http{'' if certificate is None else 's'}://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def make_certificate(folder: Path, host: str = "localhost") -> tuple[Path, Path]:
    """A self-signed certificate for a host, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    files = [
        "-subj",
        f"/CN={host}",
        "-addext",
        f"subjectAltName=DNS:{host}",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return certificate, key


def wanted(features: ndarray) -> Due:
    """One label per hit."""
    return {"LABELS": (len(features),)}


def ask(client: ModelClient, n: int = 5) -> ndarray:
    features = event(n)
    return client.infer({"FEATURES": features}, wanted(features))["LABELS"]


def later(client: ModelClient) -> Future[dict[str, ndarray]]:
    features = event()
    return client.submit({"FEATURES": features}, wanted(features))


def assert_right(client: ModelClient, n: int = 5) -> None:
    labels = ask(client, n)
    assert labels.tobytes() == labels_of(event(n)).tobytes()
    assert labels.flags.writeable


Server = Callable[..., AbstractContextManager[str]]

SERVERS: dict[str, Server] = {"grpc": grpc_server, "http": http_server}


class Held:
    """Requests that reach the server wait there until told."""

    def __init__(self) -> None:
        self.arrived, self.release = threading.Semaphore(0), threading.Event()

    def __call__(self, features: ndarray) -> ndarray:
        self.arrived.release()
        self.release.wait(20)
        return labels_of(features)
