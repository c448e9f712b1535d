"""Demo of track finding as a service: a server, a client that sends simulated events, throughput and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

from rich.table import Table

from beampipe.errors import BeampipeError
from beampipe.figures import ground, new_figure, save_figure
from beampipe.files import make_folder
from beampipe.serving.finders import DirectTrackFinder, TritonTrackFinder
from beampipe.serving.load import FutureSender, Summary, Workload, closed_loop, direct_workload, summarise
from beampipe.serving.models import ServingSettings
from beampipe.serving.server import generated_repository
from beampipe.terminal import make_table
from beampipe.tracking.data import shipped_events
from beampipe.tracking.display import show_event
from beampipe.triton.server.cleanup import shared_memory_of
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer

DEMO_MODELS: Final = ("module_map", "exatrkx_walk")

DEMO_FILES: Final = ("event.png", "throughput.png")
"""Names of the files that the demo writes."""

_SPAN: Final = 0.1
"""Time [s] for which events are measured at least, for each model and number of requests in flight."""


@dataclass(frozen=True)
class DemoPoint:
    """Throughput and latency of one model; the labels of each event were compared with the direct ones.

    Attributes:
        model: name of the model.
        in_flight: number of requests in flight.
        summary: figures of the events that were answered.
    """

    model: str
    in_flight: int
    summary: Summary


@dataclass(frozen=True)
class DemoResult:
    """Results of the demo.

    Attributes:
        points: throughput for each model and number of requests in flight.
        start_seconds: time until the server answers [s].
        stopped_clean: whether nothing was left of the server.
    """

    points: tuple[DemoPoint, ...]
    start_seconds: float
    stopped_clean: bool


def run_serving_demo(
    folder: Path,
    models: Sequence[str] = DEMO_MODELS,
    *,
    in_flight: int = 4,
    events: int = 12,
    mu: int = 200,
    triton: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> DemoResult:
    """Start a server, send it events, several at a time, compare all labels, draw, stop.

    Args:
        folder: folder for `DEMO_FILES`.
        models: names of the pipelines to serve.
        in_flight: largest number of requests in flight.
        events: smallest number of events that are measured for each model and number of requests in flight.
        mu: pile-up of the shipped events that are sent.
        triton: folder of another Triton than the installed engine.
        progress: function that is called with a message for each step.

    Raises:
        BeampipeError: a label that came from the server is not that of the direct pipeline.
    """
    make_folder(folder)
    begin = perf_counter()
    progress("starting Triton")
    with (
        generated_repository(ServingSettings(tuple(models), instances=2)) as (repository, names),
        TritonServer(ServerSettings(repository, names, triton=triton)) as server,
    ):
        url = f"grpc://{server.grpc_url}"
        start_seconds = perf_counter() - begin
        event = shipped_events(mu)[0]
        with TritonTrackFinder(url, models[0]) as finder:
            tracks = finder.find(event.hits)
            show_event(event, tracks, folder / "event.png", name=f"mu = {mu}, {models[0]} in Triton")
        points = []
        for model in models:
            with DirectTrackFinder(model) as direct:
                workload = direct_workload([event.hits for event in shipped_events(mu)], direct.find)
            for number in sorted({1, 2, in_flight}):
                progress(f"{number} request{'s' * (number > 1)} in flight to {model}")
                points.append(_measure(url, model, workload, number, events))
        progress("stopping")
        prefix = server.prefix
    _draw(points, mu, folder / "throughput.png")
    return DemoResult(tuple(points), start_seconds, stopped_clean=not shared_memory_of(prefix))


def demo_table(result: DemoResult) -> Table:
    """Throughput and latency by model and number of requests in flight."""
    table = make_table(
        "events through the server",
        ("model",),
        ("in flight", "events", "events/s", "p50 ms", "p95 ms"),
        importance=("in flight", "events/s", "p50 ms"),
        caption=f"labels equal the direct ones byte for byte; server ready after {result.start_seconds:.1f} s",
    )
    for point in result.points:
        summary = point.summary
        numbers = (f"{summary.throughput:.2f}", f"{1e3 * summary.p50:.0f}", f"{1e3 * summary.p95:.0f}")
        table.add_row(point.model, str(point.in_flight), str(summary.requests), *numbers)
    return table


def _measure(url: str, model: str, workload: Workload, in_flight: int, events: int) -> DemoPoint:
    with TritonTrackFinder(url, model, in_flight=in_flight) as finder:
        sender = FutureSender(finder.submit, workload)
        run = closed_loop(sender, workload, in_flight, seconds=_SPAN, warm_up=0.0, min_requests=events)
    for fault in run.faults:
        raise BeampipeError(f"{model}: got labels from the server that the direct pipeline does not give: {fault}")
    return DemoPoint(model, in_flight, summarise(run))


def _draw(points: Sequence[DemoPoint], mu: int, path: Path) -> None:
    from matplotlib import rc_context

    with rc_context(ground()):
        figure, ((axis,),) = new_figure(size=(5.4, 3.8))
    for model in dict.fromkeys(point.model for point in points):
        of_model = [point for point in points if point.model == model]
        numbers, rates = zip(*((point.in_flight, point.summary.throughput) for point in of_model), strict=True)
        axis.plot(numbers, rates, "o-", label=model)
    title = f"Tracks of events with mu = {mu}, found in Triton"
    axis.set(xlabel="requests in flight", ylabel="events / s", title=title, ylim=(0, None))
    axis.set_xticks(sorted({point.in_flight for point in points}))
    axis.grid(alpha=0.3)
    axis.legend()
    save_figure(figure, path)
