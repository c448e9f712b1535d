"""Runs a load test: each point after a check that the labels served equal the direct ones, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

from beampipe.errors import BeampipeError, WrongLabelsError
from beampipe.serving.bench.perf_analyzer import RawPoint, perf_analyze
from beampipe.serving.bench.plan import BenchPlan
from beampipe.serving.bench.points import DIRECT, BenchPoint, BenchResult, conditions
from beampipe.serving.bench.samples import describe_sample
from beampipe.serving.bench.usage import Usage
from beampipe.serving.bench.ways import direct_sender, model_of, open_way
from beampipe.serving.load import (
    Sender,
    Workload,
    closed_loop,
    direct_workload,
    open_loop,
    summarise,
    verify,
)
from beampipe.serving.service import generated_repository
from beampipe.tracking.events import Event
from beampipe.tracking.loading import load_pipeline
from beampipe.triton.server import control
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer

__all__ = ["run_bench"]

_RAW_WINDOW: Final = 20
"""Smallest number of requests in one window of `perf_analyzer`."""
_OPEN_IN_FLIGHT: Final = 64
"""Largest number of requests in flight in an open loop."""
_OPEN_EVENTS: Final = 20
"""Smallest number of events of an open loop: it lasts longer than asked for where events are slow."""


def run_bench(
    plan: BenchPlan,
    samples: Mapping[str, Sequence[Event]],
    command: Sequence[str],
    progress: Callable[[BenchPoint], None] = lambda point: None,
) -> BenchResult:
    """Measure every point of a plan.

    Args:
        plan: what to measure.
        samples: events by name of sample, with truth or without.
        command: command that was typed.
        progress: function that is called after each point.

    Raises:
        BeampipeError: labels that a server gives differ from the direct ones.
    """
    begun = conditions(command)
    threads = plan.threads_of(1)
    finder = load_pipeline(plan.pipeline, device=plan.device, threads=threads, model=plan.tracker_model)
    workloads = {
        name: direct_workload([event.hits for event in events], finder.find) for name, events in samples.items()
    }
    described = [describe_sample(name, events, plan.pipeline, finder) for name, events in samples.items()]
    points: list[BenchPoint] = []
    raw: list[tuple[str, RawPoint]] = []
    unstable: list[str] = []

    def keep(measured: Iterator[BenchPoint]) -> None:
        for point in measured:
            points.append(point)
            progress(point)

    for instances in dict.fromkeys((1, *plan.instances)):
        with _server(plan, instances) as server:
            for name, workload in workloads.items():
                bench = _Bench(plan, server, name, workload, instances)
                for concurrency in plan.concurrency if instances == 1 else (max(plan.concurrency),):
                    keep(bench.closed_points(concurrency))
                if instances > 1:
                    continue
                keep(bench.open_points(points))
                for answer in bench.raw_points() if plan.perf_analyzer else ():
                    if isinstance(answer, RawPoint):
                        raw.append((name, answer))
                    else:
                        unstable.append(f"{name}: {answer}")
    return BenchResult(plan.pipeline, tuple(described), tuple(points), begun, tuple(raw), tuple(unstable))


@contextmanager
def _server(plan: BenchPlan, instances: int) -> Iterator[TritonServer | None]:
    """A server with the models of a plan, None if it has none."""
    models = tuple(dict.fromkeys(model_of(way) for way in plan.ways if way != DIRECT))
    if not models:
        yield None
        return
    made = generated_repository(
        models,
        instances=instances,
        device=plan.device,
        threads=plan.threads_of(instances),
        backend=plan.backend,
        tracker_model=plan.tracker_model,
    )
    with (
        made as (folder, names),
        TritonServer(ServerSettings(folder, names, triton=plan.triton)) as server,
    ):
        yield server


@dataclass(frozen=True)
class _Bench:
    """One sample and one number of instances, of which points are measured.

    Attributes:
        plan: what to measure.
        server: server of the models, None if there are none.
        sample: name of the sample.
        workload: events of the sample with their direct labels.
        instances: number of instances.
    """

    plan: BenchPlan
    server: TritonServer | None
    sample: str
    workload: Workload
    instances: int

    def closed_points(self, concurrency: int) -> Iterator[BenchPoint]:
        """One point per way, the median of repetitions that alternate with those of the other ways."""
        measured: dict[str, list[BenchPoint]] = {way: [] for way in self.plan.ways}
        for repetition in range(self.plan.repetitions):
            for way in self.plan.ways:
                with closing(self._sender(way, concurrency)) as sender:
                    if repetition == 0:
                        _require_equal(sender, self.workload, way)
                    measured[way].append(self._point(sender, way, concurrency, self.plan.seconds))
        for points in measured.values():
            yield sorted(points, key=lambda point: point.summary.throughput)[len(points) // 2]

    def open_points(self, points: Sequence[BenchPoint]) -> Iterator[BenchPoint]:
        """Open loops at fractions of what each way could do in the closed one.

        Args:
            points: what was measured so far.
        """
        for way in self.plan.ways:
            closed = (p for p in points if (p.sample, p.way, p.instances, p.rate) == (self.sample, way, 1, None))
            best = max(point.summary.throughput for point in closed)
            for fraction in self.plan.rates:
                with closing(self._sender(way, _OPEN_IN_FLIGHT)) as sender:
                    seconds = max(self.plan.seconds, _OPEN_EVENTS / best)
                    yield self._point(sender, way, _OPEN_IN_FLIGHT, seconds, rate=fraction * best)

    def _point(
        self, sender: Sender, way: str, concurrency: int, seconds: float, rate: float | None = None
    ) -> BenchPoint:
        load = os.getloadavg()[0]
        with Usage(None if way == DIRECT else self.server, model_of(way)) as usage:
            if rate is None:
                run = closed_loop(sender, self.workload, concurrency, seconds=seconds)
            else:
                run = open_loop(sender, self.workload, rate, seconds=seconds)
        return BenchPoint(
            self.sample,
            way,
            concurrency,
            self.instances,
            self.plan.threads_of(self.instances),
            summarise(run),
            usage.utilisation,
            usage.gpu_utilisation,
            usage.batch,
            load,
            rate,
        )

    def _sender(self, way: str, concurrency: int) -> Sender:
        if way == DIRECT:
            return direct_sender(self.plan, self.workload, self.instances)
        assert self.server is not None
        return open_way(way, self.server, self.workload, concurrency)

    def raw_points(self) -> Iterator[RawPoint | str]:
        """What `perf_analyzer` says of each model, at the smallest and the largest concurrency, or why it is silent."""
        if self.server is None:
            return
        events = [hits for hits in self.workload.hits if len(hits)]
        for model in dict.fromkeys(model_of(way) for way in self.plan.ways if way != DIRECT):
            batches = control.model_config(self.server.http_url, model).get("max_batch_size", 0) > 0
            for concurrency in sorted({min(self.plan.concurrency), max(self.plan.concurrency)}):
                requests = max(_RAW_WINDOW, 2 * concurrency, len(events))
                try:
                    yield perf_analyze(
                        self.server.grpc_url, model, events, concurrency, requests=requests, batches=batches
                    )
                except BeampipeError as error:
                    yield f"{model}, {concurrency} in flight: {error}"


def _require_equal(sender: Sender, workload: Workload, way: str) -> None:
    """Every event once, its labels compared, before anything is timed."""
    try:
        verify(sender, workload)
    except WrongLabelsError as error:
        raise BeampipeError(f"{way}: {error.fault}; nothing was measured") from error
    except TimeoutError as error:
        raise BeampipeError(f"{way}: {error}; nothing was measured") from error
