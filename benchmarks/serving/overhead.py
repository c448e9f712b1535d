"""What serving adds to a small event, by protocol, backend and client: a served event less a direct one, in one run.

    python benchmarks/serving/overhead.py [--threads 1 2] [--repeats 20]

One server holds the model once per backend. Each event of 200 to 400 hits is found directly, in one thread of this
process, and then in every other way, in an order that is drawn anew each time. The added time is the median over all
pairs of (served - direct). The model and the direct pipeline have the same number of threads. Labels are compared
before anything is timed.

Each protocol has several clients. *Wire* is the least that a client can be: requests made ahead of time, sent over one
connection (`wires.py`); its time is that of Triton, the backend and the way there and back. *Ours* is
`TritonTrackFinder`, which also checks hits, encodes them, may retry, and checks what comes back. *Stock* is NVIDIA's
`tritonclient`, which makes each request anew from the array. Over HTTP the first two go to the port behind the proxy,
as clients of the server's own user do; everybody else's way is through HAProxy, and has rows of its own.

Two more numbers tell where the time over gRPC goes: a round trip that asks for nothing (`ServerLive`), by the same stub
as *wire*, and what is added to one event with NVIDIA's client in C++ (`perf_analyzer`), against that event found
directly just before and after.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import perf_counter
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import grpc
import numpy as np
import tritonclient.grpc
import tritonclient.http
from rich.table import Table
from served import (
    CONSOLE,
    PROTOCOLS,
    backends_of,
    direct_finder,
    events_at,
    finder_of,
    is_proxied,
    models_of,
    options_of,
    print_header,
    report,
    serving,
    verdict,
)
from stock_senders import stock_request
from tritonclient.grpc import service_pb2, service_pb2_grpc
from wires import WIRES

from beampipe.errors import BeampipeError
from beampipe.events import Hits
from beampipe.serving.bench import perf_analyze
from beampipe.serving.contract import LABELS
from beampipe.triton.server.server import TritonServer

Ask = Callable[[int], bytes]
"""From the number of an event to its labels, as bytes."""

SMALL: Final = (200, 400)
"""Hits of a small event."""
WANTED_MS: Final = {
    "wire": {"grpc": 0.25, "http": 0.2, "http through proxy": 0.2, "shm": 0.3, "shm-http": 0.3},
    "ours": {"grpc": 0.35, "http": 0.28, "shm": 0.4, "shm-http": 0.4},
    "stock": {"grpc": 0.5, "http": 0.4, "http through proxy": 0.4},
}
"""Most added time [ms] by client and protocol, for `WANTED_MODEL` with the native backend in one thread."""
WANTED_MODEL: Final = "exatrkx"
DIRECT: Final = "direct"
PROXY: Final = "http through proxy"


def main() -> None:
    parser = options_of("overhead", __doc__, threads=[1, 2])
    parser.add_argument("--models", nargs="+", default=[WANTED_MODEL, "module_map"], help="models of one event each")
    parser.add_argument("--small-events", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=10, help="times that each small event is sent")
    options = parser.parse_args()
    begun = print_header("what serving adds to a small event", options)
    sizes = range(*SMALL)
    events = [hits for hits in events_at(0, 400, options.seed) if len(hits) in sizes][: options.small_events]
    rows = [
        row
        for threads in options.threads
        for model in options.models
        for row in measured(model, threads, events, options)
    ]
    CONSOLE.print(table_of(rows))
    report(options, begun, {"rows": rows, "summary": (summary := summary_of(rows))})
    raise SystemExit(0 if all(line["met"] for line in summary) else 1)


def measured(model: str, threads: int, events: Sequence[Hits], options: argparse.Namespace) -> list[dict[str, Any]]:
    """All ways to ask for one model with that many threads."""
    backends = backends_of(options)
    direct = direct_finder(model, threads)
    held = [item for name in backends for item in models_of([model], threads=threads, backend=name, suffix=f"_{name}")]
    with serving(held, threads=threads) as server, ExitStack() as stack:
        ways: dict[tuple[str, ...], Ask] = {(DIRECT,): lambda event: direct.find(events[event]).track_id.tobytes()}
        for backend in backends:
            for protocol in PROTOCOLS:
                name = f"{model}_{backend}"
                ways[backend, "wire", protocol] = wire(stack, server, name, protocol, events)
                ways[backend, "ours", protocol] = ours(stack, server, name, protocol, events)
            if is_proxied(server):
                ways[backend, "wire", PROXY] = wire(stack, server, name, PROXY, events)
            for protocol, library in {"grpc": tritonclient.grpc, http_of(server): tritonclient.http}.items():
                address = server.grpc_url if protocol == "grpc" else server.http_url
                ways[backend, "stock", protocol] = stock(stack, library, address, name, events)
        require_equal(ways, len(events))
        times = asked_in_turn(ways, len(events), options.repeats, options.seed)
        explained = of_grpc(server, f"{model}_{backends[0]}", events[0], ways[(DIRECT,)])
    CONSOLE.print(f"{backends[0]}: {explained}", markup=False)
    CONSOLE.print(f"{model}, {threads} thread(s): done", markup=False)
    base = times.pop((DIRECT,))
    about = {"model": model, "threads": threads, "hits": float(np.median([len(hits) for hits in events]))}
    return [about | figures(*way, base, taken) for way, taken in times.items()]


def wire(stack: ExitStack, server: TritonServer, model: str, protocol: str, events: Sequence[Hits]) -> Ask:
    """The least client."""
    made = WIRES[protocol](server, model, events)
    stack.callback(made.close)
    return made.ask


def ours(stack: ExitStack, server: TritonServer, model: str, protocol: str, events: Sequence[Hits]) -> Ask:
    """Our client."""
    finder = stack.enter_context(finder_of(server, model, protocol))
    return lambda event: finder.find(events[event]).track_id.tobytes()


def stock(stack: ExitStack, library: Any, address: str, model: str, events: Sequence[Hits]) -> Ask:
    """`tritonclient.grpc` or `tritonclient.http`."""
    client = stack.enter_context(library.InferenceServerClient(address))

    def ask(event: int) -> bytes:
        result = client.infer(**stock_request(library, model, events[event].position))
        return bytes(result.as_numpy(LABELS.name).tobytes())

    return ask


def http_of(server: TritonServer) -> str:
    """How a stock client's way over HTTP is called in the table."""
    return PROXY if is_proxied(server) else "http"


