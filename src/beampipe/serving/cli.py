"""`beampipe serving ...` and the work of `beampipe serve`: parse, call, print.

Whatever takes time to import is imported inside the command that needs it, so that `beampipe --help` is quick.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from beampipe.errors import BeampipeError, ConfigError, FileError
from beampipe.terminal import console

__all__ = ["app", "serve"]

app = typer.Typer(help="Track finding as a service.", no_args_is_help=True)
engine = typer.Typer(help="NVIDIA Triton, which serves the models.", no_args_is_help=True)
app.add_typer(engine, name="engine")

Url = Annotated[str, typer.Option(help="HTTP address of the server, host:port.")]


@engine.command()
def install(
    folder: Annotated[
        Path | None, typer.Option(help="Where to; by default $BEAMPIPE_ENGINE or the environment's folder.")
    ] = None,
) -> None:
    """Load Triton from the package index into a folder of its own, unless it is there."""
    from beampipe.triton.server.engine import install_engine, prepare_backends, this_interpreter
    from beampipe.triton.server.preflight import check_interpreter

    installed = install_engine(folder, lambda line: typer.echo(line))
    python = this_interpreter()
    check_interpreter(installed, python)
    prepare_backends(installed, python, installed.folder)


@engine.command()
def show(
    triton: Annotated[Path | None, typer.Option(help="Folder of another Triton.")] = None,
) -> None:
    """Say which Triton is used, and whether it can run models with this Python."""
    import tempfile

    from beampipe.triton.server.engine import find_engine, prepare_backends, this_interpreter
    from beampipe.triton.server.launch import ServerSettings, environment
    from beampipe.triton.server.preflight import check_interpreter, check_shared_memory, check_stub

    found, python = find_engine(triton), this_interpreter()
    typer.echo(f"folder   {found.folder}")
    typer.echo(f"server   {found.binary}")
    typer.echo(f"pythons  {', '.join(found.versions())}")
    check_interpreter(found, python)
    check_shared_memory()
    with tempfile.TemporaryDirectory() as scratch:
        backends = prepare_backends(found, python, Path(scratch))
        check_stub(backends, environment(ServerSettings(Path()), found, python, backends))
    typer.echo(f"usable   with Python {python.version} of {python.bin}")


@app.command()
def load(
    model: Annotated[str, typer.Argument(help="Name of a model in the server's repository.")],
    url: Url = "127.0.0.1:8000",
) -> None:
    """Load a model into a running server, or load it again if its files have changed."""
    from beampipe.triton.server.control import load_model

    load_model(url, model)
    typer.echo(f"{url}: {model} is loaded")


@app.command()
def unload(
    model: Annotated[str, typer.Argument(help="Name of a loaded model.")],
    url: Url = "127.0.0.1:8000",
) -> None:
    """Take a model out of a running server; what it is working on is finished."""
    from beampipe.triton.server.control import model_states, unload_model

    unload_model(url, model)
    deadline = time.monotonic() + 60
    while model_states(url).get(model) == "UNLOADING" and time.monotonic() < deadline:
        time.sleep(0.05)
    typer.echo(f"{url}: {model} is {model_states(url).get(model, 'UNAVAILABLE').lower()}")


@app.command()
def top(
    url: Annotated[
        list[str] | None, typer.Option(help="Metrics address of a server, host:port; may be given several times.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="One table, then end.")] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1)] = 1.0,
) -> None:
    """Show what servers do: rates, queues, times and memory per model, time per step of the pipeline."""
    from rich.live import Live

    from beampipe.triton.server.top import Watch, table

    watches = [Watch(address) for address in url or ["127.0.0.1:8002"]]
    out = console()
    for watch in watches:
        watch.look()
    time.sleep(interval)
    for watch in watches:
        watch.look()
    if once or not out.is_terminal:
        out.print(table(watches))
        if all(watch.error is not None for watch in watches):
            raise BeampipeError("; ".join(watch.error or "" for watch in watches))
        return
    try:
        with Live(table(watches), console=out, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                for watch in watches:
                    watch.look()
                live.update(table(watches), refresh=True)
    except KeyboardInterrupt:
        return


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="New folder, or one that an export wrote.")],
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Name of a model, or NAME=file.py:Class. May be given several times."),
    ] = None,
    instances: Annotated[int, typer.Option(help="Copies of each model.", min=1)] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N, or auto: GPUs where there are any.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(help="Of each instance.", min=1, show_default="cores / instances")
    ] = None,
    scale: Annotated[str, typer.Option(help="What one unit of FEATURES means: mm, exatrkx or acts.")] = "mm",
    weights: Annotated[
        list[Path] | None, typer.Option(help="Own models: a file for the folder of their weights. Repeatable.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Own models: most requests in one call; 0 for one at a time.", min=0)] = 0,
) -> None:
    """Write a Triton model repository."""
    from beampipe.serving.catalogue import named_models
    from beampipe.serving.variants import DEFAULT_MODELS
    from beampipe.triton.model.repository import export_repository
    from beampipe.triton.model.settings import EnsembleSettings, ModelSettings

    settings: list[ModelSettings | EnsembleSettings] = []
    for name in model or DEFAULT_MODELS:
        own, equals, where = name.partition("=")
        if equals:
            settings.append(
                ModelSettings(
                    own,
                    where,
                    weights=tuple(weights or ()),
                    instances=instances,
                    device=device,
                    threads=threads,
                    max_batch_size=batch,
                )
            )
        else:
            settings += named_models([name], instances=instances, device=device, threads=threads, scale=scale)
    for name in export_repository(folder, settings):
        typer.echo(f"{folder}/{name}")


@app.command()
def bench(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the JSON and the plots.")] = Path(
        "runs/bench"
    ),
    pipeline: Annotated[str, typer.Option("--pipeline", "-p", help="What is served.")] = "exatrkx",
    way: Annotated[
        list[str] | None,
        typer.Option(help="direct, or 'MODEL PROTOCOL' with http, grpc or shm. May be given several times."),
    ] = None,
    mu: Annotated[
        list[int] | None, typer.Option(help="Shipped events: 0, 60, 200. May be given several times.")
    ] = None,
    events: Annotated[list[Path] | None, typer.Option(help="Files of events, in place of the shipped ones.")] = None,
    max_events: Annotated[int, typer.Option(help="Of each file.", min=1)] = 100,
    concurrency: Annotated[str, typer.Option(help="Requests in flight.")] = "1,2,4,8,16",
    instances: Annotated[str, typer.Option(help="Numbers of instances, at the largest concurrency.")] = "1,2,4",
    seconds: Annotated[float, typer.Option(help="Of each point.", min=0.1)] = 5.0,
    repetitions: Annotated[int, typer.Option(help="Of each point, all ways in turn; the median is kept.", min=1)] = 1,
    rate: Annotated[
        list[float] | None, typer.Option(help="Also in an open loop: fraction of the largest throughput.")
    ] = None,
    perf_analyzer: Annotated[bool, typer.Option(help="Also measure with NVIDIA's perf_analyzer.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    threads: Annotated[
        int | None, typer.Option(help="Of each instance.", min=1, show_default="cores / instances")
    ] = None,
    triton: Annotated[Path | None, typer.Option(help="Folder of another Triton.")] = None,
) -> None:
    """Measure throughput and latency: direct, one model, batching, ensemble, shared memory. Labels must be equal."""
    import sys
    from itertools import islice

    from beampipe.serving.bench.points import Point, write_bench
    from beampipe.serving.bench.report import bench_table, draw_concurrency, draw_instances, raw_table
    from beampipe.serving.bench.run import BenchPlan, default_ways, run_bench
    from beampipe.tracking.data import shipped_events
    from beampipe.tracking.formats import open_events

    plan = BenchPlan(
        pipeline,
        tuple(way or default_ways(pipeline)),
        _numbers("concurrency", concurrency),
        _numbers("instances", instances),
        seconds,
        repetitions,
        device,
        threads,
        tuple(rate or ()),
        perf_analyzer,
        triton,
    )
    if events:
        samples = {path.stem: list(islice(open_events(path), max_events)) for path in events}
    else:
        samples = {f"mu = {level}": list(shipped_events(level)) for level in mu or (0, 60, 200)}

    def tell(point: Point) -> None:
        typer.echo(
            f"{point.sample}: {point.way}, {point.concurrency} in flight, {point.instances} instance(s):"
            f" {point.summary.throughput:.4g} events/s, p50 {1e3 * point.summary.p50:.4g} ms",
            err=True,
        )

    result = run_bench(plan, samples, ["beampipe", *sys.argv[1:]], tell)
    out = console()
    for sample in result.samples:
        out.print(bench_table(result, sample.name))
    if result.raw or result.unstable:
        out.print(raw_table(result))
    write_bench(output / "serving.json", result)
    draw_concurrency(result, output / "throughput_concurrency.png")
    draw_instances(result, output / "throughput_instances.png")
    typer.echo(f"{output}/serving.json, {output}/throughput_concurrency.png, {output}/throughput_instances.png")


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where the pictures and figures go.")] = Path("demo"),
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="May be given several times.")] = None,
    clients: Annotated[int, typer.Option(help="Processes that send events at the same time.", min=1)] = 4,
    events: Annotated[int, typer.Option(help="Sent by all of them together, to each model.", min=1)] = 12,
    mu: Annotated[int, typer.Option(help="Which shipped events: 0, 60 or 200.")] = 200,
    triton: Annotated[Path | None, typer.Option(help="Folder of another Triton.")] = None,
) -> None:
    """Start a server, send it simulated events from several processes, print figures, draw, stop."""
    from beampipe.serving.demo import DEMO_MODELS, demo_table, run_demo
    from beampipe.tracking.evaluation.report import print_evaluation

    result = run_demo(
        folder,
        model or DEMO_MODELS,
        clients=clients,
        events=events,
        mu=mu,
        triton=triton,
        progress=lambda text: typer.echo(text, err=True),
    )
    out = console()
    print_evaluation(result.evaluation, out)
    out.print(demo_table(result))
    names = ("event.png", "event.html", "throughput.png", "evaluation.json")
    typer.echo(f"pictures and figures: {', '.join(str(folder / name) for name in names)}")
    if not result.stopped_clean:
        raise BeampipeError("the server left shared memory behind, expected none: see /dev/shm")


def _numbers(name: str, text: str) -> tuple[int, ...]:
    """Whole numbers separated by commas."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise ConfigError(f"{name}: got {text!r}, expected numbers from 1 on, such as 1,2,4")
    return numbers


