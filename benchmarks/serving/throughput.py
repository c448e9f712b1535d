"""Events per second of a served pipeline: against the pipeline in this process, between backends, and by cores.

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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from http_sender import HttpSender
from rich.table import Table
from served import (
    CONSOLE,
    backends_of,
    behind_proxy,
    direct_finder,
    events_at,
    models_of,
    options_of,
    print_header,
    report,
    serving,
    verdict,
)
from wires import http_request, questions_of

from beampipe.errors import WrongLabelsError
from beampipe.serving.load import Workload, closed_loop, direct_workload, summarise, verify
from beampipe.tracking.finder import TrackFinder
from beampipe.triton.server.server import TritonServer

IN_FLIGHT: Final = {0: (16, 64), 60: (4,), 200: (2,)}
"""Requests at once, by pile-up."""
EVENTS: Final = {0: 200, 60: 8, 200: 2}
"""Different events, by pile-up."""
WANTED_OF_DIRECT: Final = {0: 0.9, 60: 0.97, 200: 0.99}
"""Least throughput of one native instance over direct, by pile-up."""
WANTED_OF_PYTHON: Final = 1.5
"""Least throughput of one native instance over one of the Python backend, at mu = 0."""
WANTED_OF_ENSEMBLE: Final = 3.0
"""Least throughput of one native instance over the chain of six models, at mu = 0."""


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
    begun = print_header("throughput of serving", options)
    direct = direct_finder(options.pipeline)
    workloads = {mu: direct_workload(events_at(mu, EVENTS[mu], options.seed), direct.find) for mu in options.mu}
    rates: dict[Cell, dict[Way, list[float]]] = {}
    ways = all_ways(options)
    here = sorted(os.sched_getaffinity(0))
    for cores in ([here[:1]] if 0 in options.mu and len(here) > 1 else []) + [here]:
        with on_cores(cores, here), serving(held(ways, options.pipeline)) as server:
            os.sched_setaffinity(0, here)  # only the server is held
            for cell in cells(options.mu if len(cores) == len(here) else [0], len(cores)):
                asked = ways if cell.mu == 0 else plain(ways)
                rates[cell] = measured(server, direct, workloads[cell.mu], cell, asked, options)
                CONSOLE.print(f"{cell}: done", markup=False)
    CONSOLE.print(table_of(rates))
    summary = summary_of(rates, len(here))
    rows = [
        asdict(cell) | {"way": str(way), "per_second": values}
        for cell, found in rates.items()
        for way, values in found.items()
    ]
    report(options, begun, {"rows": rows, "summary": summary})
    raise SystemExit(0 if all(line["met"] for line in summary) else 1)


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
    found: dict[Way, list[float]] = {way: [] for way in (DIRECT, *ways)}
    for turn in range(options.rounds):
        for way in list(found) if turn % 2 == 0 else reversed(list(found)):
            if way == DIRECT:
                found[way].append(one_by_one(direct, workload, options.seconds))
            else:
                model = way.model(options.pipeline) + way.suffix
                batching = way.variant == "ragged"
                rate = served(server, model, batching, workload, cell.in_flight, options.seconds)
                found[way].append(rate)
    return found


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
    """Events per second of a model.

    Raises:
        WrongLabelsError: labels that are not the direct ones, or no answer.
    """
    address, headers = behind_proxy(server)
    questions = questions_of(workload.hits, model, batching=batching).requests
    requests = [http_request(address, question.to_http(), headers) for question in questions]
    with closing(HttpSender(address, requests, workload, in_flight)) as sender:
        verify(sender, workload)
        run = closed_loop(sender, workload, in_flight, seconds=seconds, warm_up=seconds / 5)
    if run.faults:
        raise WrongLabelsError(f"{model}: got {next(iter(run.faults))}, expected the direct labels")
    return summarise(run).throughput


def ratio(rates: Mapping[Way, Sequence[float]], one: Way, other: Way) -> tuple[float, float, float]:
    """Median and quartiles over the rounds of the one over the other."""
    low, middle, high = np.percentile(np.array(rates[one]) / np.array(rates[other]), [25, 50, 75])
    return float(middle), float(low), float(high)


def table_of(rates: Mapping[Cell, Mapping[Way, Sequence[float]]]) -> Table:
    caption = "one thread per instance; direct: one thread; over direct: median over the rounds, with the quartiles"
    table = Table(title="throughput over HTTP", caption=caption)
    for name in ("server on", "mu", "in flight", "way", "events/s", "over direct", "over one plain instance"):
        table.add_column(name, justify="left" if name == "way" else "right")
    for cell, found in rates.items():
        for way, values in found.items():
            of_direct = "{:.3f} ({:.3f}-{:.3f})".format(*ratio(found, way, DIRECT))
            base = Way("plain", way.backend)
            of_plain = "{:.2f} ({:.2f}-{:.2f})".format(*ratio(found, way, base)) if base in found else ""
            cores = f"{cell.cores} core(s)"
            rate = f"{np.median(values):.1f}"
            table.add_row(cores, str(cell.mu), str(cell.in_flight), str(way), rate, of_direct, of_plain)
        table.add_section()
    return table


def summary_of(rates: Mapping[Cell, Mapping[Way, Sequence[float]]], cores: int) -> list[dict[str, object]]:
    """Wanted figures, with the server on all cores; and for what a batching model gains, one core beside them."""
    lines, native = [], Way("plain", "native")

    def compare(name: str, mu: int, other: Way, least: float) -> None:
        in_flight = IN_FLIGHT[mu][0]
        found = rates.get(Cell(mu, in_flight, cores), {})
        if native in found and other in found:
            value = ratio(found, native, other)[0]
            words = f"mu = {mu}, {in_flight} in flight: {value:.3f}, wanted at least {least}"
            lines.append(verdict(name, value >= least, words))

    for mu, least in WANTED_OF_DIRECT.items():
        compare("native over direct", mu, DIRECT, least)
    compare("native over Python backend", 0, Way("plain", "python"), WANTED_OF_PYTHON)
    compare("native over ensemble", 0, ENSEMBLE, WANTED_OF_ENSEMBLE)
    for cell, found in rates.items():
        for ragged in (way for way in found if way.variant == "ragged"):
            one, two = Way("plain", ragged.backend), Way("plain", ragged.backend, 2)
            words = f"ragged over one plain instance {ratio(found, ragged, one)[0]:.2f}"
            words += f", over two {ratio(found, ragged, two)[0]:.2f}"
            CONSOLE.print(f"{cell}, {ragged.backend}: {words}", markup=False)
    return lines


if __name__ == "__main__":
    main()