def of_grpc(server: TritonServer, model: str, event: Hits, direct: Ask) -> str:
    """How long an empty gRPC request takes, and what a client in C++ has added to an event, in words."""
    with grpc.insecure_channel(server.grpc_url) as channel:
        live = service_pb2_grpc.GRPCInferenceServiceStub(channel).ServerLive
        nothing = median_ms(lambda: live(service_pb2.ServerLiveRequest()))
    before = median_ms(lambda: direct(0))
    try:
        point = perf_analyze(server.grpc_url, model, [event], 1, requests=500)
    except BeampipeError as error:
        return f"an empty gRPC request {nothing:.3f} ms; {str(error).splitlines()[0]}"
    result = (before + median_ms(lambda: direct(0))) / 2
    added = point.p50 * 1e3 - result
    return f"an empty gRPC request {nothing:.3f} ms; a client in C++ {added:.3f} ms added to {result:.3f} ms"


def median_ms(work: Callable[[], object], calls: int = 500) -> float:
    """The median time of a call [ms]."""
    taken = []
    for _ in range(calls):
        begin = perf_counter()
        work()
        taken.append(perf_counter() - begin)
    return float(np.median(taken)) * 1e3


def require_equal(ways: dict[tuple[str, ...], Ask], n_events: int) -> None:
    """Also the warm-up.

    Raises:
        SystemExit: labels differ: nothing to time.
    """
    for event in range(n_events):
        expected = ways[(DIRECT,)](event)
        for way, ask in ways.items():
            if ask(event) != expected:
                raise SystemExit(f"{', '.join(way)}: labels of event {event} differ from the direct ones")


def asked_in_turn(
    ways: dict[tuple[str, ...], Ask], n_events: int, repeats: int, seed: int
) -> dict[tuple[str, ...], np.ndarray]:
    """Seconds of each call, by way; the n-th entries of all ways are of the same event and moment."""
    times: dict[tuple[str, ...], list[float]] = {way: [] for way in ways}
    generator = np.random.default_rng(seed)
    order = list(ways)
    for _ in range(repeats):
        for event in range(n_events):
            for row in generator.permutation(len(order)):
                ask = ways[order[row]]
                begin = perf_counter()
                ask(event)
                times[order[row]].append(perf_counter() - begin)
    return {way: np.array(taken) for way, taken in times.items()}


def figures(backend: str, client: str, protocol: str, base: np.ndarray, taken: np.ndarray) -> dict[str, Any]:
    """One row of the table."""
    more = (taken - base) * 1e3
    return {
        "backend": backend,
        "client": client,
        "protocol": protocol,
        "calls": len(more),
        "direct_ms": float(np.median(base)) * 1e3,
        "served_ms": float(np.median(taken)) * 1e3,
        "added_ms": float(np.median(more)),
        "added_p95_ms": float(np.percentile(more, 95)),
    }


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title=f"added to an event at mu = 0 with {SMALL[0]} to {SMALL[1]} hits, one after the other")
    texts = ("model", "threads", "backend", "client", "protocol")
    for name in texts:
        table.add_column(name)
    for name in ("direct \\[ms]", "served \\[ms]", "added \\[ms]", "p95 \\[ms]"):
        table.add_column(name, justify="right")
    for row in rows:
        numbers = (f"{row[key]:.3f}" for key in ("direct_ms", "served_ms", "added_ms", "added_p95_ms"))
        table.add_row(*(str(row[key]) for key in texts), *numbers)
    return table


def summary_of(rows: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    """Wanted figures: those of the native backend with one thread."""
    lines = []
    for row in rows:
        if (row["model"], row["threads"], row["backend"]) == (WANTED_MODEL, 1, "native"):
            limit = WANTED_MS[row["client"]][row["protocol"]]
            words = f"{row['client']}, {row['protocol']}: {row['added_ms']:.3f} ms, wanted at most {limit} ms"
            lines.append(verdict("added to a small event", row["added_ms"] <= limit, words))
    return lines


if __name__ == "__main__":
    main()
