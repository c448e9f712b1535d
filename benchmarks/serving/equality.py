"""Labels served by every model, over every protocol, from any number of instances, equal those found directly.

    python benchmarks/serving/equality.py [--events 200] [--largest 150000] [--models ...] [--instances 1 2 4]

Every answer is compared byte for byte with what the same pipeline gives in this process, on the same events: 0, 1, 2
hits up to the largest, slices in phi of events at mu = 200. A batching model is asked with one request in flight and
with 64; events per call, as the server counts them, say whether it did batch. ACTS gets the events of up to
`--acts-hits` hits: it takes a hundred times longer.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

from jaxtyping import Int64
from numpy import ndarray
from rich.progress import Progress
from rich.table import Table
from served import (
    CONSOLE,
    PROTOCOLS,
    counter,
    direct_finder,
    events_of_sizes,
    finder_of,
    labels_of,
    options_of,
    pipeline_of,
    print_header,
    report,
    serving,
    verdict,
)

from beampipe.errors import BeampipeError
from beampipe.serving.variants import VARIANTS
from beampipe.tracking.events import Hits
from beampipe.triton.server.server import TritonServer

MODELS = (
    "exatrkx",
    "exatrkx_ragged",
    "exatrkx_ensemble",
    "module_map",
    "module_map_ragged",
    "exatrkx_walk",
    "acts",
)
IN_FLIGHT = 64
"""Requests at once for a batching model: its largest batch."""


@dataclass(frozen=True)
class Way:
    """One way to ask, and what came of it.

    Attributes:
        model: name of the model.
        instances: number of instances of the model.
        protocol: protocol by which events travelled.
        in_flight: number of requests at once.
        events: number of events that were compared.
        hits: number of hits in all of them.
        different: number of events whose labels differ in any byte.
        errors: number of events without an answer.
        first: the first thing that went wrong.
        batch: mean number of events in one call of the model.
        seconds: time for all events [s].
    """

    model: str
    instances: int
    protocol: str
    in_flight: int
    events: int
    hits: int
    different: int
    errors: int
    first: str
    batch: float
    seconds: float


def main() -> None:
    parser = options_of("equality", __doc__)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--largest", type=int, default=150_000, help="hits of the largest event")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--protocols", nargs="+", default=list(PROTOCOLS), choices=PROTOCOLS)
    parser.add_argument("--instances", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--acts-hits", type=int, default=2000, help="largest event for ACTS")
    options = parser.parse_args()
    if "acts" in options.models and importlib.util.find_spec("acts") is None:
        options.models.remove("acts")
        CONSOLE.print("skipped: acts: pyacts is not installed")
    begun = print_header("served labels equal direct labels", options)
    events = events_of_sizes(options.events, options.largest, options.seed)
    direct: dict[str, tuple[Sequence[Hits], list[Int64[ndarray, " _"]]]] = {}
    ways: list[Way] = []
    failed: list[str] = []
    with Progress(console=CONSOLE, transient=True) as progress:
        task = progress.add_task("", total=len(options.models) * len(options.instances))
        for model in options.models:
            pipeline = pipeline_of(model)
            if pipeline not in direct:
                progress.update(task, description=f"direct labels of {pipeline}")
                sent = [hits for hits in events if pipeline != "acts" or len(hits) <= options.acts_hits]
                direct[pipeline] = sent, labels_of(direct_finder(model), sent)
            for instances in options.instances:
                progress.update(task, description=f"{model}, {instances} instance(s)")
                try:
                    with serving([model], instances=instances, threads=options.threads) as server:
                        for way in compared(server, model, instances, options.protocols, *direct[pipeline]):
                            ways.append(way)
                            progress.console.print(line_of(way), markup=False)
                except BeampipeError as error:
                    failed.append(f"{model}, {instances} instance(s): {error}")
                progress.advance(task)
                report_of(options, begun, ways, failed)
    CONSOLE.print(table_of(ways))
    for line in failed:
        CONSOLE.print(f"not served: {line}", style="red", markup=False)
    raise SystemExit(0 if report_of(options, begun, ways, failed, final=True) else 1)


def report_of(
    options: argparse.Namespace,
    begun: Mapping[str, Any],
    ways: Sequence[Way],
    failed: Sequence[str],
    *,
    final: bool = False,
) -> bool:
    """Write what is known so far; whether all is well."""
    total = sum(way.events for way in ways)
    bad = sum(way.different + way.errors for way in ways)
    words = f"{total} events compared in {len(ways)} ways, {bad} different or unanswered, {len(failed)} not served"
    met = not bad and not failed and total > 0
    line = {"name": "labels equal, byte for byte", "figure": words, "met": met}
    if final:
        verdict("labels equal, byte for byte", met, words)
    body = {"finished": final, "ways": [asdict(way) for way in ways], "failed": failed, "summary": [line]}
    report(options, begun, body)
    return met


def line_of(way: Way) -> str:
    return (
        f"{way.model}, {way.instances} instance(s), {way.protocol}, {way.in_flight} in flight: {way.events} events in"
        f" {way.seconds:.1f} s, {way.different} different, {way.errors} errors {way.first[:80]}"
    )


def compared(
    server: TritonServer,
    model: str,
    instances: int,
    protocols: Sequence[str],
    events: Sequence[Hits],
    labels: Sequence[Int64[ndarray, " _"]],
) -> Iterator[Way]:
    """All ways to ask one served model."""
    for protocol in protocols:
        for in_flight in (1, IN_FLIGHT) if model in VARIANTS and VARIANTS[model].way == "ragged" else (2 * instances,):
            yield one_way(server, model, instances, protocol, in_flight, events, labels)


def one_way(
    server: TritonServer,
    model: str,
    instances: int,
    protocol: str,
    in_flight: int,
    events: Sequence[Hits],
    labels: Sequence[Int64[ndarray, " _"]],
) -> Way:
    """Ask for all events and compare."""
    different = errors = 0
    first = ""
    calls = [counter(server, f"nv_inference_{what}", model) for what in ("count", "exec_count")]
    begin = perf_counter()
    with finder_of(server, model, protocol, in_flight=in_flight, timeout=600) as finder:
        answers = [finder.submit(hits) for hits in events]
        for hits, expected, answer in zip(events, labels, answers, strict=True):
            try:
                found = answer.result().track_id
            except BeampipeError as error:
                errors, first = errors + 1, first or f"{len(hits)} hits: {error}"
                continue
            if found.dtype != expected.dtype or found.tobytes() != expected.tobytes():
                different, first = different + 1, first or f"{len(hits)} hits: other labels"
    seconds = perf_counter() - begin
    served, executed = (
        counter(server, f"nv_inference_{what}", model) - before
        for what, before in zip(("count", "exec_count"), calls, strict=True)
    )
    n_hits = sum(map(len, events))
    batch = served / executed if executed else 0.0
    return Way(model, instances, protocol, in_flight, len(events), n_hits, different, errors, first, batch, seconds)


def table_of(ways: Sequence[Way]) -> Table:
    caption = "events/call: as the server counts them; above 1 the model ran several events as one"
    table = Table(title="served against direct labels", caption=caption)
    table.add_column("model")
    names = ("instances", "protocol", "in flight", "events", "hits", "events/call", "different", "errors", "s")
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("first")
    for way in ways:
        table.add_row(
            way.model,
            str(way.instances),
            way.protocol,
            str(way.in_flight),
            str(way.events),
            str(way.hits),
            f"{way.batch:.2f}",
            str(way.different),
            str(way.errors),
            f"{way.seconds:.1f}",
            way.first[:60],
        )
    return table


if __name__ == "__main__":
    main()
