"""`beampipe serving ...` and the work of `beampipe serve`: parse, call, print."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beampipe.errors import BeampipeError, FileError
from beampipe.terminal import console, say
from beampipe.terminal.commands import Commands, Json, Replace, print_json, with_options
from beampipe.tracking.catalogue import DEFAULT_MODEL, MODEL_HELP, complete_model
from beampipe.tracking.cli import BeamSpotText, parsed_beam_spot
from beampipe.triton import cli as triton_cli

if TYPE_CHECKING:
    from beampipe.serving.models import ServingSettings

Threads = Annotated[
    int | None,
    typer.Option(help="Number of threads of each instance.", min=1, max=256, show_default="cores / instances"),
]
Backend = Annotated[
    str | None,
    typer.Option(
        help="What runs the pipelines: native (in the server's process, on the CPU) or python (processes beside it).",
        show_default="native where it was built, on the CPU",
    ),
]
TrackerModel = Annotated[str, typer.Option(help=MODEL_HELP, autocompletion=complete_model)]


def serving_settings(
    instances: Annotated[int, typer.Option(min=1)] = 1,
    device: str = "cpu",
    threads: Threads = None,
    scale: str = "mm",
    name: str | None = None,
    backend: Backend = None,
    tracker_model: TrackerModel = DEFAULT_MODEL,
    beam_spot: BeamSpotText = None,
    force: bool = False,
) -> ServingSettings:
    """How models are served, by these options.

    Args:
        instances: Number of copies of each model.
        device: Device of the models: cpu, cuda, cuda:N, or auto (GPUs where there are any).
        scale: What one unit of FEATURES means: mm, exatrkx or acts. Clients of ACTS send acts.
        name: Name of the model for clients, such as the ActsExaTrkX of ACTS (with --scale acts); for one model only.
            [default: that of the model]
        force: Process events with hits of another detector, in other units or too many for the pipeline.
    """
    from beampipe.serving.models import ServingSettings

    return ServingSettings(
        instances=instances,
        device=device,
        threads=threads,
        scale=scale,
        name=name,
        backend=backend,
        tracker_model=tracker_model,
        beam_spot=parsed_beam_spot(beam_spot),
        check=not force,
    )


app = Commands("Track finding as a service.")
app.add_typer(triton_cli.engine_commands, name="engine")
app.command("load")(triton_cli.load_command)
app.command("unload")(triton_cli.unload_command)


@app.command("export")
@with_options(serving=serving_settings)
def export_command(
    output: Path,
    model: list[str] | None = None,
    *,
    serving: ServingSettings,
    weights: list[Path] | None = None,
    batch: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Write a Triton model repository.

    Args:
        output: Folder of the repository: a new one, or one that an export wrote.
        model: Name of a model, or NAME=file.py:Class; may be given several times. [default: the usual ones]
        weights: File for the folder of weights of models of your own; may be given several times.
        batch: Most requests in one call of models of your own; 0 for one at a time.
    """
    from beampipe.serving.models import named_models, renamed
    from beampipe.serving.variants import DEFAULT_MODELS
    from beampipe.triton.model.contract import EnsembleSettings, ModelSettings
    from beampipe.triton.model.repository import export_repository

    settings: list[ModelSettings | EnsembleSettings] = []
    for wanted in model or DEFAULT_MODELS:
        own, equals, where = wanted.partition("=")
        if equals:
            files = tuple(weights or ())
            how = (serving.instances, serving.device, serving.threads, batch)
            settings.append(ModelSettings(own, where, {}, files, *how))
        else:
            settings += named_models(replace(serving, models=(wanted,), name=None))
    for exported in export_repository(output, settings if serving.name is None else renamed(settings, serving.name)):
        say(f"{output}/{exported}")