def serve(
    repository: Annotated[
        Path | None, typer.Option(help="Model repository; by default one is made, for as long as it serves.")
    ] = None,
    models: Annotated[
        str, typer.Option(help="Names, separated by commas; by default the usual ones, or all of the repository.")
    ] = "",
    instances: Annotated[int | None, typer.Option(help="Copies of each model.", min=1, show_default="1")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:N or auto.", show_default="cpu")] = None,
    threads: Annotated[
        int | None, typer.Option(help="Of each instance.", min=1, show_default="cores / instances")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(help="0 for a free one.")] = 8000,
    grpc_port: Annotated[int, typer.Option(help="0 for a free one.")] = 8001,
    metrics_port: Annotated[int, typer.Option(help="0 for a free one.")] = 8002,
    triton: Annotated[Path | None, typer.Option(help="Folder of another Triton, such as /opt/tritonserver.")] = None,
    log: Annotated[Path | None, typer.Option(help="Append Triton's log to this file.")] = None,
) -> None:
    """Serve track finding with Triton until Ctrl-C or SIGTERM."""
    from beampipe.serving.serve import run_server
    from beampipe.triton.server.launch import ServerSettings

    if repository is not None and not repository.is_dir():
        raise FileError(f"{repository}: got no such folder, expected a repository: beampipe serving export FOLDER")
    settings = ServerSettings(
        repository or Path(),
        models=tuple(filter(None, (name.strip() for name in models.split(",")))),
        host=host,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        triton=triton,
        log=log,
        threads=threads,
    )
    run_server(settings, generated=repository is None, instances=instances, device=device)
