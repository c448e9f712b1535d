"""What hostile clients of one user cost others: at the gateway of a fleet, and at the reverse proxy of a single server.

    python benchmarks/fleet/slow_clients.py [--seconds 6] [--repeats 2] [--numbers 20 200] [--sockets 0] [--core 1]

A fifth of the slow clients each send a body that fits into the buffer, or one that does not, byte by byte after its
first part; send nothing; close one direction in the middle of a body; or send a request and leave. Who is cut off comes
back. Others ask meanwhile, with stock clients of gRPC and HTTP. Times without slow clients and with them alternate.

With ``--sockets N``, the service has once more N hostile clients over both protocols: seven in ten are connected and
send nothing, three in twenty are slow, one in ten sends what is no request, and one in twenty cancels gRPC requests
at random moments, 2,000 in a second. New clients come meanwhile, each with a connection of its own.

*Ratio*: p99 of the others with slow clients over that without. With ``--core C`` the hostile clients have that core,
and everything else has the others. *Deaths*: servers that died.
Triton before 2.59 can die when a gRPC request is cancelled just before its answer.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
import tritonclient.grpc
import tritonclient.http
from fleets import CONSOLE, Figure, at_work, begin, milliseconds, options_of, running, write_result
from tritonclient.utils import InferenceServerException

from beampipe.triton.server.haproxy import PublicPort
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer

sys.path.insert(0, str(Path(__file__).parents[2]))  # slow clients and small models stand with the tests
from tests.triton.doublers import add_canary, write_model
from tests.triton.slow_clients import KINDS, CancellingClient, Kind, SlowClients

PROTOCOLS: Final = ("grpc", "http")
_WORK: Final = 0.005
"""Time [s] that the model sleeps for each request of the others."""


SHARES: Final = {"idle": 0.7, "slow": 0.15, "malformed": 0.1, "cancelling": 0.05}
"""Shares of the hostile clients of ``--sockets``."""


@dataclass
class Others:
    """Latencies [s] of the others, without hostile clients and beside them, and their failed requests.

    `new` has the times [s] from a connection to the answer on it, `deaths` the number of servers that died.
    """

    without: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    deaths: int = 0


@dataclass(frozen=True)
class Service:
    """A service: its ports by protocol.

    Attributes:
        ports: port by protocol.
        deaths: gives the number of its servers that have died.
    """

    ports: dict[str, int]
    deaths: Callable[[], int]


def main() -> None:
    parser = options_of("slow_clients", __doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each time with, or without, slow clients")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--numbers", type=int, nargs="+", default=[20, 200], help="numbers of slow clients")
    parser.add_argument("--sockets", type=int, default=0, help="number of hostile clients of all kinds")
    parser.add_argument("--core", type=int, default=None, help="core of the hostile clients alone")
    options = parser.parse_args()
    begun = begin("slow clients", ("tritonclient",))
    if options.core is not None:
        os.sched_setaffinity(0, os.sched_getaffinity(0) - {options.core})
    figures = []
    failures: list[str] = []
    deaths = 0
    for name, start in (("fleet", a_fleet), ("single server", a_server)):
        with start() as service:
            attacks = {f"{number} {one}": {one: number} for one, number in product(PROTOCOLS, options.numbers)}
            if options.sockets:
                attacks[f"{options.sockets} of all kinds"] = {"all": options.sockets}
            for attack, numbers in attacks.items():
                others = measured(service, numbers, options)
                ratio = milliseconds(others.beside, 99)[0] / milliseconds(others.without, 99)[0]
                title = f"{name}, {attack}"
                figures.append(Figure(f"{title}: p99 of others over p99 without", ratio))
                figures.append(Figure(f"{title}: p99 of a new connection", milliseconds(others.new, 99)[0], "ms"))
                CONSOLE.print(
                    f"{title}: {len(others.beside)} requests, {len(others.failures)} lost, {others.deaths} deaths;"
                    f" new connections {milliseconds(others.new, 50, 99, 100)} ms",
                    markup=False,
                )
                failures += others.failures
                deaths += others.deaths
    figures.append(Figure("failed requests of others", len(failures), "", "equal"))
    figures.append(Figure("deaths of servers", deaths, "", "equal"))
    write_result(options.output, begun, figures, failures=failures[:10])
    raise SystemExit(1 if failures or deaths else 0)


def write_doubler(repository: Path) -> None:
    """The model, which sleeps for its first value [s]."""
    write_model(repository, "one", count=4)
    add_canary(repository, "one")


@contextmanager
def a_fleet() -> Iterator[Service]:
    """A fleet of two servers."""
    with running(write_doubler) as fleet:
        first = set(fleet.tritons())
        yield Service(dict.fromkeys(PROTOCOLS, fleet.port), lambda: len(set(fleet.tritons()) - first))


@contextmanager
def a_server() -> Iterator[Service]:
    """A server behind its reverse proxy."""
    with TemporaryDirectory(prefix="beampipe-bench-") as folder:
        write_doubler(Path(folder))
        with TritonServer(ServerSettings(Path(folder), ("one",))) as server:

            def deaths() -> int:
                return sum(incident.kind == "server died" for incident in server.incidents)

            yield Service({"grpc": server.ports.grpc, "http": server.ports.http}, deaths)


def measured(service: Service, numbers: Mapping[str, int], options: argparse.Namespace) -> Others:
    """The others, in times without hostile clients and with them that alternate."""
    others, ended, died = Others(), threading.Event(), service.deaths()
    latencies, new = [others.without], [list[float]()]
    works = [
        partial(ask, name, service.ports[name], latencies, others.failures, ended)
        for name in PROTOCOLS
        for _ in range(2)
    ]
    works += [partial(come, name, service.ports[name], new, others.failures, ended) for name in PROTOCOLS]
    with at_work(ended, *works):
        for _ in range(options.repeats):
            latencies[0] = others.without
            time.sleep(options.seconds)
            latencies[0] = []  # while they begin and end
            with hostile_clients(service.ports, numbers, options.core):
                latencies[0], new[0] = others.beside, others.new
                time.sleep(options.seconds)
                latencies[0], new[0] = [], []
    others.deaths = service.deaths() - died
    return others


def come(protocol: str, port: int, times: list[list[float]], failures: list[str], ended: threading.Event) -> None:
    """Come with a new connection again and again; the time to the answer goes into the list that stands first."""
    alone = [("grpc.use_local_subchannel_pool", 1)]  # no connection of another channel
    while not ended.wait(0.05):
        asked = time.perf_counter()
        try:
            if protocol == "grpc":
                with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}", channel_args=alone) as client:
                    answered = client.is_server_ready(client_timeout=20.0)
            else:
                answered = PublicPort("127.0.0.1", port, False, False, "/v2/health/ready").answers(20.0)
        except InferenceServerException:
            answered = False
        if not answered:
            failures.append(f"{protocol}: no answer on a new connection")
        times[0].append(time.perf_counter() - asked)


def ask(protocol: str, port: int, latencies: list[list[float]], failures: list[str], ended: threading.Event) -> None:
    """Ask all the time, as a stock client; each latency goes into the list that stands first in `latencies`."""
    stock: Any = tritonclient.grpc if protocol == "grpc" else tritonclient.http
    tensor = stock.InferInput("X", [300], "FP32")
    tensor.set_data_from_numpy(np.full(300, _WORK, np.float32))
    with stock.InferenceServerClient(f"127.0.0.1:{port}") as client:
        while not ended.wait(0.02):
            asked = time.perf_counter()
            try:
                client.infer("one", [tensor])
            except InferenceServerException as error:
                failures.append(f"{protocol}: {error}")
            latencies[0].append(time.perf_counter() - asked)


@contextmanager
def hostile_clients(ports: Mapping[str, int], numbers: Mapping[str, int], core: int | None) -> Iterator[None]:
    """Hostile clients in a process of their own, once all have begun.

    Args:
        ports: ports of a service.
        numbers: number of slow clients by protocol, or, under ``all``, of those of all kinds.
        core: their core; None for any.
    """
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    process = context.Process(target=be_hostile, args=(dict(ports), dict(numbers), core, begun), daemon=True)
    process.start()
    try:
        begun.wait()
        yield
    finally:
        process.terminate()
        process.join()


def be_hostile(ports: dict[str, int], numbers: dict[str, int], core: int | None, begun: Any) -> None:
    """Be hostile for ever, in all ways."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    in_all = numbers.pop("all", 0)
    works: list[Callable[[threading.Event], None]] = []
    for protocol, port in ports.items():
        slow = numbers.get(protocol, 0) + int(SHARES["slow"] * in_all / 2)
        works += [partial(be_slow, port, protocol, kind, slow // len(KINDS)) for kind in KINDS if slow]
        if in_all:
            works.append(partial(be_idle, port, int(SHARES["idle"] * in_all / 2)))
            works.append(partial(be_malformed, port, int(SHARES["malformed"] * in_all / 2)))
    if in_all:
        works.append(partial(be_cancelling, ports["grpc"], int(SHARES["cancelling"] * in_all)))
    started = [threading.Event() for _ in works]
    for work, event in zip(works, started, strict=True):
        threading.Thread(target=work, args=(event,), daemon=True).start()
    for event in started:
        event.wait()
    begun.set()
    threading.Event().wait()


def be_slow(port: int, protocol: str, kind: Kind, number: int, started: threading.Event) -> None:
    """Slow clients of one kind; those that are cut off come back."""
    while True:
        with SlowClients(port, protocol, kind, number, pause=1.0) as slow:
            started.set()
            time.sleep(0.5)
            while slow.connections:
                time.sleep(0.1)


def connected(port: int) -> socket.socket:
    """A connection that is not waited for."""
    connection = socket.socket()
    connection.setblocking(False)
    with suppress(BlockingIOError):
        connection.connect(("127.0.0.1", port))
    return connection


def be_idle(port: int, number: int, started: threading.Event) -> None:
    """Connect, and send nothing; who is cut off comes back."""
    connections = [connected(port) for _ in range(number)]
    started.set()
    while True:
        time.sleep(0.2)
        for row, connection in enumerate(connections):
            try:
                connection.recv(1000)
            except BlockingIOError:
                continue
            except OSError:
                pass
            connection.close()
            connections[row] = connected(port)


def be_malformed(port: int, number: int, started: threading.Event) -> None:
    """Send what is no request, each client once in five seconds."""
    generator = random.Random(port)
    broken = b'POST /v2/models/one/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{"inputs"'
    half = b"PRI * HTTP/2.0\r\n\r\n\0\0"
    connections = [connected(port) for _ in range(number)]
    started.set()
    while True:
        for row in range(number):
            with suppress(OSError):
                connections[row].send(generator.choice([broken, generator.randbytes(200), half]))
            connections[row - number // 2].close()
            connections[row - number // 2] = connected(port)
            time.sleep(5.0 / number)


def be_cancelling(port: int, number: int, started: threading.Event) -> None:
    """Cancel 2,000 gRPC requests in a second, each at a random moment within 4 ms."""
    generator = random.Random(port)
    clients = [CancellingClient(port) for _ in range(number)]
    started.set()
    while True:
        begin = time.monotonic()
        some = generator.sample(clients, min(20, number))
        for client in some:
            client.ask()
        time.sleep(generator.random() * 0.004)
        for client in some:
            client.cancel()
        time.sleep(max(0.0, begin + 0.01 - time.monotonic()))


if __name__ == "__main__":
    main()
