"""Load test of the service: its plan, points, run, table and plots.

Direct, one model, batching model, ensemble, shared memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from io import StringIO
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter
from typing import Any, Final, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from beampipe.errors import BeampipeError, ConfigError, ServiceError, WrongLabelsError, look_up
from beampipe.events import Event, Hits, Tracks
from beampipe.figures import ground, new_figure, save_figure
from beampipe.files import write_whole
from beampipe.processes import processor_name, processor_time
from beampipe.serving import load
from beampipe.serving.finders import TritonTrackFinder
from beampipe.serving.models import DEFAULTS, ServingSettings
from beampipe.serving.server import generated_repository
from beampipe.serving.variants import variants_of
from beampipe.terminal import make_table
from beampipe.tracking.catalogue import pipeline_spec
from beampipe.tracking.data import shipped_events
from beampipe.tracking.formats import open_events
from beampipe.tracking.loading import load_pipeline
from beampipe.tracking.pipeline import Pipeline
from beampipe.triton.client.endpoint import WireProtocol
from beampipe.triton.metrics import parse_metrics
from beampipe.triton.server import management
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer

DIRECT: Final = "direct"
"""Name of the way without a server: the same pipeline in the process of the client."""


@dataclass(frozen=True)
class BenchSample:
    """The events of a load test; served labels equal the direct ones.

    Attributes:
        name: name of the sample, in words.
        events: number of events.
        hits: median number of hits of an event.
    """

    name: str
    events: int
    hits: int


@dataclass(frozen=True)
class BenchPoint:
    """One measurement.

    Attributes:
        sample: name of the sample.
        way: how tracks were found: `DIRECT`, or a model's name with its protocol, such as ``exatrkx http``.
        concurrency: number of requests in flight.
        instances: number of instances of the model, or of pipelines side by side.
        threads: number of threads of each of them.
        summary: throughput and latency.
        utilisation: processor time of server and models (of this process, if direct) over that of all cores.
        gpu_utilisation: mean utilisation of the GPUs, None without one.
        batch: mean number of events in one call of the model, None if direct.
        load_average: load average of the machine just before.
    """

    sample: str
    way: str
    concurrency: int
    instances: int
    threads: int
    summary: load.Summary
    utilisation: float
    gpu_utilisation: float | None
    batch: float | None
    load_average: float

    def __str__(self) -> str:
        return (
            f"{self.sample}: {self.way}, {self.concurrency} in flight, {self.instances} instance(s):"
            f" {self.summary.throughput:.4g} events/s, p50 {1e3 * self.summary.p50:.4g} ms"
        )


@dataclass(frozen=True)
class BenchResult:
    """A whole load test.

    Attributes:
        pipeline: name of the pipeline that was served.
        samples: the samples that were sent.
        points: what was measured, in order.
        conditions: state of the machine when it began.
    """

    pipeline: str
    samples: tuple[BenchSample, ...]
    points: tuple[BenchPoint, ...]
    conditions: dict[str, Any]

    def ways(self) -> list[str]:
        """The ways in which tracks were found, in the order of the points."""
        return list(dict.fromkeys(point.way for point in self.points))

    def of(self, sample: str, way: str) -> list[BenchPoint]:
        """Points of one sample and way."""
        return [point for point in self.points if (point.sample, point.way) == (sample, way)]


def conditions(command: Sequence[str]) -> dict[str, Any]:
    """The date, the state of the machine now, and the command line."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": " ".join(command),
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(average, 2) for average in os.getloadavg()],
    }


