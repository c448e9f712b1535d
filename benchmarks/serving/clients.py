"""Clients for the benchmarks of serving: the least that a client can be, NVIDIA's own, and `perf_analyzer`.

`HttpSender` and `STOCK_SENDERS` are senders of a load test (`beampipe.serving.load`). `wire` asks for one event at a
time, with requests made ahead of time: the time of a request is then that of the server and the way there and back.
"""

from __future__ import annotations

import base64
import csv
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Protocol

import grpc
import numpy as np
from numpy import ndarray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from beampipe.arrays import Float32
from beampipe.errors import BeampipeError, ConfigError, ServiceError, ServiceUnavailableError
from beampipe.events import Hits
from beampipe.serving.contract import FEATURES, LABELS
from beampipe.serving.load import Arrival
from beampipe.triton.client.codec import HEADER_LENGTH, HttpCall, InferRequest, Tensor
from beampipe.triton.client.endpoint import Security, parse_endpoint
from beampipe.triton.client.shared_memory import Places, SharedRegion, layout
from beampipe.triton.client.transports import GrpcTransport, HttpTransport, Transport
from beampipe.triton.server.server import TritonServer

_JSON_HEADER: Final = HEADER_LENGTH.lower().encode()


class HttpSender:
    """A small HTTP/1.1 client: one thread, many keep-alive connections, requests prepared in advance.

    It costs little beside a server on the same cores: whole requests are stored as bytes, one epoll watches all
    connections, and nothing is parsed beyond the length of the answer. It speaks to two kinds of servers:

    - raw: ``POST path``, body float32 [n_hits, 3], answer int64 [n_hits], nothing else in either;
    - the binary KServe v2 protocol, as Triton has it.

    Args:
        address: ``host:port`` of the server.
        requests: whole requests, one per event of the workload.
        largest: most hits of an event, for the size of the answers.
        connections: most requests in flight.
        clock: gives the time [s], growing.
    """

    def __init__(
        self,
        address: str,
        requests: Sequence[bytes],
        largest: int,
        connections: int,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._requests, self._clock = requests, clock
        size = (1 << 16) + 8 * largest
        self._poll = select.epoll()
        self._connections = [_Connection((host, int(port)), size, self._poll) for _ in range(connections)]
        self._idle = list(self._connections)
        self._busy: dict[int, _Connection] = {}
        self._ready: list[Arrival] = []

    def send(self, ticket: int, event: int) -> None:
        if not self._idle:
            raise ConfigError(f"load: got a request with all {len(self._connections)} connections busy, use more")
        connection = self._idle.pop()
        try:
            connection.start(ticket, self._requests[event])
        except OSError as error:
            self._end(connection, f"{type(error).__name__}: {error}")
            return
        self._busy[connection.fileno] = connection

    def answers(self, timeout: float) -> Sequence[Arrival]:
        deadline = perf_counter() + timeout
        while True:
            out = self._complete()
            left = deadline - perf_counter()
            if out or left <= 0:
                return out
            # epoll waits in whole milliseconds, select in microseconds, and an epoll can be selected.
            select.select([self._poll], [], [], left)

    def _complete(self) -> list[Arrival]:
        """Serve the connections that are ready."""
        for fileno, what in self._poll.poll(0):
            connection = self._busy.get(fileno)
            if connection is None:
                continue
            try:
                if what & select.EPOLLOUT:
                    connection.push()
                complete = bool(what & ~select.EPOLLOUT) and connection.pull()
            except (OSError, ServiceError, ValueError) as error:  # ValueError: a length that is no number
                del self._busy[fileno]
                self._end(connection, f"{type(error).__name__}: {error}")
                continue
            if complete:
                del self._busy[fileno]
                self._idle.append(connection)
                self._ready.append(connection.answer(self._clock()))
        out, self._ready = self._ready, []
        return out

    def _end(self, connection: _Connection, error: str) -> None:
        connection.close()
        self._idle.append(connection)
        self._ready.append(Arrival(connection.ticket, self._clock(), None, error))

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._poll.close()


class _Connection:
    """One request at a time; opened when first needed and again after an error."""

    def __init__(self, address: tuple[str, int], size: int, poll: select.epoll) -> None:
        self._address, self._poll = address, poll
        self._buffer = bytearray(size)
        self._view = memoryview(self._buffer)
        self._socket: socket.socket | None = None
        self._left = memoryview(b"")
        self._filled = self._body = self._end = 0
        self._keep = True
        self.ticket = -1

    @property
    def fileno(self) -> int:
        assert self._socket is not None
        return self._socket.fileno()

    def start(self, ticket: int, request: bytes) -> None:
        self.ticket, self._left = ticket, memoryview(request)
        self._filled = self._body = self._end = 0
        if self._socket is None:
            self._socket = socket.create_connection(self._address)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setblocking(False)
            self._poll.register(self._socket, select.EPOLLIN)
        self.push()
        if self._left:
            self._poll.modify(self._socket, select.EPOLLIN | select.EPOLLOUT)

    def push(self) -> None:
        assert self._socket is not None
        if not self._left:
            return
        try:
            while self._left:
                self._left = self._left[self._socket.send(self._left) :]
        except BlockingIOError:
            return
        self._poll.modify(self._socket, select.EPOLLIN)

    def pull(self) -> bool:
        """Read what is there; True once the answer is complete."""
        assert self._socket is not None
        while True:
            try:
                n = self._socket.recv_into(self._view[self._filled :])
            except BlockingIOError:
                return False
            if n == 0:
                raise ServiceUnavailableError("the server closed the connection before the answer was complete")
            self._filled += n
            if not self._end:
                self._parse()
            if self._end and self._filled >= self._end:
                return True

    def _parse(self) -> None:
        """Find where the labels begin and end, once all headers are there."""
        stop = self._buffer.find(b"\r\n\r\n", 0, self._filled)
        if stop < 0:
            return
        lines = bytes(self._view[:stop]).lower().split(b"\r\n")
        headers = dict(line.split(b":", 1) for line in lines[1:])
        if b"content-length" not in headers:
            raise ServiceError("got an answer without Content-Length, expected one with it")
        self._keep = headers.get(b"connection", b"").strip() != b"close"
        self._body = stop + 4
        self._end = self._body + int(headers[b"content-length"])
        if self._end > len(self._buffer):
            raise ServiceError(f"got an answer of {self._end} bytes, expected at most {len(self._buffer)}")
        self._status = lines[0].split(b" ", 2)[1]
        length = int(headers[b"content-length"])
        # Triton answers without binary data (no hits, no labels) with JSON alone, and does not say its length.
        only_json = headers.get(b"content-type", b"").strip() == b"application/json"
        self._json = int(headers.get(_JSON_HEADER, length if only_json else 0))

    def answer(self, now: float) -> Arrival:
        body = self._view[self._body : self._end]
        if not self._keep:
            self.close()
        if self._status != b"200":
            return Arrival(self.ticket, now, None, f"HTTP {self._status.decode()}: {bytes(body[:200])!r}")
        return Arrival(self.ticket, now, body[self._json :])

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


# NVIDIA's asynchronous Python clients


def stock_request(library: Any, model: str, position: Float32[ndarray, " n 3"]) -> dict[str, Any]:
    """The arguments of a request, made anew from the hits of an event; it asks for the labels only.

    Args:
        library: ``tritonclient.grpc`` or ``tritonclient.http``.
        model: name of the model.
        position: r [mm], phi [rad] and z [mm] of each hit.
    """
    features = library.InferInput(FEATURES.name, list(position.shape), FEATURES.triton_type)
    features.set_data_from_numpy(position)
    return {
        "model_name": model,
        "inputs": [features],
        "outputs": [library.InferRequestedOutput(LABELS.name)],
    }


# NVIDIA's load generator


@dataclass(frozen=True)
class RawPoint:
    """Events per second and median latency [s] by `perf_analyzer`, which does not check the labels."""

    throughput: float
    p50: float


def perf_analyze(
    grpc_url: str,
    model: str,
    events: Sequence[Hits],
    concurrency: int,
    *,
    requests: int = 500,
    batches: bool = False,
    timeout: float = 120.0,
) -> RawPoint:
    """Measure one point over gRPC with NVIDIA's `perf_analyzer`, bounded so that it ends and its figures are valid.

    It exits with 0 when it has failed, writes no file then, hangs with ``--request-count``, and leaves its binary
    behind when its wrapper is killed. So the file is checked, count windows are used, and the process group is killed
    after a time limit.

    Args:
        grpc_url: address of the server for gRPC, ``host:port``.
        model: name of a model of the tracking contract.
        events: events that are sent in a cycle.
        concurrency: number of requests in flight.
        requests: number of requests in one window of the measurement. With few, a quick model answers them all before
            `perf_analyzer` has read the server's statistics, and it fails.
        batches: whether the model takes batches: its tensors then have one more axis in front.
        timeout: time that the whole measurement may take [s].

    Raises:
        BeampipeError: `perf_analyzer` is not installed, or gave no result.
    """
    program = shutil.which("perf_analyzer", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        raise BeampipeError("perf_analyzer: not installed, expected it: pip install perf-analyzer")
    with tempfile.TemporaryDirectory(prefix="beampipe-perf-") as folder:
        data, table = Path(folder) / "events.json", Path(folder) / "out.csv"
        entries = []
        for hits in events:
            raw = base64.b64encode(np.ascontiguousarray(hits.position, "<f4").tobytes()).decode()
            entries.append({FEATURES.name: {"content": {"b64": raw}, "shape": [len(hits), 3]}})
        data.write_text(json.dumps({"data": entries}))
        command = [
            program, "-m", model, "-i", "grpc", "-u", grpc_url, "--input-data", str(data),
            *(["-b", "1"] if batches else []), "--concurrency-range", str(concurrency),
            "--measurement-mode", "count_windows", "--measurement-request-count", str(requests),
            "-s", "30", "-r", "12", "--percentile", "95", "-f", str(table), "--verbose-csv",
        ]  # fmt: skip
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            output = f"no end within {timeout:g} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if not table.exists():
            raise BeampipeError(f"perf_analyzer: got no result, expected one row; its output: {output[-400:]}")
        with table.open(encoding="utf-8") as file:
            (row,) = csv.DictReader(file)

    return RawPoint(float(row["Inferences/Second"]), 1e-6 * float(row["p50 latency"]))


# One event at a time

THROUGH_PROXY: Final = "http through proxy"


class Wire(Protocol):
    """Asks for the events of one list by their number."""

    def ask(self, event: int) -> bytes:
        """The labels of an event, as bytes."""

    def close(self) -> None:
        """Drop the connection and free the shared memory."""


@dataclass(frozen=True, eq=False)
class Questions:
    """One request for each event, made.

    Attributes:
        requests: the requests, in the terms of KServe v2.
        region: shared memory that holds all events, with room for their labels; None if events are sent.
        labels: offset and length [bytes] of the labels of each event in that memory.
    """

    requests: tuple[InferRequest, ...]
    region: SharedRegion | None = None
    labels: tuple[tuple[int, int], ...] = ()

    def shared(self, event: int) -> bytes:
        """The labels of an event, out of the shared memory."""
        assert self.region is not None
        offset, length = self.labels[event]
        array = self.region.output(LABELS, (length // 8,), {LABELS.name: (offset, length)})
        return array.tobytes()

    def close(self) -> None:
        """Have the server let go of the memory."""
        if self.region is not None:
            self.region.close()


def questions_of(
    events: Sequence[Hits], model: str, *, batching: bool = False, transport: Transport | None = None
) -> Questions:
    """A request for each event.

    Args:
        events: what is asked for.
        model: name of the model on the wire.
        batching: whether the model has a batch axis.
        transport: connection by which shared memory is registered; None to send the events.
    """
    arrays = [np.ascontiguousarray(hits.position, FEATURES.dtype) for hits in events]
    tensors = [Tensor(FEATURES, array[None] if batching else array) for array in arrays]
    if transport is None:
        return Questions(tuple(InferRequest(model, (tensor,), (LABELS,)) for tensor in tensors))
    begin, places = 0, []
    for tensor in tensors:
        at, size = layout((tensor,), {LABELS.name: 8 * tensor.array.size // 3})
        places.append(Places({name: (begin + offset, length) for name, (offset, length) in at.items()}))
        begin += size
    region = SharedRegion(transport, begin)
    requests = tuple(
        InferRequest(model, (tensor,), (LABELS,), region.place((tensor,), (LABELS,), at))
        for tensor, at in zip(tensors, places, strict=True)
    )
    return Questions(requests, region, tuple(at[LABELS.name] for at in places))


class HttpWire:
    """Requests made ahead of time over one HTTP/1.1 connection that stays open.

    Args:
        address: ``host:port`` of the server.
        questions: what can be asked.
        headers: headers of each request, beside those that its body needs.
    """

    def __init__(self, address: str, questions: Questions, headers: Mapping[str, str]) -> None:
        self._questions = questions
        requests = [http_request(address, request.to_http(), headers) for request in questions.requests]
        largest = max(request.inputs[0].array.size // 3 for request in questions.requests)
        self._sender = HttpSender(address, requests, largest, 1)

    def ask(self, event: int) -> bytes:
        self._sender.send(0, event)
        (arrival,) = self._sender.answers(60.0)
        if arrival.labels is None:
            raise ServiceError(str(arrival.error))
        return bytes(arrival.labels) if self._questions.region is None else self._questions.shared(event)

    def close(self) -> None:
        self._sender.close()
        self._questions.close()


class GrpcWire:
    """NVIDIA's generated stub and messages of its own protocol, and nothing around them.

    Args:
        address: ``host:port`` of the server.
        questions: what can be asked.
    """

    def __init__(self, address: str, questions: Questions) -> None:
        self._questions = questions
        self._messages: list[Any] = [request.to_grpc(service_pb2) for request in questions.requests]
        self._channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)])
        self._infer = service_pb2_grpc.GRPCInferenceServiceStub(self._channel).ModelInfer

    def ask(self, event: int) -> bytes:
        answer = self._infer(self._messages[event], timeout=60)
        if self._questions.region is not None:
            return self._questions.shared(event)
        raw: bytes = answer.raw_output_contents[0]
        return raw

    def close(self) -> None:
        self._channel.close()
        self._questions.close()


def http_request(address: str, call: HttpCall, headers: Mapping[str, str]) -> bytes:
    """A whole request of HTTP/1.1 as bytes, with more headers than the call has."""
    body = b"".join(call.body)
    lines = [f"{call.method} {call.path} HTTP/1.1", f"Host: {address}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (*call.headers.items(), *headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def behind_proxy(server: TritonServer) -> tuple[str, dict[str, str]]:
    """The address for HTTP with no reverse proxy before it, and the headers that are asked for there."""
    door = server.access.connection
    return f"127.0.0.1:{door.inner_http}", dict(door.headers)


def wire(server: TritonServer, protocol: str, model: str, events: Sequence[Hits]) -> Wire:
    """The connection that asks a model for these events.

    Args:
        server: a server that runs.
        protocol: ``"grpc"``, ``"http"``, ``"shm"``, ``"shm-http"`` or `THROUGH_PROXY`; without a word of it, HTTP goes
            to the port behind the reverse proxy, as our clients do.
        model: name of the model on the wire.
        events: what can be asked for.
    """
    transport: Transport | None = None
    if protocol in ("grpc", "shm"):
        if protocol == "shm":
            transport = GrpcTransport(parse_endpoint(f"grpc://{server.grpc_url}"), Security())
        return GrpcWire(server.grpc_url, questions_of(events, model, transport=transport))
    if protocol == THROUGH_PROXY:
        return HttpWire(server.http_url, questions_of(events, model), {})
    address, headers = behind_proxy(server)
    if protocol == "shm-http":
        transport = HttpTransport(parse_endpoint(f"http://{server.http_url}"), Security())
    return HttpWire(address, questions_of(events, model, transport=transport), headers)
