"""Whether a running Triton keeps what clients, supervisor and monitoring of beampipe rely on: `beampipe triton check`.

Requests are the canaries of the repository that the server serves, so that every answer is known. The server may be of
any release, and run anywhere; shared memory is checked on this machine only. It is not for a server in use: a model is
taken out of service for a moment, and requests are cancelled.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy import ndarray

from beampipe.errors import (
    BeampipeError,
    ConfigError,
    InputError,
    RegionRefusedError,
    ServiceUnavailableError,
    UnknownModelError,
    look_up,
)
from beampipe.triton.client import ModelClient
from beampipe.triton.client.codec import HttpCall, InferRequest, Tensor
from beampipe.triton.client.endpoint import Endpoint, Security, WireProtocol, authority, parse_endpoint
from beampipe.triton.client.signature import ModelSignature, signature_of
from beampipe.triton.client.transports import GrpcTransport, HttpTransport, traced
from beampipe.triton.connection_file import find_connection
from beampipe.triton.metrics import Counters, read_metrics
from beampipe.triton.model.canary import compare_answers, read_canaries
from beampipe.triton.model.contract import TensorSpec
from beampipe.triton.server import management

_TIMEOUT: Final = 30.0
"""Longest wait [s] for an answer, and for what follows from it in metrics and traces."""
_AT_ONCE: Final = 4
"""How often each length is sent, all requests at once."""
_WITHOUT: Final = "no_such_name"
"""Name that no model, tensor or file has."""

Arrays = Mapping[str, ndarray]


class Broken(Exception):
    """What does not hold."""


class NotChecked(Exception):
    """Why something was not checked."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one check.

    Attributes:
        check: what was checked.
        model: name of the model.
        outcome: whether it holds.
        text: what was seen.
    """

    check: str
    model: str
    outcome: Literal["holds", "broken", "not checked"]
    text: str


class TracesReceived:
    """A collector of OpenTelemetry for OTLP over HTTP, which keeps what it receives.

    Args:
        port: port to listen on, on all addresses: the server may run in a container.
    """

    def __init__(self, port: int) -> None:
        received = self.received = list[bytes]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                """No log."""

        self._server = ThreadingHTTPServer(("", port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="traces", daemon=True).start()

    def has(self, trace: str, name: str) -> bool:
        """Whether a message, of JSON or protobuf, has a span of that trace, and one of that name."""
        ids = (trace.encode(), bytes.fromhex(trace))
        return any(any(one in body for one in ids) and name.encode() in body for body in self.received)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True, eq=False)
class Subject:
    """One model on the server.

    Attributes:
        http: address of the server for HTTP.
        grpc: address for gRPC.
        metrics: address of the metrics, ``host:port``.
        model: name of the model.
        request: arrays of its canary.
        expected: arrays of the right answer; others that the model gives may differ from call to call.
        signature: its configuration.
        cancels: number of requests that are cancelled.
        traces: where traces of the server arrive; None if they are not checked.
    """

    http: Endpoint
    grpc: Endpoint
    metrics: str
    model: str
    request: Arrays
    expected: Arrays
    signature: ModelSignature
    cancels: int
    traces: TracesReceived | None

    @contextmanager
    def client(self, protocol: WireProtocol) -> Iterator[ModelClient]:
        """A client without retries, which would hide failures."""
        url = str(self.http if protocol == "http" else self.grpc)
        with ModelClient(url, self.model, protocol=protocol, timeout=_TIMEOUT, retries=0) as client:
            yield client

    def lengths(self) -> dict[int, Arrays]:
        """The request in several lengths, cut or repeated, by length."""
        varies = [name for name in self.request if self.signature.inputs[name].dims[:1] == (-1,)]
        if not varies:
            raise NotChecked("its inputs have one shape only")
        longest = max(len(self.request[name]) for name in varies)
        return {
            n: {
                name: np.resize(array, (n, *array.shape[1:])) if name in varies else array
                for name, array in self.request.items()
            }
            for n in sorted({0, 1, longest // 2, longest, 4 * longest})
        }

    def answer(self, client: ModelClient, request: Arrays) -> bytes | InputError:
        """The repeatable part of an answer, or the refusal of the request."""
        try:
            arrays = client.infer(request, dict.fromkeys(self.expected))
        except InputError as error:
            return error
        return self.repeatable(arrays)

    def repeatable(self, arrays: Arrays) -> bytes:
        """The part of an answer that is the same each time."""
        return b"".join(arrays[name].tobytes() for name in self.expected)

    def compare_answer(self, protocol: WireProtocol) -> None:
        """Raise `ConfigError` if the canary's answer is not the stored one."""
        with self.client(protocol) as client:
            answer = client.infer(self.request, dict.fromkeys(self.expected))
        compare_answers(self.model, answer, self.expected)

    def counters(self) -> Counters:
        """The model's counters now."""
        return look_up("model among the metrics", self.model, read_metrics(self.metrics))