@dataclass(frozen=True)
class BenchPlan:
    """Plan of a load test.

    Attributes:
        pipeline: name of the pipeline that is served.
        ways: how tracks are found: `DIRECT`, or ``MODEL PROTOCOL``.
        serving: device, threads, backend and tracker model of the pipelines.
        concurrency: numbers of requests in flight, for one instance.
        instances: numbers of instances, each at the largest concurrency; 1 is measured in any case.
        seconds: duration of each point [s].
        triton: folder of another Triton than the installed engine.
    """

    pipeline: str
    ways: tuple[str, ...]
    serving: ServingSettings = DEFAULTS
    concurrency: tuple[int, ...] = (1, 2, 4, 8, 16)
    instances: tuple[int, ...] = (1,)
    seconds: float = 5.0
    triton: Path | None = None

    def __post_init__(self) -> None:
        if not self.ways:
            raise ConfigError("ways: got none, expected direct or MODEL PROTOCOL")

    def threads_of(self, instances: int) -> int:
        """The number of threads of each of so many instances."""
        return self.serving.threads or max(1, len(os.sched_getaffinity(0)) // instances)

    def load_pipeline(self, instances: int) -> Pipeline:
        """The pipeline in this process, one of so many."""
        serving, threads = self.serving, self.threads_of(instances)
        return load_pipeline(self.pipeline, device=serving.device, threads=threads, model=serving.tracker_model)


def default_ways(pipeline: str) -> tuple[str, ...]:
    """The ways to find tracks with a pipeline: direct, each model over HTTP, the plain one over gRPC and shm, too."""
    # Models for third-party clients answer with lists of rows instead of labels.
    variants = variants_of(pipeline_spec(pipeline)).values()
    plain, *others = (variant.name for variant in variants if variant.way != "athena")
    return (DIRECT, f"{plain} http", f"{plain} grpc", f"{plain} shm", *(f"{name} http" for name in others))


def load_samples(files: Sequence[Path], max_events: int, pile_up: Sequence[int]) -> Mapping[str, Sequence[Event]]:
    """Events by name of sample: those of files, or shipped ones if there are no files.

    Args:
        files: files of events, each a sample.
        max_events: largest number of events of each file.
        pile_up: levels of pile-up of the shipped events, each a sample.
    """
    if files:
        return {path.stem: list(islice(open_events(path), max_events)) for path in files}
    return {f"mu = {level}": list(shipped_events(level)) for level in pile_up}


PROTOCOLS: Final[Mapping[str, WireProtocol]] = {"http": "http", "grpc": "grpc", "shm": "shm"}
"""Name in a way -> protocol of the client; ``shm`` passes tensors in shared memory and uses gRPC."""


def model_of(way: str) -> str:
    """The name of the model of a way, or ``direct``."""
    return way.split()[0]


_GPU: Final = "nv_gpu_utilization{"


class _Usage(NamedTuple):
    """Sums since the start of a server, or of this process.

    Attributes:
        time: time of the reading [s].
        cpu: processor time [s].
        events: events that the model has answered.
        calls: calls of the model.
        gpu: mean utilisation of the GPUs at the time of the reading; None without one.
    """

    time: float
    cpu: float
    events: float = 0.0
    calls: float = 0.0
    gpu: float | None = None


def _read_usage(server: TritonServer | None, model: str) -> _Usage:
    """What this process, or a server with its models, has used so far, and how often a model was called."""
    if server is None or model == DIRECT:
        return _Usage(perf_counter(), sum(os.times()[:2]))
    cpu = 0.0
    for pid in (server.pid, *(stub.pid for stub in server.stubs())):
        seconds = None if pid is None else processor_time(pid)
        if seconds is None:
            raise ServiceError(f"process {pid} of the server has ended, expected it to live while it is measured")
        cpu += seconds
    text = management.request(server.metrics_url, "GET", "/metrics")[1].decode()
    gpus = [float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(_GPU)]
    values = parse_metrics(text)[model].values
    calls = values.get("executions", 0.0)
    return _Usage(perf_counter(), cpu, values.get("inferences", 0.0), calls, sum(gpus) / len(gpus) if gpus else None)


def print_bench(result: BenchResult, out: Console) -> None:
    """Print the tables of a load test."""
    for sample in result.samples:
        out.print(bench_table(result, sample.name))


REPORT_FILES: Final = ("serving.json", "throughput_concurrency.png")
"""Names of the files of a load test: the figures, and a plot."""

REPORT_MARK: Final = '{\n "pipeline": "'
"""How the JSON file begins."""


def write_report(result: BenchResult, folder: Path) -> list[Path]:
    """Write the files of a load test.

    Args:
        result: what was measured.
        folder: folder of the files.

    Returns:
        The paths of the files: the JSON, with the tables as text under ``printed``, and the plot.
    """
    figures, plot = (folder / name for name in REPORT_FILES)
    tables = StringIO()
    print_bench(result, Console(file=tables, width=180))
    text = json.dumps({**asdict(result), "printed": tables.getvalue()}, indent=1) + "\n"
    write_whole(figures, lambda part: part.write_text(text, encoding="utf-8"))
    draw_concurrency(result, plot)
    return [figures, plot]


def bench_table(result: BenchResult, sample: str) -> Table:
    """All points of one sample; the ratio is to direct at the same concurrency and instances."""
    about = next(described for described in result.samples if described.name == sample)
    times = ("events/s", "ratio", "p50 ms", "p95 ms", "p99 ms")
    table = make_table(
        f"{result.pipeline}, {sample}: {about.events} events, median {about.hits} hits",
        ("way",),
        ("in flight", "instances x threads", *times, "failed", "batch", "use", "load"),
        importance=("in flight", "events/s", "p50 ms", "p95 ms", "failed", "ratio", "instances x threads"),
        caption="labels equal the direct ones byte for byte at every point; ratio: throughput over direct's;"
        " use: processor time of server and models (direct: of this process) over all cores",
    )
    direct = {(point.concurrency, point.instances): point for point in result.of(sample, DIRECT)}
    for point in result.points:
        if point.sample == sample:
            summary, here = point.summary, direct.get((point.concurrency, point.instances))
            table.add_row(
                point.way,
                str(point.concurrency),
                f"{point.instances} x {point.threads}",
                f"{summary.throughput:.4g}",
                f"{summary.throughput / here.summary.throughput:.3f}" if here else "",
                *(f"{1e3 * seconds:.4g}" for seconds in (summary.p50, summary.p95, summary.p99)),
                str(summary.faults),
                "" if point.batch is None else f"{point.batch:.1f}",
                f"{point.utilisation:.0%}",
                f"{point.load_average:.1f}",
            )
    return table


def draw_concurrency(result: BenchResult, path: Path) -> None:
    """Throughput against requests in flight, one instance: one panel per sample, one curve per way."""
    from matplotlib import rc_context

    names = [sample.name for sample in result.samples]
    with rc_context(ground()):
        figure, (axes,) = new_figure(1, len(names), size=(4.6 * len(names), 4.0))
    figure.suptitle(
        f"{result.pipeline}: throughput, {result.conditions['cores']} cores for clients and server together"
    )
    for sample, axis in zip(names, axes, strict=True):
        for number, way in enumerate(result.ways()):
            points = [point for point in result.of(sample, way) if point.instances == 1]
            curve = [(point.concurrency, point.summary.throughput) for point in points]
            style = "osD^vPX*"[number % 8] + ("--" if way == DIRECT else "-")
            axis.plot(*zip(*curve, strict=True), style, color=f"C{number}", label=way)
        axis.set(title=sample, xscale="log", xlabel="requests in flight")
        axis.set_xticks(sorted({point.concurrency for point in result.points}))
        axis.xaxis.set_major_formatter("{x:.0f}")
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("events / s")
    axes[-1].legend(fontsize="small")
    save_figure(figure, path)


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
        command: command line of this run.
        progress: function that is called after each point.

    Raises:
        BeampipeError: labels that a server gives differ from the direct ones.
    """
    begun = conditions(command)
    finder = plan.load_pipeline(1)
    workloads = {
        name: load.direct_workload([event.hits for event in events], finder.find) for name, events in samples.items()
    }
    described = [
        BenchSample(name, len(events), int(np.median([len(event.hits) for event in events])))
        for name, events in samples.items()
    ]
    points: list[BenchPoint] = []

    for instances in dict.fromkeys((1, *plan.instances)):
        with _server(plan, instances) as server:
            for name, workload in workloads.items():
                bench = _Bench(plan, server, name, workload, instances)
                for point in bench.points():
                    points.append(point)
                    progress(point)
    return BenchResult(plan.pipeline, tuple(described), tuple(points), begun)


@contextmanager
def _server(plan: BenchPlan, instances: int) -> Iterator[TritonServer | None]:
    """A server with the models of a plan, None if it has none."""
    models = tuple(dict.fromkeys(model_of(way) for way in plan.ways if way != DIRECT))
    if not models:
        yield None
        return
    serving = replace(plan.serving, models=models, instances=instances, threads=plan.threads_of(instances))
    with (
        generated_repository(serving) as (folder, names),
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
    workload: load.Workload
    instances: int

    def points(self) -> Iterator[BenchPoint]:
        """A point for each number of requests in flight and each way; labels are compared before anything is timed."""
        for concurrency in self.plan.concurrency if self.instances == 1 else (max(self.plan.concurrency),):
            for way in self.plan.ways:
                with closing(self._sender(way, concurrency)) as sender:
                    try:
                        load.verify(sender, self.workload)
                    except (WrongLabelsError, TimeoutError) as error:
                        reason = error.fault if isinstance(error, WrongLabelsError) else error
                        raise BeampipeError(f"{way}: {reason}; nothing was measured") from error
                    yield self._point(sender, way, concurrency)

    def _point(self, sender: load.Sender, way: str, concurrency: int) -> BenchPoint:
        load_average, before = os.getloadavg()[0], _read_usage(self.server, model_of(way))
        run = load.closed_loop(sender, self.workload, concurrency, seconds=self.plan.seconds)
        after = _read_usage(self.server, model_of(way))
        calls = after.calls - before.calls
        return BenchPoint(
            self.sample,
            way,
            concurrency,
            self.instances,
            self.plan.threads_of(self.instances),
            load.summarise(run),
            utilisation=(after.cpu - before.cpu) / (after.time - before.time) / len(os.sched_getaffinity(0)),
            gpu_utilisation=after.gpu,
            batch=(after.events - before.events) / calls if calls else None,
            load_average=load_average,
        )

    def _sender(self, way: str, concurrency: int) -> load.Sender:
        """A sender to a model, or to as many pipelines in this process as there are instances."""
        if way != DIRECT:
            assert self.server is not None
            model, _, protocol = way.partition(" ")
            wire = look_up("protocol", protocol, PROTOCOLS)
            url = f"http://{self.server.http_url}" if protocol == "http" else f"grpc://{self.server.grpc_url}"
            finder = TritonTrackFinder(url, model, protocol=wire, in_flight=concurrency)
            return load.FutureSender(finder.submit, self.workload, finder.close)
        idle: SimpleQueue[Pipeline] = SimpleQueue()
        for _ in range(self.instances):
            idle.put(self.plan.load_pipeline(self.instances))

        def find(hits: Hits) -> Tracks:
            pipeline = idle.get()
            try:
                return pipeline.find(hits)
            finally:
                idle.put(pipeline)

        return load.in_threads(find, self.workload, self.instances)