@app.command("demo")
def demo_command(
    output: Path = Path("demo/serving"),
    model: list[str] | None = None,
    concurrency: Annotated[int, typer.Option(min=1)] = 4,
    events: Annotated[int, typer.Option(min=1)] = 12,
    mu: int = 200,
    triton: triton_cli.TritonFolder = None,
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Start a server, send it simulated events, several at a time, print throughput and latency, draw, stop.

    Args:
        output: Folder for the pictures.
        model: Name of a model to serve; may be given several times. [default: one of each kind]
        concurrency: Number of requests in flight, at most.
        events: Number of events that are measured each time, at least.
        mu: Pile-up of the shipped events that are sent: 0, 60 or 200.
    """
    from beampipe.files import check_folder_outputs
    from beampipe.serving.demo import DEMO_FILES, DEMO_MODELS, demo_table, run_serving_demo

    check_folder_outputs(output, DEMO_FILES, force=force)
    say("takes about 20 s on two idle cores", err=True)
    result = run_serving_demo(
        output,
        model or DEMO_MODELS,
        in_flight=concurrency,
        events=events,
        mu=mu,
        triton=triton,
        progress=lambda text: say(text, err=True),
    )
    if as_json:
        print_json(result)
    else:
        console().print(demo_table(result))
    say(f"pictures: {', '.join(str(output / name) for name in DEMO_FILES)}")
    if not result.stopped_clean:
        raise BeampipeError("the server left shared memory behind, expected none: see /dev/shm")


@app.command("unit")
def unit_command(
    options: Annotated[list[str] | None, typer.Argument(metavar="SERVE_OPTIONS")] = None,
    user: bool = False,
    run_as: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    memory: Annotated[str | None, typer.Option(metavar="AMOUNT")] = None,
) -> None:
    """Print a systemd unit that runs beampipe serve and restarts it if it ends or hangs.

    Args:
        options: Options of beampipe serve, after a --.
        user: For your own services (systemctl --user), not those of the system.
        run_as: User who runs a service of the system. [default: current user]
        memory: Most memory of all processes together, such as 8G or 50%.
    """
    from beampipe.triton.systemd import systemd_unit

    options = options or []
    serve = Commands("")
    serve.command()(serve_command)
    typer.main.get_command(serve).make_context("beampipe serve", list(options))  # refuses what serve would refuse
    variables = {name: value for name, value in os.environ.items() if name.startswith("BEAMPIPE_")}
    text = systemd_unit(
        [sys.executable, "-m", "beampipe", "serve", *options],
        folder=Path(),
        environment={**variables, "PYTHONFAULTHANDLER": "1"},
        for_user=user,
        run_as=run_as,
        memory=memory,
    )
    typer.echo(text, nl=False)


@with_options(serving=serving_settings)
def serve_command(
    repository: Path | None = None,
    model: list[str] | None = None,
    *,
    serving: ServingSettings,
    host: str = "127.0.0.1",
    http_port: int = 8000,
    grpc_port: int = 8001,
    metrics_port: int = 8002,
    triton: triton_cli.TritonFolder = None,
    log: Path | None = None,
    patience: float = 3.0,
    secret_file: triton_cli.SecretFile = None,
    opened: Annotated[list[str] | None, typer.Option("--open")] = None,
    proxy: Annotated[bool | None, typer.Option("--proxy/--no-proxy")] = None,
    proxy_grpc: Annotated[bool | None, typer.Option("--proxy-grpc/--no-proxy-grpc")] = None,
    open_http: Annotated[bool, typer.Option("--open-http")] = False,
    traces: Annotated[str | None, typer.Option(metavar="URL")] = None,
    trace_rate: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Serve track finding with Triton until Ctrl-C or SIGTERM.

    Args:
        repository: Folder of the models. [default: one that is made, for as long as it serves]
        model: Name of a model to serve; may be given several times. [default: the usual ones, or all of the repository]
        host: Address to listen on for gRPC; 0.0.0.0 for all.
        http_port: Port for HTTP; 0 for a free one.
        grpc_port: Port for gRPC; 0 for a free one.
        metrics_port: Port of the Prometheus metrics; 0 for a free one.
        log: File to which Triton's log is appended.
        patience: Time without answer and without work after which a model is killed, in seconds.
        opened: Interface of Triton that needs no secret: model-repository, shared-memory, logging or trace; may be
            given several times.
        proxy: HAProxy before HTTP, which refuses what would end the server. [default: if installed]
        proxy_grpc: HAProxy before gRPC, too, which adds 0.2 to 0.3 ms. [default: if it is before HTTP]
        open_http: With --host: other machines reach HTTP and metrics, not gRPC alone.
        traces: Collector of OpenTelemetry to which traces of requests are sent, by OTLP over HTTP.
        trace_rate: With --traces: each request of this many is traced.
    """
    from beampipe.serving.server import serve_in_foreground
    from beampipe.triton.server.access import AccessSettings
    from beampipe.triton.server.launch import ServerSettings, TelemetrySettings

    if repository is not None and not repository.is_dir():
        raise FileError(f"{repository}: got no such folder, expected a repository: beampipe serving export -o FOLDER")
    serving = replace(serving, models=tuple(model or ()))
    server = ServerSettings(
        repository or Path(),
        models=serving.models,
        host=host,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        triton=triton,
        log=log,
        threads=serving.threads,
        patience=patience,
        access=AccessSettings(secret_file, tuple(opened or ()), proxy, proxy_grpc, open_http=open_http),
        telemetry=None if traces is None else TelemetrySettings(traces, trace_rate),
    )
    serve_in_foreground(server, serving, generated=repository is None, restart=True)
