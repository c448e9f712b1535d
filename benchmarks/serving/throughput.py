"""Events per second of a served pipeline: against the pipeline in this process, by backend and by cores.

    python benchmarks/serving/throughput.py [--rounds 5] [--seconds 3]

*Direct* is one thread of this process that finds one event after the other. Each instance of a served model has one
thread, too. Requests go over HTTP by the least client that there is (`beampipe.serving.load`), `IN_FLIGHT` of them at
once, and every answer is compared. In each round all ways are measured one after the other, in an order that turns
around; a ratio is the median over the rounds of the ratio in one round.

A server with two cores does more than the work of its model: while one core finds tracks, the other reads requests and
writes answers. So mu = 0 is measured again with the server held to one core, the client on the other:
there a second instance cannot help, and what a batching model gains is the gain of batching.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from clients import HttpSender, behind_proxy, http_request, questions_of
from served import (
    CONSOLE,
    Figure,
    Reference,
    backends_of,
    begin,
    direct_finder,
    events_at,
    models_of,
    options_of,
    serving,
    write_result,
)

from beampipe.errors import BeampipeError
from beampipe.serving.load import Sender, Workload, closed_loop, direct_workload, summarise
from beampipe.tracking.finder import TrackFinder
from beampipe.triton.server.server import TritonServer

IN_FLIGHT: Final = {0: (16, 64), 60: (4,), 200: (2,)}
"""Requests at once, by pile-up."""
EVENTS: Final = {0: 200, 60: 8, 200: 2}
"""Different events, by pile-up."""


@dataclass(frozen=True)
class Way:
    """One way to find tracks.

    Attributes:
        variant: ``"direct"``, or how the pipeline is served: ``"plain"``, ``"ragged"`` or ``"ensemble"``.
        backend: backend of the model, empty for direct.
        instances: number of instances of the model, or of threads for direct.
    """

    variant: str
    backend: str = ""
    instances: int = 1

    def __str__(self) -> str:
        return f"{self.variant} {self.backend} x {self.instances}" if self.backend else self.variant

    def model(self, pipeline: str) -> str:
        """Name of the served model, as `beampipe.serving.variants` has it."""
        return pipeline if self.variant == "plain" else f"{pipeline}_{self.variant}"

    @property
    def suffix(self) -> str:
        """End of the name on the wire, where one server holds all ways."""
        return f"_{self.backend}_{self.instances}"


DIRECT: Final = Way("direct")
ENSEMBLE: Final = Way("ensemble", "python")


@dataclass(frozen=True)
class Cell:
    """What is measured together: all ways at one pile-up.

    Attributes:
        mu: pile-up of the events.
        in_flight: number of requests at once.
        cores: number of cores of the server.
    """

    mu: int
    in_flight: int
    cores: int

    def __str__(self) -> str:
        return f"mu = {self.mu}, {self.in_flight} in flight, server on {self.cores} core(s)"


def main() -> None:
    parser = options_of("throughput", __doc__)
    parser.add_argument("--pipeline", default="exatrkx")
    parser.add_argument("--mu", nargs="+", type=int, choices=IN_FLIGHT, default=list(IN_FLIGHT))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one measurement, at least")
    options = parser.parse_args()
    begun = begin("throughput of serving", ("numpy", "tritonclient"))
    direct = direct_finder(options.pipeline)
    workloads = {mu: direct_workload(events_at(mu, EVENTS[mu], options.seed), direct.find) for mu in options.mu}
    rates: dict[Cell, dict[Way, list[float]]] = {}
    ways = all_ways(options)
    here = sorted(os.sched_getaffinity(0))
    for cores in ([here[:1]] if 0 in options.mu and len(here) > 1 else []) + [here]:
        with on_cores(cores, here), serving(held(ways, options.pipeline)) as server:
            os.sched_setaffinity(0, here)  # only the server is held
            for cell in cells(options.mu if len(cores) == len(here) else [0], len(cores)):
                request = ways if cell.mu == 0 else plain(ways)
                rates[cell] = measured(server, direct, workloads[cell.mu], cell, request, options)
                CONSOLE.print(f"{cell}: done", markup=False)
    figures = [
        figure
        for cell, result in rates.items()
        for way, values in result.items()
        if way != DIRECT
        for figure in (
            Figure(
                f"{cell}: {way}",
                float(np.median(values)),
                "events/s",
                "higher",
                Reference("direct", float(np.median(result[DIRECT]))),
            ),
            ratio(f"{cell}: {way} over direct", values, result[DIRECT]),
        )
    ]
    write_result(options.output, begun, figures)


def cells(pile_ups: Sequence[int], cores: int) -> list[Cell]:
    """What is measured with the server on that many cores."""
    return [Cell(mu, in_flight, cores) for mu in pile_ups for in_flight in IN_FLIGHT[mu]]


def all_ways(options: argparse.Namespace) -> list[Way]:
    """Each backend with one instance, with two, and batching; the ensemble, which is of the Python backend."""
    ways = [
        Way(variant, backend, instances)
        for backend in backends_of(options)
        for variant, instances in (("plain", 1), ("plain", 2), ("ragged", 1))
    ]
    return [*ways, ENSEMBLE]


def plain(ways: Sequence[Way]) -> list[Way]:
    """Those with one instance and one event at a time."""
    return [way for way in ways if way.variant == "plain" and way.instances == 1]


def held(ways: Sequence[Way], pipeline: str) -> list[Any]:
    """Settings of all models."""
    return [
        model
        for way in ways
        for model in models_of([way.model(pipeline)], instances=way.instances, backend=way.backend, suffix=way.suffix)
    ]


@contextmanager
def on_cores(cores: Sequence[int], before: Sequence[int]) -> Iterator[None]:
    """What is started inside has these cores; afterwards this process has those of `before` again."""
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measured(
    server: TritonServer,
    direct: TrackFinder,
    workload: Workload,
    cell: Cell,
    ways: Sequence[Way],
    options: argparse.Namespace,
) -> dict[Way, list[float]]:
    """Events per second of every way in each round."""
    result: dict[Way, list[float]] = {way: [] for way in (DIRECT, *ways)}
    for turn in range(options.rounds):
        for way in list(result) if turn % 2 == 0 else reversed(list(result)):
            if way == DIRECT:
                result[way].append(one_by_one(direct, workload, options.seconds))
            else:
                model = way.model(options.pipeline) + way.suffix
                batching = way.variant == "ragged"
                rate = served(server, model, batching, workload, cell.in_flight, options.seconds)
                result[way].append(rate)
    return result


def one_by_one(finder: TrackFinder, workload: Workload, seconds: float) -> float:
    """Events per second of one thread: whole cycles through the events, for so long at least."""
    count, begin = 0, perf_counter()
    while (taken := perf_counter() - begin) < seconds:
        for hits in workload.hits:
            finder.find(hits)
        count += len(workload)
    return count / taken


def served(
    server: TritonServer, model: str, batching: bool, workload: Workload, in_flight: int, seconds: float
) -> float:
    """Events per second of a model."""
    with closing(least_client(server, model, workload, in_flight, batching=batching)) as sender:
        return closed(sender, model, workload, in_flight, seconds)


def least_client(
    server: TritonServer, model: str, workload: Workload, in_flight: int, *, batching: bool = False
) -> HttpSender:
    """Requests made ahead of time, over HTTP without the reverse proxy."""
    address, headers = behind_proxy(server)
    questions = questions_of(workload.hits, model, batching=batching).requests
    requests = [http_request(address, question.to_http(), headers) for question in questions]
    return HttpSender(address, requests, max(map(len, workload.hits)), in_flight)


def closed(sender: Sender, model: str, workload: Workload, in_flight: int, seconds: float) -> float:
    """Events per second.

    Raises:
        BeampipeError: labels that are not the direct ones, or no answer.
    """
    run = closed_loop(sender, workload, in_flight, seconds=seconds, warm_up=seconds / 5)
    if run.faults:
        raise BeampipeError(f"{model}: got {next(iter(run.faults))}, expected the direct labels")
    return summarise(run).throughput


def ratio(name: str, one: Sequence[float], other: Sequence[float]) -> Figure:
    """Median over the rounds of the one over the other, and half the distance of the quartiles."""
    low, middle, high = np.nanpercentile(np.array(one) / np.array(other), [25, 50, 75])
    return Figure(name, float(middle), "", "higher", spread=float(high - low) / 2)


if __name__ == "__main__":
    main()
