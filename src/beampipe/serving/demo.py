"""Demo of track finding as a service: a server, a client that sends simulated events, figures and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from beampipe.errors import BeampipeError
from beampipe.figures import ground, new_figure, save_figure
from beampipe.files import make_folder
from beampipe.serving.finders import DirectTrackFinder, TritonTrackFinder
from beampipe.serving.load import FutureSender, Workload, closed_loop, direct_workload, summarise
from beampipe.serving.models import ServingSettings
from beampipe.serving.server import generated_repository
from beampipe.terminal import make_table
from beampipe.tracking.data import shipped_events
from beampipe.tracking.display import show_event
from beampipe.tracking.evaluation.report import print_evaluation
from beampipe.tracking.evaluation.results import Evaluation, evaluation_body, write_evaluation
from beampipe.tracking.evaluation.scoring import evaluate
from beampipe.triton.server.cleanup import shared_memory_of
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer

DEMO_MODELS: Final = ("module_map", "exatrkx_walk")

DEMO_FILES: Final = ("event.png", "event.html", "throughput.png", "evaluation.json")
"""Names of the files that the demo writes."""

_SPAN: Final = 0.1
"""Time [s] for which events are measured at least, for each model and number of requests in flight."""


@dataclass(frozen=True)
class Throughput:
    """Throughput of one model with some client processes.

    Attributes:
        model: name of the model.
        clients: number of requests in flight.
        events: number of answered events; the labels of each were compared with the direct ones.
        seconds: time from the first request to the last answer [s].
        rate: events answered per second.
        p50: median latency [s].
        p95: 95th percentile of the latency [s].
    """

    model: str
    clients: int
    events: int
    seconds: float
    rate: float
    p50: float
    p95: float


@dataclass(frozen=True)
class DemoResult:
    """Results of the demo.

    Attributes:
        evaluation: efficiency, fakes and time of each stage, of tracks that came from the server.
        throughputs: throughput for each model and number of clients.
        start_seconds: time until the server answers [s].
        stopped_clean: whether nothing was left of the server.
    """

    evaluation: Evaluation
    throughputs: tuple[Throughput, ...]
    start_seconds: float
    stopped_clean: bool


def run_serving_demo(
    folder: Path,
    models: Sequence[str] = DEMO_MODELS,
    *,
    clients: int = 4,
    events: int = 12,
    mu: int = 200,
    triton: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> DemoResult:
    """Start a server, send it events, several at a time, compare, score, draw, stop.

    Args:
        folder: folder for `DEMO_FILES`.
        models: names of the pipelines to serve.
        clients: largest number of requests in flight.
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
        progress("scoring tracks from the server")
        finders = {model: TritonTrackFinder(url, model, stages=True) for model in models}
        evaluation = evaluate(finders, shipped_events(mu), sample=f"shipped events, mu = {mu}, tracks from the server")
        event = shipped_events(mu)[0]
        for ending in ("png", "html"):
            show_event(event, finders[models[0]].find(event.hits), folder / f"event.{ending}")
        for finder in finders.values():
            finder.close()
        throughputs = []
        for model in models:
            with DirectTrackFinder(model) as direct:
                workload = direct_workload([event.hits for event in shipped_events(mu)], direct.find)
            for count in sorted({1, 2, clients}):
                progress(f"{count} request{'s' * (count > 1)} in flight to {model}")
                throughputs.append(_measure(url, model, workload, count, events))
        progress("stopping")
        prefix = server.prefix
    write_evaluation(folder / "evaluation.json", evaluation)
    _draw(throughputs, mu, folder / "throughput.png")
    return DemoResult(evaluation, tuple(throughputs), start_seconds, stopped_clean=not shared_memory_of(prefix))


def demo_facts(result: DemoResult) -> dict[str, Any]:
    """The results for a script: times in s, rates in events/s."""
    return {
        "evaluation": evaluation_body(result.evaluation),
        "throughputs": [asdict(throughput) for throughput in result.throughputs],
        "start_seconds": result.start_seconds,
        "stopped_clean": result.stopped_clean,
    }


def print_demo(result: DemoResult, out: Console) -> None:
    """Print the results as tables."""
    print_evaluation(result.evaluation, out)
    out.print(demo_table(result))


def demo_table(result: DemoResult) -> Table:
    """Throughput and latency by model and number of clients."""
    table = make_table(
        "events through the server",
        ("model",),
        ("in flight", "events", "events/s", "p50 ms", "p95 ms"),
        importance=("in flight", "events/s", "p50 ms"),
        caption=f"labels equal the direct ones byte for byte; server ready after {result.start_seconds:.1f} s",
    )
    for throughput in result.throughputs:
        numbers = (f"{throughput.rate:.2f}", f"{1e3 * throughput.p50:.0f}", f"{1e3 * throughput.p95:.0f}")
        table.add_row(throughput.model, str(throughput.clients), str(throughput.events), *numbers)
    return table


def _measure(url: str, model: str, workload: Workload, clients: int, events: int) -> Throughput:
    with TritonTrackFinder(url, model, in_flight=clients) as finder:
        run = closed_loop(
            FutureSender(finder.submit, workload), workload, clients, seconds=_SPAN, warm_up=0.0, min_requests=events
        )
    for fault in run.faults:
        raise BeampipeError(f"{model}: got labels from the server that the direct pipeline does not give: {fault}")
    summary = summarise(run)
    seconds = run.ended - run.begun
    return Throughput(model, clients, summary.requests, seconds, summary.throughput, summary.p50, summary.p95)


def _draw(throughputs: Sequence[Throughput], mu: int, path: Path) -> None:
    from matplotlib import rc_context

    with rc_context(ground()):
        figure, ((axis,),) = new_figure(size=(5.4, 3.8))
    for model in dict.fromkeys(throughput.model for throughput in throughputs):
        points = [throughput for throughput in throughputs if throughput.model == model]
        axis.plot([each.clients for each in points], [each.rate for each in points], "o-", label=model)
    title = f"events with mu = {mu} through Triton"
    axis.set(xlabel="requests in flight", ylabel="events / s", title=title, ylim=(0, None))
    axis.set_xticks(sorted({throughput.clients for throughput in throughputs}))
    axis.grid(alpha=0.3)
    axis.legend()
    save_figure(figure, path)
