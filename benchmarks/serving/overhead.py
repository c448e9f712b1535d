"""What serving adds to a small event, by protocol, backend and client: a served event less a direct one, in one run.

    python benchmarks/serving/overhead.py [--threads 1 2] [--repeats 20]

One server holds the model once per backend. Each event of 200 to 400 hits is found directly, in one thread of this
process, and then in every other way, in an order that is drawn anew each time. The added time is the median over all
pairs of (served - direct). The model and the direct pipeline have the same number of threads. Labels are compared
before anything is timed.

Each protocol has several clients. *Wire* is the least that a client can be: requests made ahead of time, sent over one
connection; its time is that of Triton, the backend and the way there and back. *Ours* is
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
from contextlib import ExitStack, closing
from time import perf_counter
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import grpc
import numpy as np
import tritonclient.grpc
import tritonclient.http
from clients import THROUGH_PROXY, perf_analyze, stock_request, wire
from served import (
    CONSOLE,
    PROTOCOLS,
    Figure,
    asked_in_turn,
    backends_of,
    begin,
    direct_finder,
    events_at,
    finder_of,
    is_proxied,
    models_of,
    options_of,
    serving,
    write_result,
)
from tritonclient.grpc import service_pb2, service_pb2_grpc

from beampipe.errors import BeampipeError
from beampipe.events import Hits
from beampipe.serving.contract import LABELS
from beampipe.triton.server.server import TritonServer

Ask = Callable[[int], bytes]
"""From the number of an event to its labels, as bytes."""

SMALL: Final = (200, 400)
"""Hits of a small event."""
DIRECT: Final = "direct"


def main() -> None:
    parser = options_of("overhead", __doc__, threads=[1, 2])
    parser.add_argument("--models", nargs="+", default=["exatrkx", "module_map"], help="models of one event each")
    parser.add_argument("--small-events", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=10, help="times that each small event is sent")
    options = parser.parse_args()
    begun = begin("what serving adds to a small event", ("numpy", "tritonclient"))
    sizes = range(*SMALL)
    events = [hits for hits in events_at(0, 400, options.seed) if len(hits) in sizes][: options.small_events]
    figures = [
        figure
        for threads in options.threads
        for model in options.models
        for figure in measured(model, threads, events, options)
    ]
    write_result(options.output, begun, figures)


def measured(model: str, threads: int, events: Sequence[Hits], options: argparse.Namespace) -> list[Figure]:
    """All ways to ask for one model with that many threads."""
    backends = backends_of(options)
    direct = direct_finder(model, threads)
    held = [item for name in backends for item in models_of([model], threads=threads, backend=name, suffix=f"_{name}")]
    with serving(held, threads=threads) as server, ExitStack() as stack:
        ways: dict[tuple[str, ...], Ask] = {(DIRECT,): lambda event: direct.find(events[event]).track_id.tobytes()}
        for backend in backends:
            for protocol in PROTOCOLS:
                name = f"{model}_{backend}"
                ways[backend, "wire", protocol] = stack.enter_context(closing(wire(server, protocol, name, events))).ask
                ways[backend, "ours", protocol] = ours(stack, server, name, protocol, events)
            if is_proxied(server):
                proxied = stack.enter_context(closing(wire(server, THROUGH_PROXY, name, events)))
                ways[backend, "wire", THROUGH_PROXY] = proxied.ask
            for protocol, library in {"grpc": tritonclient.grpc, http_of(server): tritonclient.http}.items():
                address = server.grpc_url if protocol == "grpc" else server.http_url
                ways[backend, "stock", protocol] = stock(stack, library, address, name, events)
        require_equal(ways, len(events))
        times = asked_in_turn(ways, range(len(events)), options.repeats * len(events), options.seed)
        spent = of_grpc(server, f"{model}_{backends[0]}", events[0], ways[(DIRECT,)])
    base = times.pop((DIRECT,))
    prefix = f"{model} {threads} thread{'s' * (threads > 1)}: "
    added = {f"{' '.join(way)} added": float(np.median(taken - base)) * 1e3 for way, taken in times.items()}
    added |= {f"{backends[0]} {name}": value for name, value in spent.items()}
    return [Figure(prefix + name, value, "ms") for name, value in added.items()]


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
    return THROUGH_PROXY if is_proxied(server) else "http"


def of_grpc(server: TritonServer, model: str, event: Hits, direct: Ask) -> dict[str, float]:
    """How long an empty gRPC request takes, and what a client in C++ adds to an event [ms]."""
    with grpc.insecure_channel(server.grpc_url) as channel:
        live = service_pb2_grpc.GRPCInferenceServiceStub(channel).ServerLive
        spent = {"empty gRPC request": median_ms(lambda: live(service_pb2.ServerLiveRequest()))}
    before = median_ms(lambda: direct(0))
    try:
        point = perf_analyze(server.grpc_url, model, [event], 1, requests=500)
    except BeampipeError as error:
        CONSOLE.print(f"left out: perf_analyzer: {error}", markup=False)
        return spent
    return spent | {"perf_analyzer added": point.p50 * 1e3 - (before + median_ms(lambda: direct(0))) / 2}


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


if __name__ == "__main__":
    main()
