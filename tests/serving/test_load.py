"""The load generator: loops on a clock of their own, senders, and HTTP without a client library."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from benchmarks.serving.clients import HttpSender

from beampipe.errors import ConfigError, NotFiniteError, ShapeError
from beampipe.serving.load import (
    Arrival,
    FutureSender,
    Sender,
    Workload,
    closed_loop,
    direct_workload,
    latencies,
    open_loop,
    poisson_arrivals,
    summarise,
)
from beampipe.tracking import Hits, Tracks

TINY = 1e-9


def workload_of(*sizes: int) -> Workload:
    """Events of those sizes; hit i of event k has label k + i."""
    hits = tuple(Hits(np.full((n, 3), k + 1, np.float32)) for k, n in enumerate(sizes))
    return Workload(hits, tuple(np.arange(k, k + n, dtype=np.int64) for k, n in enumerate(sizes)))


class VirtualServer:
    """Some servers behind one queue, first come first served, in time that passes only while the loop waits.

    Args:
        workload: the events.
        service: seconds of service of the n-th request.
        servers: how many work side by side.
    """

    def __init__(self, workload: Workload, service: Callable[[int], float], servers: int = 1) -> None:
        self._workload, self._service = workload, service
        self._free = [0.0] * servers
        self._coming: list[tuple[float, int, int]] = []
        self.now = 0.0
        self.most = 0

    def clock(self) -> float:
        return self.now

    def send(self, ticket: int, event: int) -> None:
        start = max(self.now, heapq.heappop(self._free))
        finished = start + self._service(ticket)
        heapq.heappush(self._free, finished)
        heapq.heappush(self._coming, (finished, ticket, event))
        self.most = max(self.most, len(self._coming))

    def answers(self, timeout: float) -> Sequence[Arrival]:
        if not self._coming or self._coming[0][0] > self.now + timeout:
            self.now += max(timeout, TINY)
            return []
        self.now = max(self.now, self._coming[0][0])
        out = []
        while self._coming and self._coming[0][0] <= self.now:
            finished, ticket, event = heapq.heappop(self._coming)
            out.append(self.answer(ticket, event, finished))
        return out

    def answer(self, ticket: int, event: int, finished: float) -> Arrival:
        return Arrival(ticket, finished, self._workload.labels[event])

    def close(self) -> None:
        pass


WORKLOAD = workload_of(3, 5, 0)


@pytest.mark.parametrize(("concurrency", "servers"), [(1, 1), (4, 1), (16, 2), (2, 4)])
def test_closed_loop_measures_a_server_of_known_speed(concurrency: int, servers: int) -> None:
    """c requests at k servers of D seconds: c D / min(c, k) each, min(c, k) / D per second."""
    server = VirtualServer(WORKLOAD, lambda n: 0.25, servers)
    run = closed_loop(server, WORKLOAD, concurrency, seconds=20.0, warm_up=2.0, clock=server.clock)
    result = summarise(run)
    assert server.most == concurrency
    busy = min(concurrency, servers)
    assert result.throughput == pytest.approx(busy / 0.25)
    for value in (latencies(run).mean(), result.p50, result.p95, result.p99, result.worst):
        assert value == pytest.approx(concurrency * 0.25 / busy)
    assert result.requests >= 20.0 * busy / 0.25 - concurrency
    assert (result.failed, run.wrong, run.faults) == (0, 0, {})


def test_few_long_requests_give_the_same_throughput_as_many_short_ones() -> None:
    """A count in the span would give 2 or 3 answers in 5 s, thus 0.4 or 0.6 per second."""
    server = VirtualServer(WORKLOAD, lambda n: 2.0)
    run = closed_loop(server, WORKLOAD, 3, seconds=5.0, warm_up=0.0, clock=server.clock)
    assert len(run) >= 6  # prolonged until each place was taken twice
    assert summarise(run).throughput == pytest.approx(0.5)


def test_warm_up_is_left_out_and_load_stays_until_the_last_answer() -> None:
    server = VirtualServer(WORKLOAD, lambda n: 5.0 if n < 4 else 0.1)
    run = closed_loop(server, WORKLOAD, 4, seconds=1.0, warm_up=1.0, clock=server.clock)
    result = summarise(run)
    # Slow ones at the start are gone; were the load to stop with the span, the last would be faster than 0.4 s.
    assert result.worst == pytest.approx(0.4)
    assert latencies(run)[-4:] == pytest.approx(0.4)
    assert run.n_all > len(run) + 4
    assert set(run.event) == {0, 1, 2}


def test_open_loop_below_saturation_agrees_with_the_queue_m_m_1() -> None:
    """Poisson arrivals, exponential service: sojourn is exponential with rate (service rate - arrival rate)."""
    random = np.random.default_rng(5)
    service = random.exponential(0.1, 30_000)
    server = VirtualServer(WORKLOAD, lambda n: float(service[n]))
    run = open_loop(server, WORKLOAD, 7.0, seconds=3_000.0, warm_up=100.0, in_flight=10_000, clock=server.clock)
    result = summarise(run)
    assert result.requests == pytest.approx(21_000, rel=0.03)
    assert result.throughput == pytest.approx(7.0, rel=0.03)
    # Correlated over about 100 requests: the standard error of the mean is near 4 %.
    assert latencies(run).mean() == pytest.approx(1 / 3, rel=0.1)
    assert result.p50 == pytest.approx(np.log(2) / 3, rel=0.1)
    assert result.p95 == pytest.approx(np.log(20) / 3, rel=0.1)
    assert result.p99 == pytest.approx(np.log(100) / 3, rel=0.15)
    assert (run.sent - run.due).max() < 1e-6


def test_open_loop_with_fixed_service_agrees_with_pollaczek_and_khinchine() -> None:
    """M/D/1: mean wait is rho D / (2 (1 - rho))."""
    server = VirtualServer(WORKLOAD, lambda n: 0.1)
    run = open_loop(server, WORKLOAD, 8.0, seconds=2_000.0, warm_up=100.0, in_flight=10_000, clock=server.clock)
    assert latencies(run).mean() == pytest.approx(0.1 + 0.8 * 0.1 / (2 * 0.2), rel=0.05)


def test_a_stall_is_charged_for_all_that_arrived_meanwhile() -> None:
    """No coordinated omission: one stall of 10 s, one connection, about 100 events due in it."""
    server = VirtualServer(WORKLOAD, lambda n: 10.0 if n == 200 else 1e-3)
    run = open_loop(server, WORKLOAD, 10.0, seconds=100.0, warm_up=0.0, in_flight=1, clock=server.clock)
    late = latencies(run)
    assert (late > 0.5).sum() == pytest.approx(95, abs=30)
    assert summarise(run).p99 > 5.0
    # Counted from when they were sent, only one would look slow.
    assert (run.finished - run.sent > 0.5).sum() == 1


def test_open_loop_beyond_saturation_gives_the_speed_of_the_server() -> None:
    server = VirtualServer(WORKLOAD, lambda n: 0.1)
    run = open_loop(server, WORKLOAD, 20.0, seconds=50.0, warm_up=5.0, in_flight=8, clock=server.clock)
    assert server.most == 8
    assert summarise(run).throughput == pytest.approx(10.0, rel=0.1)
    assert np.percentile(run.sent - run.due, 99) > 20.0


def test_arrivals_are_poisson() -> None:
    arrivals = poisson_arrivals(50.0, 1000.0, seed=3)
    assert np.array_equal(arrivals, poisson_arrivals(50.0, 1000.0, seed=3))
    gaps = np.diff(arrivals)
    assert (gaps >= 0).all()
    assert arrivals[0] >= 0
    assert arrivals[-1] < 1000.0
    assert gaps.mean() == pytest.approx(0.02, rel=0.03)
    assert gaps.std() == pytest.approx(0.02, rel=0.05)


def test_errors_and_wrong_labels_are_counted_and_kept_out_of_the_figures() -> None:
    workload = workload_of(3, 5, 2)

    class Faulty(VirtualServer):
        def answer(self, ticket: int, event: int, finished: float) -> Arrival:
            if ticket % 10 == 3:
                return Arrival(ticket, finished, None, "HTTP 500")
            if ticket % 10 == 6:
                return Arrival(ticket, finished, np.full(len(workload.hits[event]), 99, np.int64))
            return super().answer(ticket, event, finished)

    server = Faulty(workload, lambda n: 0.1 if n % 10 not in (3, 6) else 9.0, servers=10)
    run = closed_loop(server, workload, 1, seconds=500.0, warm_up=0.0, clock=server.clock)
    result = summarise(run)
    assert [result.p50, result.worst] == pytest.approx([0.1, 0.1])
    assert run.faults["HTTP 500"] == pytest.approx(run.n_all / 10, abs=2)
    assert run.wrong == pytest.approx(run.n_all / 10, abs=2)
    assert sum(run.faults.values()) == run.wrong + run.faults["HTTP 500"]
    assert result.failed == len(run) - len(latencies(run)) > 0
    assert "event 0: 3 of 3 labels differ from the direct ones" in run.faults
    n_good = int(run.good.sum())
    assert result.throughput == pytest.approx(n_good / (run.finished - run.sent).sum())


def test_a_silent_server_ends_the_wait() -> None:
    server = VirtualServer(WORKLOAD, lambda n: 1e9)
    with pytest.raises(TimeoutError, match="no answer for 7 s, 3 requests in flight"):
        closed_loop(server, WORKLOAD, 3, patience=7.0, clock=server.clock)
    server = VirtualServer(WORKLOAD, lambda n: 1e9)
    with pytest.raises(TimeoutError, match="no answer for 7 s"):
        open_loop(server, WORKLOAD, 3.0, patience=7.0, in_flight=2, clock=server.clock)


@pytest.mark.parametrize("name", ["seconds", "patience"])
def test_settings_that_cannot_be_are_refused(name: str) -> None:
    nothing: dict[str, Any] = {name: 0.0}
    server = VirtualServer(WORKLOAD, lambda n: 1.0)
    with pytest.raises(ConfigError, match=f"{name}: got 0.0"):
        closed_loop(server, WORKLOAD, 1, **nothing)
    with pytest.raises(ConfigError, match=f"{name}: got 0.0"):
        open_loop(server, WORKLOAD, 1.0, **nothing)
    with pytest.raises(ConfigError, match="concurrency: got 0"):
        closed_loop(server, WORKLOAD, 0)


SENT = workload_of(3, 0, 700)


def labels_of(body: bytes) -> bytes:
    """What `workload_of` says of the hits in a body: the first coordinate is the number of the event, from 1."""
    hits = np.frombuffer(body, "<f4").reshape(-1, 3)
    first = int(hits[0, 0]) - 1 if len(hits) else 0
    return np.arange(first, first + len(hits), dtype=np.int64).tobytes()


def find(hits: Hits) -> Tracks:
    return Tracks(np.frombuffer(labels_of(hits.position.tobytes()), np.int64))


def test_any_finder_can_be_loaded() -> None:
    def submit(hits: Hits) -> Future[Tracks]:
        future: Future[Tracks] = Future()
        future.set_result(find(hits))
        return future

    run = closed_loop(FutureSender(submit, SENT), SENT, 2, seconds=0.02, warm_up=0.0)
    assert run.faults == {}
    assert len(run) >= 4


def test_errors_of_a_finder_are_answers() -> None:
    def refuse(hits: Hits) -> Future[Tracks]:
        future: Future[Tracks] = Future()
        future.set_exception(NotFiniteError("no"))
        return future

    def refuse_at_once(hits: Hits) -> Future[Tracks]:
        raise NotFiniteError("no")

    def cancel(hits: Hits) -> Future[Tracks]:
        future: Future[Tracks] = Future()
        future.cancel()
        return future

    for sender, words in (
        (FutureSender(refuse, SENT), "NotFiniteError: no"),
        (FutureSender(refuse_at_once, SENT), "NotFiniteError: no"),
        (FutureSender(cancel, SENT), "cancelled"),
    ):
        sender.send(1, 0)
        (answer,) = sender.answers(10.0)
        sender.close()
        assert (answer.ticket, answer.labels, answer.error) == (1, None, words)


def test_a_workload_knows_what_is_right() -> None:
    workload = direct_workload(SENT.hits, find)
    for event, labels in enumerate(SENT.labels):
        assert np.array_equal(workload.labels[event], labels)
        assert workload.difference(event, labels) is None
        assert workload.difference(event, memoryview(labels.tobytes())) is None
    assert workload.difference(0, np.array([0, 1, -1])) == "event 0: 1 of 3 labels differ from the direct ones"
    assert workload.difference(0, np.array([0, 1, 2], np.int32)) == "event 0: got 12 bytes of labels, expected 24"
    with pytest.raises(ConfigError, match="got no event"):
        Workload((), ())
    with pytest.raises(ShapeError, match="one label per hit"):
        Workload(SENT.hits, SENT.labels[::-1])


def raw_requests(workload: Workload, address: str, path: str) -> tuple[bytes, ...]:
    """One request per event, with its coordinates as the body."""
    bodies = [np.ascontiguousarray(hits.position, "<f4").tobytes() for hits in workload.hits]
    head = f"POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: "
    return tuple(f"{head}{len(body)}\r\n\r\n".encode("ascii") + body for body in bodies)


LARGE = 200_000
"""Hits of an event that fits into no socket buffer."""
ASKED = workload_of(3, 0, 700, LARGE)


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
    sender = HttpSender(address, requests, max(map(len, ASKED.hits)), connections)
    yield sender
    sender.close()


def test_labels_come_over_http(address: str) -> None:
    with http(address, raw_requests(ASKED, address, "/find")) as sender:
        run = closed_loop(sender, ASKED, 3, seconds=0.1, warm_up=0.05)
    assert run.faults == {}
    assert run.good.all()
    assert len(run) >= 6
    assert Handler.requests == run.n_all
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
    with http(address, raw_requests(ASKED, address, path)) as sender:
        run = closed_loop(sender, ASKED, 2, seconds=0.05, warm_up=0.0)
    assert message in run.faults
    result = summarise(run)
    assert sum(run.faults.values()) >= result.failed > 0


def test_a_server_that_hangs_up_costs_that_request_only(address: str) -> None:
    with http(address, raw_requests(ASKED, address, "/hang_up"), connections=1) as sender:
        run = closed_loop(sender, ASKED, 1, seconds=0.0001, warm_up=0.0, min_requests=8)
    assert sum(run.faults.values()) == run.n_all // 2
    assert list(run.faults) == [
        "ServiceUnavailableError: the server closed the connection before the answer was complete"
    ]


def test_a_server_that_is_not_there_is_an_answer() -> None:
    with http("127.0.0.1:1", raw_requests(ASKED, "127.0.0.1:1", "/find")) as sender:
        sender.send(7, 0)
        (answer,) = sender.answers(10.0)
    assert answer.ticket == 7
    assert answer.error is not None
    assert answer.error.startswith("ConnectionRefusedError")


def test_more_requests_than_connections_are_refused(address: str) -> None:
    with http(address, raw_requests(ASKED, address, "/find"), connections=1) as sender:
        sender.send(0, 0)
        with pytest.raises(ConfigError, match="all 1 connections busy"):
            sender.send(1, 0)
        assert len(sender.answers(10.0)) == 1
        assert sender.answers(0.0) == []
