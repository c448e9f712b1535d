"""Clients that come, ask a few times and go, every second one before its answer is there: for `churn.py`.

They are as small as clients can be, so that one core sends thousands of requests a second: sockets and whole requests
as bytes for HTTP, a bare channel for gRPC, a connection of its own for every visit. A visitor that stays compares every
label. One that leaves does so in one of the `HTTP_FAREWELLS` or `GRPC_FAREWELLS`.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from wires import Connection

from beampipe.errors import ServiceError

__all__ = ["GRPC_FAREWELLS", "HTTP_FAREWELLS", "Plan", "Tally", "visit_for_long"]

PATIENCE: Final = 60.0
"""An answer that takes longer [s] counts as none."""
MOST_REQUESTS: Final = 5
"""Most requests of one visit."""
MOST_ERRORS: Final = 500
"""After so many requests without an answer there is no point in visiting any longer."""
GRPC_EVERY: Final = 6
"""One pair of visits in so many is over gRPC, whose connections cost a client ten times as much."""
_LONGER_OVER_GRPC: Final = 4
"""A visit over gRPC has so many times the requests of one over HTTP."""
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Plan:
    """What visitors ask for.

    Attributes:
        http_url: address for HTTP, ``host:port``.
        grpc_url: address for gRPC, ``host:port``.
        http: whole requests over HTTP, one per event.
        grpc: the same as serialised messages of gRPC.
        labels: bytes of the right labels of each event.
        farewells: names of the ways in which visitors leave; one leaves over a protocol only if it has a way there.
    """

    http_url: str
    grpc_url: str
    http: Sequence[bytes]
    grpc: Sequence[bytes]
    labels: Sequence[bytes]
    farewells: Sequence[str]


@dataclass
class Tally:
    """What became of the requests.

    Attributes:
        answered: number of requests that got the right labels, by protocol.
        left: number of requests whose client left, by the way in which it did.
        wrong: number of requests that got other labels.
        errors: texts of what was no answer, with their numbers.
        slowest: longest wait for an answer [s].
    """

    answered: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    @property
    def requests(self) -> int:
        """Number of all requests so far."""
        return self.answered.total() + self.left.total() + self.wrong + self.errors.total()

    def add(self, other: Tally) -> None:
        """Count what another one has counted."""
        self.answered += other.answered
        self.left += other.left
        self.wrong += other.wrong
        self.errors += other.errors
        self.slowest = max(self.slowest, other.slowest)

    def compare(self, protocol: str, labels: bytes | memoryview, expected: bytes, seconds: float) -> None:
        """Count an answer."""
        self.slowest = max(self.slowest, seconds)
        if labels == expected:
            self.answered[protocol] += 1
        else:
            self.wrong += 1


def visit_for_long(plan: Plan, requests: int, seed: int, done: Callable[[int], None]) -> Tally:
    """Visits one after the other until so many requests were sent, or too many failed; every second one is cut short.

    Args:
        plan: what is asked for.
        requests: number of requests, at least.
        seed: of what is drawn.
        done: called with the number of requests of each visit.
    """
    tally, chance, number = Tally(), random.Random(seed), 0
    while (before := tally.requests) < requests and tally.errors.total() < MOST_ERRORS:
        over_grpc = number // 2 % GRPC_EVERY == 0
        ways = [name for name in (GRPC_FAREWELLS if over_grpc else HTTP_FAREWELLS) if name in plan.farewells]
        how = chance.choice(ways) if number % 2 and ways else None
        count = chance.randint(1, MOST_REQUESTS) * (_LONGER_OVER_GRPC if over_grpc else 1)
        events = [chance.randrange(len(plan.labels)) for _ in range(count)]
        try:
            (_visit_grpc if over_grpc else _visit_http)(plan, events, how, tally, chance)
        except (OSError, ServiceError) as error:
            tally.errors[f"HTTP: {type(error).__name__}: {error}"[:200]] += 1
        number += 1
        done(tally.requests - before)
    return tally


def _visit_http(plan: Plan, events: Sequence[int], how: str | None, tally: Tally, chance: random.Random) -> None:
    connection = Connection(plan.http_url)
    connection.socket.settimeout(PATIENCE)
    try:
        for event in events[: len(events) - bool(how)]:
            begin = time.perf_counter()
            connection.send(plan.http[event])
            tally.compare("http", connection.tensors(), plan.labels[event], time.perf_counter() - begin)
        if how is not None:
            HTTP_FAREWELLS[how](connection, plan.http[events[-1]], chance)
            tally.left[how] += 1
    finally:
        connection.close()


def _half_sent(connection: Connection, request: bytes, chance: random.Random) -> None:
    connection.send(request[: chance.randrange(1, len(request))])


def _sent(connection: Connection, request: bytes, chance: random.Random) -> None:
    connection.send(request)


def _sent_and_reset(connection: Connection, request: bytes, chance: random.Random) -> None:
    connection.send(request)
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _sent_and_thought(connection: Connection, request: bytes, chance: random.Random) -> None:
    connection.send(request)
    time.sleep(chance.random() * 1e-3)


def _half_read(connection: Connection, request: bytes, chance: random.Random) -> None:
    connection.send(request)
    connection.socket.recv(chance.randrange(1, 100))


HTTP_FAREWELLS: Final[dict[str, Callable[[Connection, bytes, random.Random], None]]] = {
    "http, half sent": _half_sent,
    "http, sent": _sent,
    "http, sent and reset": _sent_and_reset,
    "http, sent, gone within 1 ms": _sent_and_thought,
    "http, a part of the answer read": _half_read,
}
"""How a visitor leaves over HTTP; its connection is closed right after."""


def _visit_grpc(plan: Plan, events: Sequence[int], how: str | None, tally: Tally, chance: random.Random) -> None:
    import grpc

    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(plan.grpc_url, options) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")  # bytes, no message is made
        try:
            for event in events[: len(events) - bool(how)]:
                begin = time.perf_counter()
                labels = _raw_labels(infer(plan.grpc[event], timeout=PATIENCE))
                tally.compare("grpc", labels, plan.labels[event], time.perf_counter() - begin)
        except grpc.RpcError as error:
            tally.errors[f"gRPC: {error.code().name}: {error.details()}"[:200]] += 1
            return
        if how is not None:
            GRPC_FAREWELLS[how](infer, plan.grpc[events[-1]], chance)
            tally.left[how] += 1


def _raw_labels(answer: bytes) -> bytes:
    from tritonclient.grpc import service_pb2

    raw: bytes = service_pb2.ModelInferResponse.FromString(answer).raw_output_contents[0]
    return raw


def _cancelled(infer: Any, request: bytes, chance: random.Random) -> None:
    call = infer.future(request, timeout=PATIENCE)
    time.sleep(chance.random() * 1e-3)
    call.cancel()


def _deadline(infer: Any, request: bytes, chance: random.Random) -> None:
    infer.future(request, timeout=chance.random() * 1e-3).exception()


def _closed(infer: Any, request: bytes, chance: random.Random) -> None:
    infer.future(request, timeout=PATIENCE)
    time.sleep(chance.random() * 1e-3)


GRPC_FAREWELLS: Final[dict[str, Callable[[Any, bytes, random.Random], None]]] = {
    "grpc, cancelled within 1 ms": _cancelled,
    "grpc, deadline within 1 ms": _deadline,
    "grpc, channel closed within 1 ms": _closed,
}
"""How a visitor leaves over gRPC; its channel is closed right after."""
