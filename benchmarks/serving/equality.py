"""Labels served by every model, over every protocol, by every backend, equal those found directly.

    python benchmarks/serving/equality.py [--events 200] [--largest 20000] [--models ...] [--instances 1 2]

Every answer is compared byte for byte with what the same pipeline gives in this process, on the same events: 0, 1, 2
hits up to the largest, slices in phi of events at mu = 200. So the native backend, the Python backend and the pipeline
here agree, or a line says where they do not. A batching model is asked with one request in flight and with 64; events
per call, as the server counts them, say whether it did batch. Ensembles and ACTS have the Python backend only; ACTS
gets the events of up to `--acts-hits` hits: it takes a hundred times longer.

    python benchmarks/serving/equality.py --sanitize address --backend native

asks a server with a backend that was built with sanitizers; the direct labels are those of the
ordinary build.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

from numpy import ndarray
from served import (
    CONSOLE,
    PROTOCOLS,
    SANITIZERS,
    Figure,
    Sanitized,
    backends_of,
    begin,
    counter,
    direct_finder,
    events_of_sizes,
    finder_of,
    labels_of,
    options_of,
    pipeline_of,
    sanitized,
    serving,
    write_result,
)

from beampipe.arrays import Int64
from beampipe.errors import BeampipeError
from beampipe.events import Hits
from beampipe.serving.variants import ACTS_MODEL, MODELS, VARIANTS
from beampipe.triton.server.server import TritonServer

IN_FLIGHT: Final = 64
"""Requests at once for a batching model: its largest batch."""


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
    """

    way: Way
    events: int
    hits: int
    different: int
    errors: int
    first: str
    batch: float


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
    begun = begin("served labels equal direct labels")
    outcomes: list[Outcome] = []
    failed: list[str] = []
    with sanitized(options.sanitize) as build:
        compare_all(options, build, outcomes, failed)
        reports = build.reports()
    for line in (*failed, *reports):
        CONSOLE.print(line, style="red", markup=False)
    bad = sum(outcome.different + outcome.errors for outcome in outcomes)
    figures = [
        Figure("answers", sum(outcome.events for outcome in outcomes), "", "higher"),
        Figure("different or missing answers", bad, "", "equal"),
        Figure("models not served", len(failed), "", "equal"),
        Figure("reports of sanitizers", len(reports), "", "equal"),
    ]
    write_result(options.output, begun, figures, outcomes=[asdict(outcome) for outcome in outcomes], failed=failed)
    raise SystemExit(1 if bad or failed or reports or not outcomes else 0)


def compare_all(options: argparse.Namespace, build: Sanitized, outcomes: list[Outcome], failed: list[str]) -> None:
    """Compare every model, by every backend that can run it, with any number of instances."""
    events = events_of_sizes(options.events, options.largest, options.seed)
    direct: dict[str, tuple[Sequence[Hits], list[Int64[ndarray, " _"]]]] = {}
    for model in options.models:
        pipeline = model if model == ACTS_MODEL else pipeline_of(model)
        if pipeline not in direct:
            sent = [hits for hits in events if pipeline != ACTS_MODEL or len(hits) <= options.acts_hits]
            direct[pipeline] = sent, labels_of(direct_finder(model), sent)
        for backend, instances in product(backends_for(model, options), options.instances):
            try:
                how = {"instances": instances, "threads": options.threads, "backend": backend}
                with serving([model], libraries=build.libraries, **how) as server:
                    for way in ways_of(model, backend, instances, options.protocols):
                        outcomes.append(compared(server, way, *direct[pipeline]))
                        one = outcomes[-1]
                        CONSOLE.print(
                            f"{way}: {one.different} different, {one.errors} errors {one.first}", markup=False
                        )
            except BeampipeError as error:
                failed.append(f"not served: {model}, {backend}, {instances} instance(s): {error}")


def backends_for(model: str, options: argparse.Namespace) -> tuple[str, ...]:
    """The backends that can run a model, of those that are asked for."""
    python_only = model == ACTS_MODEL or VARIANTS[model].way == "ensemble"
    return tuple(name for name in backends_of(options) if name == "python" or not python_only)


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
    served, executed = (
        counter(server, f"nv_inference_{what}", way.model) - before
        for what, before in zip(("count", "exec_count"), calls, strict=True)
    )
    batch = served / executed if executed else 0.0
    return Outcome(way, len(events), sum(map(len, events)), different, errors, first, batch)


if __name__ == "__main__":
    main()
