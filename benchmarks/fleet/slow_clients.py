"""What slow clients of one user cost others: at the gateway of a fleet, and at the reverse proxy of a single server.

    python benchmarks/fleet/slow_clients.py [--seconds 6] [--repeats 2] [--numbers 20 200]

A fifth of the slow clients each send a body that fits into the buffer, or one that does not, byte by byte after its
first part; send nothing; close one direction in the middle of a body; or send a request and leave. Who is cut off comes
back. Others ask meanwhile, with stock clients of gRPC and HTTP. Three times alternate: without slow clients, with slow
clients *elsewhere*, at a single server of their own on the same machine, and with them at the service of the others.

*Ratio*: p99 of the others with slow clients over that without. The same with slow clients elsewhere is what they cost
because their work, that of their proxy included, runs on the same cores; the rest is what their service lets them take.
Whole requests of clients that leave are worked on, and Triton before 2.59 can crash when a gRPC request is cancelled
just before its answer: *crashes* counts the restarts of a single server.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

from beampipe.triton.server.access import AccessSettings
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer

sys.path.insert(0, str(Path(__file__).parents[2]))  # slow clients and small models stand with the tests
from tests.triton.doublers import add_canary, write_model
from tests.triton.slow_clients import KINDS, Kind, SlowClients

PROTOCOLS: Final = ("grpc", "http")
_WORK: Final = 0.005
"""Time [s] that the model sleeps for each request of the others."""


@dataclass
class Others:
    """Latencies [s] of the others, without slow clients, with them elsewhere and here, and their failed requests.

    `crashes` counts the servers that died meanwhile.
    """

    without: list[float] = field(default_factory=list)
    elsewhere: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    crashes: int = 0


@dataclass(frozen=True)
class Service:
    """A service: its ports by protocol.

    Attributes:
        ports: port by protocol.
        crashes: gives the number of its servers that have died, as far as it is counted.
    """

    ports: dict[str, int]
    crashes: Callable[[], int] = lambda: 0


def main() -> None:
    parser = options_of("slow_clients", __doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each time with, or without, slow clients")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--numbers", type=int, nargs="+", default=[20, 200], help="numbers of slow clients")
    options = parser.parse_args()
    begun = begin("slow clients", ("tritonclient",))
    figures = []
    failures: list[str] = []
    crashes = 0
    with a_server() as elsewhere:
        for name, start in (("fleet", a_fleet), ("single server", a_server)):
            with start() as service:
                for protocol, number in product(PROTOCOLS, options.numbers):
                    others = measured(service, elsewhere, protocol, number, options)
                    p99 = [milliseconds(times, 99)[0] for times in (others.without, others.elsewhere, others.beside)]
                    title = f"{name}, {number} {protocol}"
                    figures.append(Figure(f"{title}: p99 of others over p99 without", p99[2] / p99[0]))
                    CONSOLE.print(f"{title}: elsewhere {p99[1] / p99[0]:.2f}", markup=False)
                    failures += others.failures
                    crashes += others.crashes
    figures.append(Figure("failed requests of others", len(failures), "", "equal"))
    figures.append(Figure("crashes", crashes, "", "equal"))
    write_result(options.output, begun, figures, failures=failures[:10])
    raise SystemExit(1 if failures else 0)


def write_doubler(repository: Path) -> None:
    """The model, which sleeps for its first value [s]."""
    write_model(repository, "one", count=4)
    add_canary(repository, "one")


@contextmanager
def a_fleet() -> Iterator[Service]:
    """A fleet of two servers."""
    with running(write_doubler) as fleet:
        yield Service(dict.fromkeys(PROTOCOLS, fleet.port))


@contextmanager
def a_server() -> Iterator[Service]:
    """A server behind its reverse proxy."""
    with TemporaryDirectory(prefix="beampipe-bench-") as folder:
        write_doubler(Path(folder))
        access = AccessSettings(proxy=True, proxy_grpc=True)
        with TritonServer(ServerSettings(Path(folder), ("one",), access=access)) as server:

            def crashes() -> int:
                return sum(incident.kind == "server died" for incident in server.incidents)

            yield Service({"grpc": server.ports.grpc, "http": server.ports.http}, crashes)


def measured(service: Service, elsewhere: Service, protocol: str, number: int, options: argparse.Namespace) -> Others:
    """The others, in times without slow clients, with them elsewhere, and with them here, that alternate."""
    others, ended, crashed = Others(), threading.Event(), service.crashes()
    latencies = [others.without]
    works = [
        partial(ask, name, service.ports[name], latencies, others.failures, ended)
        for name in PROTOCOLS
        for _ in range(2)
    ]
    with at_work(ended, *works):
        for _ in range(options.repeats):
            latencies[0] = others.without
            time.sleep(options.seconds)
            latencies[0] = []  # while they begin and end
            for attacked, kept in ((elsewhere, others.elsewhere), (service, others.beside)):
                with slow_clients(attacked.ports[protocol], protocol, number):
                    latencies[0] = kept
                    time.sleep(options.seconds)
                    latencies[0] = []
    others.crashes = service.crashes() - crashed
    return others


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
def slow_clients(port: int, protocol: str, number: int) -> Iterator[None]:
    """Slow clients of all kinds, in a process of their own, once all have begun."""
    context = multiprocessing.get_context("spawn")
    begun = context.Semaphore(0)
    process = context.Process(target=be_slow, args=(port, protocol, number, begun), daemon=True)
    process.start()
    try:
        for _ in KINDS:
            begun.acquire()
        yield
    finally:
        process.terminate()
        process.join()


def be_slow(port: int, protocol: str, number: int, begun: Any) -> None:
    """Be slow for ever, in all ways."""

    def repeat(kind: Kind) -> None:
        first = True
        while True:
            with SlowClients(port, protocol, kind, number // len(KINDS), pause=1.0) as slow:
                if first:
                    begun.release()
                first = False
                time.sleep(0.5)
                while slow.connections:
                    time.sleep(0.1)

    threads = [threading.Thread(target=repeat, args=(kind,)) for kind in KINDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
