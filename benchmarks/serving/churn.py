"""Half a million requests from clients that come and go, half of them before their answer is there.

    python benchmarks/serving/churn.py [--requests 500000] [--backend python]

Visitors (`visitors.py`) make a connection, ask a few times for a tiny event over HTTP or gRPC, and go. Every second one
leaves early: it sends half a request, closes or resets its connection, or takes a part of the answer. Others compare
every label. Memory, open files and waiting requests of the server are looked at every `--every` seconds; slopes
are per 100,000 requests, after the first fifth. At the end nothing may wait any more, no connection may be left, and an
honest client must get the right labels over each protocol.

The supervisor is off by default: what happens to the server is to be seen, not mended.

Triton 2.51 crashes, or has its heap corrupt, when the network tells of a cancelled gRPC request at the moment at which
its answer is ready: the state of the request is then handled twice, the second time after it was given to another one
(triton-inference-server/server#7368; #7840, #8078 and #8220 mend it, in 2.54, 2.57 and 2.59). Tiny events whose clients
leave within a millisecond hit that moment once in thirty to some hundred times. So only clients over HTTP leave early,
unless `--farewells` names other ways, and those over gRPC stay.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from growth import descriptors_of, memory_now, slopes
from served import (
    Figure,
    begin,
    counter,
    direct_finder,
    events_of_sizes,
    finder_of,
    options_of,
    serving,
    wait_until,
    write_result,
)
from visitors import GRPC_FAREWELLS, HTTP_FAREWELLS, Plan, Tally, visit_for_long
from wires import http_request, questions_of

from beampipe.errors import BeampipeError
from beampipe.events import Hits
from beampipe.triton.server.server import TritonServer

MODEL: Final = "exatrkx"
WARM_UP: Final = 0.2
"""Part of the requests that the slopes leave out."""
PER: Final = 100_000.0
"""Slopes are per so many requests."""
SPARE: Final = 10
"""Files that the server may have open beyond those of the beginning: some are made as they are needed."""
ABANDONED: Final = 30.0
"""Time [s] in which all that nobody waits for must be done, once the visitors are gone."""

WAITING: Final = "nv_inference_pending_request_count"
"""Metric that counts the requests that wait."""

FAREWELLS: Final = (*HTTP_FAREWELLS, *GRPC_FAREWELLS)

_sent: Any = None
"""Number of requests of all processes; each process gets it once."""


def main() -> None:
    parser = options_of("churn", __doc__)
    parser.add_argument("--requests", type=int, default=500_000)
    parser.add_argument("--visitors", type=int, default=4, help="processes of visitors")
    parser.add_argument("--hits", type=int, default=60, help="hits of the largest event")
    parser.add_argument(
        "--farewells",
        nargs="*",
        choices=FAREWELLS,
        default=list(HTTP_FAREWELLS),
        metavar="NAME",
        help="how visitors leave early",
    )
    parser.add_argument("--every", type=float, default=5.0, help="between looks at the server [s]")
    parser.add_argument("--supervise", action="store_true", help="let the supervisor mend what happens")
    parser.add_argument("--log", type=Path, help="file to which the log of the server is appended")
    options = parser.parse_args()
    begun = begin("clients that come and go")
    events = [hits for hits in events_of_sizes(40, options.hits, options.seed) if len(hits)]
    direct = direct_finder(MODEL)
    labels = [direct.find(hits).track_id.tobytes() for hits in events]
    how = {"backend": options.backend, "threads": options.threads, "log": options.log, "supervise": options.supervise}
    with serving([MODEL], **how) as server:
        pid, honest = server.pid, wrong_labels(server, events, labels)
        before = descriptors_of(pid)
        tally, samples = churned(server, plan_of(server, events, labels, options.farewells), options)
        waited = wait_until(lambda: not counter(server, WAITING, MODEL), ABANDONED) if server.pid else float("inf")
        wait_until(lambda: descriptors_of(pid) <= before + SPARE, 10.0)
        after, alive = descriptors_of(pid), server.pid == pid
        honest += wrong_labels(server, events, labels)
    growth = {row["what"]: row for row in slopes(samples, WARM_UP, along="requests", per=PER)}
    figures = [
        Figure("requests", tally.requests, "", "higher"),
        Figure("wrong labels", tally.wrong + len(honest), "", "equal"),
        Figure("requests without an answer", tally.errors.total(), "", "equal"),
        Figure("servers that died", int(not alive), "", "equal"),
        Figure("files left open", max(0, after - before - SPARE), "", "equal"),
        Figure("requests left waiting", int(waited == float("inf")), "", "equal"),
    ]
    if "server" in growth and np.isfinite(growth["server"]["error"]):
        row = growth["server"]
        figures.append(Figure("growth of the server", row["slope"], "MB per 100,000 requests", spread=row["error"]))
    counts = {"answered": tally.answered, "left": tally.left, "errors": tally.errors}
    write_result(options.output, begun, figures, **counts, honest=honest, samples=samples)
    raise SystemExit(1 if any(figure.value for figure in figures if figure.better == "equal") else 0)


def plan_of(server: TritonServer, events: Sequence[Hits], labels: Sequence[bytes], farewells: Sequence[str]) -> Plan:
    """All requests, made."""
    from tritonclient.grpc import service_pb2

    requests = questions_of(events, MODEL).requests
    return Plan(
        server.http_url,
        server.grpc_url,
        [http_request(server.http_url, request.to_http(), {}) for request in requests],
        [request.to_grpc(service_pb2).SerializeToString() for request in requests],
        labels,
        farewells,
    )


def churned(server: TritonServer, plan: Plan, options: argparse.Namespace) -> tuple[Tally, list[dict[str, float]]]:
    """What became of all requests, and what was seen of the server meanwhile."""
    context = multiprocessing.get_context("spawn")
    sent = context.Value("q", 0)
    share = -(-options.requests // options.visitors)
    samples: list[dict[str, float]] = []
    tally = Tally()
    with ProcessPoolExecutor(options.visitors, context, initializer=set_sent, initargs=(sent,)) as pool:
        seeds = range(1000 * options.seed, 1000 * options.seed + options.visitors)
        running: list[Future[Tally]] = [pool.submit(visits, plan, share, seed) for seed in seeds]
        while not all(item.done() for item in running):
            samples.append(look(server, sent.value))
            wait_until(lambda: all(item.done() for item in running), options.every, pause=0.1)
        for entry in running:
            tally.add(entry.result())
    samples.append(look(server, tally.requests))
    return tally, samples


def look(server: TritonServer, requests: int) -> dict[str, float]:
    """What is seen of a server: memory [MB], open files, waiting requests."""
    seen: dict[str, float] = {"requests": requests, **memory_now(server)}
    seen["open files (number)"] = descriptors_of(server.pid)
    try:
        seen["waiting requests (number)"] = counter(server, WAITING, MODEL)
    except OSError:  # it does not answer: the visitors will say so, too
        seen["no answer to the look (times)"] = 1
    return seen


def set_sent(value: Any) -> None:
    """Where a process of visitors counts."""
    global _sent
    _sent = value


def visits(plan: Plan, requests: int, seed: int) -> Tally:
    """The work of one process."""

    def done(count: int) -> None:
        with _sent.get_lock():
            _sent.value += count

    return visit_for_long(plan, requests, seed, done)


def wrong_labels(server: TritonServer, events: Sequence[Hits], labels: Sequence[bytes]) -> list[str]:
    """What is wrong with the answers that an honest client gets, over each protocol."""
    wrong = []
    for protocol in ("grpc", "http", "shm"):
        try:
            with finder_of(server, MODEL, protocol, timeout=20) as finder:
                results = [finder.find(hits).track_id.tobytes() for hits in events]
        except BeampipeError as error:
            wrong.append(f"{protocol}: {error}")
        else:
            if results != list(labels):
                wrong.append(f"{protocol}: other labels")
    return wrong


if __name__ == "__main__":
    main()