def _answers(subject: Subject) -> str:
    protocols: tuple[WireProtocol, ...] = ("http", "grpc")
    for protocol in protocols:
        subject.compare_answer(protocol)
    return "the canary's answer is the stored one over HTTP and gRPC, byte for byte"


def _lengths(subject: Subject) -> str:
    refused = []
    with subject.client("http") as by_http, subject.client("grpc") as by_grpc:
        for length, request in subject.lengths().items():
            one, other = subject.answer(by_http, request), subject.answer(by_grpc, request)
            if type(one) is not type(other) or (isinstance(one, bytes) and one != other):
                raise Broken(f"length {length}: HTTP gives {_short(one)}, gRPC {_short(other)}")
            if isinstance(one, InputError):
                refused.append(str(length))
    lengths = ", ".join(map(str, subject.lengths()))
    return f"lengths {lengths}: HTTP and gRPC agree" + (f"; refused: {', '.join(refused)}" if refused else "")


def _at_once(subject: Subject) -> str:
    with subject.client("grpc") as client:
        alone = {n: subject.answer(client, request) for n, request in subject.lengths().items()}
        usable = {n: request for n, request in subject.lengths().items() if isinstance(alone[n], bytes)}
        names = dict.fromkeys(subject.expected)
        sent = [(n, client.submit(request, names)) for _ in range(_AT_ONCE) for n, request in usable.items()]
        for n, pending in sent:
            if subject.repeatable(pending.result(_TIMEOUT)) != alone[n]:
                raise Broken(f"length {n}: another answer when requests of other lengths run at once")
    return f"{len(sent)} requests of {len(usable)} lengths at once: each gets its own answer"


def _short(answer: bytes | InputError) -> str:
    return f"{len(answer)} bytes" if isinstance(answer, bytes) else f"an error ({answer})"


def _wrong_requests(subject: Subject) -> Iterator[tuple[str, InferRequest, type[BeampipeError]]]:
    """Requests that cannot be answered, in words, with the class of the right error."""
    right = subject.signature.request(subject.request, dict.fromkeys(subject.expected))
    first, *others = right.inputs

    def changed(name: str = first.spec.name, array: ndarray = first.array, kind: str = first.spec.triton_type) -> Any:
        return Tensor(TensorSpec(name, kind, array.dtype.type, array.shape), array), *others

    yield "an unknown model", InferRequest(_WITHOUT, right.inputs, right.outputs), UnknownModelError
    yield "an unknown input", InferRequest(right.model, changed(_WITHOUT), right.outputs), InputError
    yield "no inputs", InferRequest(right.model, (), right.outputs), InputError
    kind, dtype = ("INT16", np.int16) if first.spec.triton_type != "INT16" else ("INT8", np.int8)
    other = changed(array=np.zeros(first.array.shape, dtype), kind=kind)
    yield "another type", InferRequest(right.model, other, right.outputs), InputError
    rank = changed(array=np.zeros((1,) * (first.array.ndim + 3), first.array.dtype))
    yield "more axes", InferRequest(right.model, rank, right.outputs), InputError
    unknown = TensorSpec(_WITHOUT, "FP32", np.float32, (-1,))
    yield "an unknown output", InferRequest(right.model, right.inputs, (unknown,)), InputError


