"""Labels served by every model, over every protocol, by every backend, equal those found directly: 10,000 and more.

    python benchmarks/serving/equality.py [--events 200] [--largest 20000] [--models ...] [--instances 1 2]

Every answer is compared byte for byte with what the same pipeline gives in this process, on the same events: 0, 1, 2
hits up to the largest, slices in phi of events at mu = 200. So the native backend, the Python backend and the pipeline
here agree, or a line says where they do not. A batching model is asked with one request in flight and with 64; events
per call, as the server counts them, say whether it did batch. Ensembles and ACTS have the Python backend only; ACTS
gets the events of up to `--acts-hits` hits: it takes a hundred times longer.

    python benchmarks/serving/equality.py --sanitize address --backend native

asks a server with a backend that was built with sanitizers (`sanitized.py`); the direct labels are those of the
ordinary build.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

from numpy import ndarray
from rich.progress import Progress
from rich.table import Table
from sanitized import SANITIZERS, Sanitized, sanitized
from served import (
    CONSOLE,
    PROTOCOLS,
    backends_of,
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

from beampipe.arrays import Int64
from beampipe.errors import BeampipeError
from beampipe.events import Hits
from beampipe.serving.variants import ACTS_MODEL, MODELS, VARIANTS
from beampipe.triton.server.server import TritonServer

IN_FLIGHT: Final = 64
"""Requests at once for a batching model: its largest batch."""
WANTED: Final = 10_000
"""Answers to compare in a full run."""


@dataclass(frozen=True)
class Way:
    """One way to ask.

    Attributes:
        model: name of the model.
        backend: backend that runs the model.
        instances: number of instances of the model.
        protocol: protocol by which events travel.
        in_flight: number of requests at once.
    """

    model: str
    backend: str
    instances: int
    protocol: str
    in_flight: int

    def __str__(self) -> str:
        where = f"{self.model}, {self.backend}, {self.instances} instance(s)"
        return f"{where}, {self.protocol}, {self.in_flight} in flight"


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        way: how was asked.
        events: number of events that were compared.
        hits: number of hits in all of them.
        different: number of events whose labels differ in any byte.
        errors: number of events without an answer.
        first: the first thing that went wrong.
        batch: mean number of events in one call of the model.
        seconds: time for all events [s].
    """

    way: Way
    events: int
    hits: int
    different: int
    errors: int
    first: str
    batch: float
    seconds: float


