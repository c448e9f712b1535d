"""What slow clients of one user cost others: at the gateway of a fleet, and at the reverse proxy of a single server.

    python benchmarks/fleet/slow_clients.py [--seconds 6] [--repeats 2] [--numbers 20 200]

A fifth of the slow clients each send a body that fits into the buffer, or one that does not, byte by byte after its
first part; send nothing; close one direction in the middle of a body; or send a request and leave. Who is cut off comes
back. Others ask meanwhile, with stock clients of gRPC and HTTP. Times with and without slow clients alternate.

*Ratio*: p99 of the others with slow clients over that without.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
import tritonclient.grpc
import tritonclient.http
from fleets import CONSOLE, at_work, milliseconds, options_of, print_header, report, running, verdict
from tritonclient.utils import InferenceServerException

from beampipe.terminal import make_table
from beampipe.triton.server.access import AccessSettings
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer

sys.path.insert(0, str(Path(__file__).parents[2]))  # slow clients and small models stand with the tests
from tests.triton.doublers import add_canary, write_model
from tests.triton.slow_clients import KINDS, Kind, SlowClients

PROTOCOLS: Final = ("grpc", "http")
WANTED_RATIO: Final = 1.5
_WORK: Final = 0.005
"""Time [s] that the model sleeps for each request of the others."""


@dataclass
class Others:
    """Latencies [s] of the others, without and with slow clients, and their failed requests."""

    without: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def main() -> None:
    parser = options_of("slow_clients", __doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each time with, or without, slow clients")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--numbers", type=int, nargs="+", default=[20, 200], help="numbers of slow clients")
    options = parser.parse_args()
    begun = print_header("slow clients", options)
    rows = []
    for name, service in (("fleet", a_fleet), ("single server", a_server)):
        with service() as ports:
            for protocol in PROTOCOLS:
                for number in options.numbers:
                    others = measured(ports, protocol, number, options)
                    rows.append({"where": name, "protocol": protocol, "slow": number, **figures_of(others)})
    table = make_table("others", ("where", "slow clients"), ("answered", "failed", "p99 without", "with [ms]", "ratio"))
    for row in rows:
        p99 = (f"{row[key]:.1f}" for key in ("p99_without_ms", "p99_with_ms"))
        slow = f"{row['slow']}, {row['protocol']}"
        table.add_row(row["where"], slow, str(row["answered"]), str(row["failed"]), *p99, f"{row['ratio']:.2f}")
    CONSOLE.print(table)
    summary = [
        verdict(
            f"{row['where']}, {row['slow']} slow over {row['protocol']}",
            not row["failed"] and row["ratio"] <= WANTED_RATIO,
            f"ratio {row['ratio']:.2f}, wanted at most {WANTED_RATIO}; {row['failed']} failed {row['examples']}",
        )
        for row in rows
    ]
    report(options, begun, {"rows": rows, "summary": summary})
    raise SystemExit(0 if all(line["met"] for line in summary) else 1)


def write_doubler(repository: Path) -> None:
    """The model, which sleeps for its first value [s]."""
    write_model(repository, "one", count=4)
    add_canary(repository, "one")


@contextmanager
def a_fleet() -> Iterator[dict[str, int]]:
    """Ports of a fleet of two servers, by protocol."""
    with running(write_doubler) as fleet:
        yield dict.fromkeys(PROTOCOLS, fleet.port)


@contextmanager
def a_server() -> Iterator[dict[str, int]]:
    """Ports of a server behind its reverse proxy, by protocol."""
    with TemporaryDirectory(prefix="beampipe-bench-") as folder:
        write_doubler(Path(folder))
        access = AccessSettings(proxy=True, proxy_grpc=True)
        with TritonServer(ServerSettings(Path(folder), ("one",), access=access)) as server:
            yield {"grpc": server.ports.grpc, "http": server.ports.http}


def measured(ports: dict[str, int], protocol: str, number: int, options: argparse.Namespace) -> Others:
    """The others, in times without and with slow clients that alternate."""
    others, ended = Others(), threading.Event()
    latencies = [others.without]
    works = [partial(ask, name, ports[name], latencies, others.failures, ended) for name in PROTOCOLS for _ in range(2)]
    with at_work(ended, *works):
        for _ in range(options.repeats):
            latencies[0] = others.without
            time.sleep(options.seconds)
            with slow_clients(ports[protocol], protocol, number):
                latencies[0] = others.beside
                time.sleep(options.seconds)
                latencies[0] = []  # while they end
    return others


def ask(protocol: str, port: int, latencies: list[list[float]], failures: list[str], ended: threading.Event) -> None:
    """Ask all the time, as a stock client; each latency goes into the list that stands first in `latencies`."""
    stock: Any = tritonclient.grpc if protocol == "grpc" else tritonclient.http
    tensor = stock.InferInput("X", [300], "FP32")
    tensor.set_data_from_numpy(np.full(300, _WORK, np.float32))
    with stock.InferenceServerClient(f"127.0.0.1:{port}") as client:
        while not ended.wait(0.02):
            begin = time.perf_counter()
            try:
                client.infer("one", [tensor])
            except InferenceServerException as error:
                failures.append(f"{protocol}: {error}")
            latencies[0].append(time.perf_counter() - begin)


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


def figures_of(others: Others) -> dict[str, Any]:
    without, beside = milliseconds(others.without, 99)[0], milliseconds(others.beside, 99)[0]
    return {
        "answered": len(others.without) + len(others.beside) - len(others.failures),
        "failed": len(others.failures),
        "examples": others.failures[:2],
        "p99_without_ms": without,
        "p99_with_ms": beside,
        "ratio": beside / without,
    }


if __name__ == "__main__":
    main()