def _errors(subject: Subject) -> str:
    tried = 0
    with (
        closing(HttpTransport(subject.http, Security())) as over_http,
        closing(GrpcTransport(subject.grpc, Security())) as over_grpc,
    ):
        for what, request, kind in _wrong_requests(subject):
            for protocol, transport in (("HTTP", over_http), ("gRPC", over_grpc)):
                tried += 1
                try:
                    transport.send(request, _TIMEOUT)
                except kind as error:
                    if str(error):
                        continue
                    raise Broken(f"{what} over {protocol}: an error without a text") from None
                except BeampipeError as error:
                    raise Broken(f"{what} over {protocol}: {error}, expected a refusal of the request") from None
                raise Broken(f"{what} over {protocol}: an answer, expected an error")
        statuses = {}
        for what, body in {"broken JSON": b'{"inputs": [', "no JSON": b"\xff\x00", "other JSON": b"[1, 2]"}.items():
            call = HttpCall("POST", f"/v2/models/{subject.model}/infer", (body,))
            statuses[what] = over_http.exchange(call, _TIMEOUT).status
    if answered := [what for what, status in statuses.items() if status < 400]:
        raise Broken(f"{answered[0]}: an answer, expected an error")
    said = ", ".join(f"{what} {status}" for what, status in statuses.items())
    _answers(subject)
    return f"{tried} wrong requests: each is refused with its reason; status of {said}; the next one is answered"


def _cancellation(subject: Subject) -> str:
    import grpc
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    message = subject.signature.request(subject.request, dict.fromkeys(subject.expected)).to_grpc(service_pb2)
    secret = find_connection(subject.grpc.host, subject.grpc.port, local=subject.grpc.local)
    before = subject.counters().values
    with grpc.insecure_channel(subject.grpc.authority) as channel:
        ask = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        metadata = () if secret is None else secret.headers
        begin = time.monotonic()
        ask(message, timeout=_TIMEOUT, metadata=metadata)
        usual = time.monotonic() - begin
        for number in range(subject.cancels):
            call = ask.future(message, timeout=_TIMEOUT, metadata=metadata)
            time.sleep(1.5 * usual * number / subject.cancels)
            call.cancel()
    sent = subject.signature.request(subject.request, dict.fromkeys(subject.expected)).to_http()
    for _ in range(0, subject.cancels, 10):
        with closing(http.client.HTTPConnection(subject.http.host, subject.http.port, timeout=_TIMEOUT)) as connection:
            connection.request(sent.method, sent.path, b"".join(sent.body), dict(sent.headers))
    _answers(subject)

    def is_idle() -> bool:
        return not subject.counters().values.get("pending")

    _wait(is_idle, "requests of clients that have left still wait")
    if subject.counters().values["answered"] < before.get("answered", 0.0):
        raise Broken("the server, or the model, died and was started again")
    return f"{subject.cancels} requests cancelled over gRPC, a tenth as many left over HTTP: nothing waits or died"


def _shared_memory(subject: Subject) -> str:
    if not subject.grpc.local:
        raise NotChecked("the server is on another machine")
    try:
        subject.compare_answer("shm")
    except RegionRefusedError as error:
        raise NotChecked(str(error)) from None
    left = list(Path("/dev/shm").glob(f"beampipe_client_{os.getpid()}_*"))
    if left:
        raise Broken(f"{left[0]} is left")
    return "inputs and outputs in shared memory: the same answer, and nothing is left"


def _metrics(subject: Subject) -> str:
    needed = ("answered", "inferences", "executions", "request_us", "queue_us", "compute_us", "pending")
    before = subject.counters().values
    if missing := [name for name in needed if name not in before]:
        raise Broken(f"no {', '.join(missing)} among the metrics of the model")
    statistics = _statistics(subject)
    for _ in range(_AT_ONCE):
        _answers(subject)
    sent = 2 * _AT_ONCE

    def is_counted() -> bool:
        return subject.counters().values["answered"] == before["answered"] + sent

    _wait(is_counted, f"{sent} requests are not counted in nv_inference_request_success")
    if (counted := _statistics(subject) - statistics) != sent:
        raise Broken(f"the statistics count {counted} requests, expected {sent}")
    return f"{sent} requests are counted once, in the metrics and in the statistics"


def _statistics(subject: Subject) -> int:
    _, body = management.request(str(subject.http), "GET", f"/v2/models/{subject.model}/stats")
    return sum(int(version["inference_stats"]["success"]["count"]) for version in json.loads(body)["model_stats"])


