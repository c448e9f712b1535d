"""The simulator of a fleet against a live Triton: throughput and p95 at three loads.

    python benchmarks/fleet/simulator.py [--model exatrkx] [--rounds 3] [--seconds 10]

Each round measures the server: one event at a time with Triton's own count of the time spent on it, then in a closed
loop with one and with as many in flight as there are instances. That tells service times by size, the time that a
request spends elsewhere, and how much instances slow each other. Then it
sends Poisson arrivals at three shares of the capacity that follows, and simulates the same. *Replayed*: the simulator
gets the very arrivals and events of the live run, so that chance is the same on both sides. *Drawn*: it draws its own,
as `beampipe fleet plan` does. Every answer of the live server is compared with the direct labels.

``--model waiter`` serves a model that only waits, so that no clock of a busy machine comes in.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from numpy import ndarray
from simpy import Environment, Event

from beampipe.arrays import Float64

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))  # servers and events as the serving benchmarks have them

from http_sender import HttpSender
from served import (
    CONSOLE,
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
from beampipe.fleet.planning.measured import Measured, write_measured
from beampipe.fleet.planning.simulator import (
    ClosedLoop,
    FleetShape,
    Load,
    MeasuredSizes,
    Poisson,
    Send,
    fit_table,
    run_fleet,
    simulate,
)
from beampipe.serving.load import (
    LoadRun,
    Workload,
    closed_loop,
    direct_workload,
    latencies,
    open_loop,
    poisson_arrivals,
    summarise,
)
from beampipe.terminal import make_table
from beampipe.triton.model.contract import ModelSettings
from beampipe.triton.server import management
from beampipe.triton.server.server import TritonServer

WAITER: Final = "waiter"
LOADS: Final = (0.3, 0.6, 0.8)
"""Shares of the capacity."""
WANTED: Final = 0.1
"""Largest relative difference of simulator and live."""
EVENTS: Final = 100
"""Different events."""
DRAWN: Final = 4000
"""Events of a workload: more than are sent in a run, so that none is a cycle."""
IN_FLIGHT: Final = 64
WARM_UP: Final = 1.0
"""Time [s] of arrivals that are not recorded."""


@dataclass(frozen=True)
class Compared:
    """One load in one round.

    Attributes:
        load: share of the capacity.
        rate: arrivals per second.
        live: throughput [1/s] and p95 [s] of the live server.
        replayed: the same of the simulator with the same arrivals and events.
        drawn: the same with its own.
    """

    load: float
    rate: float
    live: tuple[float, float]
    replayed: tuple[float, float]
    drawn: tuple[float, float]


class Bench:
    """A live server with one model, and the events that it is asked for.

    Args:
        server: a server that runs.
        model: name of the model.
        instances: number of its instances.
        seed: seed of the choice of events.
    """

    def __init__(self, server: TritonServer, model: str, instances: int, seed: int) -> None:
        self.instances = instances
        self._server, self._model = server, model
        events = [hits for hits in events_at(0, EVENTS) if len(hits)]
        labels = [np.full(len(hits), -1, np.int64) for hits in events]
        if model != WAITER:
            labels = list(direct_workload(events, direct_finder(model).find).labels)
        order = np.random.default_rng(seed).integers(len(events), size=DRAWN)
        self.workload = Workload(tuple(events[at] for at in order), tuple(labels[at] for at in order))
        self.sizes = np.array([float(len(hits)) for hits in self.workload.hits])
        self._address, headers = behind_proxy(server)
        questions = questions_of(events, model).requests
        made = [http_request(self._address, question.to_http(), headers) for question in questions]
        self._requests = [made[at] for at in order]

    def closed(self, in_flight: int, seconds: float) -> tuple[LoadRun, float]:
        """Keep requests in flight; gives the run, and the mean time of an instance for an event [s]."""
        with closing(self._sender()) as sender:
            before = self._compute()
            run = _right(closed_loop(sender, self.workload, in_flight, seconds=seconds, warm_up=0.3))
        count, spent = (after - was for after, was in zip(self._compute(), before, strict=True))
        return run, spent / count

    def open(self, rate: float, seconds: float, seed: int) -> LoadRun:
        """Poisson arrivals."""
        with closing(self._sender()) as sender:
            return _right(
                open_loop(sender, self.workload, rate, seconds=seconds, warm_up=WARM_UP, in_flight=IN_FLIGHT, seed=seed)
            )

    def measured(self, seconds: float) -> Measured:
        """Service times as a load test finds them."""
        spent, elsewhere = self._one_by_one(seconds)
        sizes = self.sizes[: len(spent)]
        run, alone = self.closed(1, seconds)
        _, together = self.closed(self.instances, seconds)
        # One by one with a question in between, caches are colder than in a row.
        spent *= alone / fit_table(sizes, spent).line(self.sizes[run.event]).mean()
        return Measured(
            tuple(sizes.tolist()),
            tuple(spent.tolist()),
            f"{self._model}, one thread, mu = 0",
            max(0.0, float(latencies(run).mean()) - alone),
            tuple((elsewhere / elsewhere.mean()).tolist()),
            max(0.0, together / alone - 1) / max(1, self.instances - 1),
            tuple(self.sizes.tolist()),
        )

    def _one_by_one(self, seconds: float) -> tuple[Float64[ndarray, " n"], Float64[ndarray, " n"]]:
        """Time that each event of the workload took in turn [s]: of an instance, as the server counts it; elsewhere."""
        result: list[float] = []
        taken: list[float] = []
        end = perf_counter() + seconds
        count, before = self._compute()
        with closing(self._sender()) as sender:
            while perf_counter() < end and len(result) < DRAWN:
                start = perf_counter()
                sender.send(len(result), len(result))
                (answer,) = sender.answers(60.0)
                if answer.error:
                    raise WrongLabelsError(answer.error)
                counted, after = self._compute()
                while counted == count:  # the answer may leave before it is counted
                    counted, after = self._compute()
                count = counted
                result.append(after - before)
                taken.append(answer.finished - start)
                before = after
        spent = np.array(result)
        return spent, np.maximum(np.array(taken) - spent, 1e-6)

    def _sender(self) -> HttpSender:
        return HttpSender(self._address, self._requests, self.workload, IN_FLIGHT)

    def _compute(self) -> tuple[int, float]:
        """Number of answers so far, and time that instances spent on them [s]."""
        _, body = management.request(self._server.http_url, "GET", f"/v2/models/{self._model}/stats")
        stats = json.loads(body)["model_stats"][0]["inference_stats"]
        spent = sum(int(stats[part]["ns"]) for part in ("compute_input", "compute_infer", "compute_output"))
        return int(stats["success"]["count"]), 1e-9 * spent


@dataclass(frozen=True, eq=False)
class Replay:
    """Arrivals and sizes of a live run, one after the other."""

    times: Float64[ndarray, " n"]
    sizes: Float64[ndarray, " m"]

    @property
    def offered(self) -> float:
        return len(self.times) / float(self.times[-1])

    def start(self, environment: Environment, send: Send, random: np.random.Generator) -> None:
        environment.process(self._run(environment, send))

    def _run(self, environment: Environment, send: Send) -> Generator[Event, bool, None]:
        for time in self.times:
            yield environment.timeout(float(time) - environment.now)
            send()

    def draw(self, random: np.random.Generator, n: int) -> Float64[ndarray, " k"]:
        """The sizes in order; whoever draws them draws them all at once."""
        return np.resize(self.sizes, max(n, len(self.times)))


def main() -> None:
    parser = options_of("simulator", __doc__)
    parser.add_argument("--model", default="exatrkx", help=f"a pipeline, or {WAITER}")
    parser.add_argument("--instances", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a live run at one load")
    parser.set_defaults(output=Path("runs/bench/fleet/simulator.json"))
    options = parser.parse_args()
    begun = print_header("simulator against live", options)
    waiter = ModelSettings(WAITER, f"{Path(__file__).with_name('waiter.py')}:Waiter", instances=options.instances)
    models = [waiter] if options.model == WAITER else models_of([options.model], instances=options.instances)
    rows: list[Compared] = []
    with serving(models, supervise=False) as server:
        bench = Bench(server, options.model, options.instances, options.seed)
        for turn in range(options.rounds):
            measured = bench.measured(options.seconds / 3)
            rows += [compared(bench, measured, load, options, options.seed + turn) for load in LOADS]
            CONSOLE.print(
                f"round {turn + 1}: {1e3 * np.mean(measured.seconds):.2f} ms an event, {1e3 * measured.overhead:.2f} ms"
                f" elsewhere, contention {measured.contention:.3f}",
                markup=False,
            )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_measured(options.output.with_name("measured.json"), measured)
    summary = summary_of(rows)
    report(options, begun, {"rows": [asdict(row) for row in rows], "summary": summary})
    raise SystemExit(0 if all(line["met"] for line in summary) else 1)


def compared(bench: Bench, measured: Measured, load: float, options: argparse.Namespace, seed: int) -> Compared:
    """One load, live and simulated."""
    service, sizes = measured.service(), MeasuredSizes(bench.sizes)
    shape = FleetShape(1, bench.instances, cores=bench.instances, in_flight=IN_FLIGHT, queue=None)
    full = run_fleet(Load(ClosedLoop(4 * bench.instances), sizes, service), shape, requests=5_000, replicas=3)
    rate = load * full.throughput.value
    live = summarise(bench.open(rate, options.seconds, seed))
    times = poisson_arrivals(rate, WARM_UP + options.seconds, seed)
    again = Replay(times, bench.sizes)
    before = int(np.searchsorted(times, WARM_UP))
    runs = [
        simulate(Load(again, again, service), shape, requests=len(times) - before, warm_up=before, seed=draw)
        for draw in range(5)
    ]
    drawn = run_fleet(Load(Poisson(rate), sizes, service), shape, requests=20_000)
    return Compared(
        load,
        rate,
        (live.throughput, live.p95),
        (
            float(np.mean([run.answers / run.seconds for run in runs])),
            float(np.mean([np.percentile(run.latency, 95) for run in runs])),
        ),
        (drawn.throughput.value, drawn.p95.value),
    )


def summary_of(rows: list[Compared]) -> list[dict[str, Any]]:
    """A table of the loads, medians over the rounds, and whether each difference is small enough."""
    heads = ["rate [1/s]", "live [1/s]", "replayed / live", "p95 live [ms]", "replayed / live", "drawn / live"]
    table = make_table("simulator against live", ["load"], heads, caption="medians over the rounds")
    lines = []
    for load in LOADS:
        results = [row for row in rows if row.load == load]
        live = np.median([row.live for row in results], axis=0)
        throughput, p95 = np.median([np.divide(row.replayed, row.live) for row in results], axis=0)
        drawn = np.median([row.drawn[1] / row.live[1] for row in results])
        rate = np.median([row.rate for row in results])
        cells = (rate, live[0], throughput, 1e3 * live[1], p95, drawn)
        table.add_row(f"{load:.0%}", *(f"{cell:.3f}" if cell < 10 else f"{cell:.1f}" for cell in cells))
        for name, ratio in (("throughput", throughput), ("p95", p95)):
            words = f"simulated over live {ratio:.3f}, wanted within {WANTED:.0%}"
            lines.append(verdict(f"{name} at {load:.0%}", bool(abs(ratio - 1) <= WANTED), words))
    CONSOLE.print(table)
    return lines


def _right(run: LoadRun) -> LoadRun:
    """A run in which every answer was right."""
    if run.faults:
        raise WrongLabelsError(next(iter(run.faults)))
    return run


if __name__ == "__main__":
    main()
