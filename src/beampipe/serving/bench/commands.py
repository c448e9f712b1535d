"""`beampipe serving bench`: parse, call, print. The options that `beampipe serve` has, too, stand here, below it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from beampipe.terminal import console, say
from beampipe.terminal.commands import Json, print_json
from beampipe.tracking.models.shipped import DEFAULT_MODEL, MODEL_HELP, complete_model
from beampipe.triton.cli import TritonFolder

__all__ = ["Backend", "Threads", "TrackerModel", "bench_command"]

Threads = Annotated[
    int | None, typer.Option(help="Number of threads of each instance.", min=1, show_default="cores / instances")
]
Backend = Annotated[
    str | None,
    typer.Option(
        help="What runs the pipelines: native (in the server's process, on the CPU) or python (processes beside it).",
        show_default="native where it was built, on the CPU",
    ),
]
TrackerModel = Annotated[
    str | None,
    typer.Option(help=MODEL_HELP, show_default=DEFAULT_MODEL, autocompletion=complete_model),
]

_Ways = Annotated[
    list[str] | None,
    typer.Option(
        help="Way to have tracks found: direct, or 'MODEL PROTOCOL' with http, grpc or shm; may be given several times."
    ),
]
_Files = Annotated[
    list[Path] | None,
    typer.Argument(help="Files of events, in place of the shipped ones.", show_default="the shipped ones"),
]
_Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the JSON and the plots.")]
_Mu = Annotated[
    list[int] | None,
    typer.Option(help="Pile-up of the shipped events: 0, 60 or 200; may be given several times.", show_default="each"),
]
_Events = Annotated[int, typer.Option("--events", "-n", help="Largest number of events of each file.", min=1)]
_Concurrency = Annotated[
    list[int] | None,
    typer.Option(help="Number of requests in flight; may be given several times.", min=1, show_default="1 2 4 8 16"),
]
_Instances = Annotated[
    list[int] | None,
    typer.Option(
        help="Number of instances of each model, measured at the largest number of requests in flight;"
        " may be given several times.",
        min=1,
        show_default="1 2 4",
    ),
]
_Repetitions = Annotated[
    int, typer.Option(help="Measurements of each point, all ways in turn, of which the median is kept.", min=1)
]
_Load = Annotated[
    list[float] | None,
    typer.Option(
        help="Fraction of the largest throughput at which an open loop is measured, too; may be given several times."
    ),
]
_PerfAnalyzer = Annotated[bool, typer.Option("--perf-analyzer", help="Also measure with NVIDIA's perf_analyzer.")]


def bench_command(
    files: _Files = None,
    output: _Output = Path("runs/bench"),
    pipeline: Annotated[str, typer.Option("--pipeline", "-p", help="Name of the pipeline that is served.")] = "exatrkx",
    way: _Ways = None,
    mu: _Mu = None,
    events: _Events = 100,
    concurrency: _Concurrency = None,
    instances: _Instances = None,
    seconds: Annotated[float, typer.Option(help="Duration of each point, in seconds.", min=0.1)] = 5.0,
    repetitions: _Repetitions = 1,
    load: _Load = None,
    perf_analyzer: _PerfAnalyzer = False,
    device: Annotated[str, typer.Option(help="Device of the pipelines: cpu, cuda or cuda:N.")] = "cpu",
    backend: Backend = None,
    tracker_model: TrackerModel = None,
    threads: Threads = None,
    triton: TritonFolder = None,
    as_json: Json = False,
) -> None:
    """Measure throughput and latency: direct, one model, batching, ensemble, shared memory. Labels must be equal."""
    from beampipe.serving.bench.plan import BenchPlan, default_ways
    from beampipe.serving.bench.report import print_bench, write_report
    from beampipe.serving.bench.run import run_bench
    from beampipe.serving.bench.samples import load_samples
    from beampipe.serving.native_backend import backend_choice

    plan = BenchPlan(
        pipeline,
        tuple(way or default_ways(pipeline)),
        tuple(concurrency or (1, 2, 4, 8, 16)),
        tuple(instances or (1, 2, 4)),
        seconds,
        repetitions,
        device,
        threads,
        tuple(load or ()),
        perf_analyzer,
        triton,
        backend_choice(backend),
        tracker_model or DEFAULT_MODEL,
    )
    samples = load_samples(files or (), events, mu or (0, 60, 200))
    result = run_bench(plan, samples, ["beampipe", *sys.argv[1:]], lambda point: say(point, err=True))
    if as_json:
        print_json(result)
    else:
        print_bench(result, console())
    written = write_report(result, output)
    say(", ".join(map(str, written)))
