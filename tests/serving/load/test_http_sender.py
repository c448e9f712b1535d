"""The HTTP client of the load benchmarks: right answers, and every failure as an answer to one request."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.errors import ConfigError, WrongLabelsError
from beampipe.serving.contract import FEATURES, LABELS
from beampipe.serving.load import Sender, Workload, closed_loop, summarise, verify
from beampipe.triton.client.codec import InferRequest, Tensor
from tests.serving.load.virtual import workload_of


def _http_sender() -> Any:
    path = Path(__file__).parents[3] / "benchmarks" / "serving" / "http_sender.py"
    spec = importlib.util.spec_from_file_location("http_sender", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def raw_requests(workload: Workload, address: str, path: str) -> tuple[bytes, ...]:
    """One request per event: float32 [n_hits, 3] as the body, r [mm], phi [rad], z [mm], little-endian.

    Args:
        workload: events to send.
        address: ``host:port`` of the server.
        path: where to post, with its leading slash.
    """
    bodies = [np.ascontiguousarray(hits.position, "<f4").tobytes() for hits in workload.hits]
    return tuple(_post(address, path, {"Content-Type": "application/octet-stream"}, body) for body in bodies)


def kserve_requests(workload: Workload, address: str, model: str, *, batching: bool = False) -> tuple[bytes, ...]:
    """One inference request per event, input and output as binary data behind a JSON header.

    Args:
        workload: events to send.
        address: ``host:port`` of the server's HTTP endpoint.
        model: name of the model.
        batching: whether the model has a batch axis.
    """
    out = []
    for hits in workload.hits:
        features = np.ascontiguousarray(hits.position, FEATURES.dtype)
        tensor = Tensor(FEATURES, features[None] if batching else features)
        call = InferRequest(model, (tensor,), (LABELS,)).to_http()
        out.append(_post(address, call.path, call.headers, b"".join(call.body)))
    return tuple(out)


def _post(address: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Host: {address}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


http_sender = _http_sender()
LARGE = 200_000
"""Hits of an event that fits into no socket buffer."""
WORKLOAD = workload_of(3, 0, 700, LARGE)


def labels_of(body: bytes) -> bytes:
    """What `workload_of` says of the hits in a body: the first coordinate is the number of the event, from 1."""
    hits = np.frombuffer(body, "<f4").reshape(-1, 3)
    first = int(hits[0, 0]) - 1 if len(hits) else 0
    return np.arange(first, first + len(hits), dtype=np.int64).tobytes()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    requests = 0

    def do_POST(self) -> None:
        type(self).requests += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        getattr(self, "do_" + self.path.strip("/").replace("/", "_"))(body)

    def reply(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(body)), "Content-Type": "application/octet-stream"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_find(self, body: bytes) -> None:
        self.reply(labels_of(body))

    def do_v2_models_echo_infer(self, body: bytes) -> None:
        length = int(self.headers["Inference-Header-Content-Length"])
        request = json.loads(body[:length])
        (tensor,) = request["inputs"]
        assert tensor["name"] == "FEATURES"
        assert tensor["datatype"] == "FP32"
        assert int(np.prod(tensor["shape"])) * 4 == tensor["parameters"]["binary_data_size"] == len(body) - length
        assert request["outputs"] == [{"name": "LABELS", "parameters": {"binary_data": True}}]
        labels = labels_of(body[length:])
        head = json.dumps({"outputs": [{"name": "LABELS", "shape": [len(labels) // 8]}]}).encode()
        if labels:
            self.reply(head + labels, Inference_Header_Content_Length=str(len(head)))
        else:  # as Triton does it
            self.reply(head, Content_Type="application/json")

    def do_refuse(self, body: bytes) -> None:
        self.reply(b"not today", status=503)

    def do_wrong(self, body: bytes) -> None:
        self.reply(bytes(len(labels_of(body))))

    def do_short(self, body: bytes) -> None:
        self.reply(labels_of(body)[:-8])

    def do_hang_up(self, body: bytes) -> None:
        if self.requests % 2:
            self.reply(labels_of(body), Connection="close")
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    Handler.requests = 0
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def http(address: str, requests: tuple[bytes, ...], connections: int = 3) -> Iterator[Sender]:
    sender = http_sender.HttpSender(address, requests, WORKLOAD, connections)
    yield sender
    sender.close()


@pytest.mark.parametrize("batching", [False, True])
@pytest.mark.parametrize("protocol", ["raw", "kserve"])
def test_labels_come_over_http(address: str, protocol: str, batching: bool) -> None:
    if protocol == "raw":
        requests = raw_requests(WORKLOAD, address, "/find")
    else:
        requests = kserve_requests(WORKLOAD, address, "echo", batching=batching)
    with http(address, requests) as sender:
        verify(sender, WORKLOAD)
        run = closed_loop(sender, WORKLOAD, 3, seconds=0.1, warm_up=0.05)
    assert run.faults == {}
    assert run.good.all()
    assert len(run) >= 6
    assert Handler.requests == run.n_all + len(WORKLOAD)
    assert (run.finished >= run.sent).all()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/refuse", "HTTP 503: b'not today'"),
        ("/short", "event 0: got 16 bytes of labels, expected 24"),
        ("/wrong", "event 0: 2 of 3 labels differ from the direct ones"),
    ],
)
def test_what_is_not_right_is_said(address: str, path: str, message: str) -> None:
    with http(address, raw_requests(WORKLOAD, address, path)) as sender:
        with pytest.raises(WrongLabelsError, match=message):
            verify(sender, WORKLOAD)
        run = closed_loop(sender, WORKLOAD, 2, seconds=0.05, warm_up=0.0)
    assert message in run.faults
    result = summarise(run)
    assert result.faults >= result.failed > 0


def test_a_server_that_hangs_up_costs_that_request_only(address: str) -> None:
    with http(address, raw_requests(WORKLOAD, address, "/hang_up"), connections=1) as sender:
        run = closed_loop(sender, WORKLOAD, 1, seconds=0.0001, warm_up=0.0, min_requests=8)
    assert sum(run.faults.values()) == run.n_all // 2
    assert list(run.faults) == [
        "ServiceUnavailableError: the server closed the connection before the answer was complete",
    ]


def test_a_server_that_is_not_there_is_an_answer() -> None:
    with http("127.0.0.1:1", raw_requests(WORKLOAD, "127.0.0.1:1", "/find")) as sender:
        sender.send(7, 0)
        (answer,) = sender.answers(10.0)
    assert answer.ticket == 7
    assert answer.error is not None
    assert answer.error.startswith("ConnectionRefusedError")


def test_more_requests_than_connections_are_refused(address: str) -> None:
    with http(address, raw_requests(WORKLOAD, address, "/find"), connections=1) as sender:
        sender.send(0, 0)
        with pytest.raises(ConfigError, match="all 1 connections busy"):
            sender.send(1, 0)
        assert len(sender.answers(10.0)) == 1
        assert sender.answers(0.0) == []
