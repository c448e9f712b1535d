"""Runs a load test: each point after a check that the labels served equal the direct ones, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from beampipe.errors import BeampipeError, ConfigError
from beampipe.serving.bench.perf_analyzer import RawPoint, perf_analyze
from beampipe.serving.bench.points import DIRECT, BenchResult, Point, Sample, conditions
from beampipe.serving.bench.usage import Usage
from beampipe.serving.bench.ways import direct_sender, model_of, open_way
from beampipe.serving.load import (
    Sender,
    Workload,
    WrongLabelsError,
    closed_loop,
    direct_workload,
    open_loop,
    summarise,
    verify,
)
from beampipe.serving.serve import generated_repository
from beampipe.serving.variants import variants_of
from beampipe.tracking.evaluation.evaluate import evaluate
from beampipe.tracking.events import Event
from beampipe.tracking.pipelines.loading import load_pipeline
from beampipe.tracking.pipelines.specs import pipeline_spec
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer

__all__ = ["BenchPlan", "default_ways", "run_bench"]

_RAW_WINDOW: Final = 20  # requests of one window of perf_analyzer


@dataclass(frozen=True)
class BenchPlan:
    """What to measure.

    Attributes:
        pipeline: what is served.
        ways: `DIRECT`, or ``MODEL PROTOCOL``.
        concurrency: requests in flight, for one instance.
        instances: numbers of instances, each at the largest concurrency; 1 is measured in any case.
        seconds: of each point.
        repetitions: of each point, all ways in turn; the median one (by throughput) is kept.
        device: of the pipelines.
        threads: of one instance; the cores shared out among the instances if not given.
        rates: for an open loop, as fractions of the largest throughput of each way.
        perf_analyzer: also measure each model with NVIDIA's load generator, which looks at no label.
        triton: another Triton than the installed engine.
    """

    pipeline: str
    ways: tuple[str, ...]
    concurrency: tuple[int, ...] = (1, 2, 4, 8, 16)
    instances: tuple[int, ...] = (1,)
    seconds: float = 5.0
    repetitions: int = 1
    device: str = "cpu"
    threads: int | None = None
    rates: tuple[float, ...] = ()
    perf_analyzer: bool = False
    triton: Path | None = None

    def __post_init__(self) -> None:
        if not self.ways:
            raise ConfigError("ways: got none, expected direct or MODEL PROTOCOL")

    def threads_of(self, instances: int) -> int:
        """Of each instance."""
        return self.threads or max(1, len(os.sched_getaffinity(0)) // instances)


def default_ways(pipeline: str) -> tuple[str, ...]:
    """Direct, and every model of a pipeline, over the cheapest protocol; one of them over the others too."""
    plain, *others = (variant.name for variant in variants_of(pipeline_spec(pipeline)).values())
    return (DIRECT, f"{plain} http", f"{plain} grpc", f"{plain} shm", *(f"{name} http" for name in others))


def run_bench(
    plan: BenchPlan,
    samples: Mapping[str, Sequence[Event]],
    command: Sequence[str],
    progress: Callable[[Point], None] = lambda point: None,
) -> BenchResult:
    """Measure every point of a plan.

    Args:
        plan: what to measure.
        samples: events by name of sample, with truth or not.
        command: what was typed.
        progress: called after each point.

    Raises:
        BeampipeError: labels that a server gives differ from the direct ones.
    """
    begun = conditions(command)
    finder = load_pipeline(plan.pipeline, device=plan.device, threads=plan.threads_of(1))
    workloads = {
        name: direct_workload([event.hits for event in events], finder.find) for name, events in samples.items()
    }
    described = [_describe(name, events, plan.pipeline, finder) for name, events in samples.items()]
    points: list[Point] = []
    raw: list[tuple[str, RawPoint]] = []
    unstable: list[str] = []
    for instances in dict.fromkeys((1, *plan.instances)):
        levels = plan.concurrency if instances == 1 else (max(plan.concurrency),)
        with _server(plan, instances) as server:
            for name, workload in workloads.items():
                for concurrency in levels:
                    for point in _alternated(plan, server, name, workload, concurrency, instances):
                        points.append(point)
                        progress(point)
                if instances == 1:
                    for point in _open_points(plan, server, name, workload, points):
                        points.append(point)
                        progress(point)
                    if plan.perf_analyzer and server is not None:
                        for answer in _raw_points(plan, server, workload):
                            if isinstance(answer, RawPoint):
                                raw.append((name, answer))
                            else:
                                unstable.append(f"{name}: {answer}")
    return BenchResult(plan.pipeline, tuple(described), tuple(points), begun, tuple(raw), tuple(unstable))


def _describe(name: str, events: Sequence[Event], pipeline: str, finder: object) -> Sample:
    hits = int(np.median([len(event.hits) for event in events]))
    if any(event.truth is None for event in events):
        return Sample(name, len(events), hits, None, None)
    result = evaluate({pipeline: finder}, events, sample=name, warm_up=0)  # type: ignore[dict-item]
    quality = result.finders[0].double
    return Sample(name, len(events), hits, quality.efficiency.value, quality.fakes.value)


@contextmanager
def _server(plan: BenchPlan, instances: int) -> Iterator[TritonServer | None]:
    models = tuple(dict.fromkeys(model_of(way) for way in plan.ways if way != DIRECT))
    if not models:
        yield None
        return
    threads = plan.threads_of(instances)
    with (
        generated_repository(models, instances=instances, device=plan.device, threads=threads) as (folder, names),
        TritonServer(ServerSettings(folder, names, triton=plan.triton)) as server,
    ):
        yield server


def _alternated(
    plan: BenchPlan, server: TritonServer | None, sample: str, workload: Workload, concurrency: int, instances: int
) -> Iterator[Point]:
    """One point per way, the median of repetitions that alternate with those of the other ways."""
    measured: dict[str, list[Point]] = {way: [] for way in plan.ways}
    for repetition in range(plan.repetitions):
        for way in plan.ways:
            with closing(_sender(plan, way, server, workload, concurrency, instances)) as sender:
                if repetition == 0:
                    _require_equal(sender, workload, way)
                load = os.getloadavg()[0]
                with Usage(None if way == DIRECT else server, model_of(way)) as usage:
                    run = closed_loop(sender, workload, concurrency, seconds=plan.seconds)
            measured[way].append(
                Point(
                    sample,
                    way,
                    concurrency,
                    instances,
                    plan.threads_of(instances),
                    summarise(run),
                    usage.utilisation,
                    usage.gpu_utilisation,
                    usage.batch,
                    load,
                )
            )
    for points in measured.values():
        yield sorted(points, key=lambda point: point.summary.throughput)[len(points) // 2]


def _open_points(
    plan: BenchPlan, server: TritonServer | None, sample: str, workload: Workload, points: Sequence[Point]
) -> Iterator[Point]:
    """Open loops at fractions of what each way could do in the closed one."""
    for way in plan.ways:
        best = max(p.summary.throughput for p in points if (p.sample, p.way, p.instances) == (sample, way, 1))
        for fraction in plan.rates:
            with closing(_sender(plan, way, server, workload, 64, 1)) as sender:
                load = os.getloadavg()[0]
                with Usage(None if way == DIRECT else server, model_of(way)) as usage:
                    run = open_loop(sender, workload, fraction * best, seconds=max(plan.seconds, 20 / best))
            yield Point(
                sample,
                way,
                64,
                1,
                plan.threads_of(1),
                summarise(run),
                usage.utilisation,
                usage.gpu_utilisation,
                usage.batch,
                load,
                fraction * best,
            )


def _raw_points(plan: BenchPlan, server: TritonServer, workload: Workload) -> Iterator[RawPoint | str]:
    """What `perf_analyzer` says of each model, at the smallest and the largest concurrency, or why it says nothing."""
    events = [hits for hits in workload.hits if len(hits)]
    for model in dict.fromkeys(model_of(way) for way in plan.ways if way != DIRECT):
        for concurrency in sorted({min(plan.concurrency), max(plan.concurrency)}):
            requests = max(_RAW_WINDOW, 2 * concurrency, len(events))
            try:
                yield perf_analyze(server.grpc_url, model, events, concurrency, requests=requests)
            except BeampipeError as error:
                yield f"{model}, {concurrency} in flight: {error}"


def _sender(
    plan: BenchPlan, way: str, server: TritonServer | None, workload: Workload, concurrency: int, instances: int
) -> Sender:
    if way == DIRECT:
        return direct_sender(plan.pipeline, workload, plan.device, instances, plan.threads_of(instances))
    assert server is not None
    return open_way(way, server, workload, concurrency)


def _require_equal(sender: Sender, workload: Workload, way: str) -> None:
    """Every event once, its labels compared, before anything is timed."""
    try:
        verify(sender, workload)
    except WrongLabelsError as error:
        raise BeampipeError(f"{way}: {error.fault}; nothing was measured") from error
    except TimeoutError as error:
        raise BeampipeError(f"{way}: {error}; nothing was measured") from error
