"""Saturation for as long as one likes: every answer compared, memory watched.

    python benchmarks/serving/soak.py --minutes 30 [--clients 6] [--backend python]

Clients send events at mu = 0, 60 and 200 in turn (`MIX`), over gRPC, HTTP and shared memory, to models that take one
event and to one that batches, and compare each answer byte for byte with what the pipeline gave here before. Memory of
the server, of each model's process and of their shared memory is taken every 10 s; its slope is a straight line fitted
to what was taken after the warm-up, the first `--warm-up` of the time, with the standard error of the slope. At the end
the server is stopped and nothing may be left of it.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from growth import memory_now, regions, slopes, table_of
from numpy import ndarray
from rich.progress import Progress
from served import (
    CONSOLE,
    direct_finder,
    events_at,
    finder_of,
    options_of,
    pipeline_of,
    print_header,
    report,
    serving,
    verdict,
)

from beampipe.arrays import Int64
from beampipe.errors import BeampipeError
from beampipe.events import Hits
from beampipe.triton.server.server import TritonServer

MODELS = ("exatrkx", "exatrkx_ragged", "module_map")
PROTOCOLS = ("grpc", "http", "shm")
MIX = {0: 40, 60: 4, 200: 1}
"""How many events of each pile-up a client sends in one turn."""
WINDOW = 8
"""Requests that one client has in flight."""
FLAT = 20.0
"""Memory is flat if it grows by less [MB/h], or by no more than three standard errors."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Events and the labels due, by pipeline."""

    events: Sequence[Hits]
    labels: dict[str, list[Int64[ndarray, " _"]]]


@dataclass(eq=False)
class Tally:
    """What came back, from all clients."""

    events: Counter[str] = field(default_factory=Counter)
    hits: int = 0
    wrong: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def main() -> None:
    parser = options_of("soak", __doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--instances", type=int, default=1)
    parser.add_argument("--every", type=float, default=10.0, help="between looks at the memory [s]")
    parser.add_argument("--warm-up", type=float, default=0.2, help="part of the time that the slope leaves out")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--log", type=Path, help="file to which the log of the server is appended")
    options = parser.parse_args()
    begun = print_header("soak", options)
    sample = prepared(options)
    tally, memory = Tally(), []
    clients_left = regions("beampipe_client_")
    how = {"instances": options.instances, "threads": options.threads, "backend": options.backend, "log": options.log}
    with serving(options.models, **how) as server:
        prefix = server.prefix
        pids = [server.pid, *(stub.pid for stub in server.stubs())]
        memory = soak(server, sample, tally, options)
        same = pids == [server.pid, *(stub.pid for stub in server.stubs())]
        incidents = [f"{incident.kind}: {incident.text}" for incident in server.incidents]
    left = [path.name for path in [*regions(prefix), *regions("beampipe_client_")] if path not in clients_left]
    rows = slopes(memory, options.warm_up)
    CONSOLE.print(table_of(rows))
    total = sum(tally.events.values())
    per_second = total / (60 * options.minutes)
    bad = f"{len(tally.errors)} errors {tally.errors[:2]}, {len(tally.wrong)} wrong {tally.wrong[:2]}"
    grows = [row["what"] for row in rows if row["slope"] > max(FLAT, 3 * row["error"])]
    summary = [
        verdict(
            "answers", total > 0 and not tally.errors and not tally.wrong, f"{total} events, {per_second:.1f}/s; {bad}"
        ),
        verdict("memory after warm-up", not grows, f"grows: {', '.join(grows) or 'none'}"),
        verdict("processes", same, f"the same at the end as at the start; incidents: {incidents[1:]}"),
        verdict("after the stop", not left, f"{len(left)} segments left {left[:3]}"),
    ]
    body = {
        "minutes": options.minutes,
        "events": dict(tally.events),
        "hits": tally.hits,
        "wrong": tally.wrong[:100],
        "errors": tally.errors[:100],
        "incidents": incidents,
        "memory": memory,
        "slopes": rows,
        "left": left,
        "summary": summary,
    }
    report(options, begun, body)
    raise SystemExit(0 if all(line["met"] for line in summary) else 1)


def prepared(options: argparse.Namespace) -> Sample:
    """The events of one turn in random order, and their labels, found once."""
    events = [hits for mu, count in MIX.items() for hits in events_at(mu, count, options.seed)]
    order = np.random.default_rng(options.seed).permutation(len(events))
    events = [events[row] for row in order]
    labels = {}
    for pipeline in dict.fromkeys(map(pipeline_of, options.models)):
        finder = direct_finder(pipeline, options.threads)
        labels[pipeline] = [finder.find(hits).track_id for hits in events]
    return Sample(events, labels)


def soak(server: TritonServer, sample: Sample, tally: Tally, options: argparse.Namespace) -> list[dict[str, float]]:
    """All clients for the time allowed; memory by time."""
    begin = time.monotonic()
    end = begin + 60 * options.minutes
    ways = cycle([(model, protocol) for protocol in PROTOCOLS for model in options.models])
    memory = []
    with ThreadPoolExecutor(options.clients) as pool, Progress(console=CONSOLE, transient=True) as progress:
        task = progress.add_task("events", total=60 * options.minutes)
        running = [pool.submit(client, server, sample, tally, ways, end, number) for number in range(options.clients)]
        while any(not item.done() for item in running):
            memory.append({"minute": (time.monotonic() - begin) / 60, **memory_now(server)})
            progress.update(
                task, completed=time.monotonic() - begin, description=f"{sum(tally.events.values())} events"
            )
            for entry in running:
                if entry.done():
                    entry.result()
            time.sleep(max(0.1, min(options.every, end - time.monotonic())))
        for entry in running:
            entry.result()
    return memory


def client(server: TritonServer, sample: Sample, tally: Tally, ways: Any, end: float, number: int) -> None:
    """One client: turn after turn, each another model over another protocol, with some requests in flight."""
    n = len(sample.events)
    turn = number
    while time.monotonic() < end:
        with tally.lock:
            model, protocol = next(ways)
        name, pipeline = f"{model} {protocol}", pipeline_of(model)
        turn += 1
        with finder_of(server, model, protocol, retries=None, in_flight=WINDOW, timeout=300) as finder:
            rows = [(7 * turn + step) % n for step in range(n)]
            for begin in range(0, n, WINDOW):
                if time.monotonic() >= end:
                    break
                answers = [(row, finder.submit(sample.events[row])) for row in rows[begin : begin + WINDOW]]
                for row, answer in answers:
                    try:
                        result = answer.result().track_id
                    except BeampipeError as error:
                        with tally.lock:
                            tally.errors.append(f"{name}: {type(error).__name__}: {error}")
                        continue
                    with tally.lock:
                        tally.events[name] += 1
                        tally.hits += len(result)
                        if result.tobytes() != sample.labels[pipeline][row].tobytes():
                            tally.wrong.append(f"{name}: event of {len(result)} hits")


if __name__ == "__main__":
    main()