def _traces(subject: Subject) -> str:
    if subject.traces is None:
        raise NotChecked("needs --collector, and a server that sends its traces there")
    traces, trace = subject.traces, os.urandom(16).hex()
    with subject.client("http") as client, traced(f"00-{trace}-00000000000000c1-01"):
        client.infer(subject.request)
    _wait(lambda: traces.has(trace, "InferRequest"), "no trace of a request with the header traceparent arrives")
    if not traces.has(trace, subject.model):
        raise Broken("the trace has no span of the model")
    return "a request's spans belong to the span in its header traceparent"


def _repository(subject: Subject) -> str:
    url, model = str(subject.http), subject.model
    if (state := management.model_states(url).get(model)) != "READY":
        raise Broken(f"the index says {state}, expected READY")
    status, body = management.request(url, "POST", f"/v2/repository/models/{_WITHOUT}/load", {})
    reason = body.decode(errors="replace")
    if status < 400:
        raise Broken("a model that does not exist is loaded")
    if "explicit model load" in reason or "polling" in reason:
        raise NotChecked("models stay loaded: the server has not --model-control-mode=explicit")
    management.reload_model(url, model)
    _answers(subject)
    management.unload_model(url, model)
    try:
        _wait(lambda: management.model_states(url).get(model) == "UNAVAILABLE", "the model does not become UNAVAILABLE")
        status, _ = management.request(url, "GET", f"/v2/models/{model}/ready")
        if status < 400:
            raise Broken("a model that is not loaded says that it is ready")
    finally:
        management.load_model(url, model)
    _answers(subject)
    return "the model is replaced, taken out of service and put back"


def _wait(holds: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not holds():
        if time.monotonic() > deadline:
            raise Broken(f"{problem} (waited {_TIMEOUT:g} s)")
        time.sleep(0.05)


CHECKS: Final[Mapping[str, Callable[[Subject], str]]] = {
    "answers": _answers,
    "variable lengths": _lengths,
    "lengths at once": _at_once,
    "errors": _errors,
    "cancellation": _cancellation,
    "shared memory": _shared_memory,
    "metrics": _metrics,
    "traces": _traces,
    "model repository": _repository,
}
"""What is checked for each model, in this order."""


def check_server(
    url: str,
    repository: Path,
    models: Sequence[str] = (),
    *,
    grpc: str | None = None,
    metrics: str | None = None,
    collector: int | None = None,
    cancels: int = 200,
    progress: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Check a running server; see `CHECKS`.

    Args:
        url: its address for HTTP, ``host:port``.
        repository: the models that it serves, with their canaries.
        models: names of the models to check; all that have a canary if there are none.
        grpc: its address for gRPC; None for the next port.
        metrics: address of its metrics, ``host:port``; None for the port after that.
        collector: port of this machine to which the server sends its traces, by OTLP over HTTP; None for none.
        cancels: number of requests that are cancelled.
        progress: called with each outcome.

    Raises:
        ServiceUnavailableError: no server answers.
        ConfigError: no model to check.
    """
    endpoint = parse_endpoint(url, "http")
    if not management.is_ready(url):
        raise ServiceUnavailableError(f"{url}: got no answer, expected a Triton that is ready", url=url)
    rpc = parse_endpoint(grpc or authority(endpoint.host, endpoint.port + 1), "grpc")
    canaries = read_canaries(
        repository, models or sorted(path.parent.name for path in repository.glob("*/config.pbtxt"))
    )
    if not canaries:
        raise ConfigError(f"{repository}: got no model with a canary, expected what beampipe serving export writes")
    traces = None if collector is None else TracesReceived(collector)
    outcomes = []
    try:
        for model, (request, expected) in canaries.items():
            signature = signature_of(management.model_config(url, model), url)
            at = metrics or authority(endpoint.host, endpoint.port + 2)
            subject = Subject(endpoint, rpc, at, model, request, expected, signature, cancels, traces)
            for name, check in CHECKS.items():
                outcomes.append(_outcome(name, check, subject))
                progress(outcomes[-1])
    finally:
        if traces is not None:
            traces.close()
    return outcomes


def _outcome(name: str, check: Callable[[Subject], str], subject: Subject) -> Outcome:
    try:
        return Outcome(name, subject.model, "holds", check(subject))
    except NotChecked as error:
        return Outcome(name, subject.model, "not checked", str(error))
    except (Broken, BeampipeError, OSError, ValueError, KeyError) as error:
        return Outcome(name, subject.model, "broken", str(error))