@dataclass
class Found:
    """What came out so far.

    Attributes:
        outcomes: what came of each way to ask.
        failed: models that could not be served, and why.
        reports: what sanitizers had to say.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)


def main() -> None:
    parser = options_of("equality", __doc__)
    parser.add_argument("--events", type=int, default=50, help="different events, each asked for in every way")
    parser.add_argument("--largest", type=int, default=20_000, help="hits of the largest event")
    parser.add_argument("--models", nargs="+", default=[name for name in MODELS if not name.endswith("_athena")])
    parser.add_argument("--protocols", nargs="+", default=list(PROTOCOLS), choices=PROTOCOLS)
    parser.add_argument("--instances", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--acts-hits", type=int, default=2000, help="largest event for ACTS")
    parser.add_argument("--sanitize", choices=SANITIZERS, help="build the native backend so, and ask that")
    options = parser.parse_args()
    if ACTS_MODEL in options.models and importlib.util.find_spec("acts") is None:
        options.models.remove(ACTS_MODEL)
        CONSOLE.print("skipped: acts: pyacts is not installed")
    begun = print_header("served labels equal direct labels", options)
    result = Found()
    with Progress(console=CONSOLE, transient=True) as progress, sanitized(options.sanitize) as build:
        everything(options, build, result, progress, lambda: report_of(options, begun, result))
        result.reports += build.reports()
    CONSOLE.print(table_of(result.outcomes))
    for line in (*result.failed, *result.reports):
        CONSOLE.print(line, style="red", markup=False)
    raise SystemExit(0 if report_of(options, begun, result, final=True) else 1)


def everything(
    options: argparse.Namespace, build: Sanitized, found: Found, progress: Progress, save: Callable[[], object]
) -> None:
    """Compare every model, by every backend that can run it, with any number of instances."""
    events = events_of_sizes(options.events, options.largest, options.seed)
    direct: dict[str, tuple[Sequence[Hits], list[Int64[ndarray, " _"]]]] = {}
    jobs = [(model, backend) for model in options.models for backend in backends_for(model, options)]
    task = progress.add_task("", total=len(jobs) * len(options.instances))
    for model, backend in jobs:
        pipeline = model if model == ACTS_MODEL else pipeline_of(model)
        if pipeline not in direct:
            progress.update(task, description=f"direct labels of {pipeline}")
            sent = [hits for hits in events if pipeline != ACTS_MODEL or len(hits) <= options.acts_hits]
            direct[pipeline] = sent, labels_of(direct_finder(model), sent)
        for instances in options.instances:
            progress.update(task, description=f"{model}, {backend}, {instances} instance(s)")
            try:
                how = {"instances": instances, "threads": options.threads, "backend": backend}
                with serving([model], libraries=build.libraries, **how) as server:
                    for way in ways_of(model, backend, instances, options.protocols):
                        found.outcomes.append(compared(server, way, *direct[pipeline]))
                        progress.console.print(line_of(found.outcomes[-1]), markup=False)
            except BeampipeError as error:
                found.failed.append(f"not served: {model}, {backend}, {instances} instance(s): {error}")
            progress.advance(task)
            save()


def backends_for(model: str, options: argparse.Namespace) -> tuple[str, ...]:
    """The backends that can run a model, of those that are asked for."""
    python_only = model == ACTS_MODEL or VARIANTS[model].way == "ensemble"
    return tuple(name for name in backends_of(options) if name == "python" or not python_only)


def report_of(options: argparse.Namespace, begun: Mapping[str, Any], found: Found, *, final: bool = False) -> bool:
    """Write what is known so far; whether all is well."""
    total = sum(outcome.events for outcome in found.outcomes)
    bad = sum(outcome.different + outcome.errors for outcome in found.outcomes)
    words = (
        f"{total} answers compared in {len(found.outcomes)} ways (a full run: {WANTED} and more), {bad} different or"
    )
    words += f" unanswered, {len(found.failed)} not served, {len(found.reports)} reports of sanitizers"
    met = not bad and not found.failed and not found.reports and total > 0
    line = {"name": "labels equal, byte for byte", "figure": words, "met": met}
    if final:
        verdict("labels equal, byte for byte", met, words)
    report(options, begun, {"finished": final, **asdict(found), "summary": [line]})
    return met


def ways_of(model: str, backend: str, instances: int, protocols: Sequence[str]) -> Iterator[Way]:
    """All ways to ask one served model."""
    batching = model in VARIANTS and VARIANTS[model].way == "ragged"
    for protocol in protocols:
        for in_flight in (1, IN_FLIGHT) if batching else (2 * instances,):
            yield Way(model, backend, instances, protocol, in_flight)


def compared(server: TritonServer, way: Way, events: Sequence[Hits], labels: Sequence[Int64[ndarray, " _"]]) -> Outcome:
    """Ask for all events and compare."""
    different = errors = 0
    first = ""
    calls = [counter(server, f"nv_inference_{what}", way.model) for what in ("count", "exec_count")]
    begin = perf_counter()
    with finder_of(server, way.model, way.protocol, in_flight=way.in_flight, timeout=600) as finder:
        answers = [finder.submit(hits) for hits in events]
        for hits, expected, answer in zip(events, labels, answers, strict=True):
            try:
                result = answer.result().track_id
            except BeampipeError as error:
                errors, first = errors + 1, first or f"{len(hits)} hits: {error}"
                continue
            if result.dtype != expected.dtype or result.tobytes() != expected.tobytes():
                different, first = different + 1, first or f"{len(hits)} hits: other labels"
    seconds = perf_counter() - begin
    served, executed = (
        counter(server, f"nv_inference_{what}", way.model) - before
        for what, before in zip(("count", "exec_count"), calls, strict=True)
    )
    batch = served / executed if executed else 0.0
    return Outcome(way, len(events), sum(map(len, events)), different, errors, first, batch, seconds)


def line_of(one: Outcome) -> str:
    return (
        f"{one.way}: {one.events} events in {one.seconds:.1f} s, {one.different} different,"
        f" {one.errors} errors {one.first[:80]}"
    )


def table_of(outcomes: Sequence[Outcome]) -> Table:
    """One row per model, backend and number of instances."""
    caption = "events/call: the most in any way, as the server counts; above 1 the model ran several events as one"
    table = Table(title="served against direct labels, over all protocols", caption=caption)
    for name in ("model", "backend"):
        table.add_column(name)
    for name in ("instances", "ways", "answers", "hits", "events/call", "different", "errors"):
        table.add_column(name, justify="right")
    table.add_column("first")
    for key in dict.fromkeys((outcome.way.model, outcome.way.backend, outcome.way.instances) for outcome in outcomes):
        mine = [
            outcome for outcome in outcomes if (outcome.way.model, outcome.way.backend, outcome.way.instances) == key
        ]
        sums = [sum(getattr(item, name) for item in mine) for name in ("events", "hits", "different", "errors")]
        batch = f"{max(item.batch for item in mine):.2f}"
        first = next((item.first for item in mine if item.first), "")
        table.add_row(*map(str, (*key, len(mine), *sums[:2], batch, *sums[2:])), first[:60])
    return table


if __name__ == "__main__":
    main()
