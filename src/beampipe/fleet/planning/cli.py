"""`beampipe fleet plan` and `beampipe fleet tune`: parse, call, print.

Slow imports are inside the command that needs them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beampipe.terminal import bar, console, make_table
from beampipe.terminal.commands import Json, print_json
from beampipe.triton.cli import TritonFolder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from beampipe.fleet.planning.simulator import FleetFigures, FleetShape, Policy

__all__ = ["plan_command", "tune_command"]


def plan_command(
    measured: Annotated[
        Path, typer.Argument(help="JSON with measured service times: serving.json of `beampipe serving bench`, say.")
    ],
    clients: Annotated[int, typer.Option(help="Number of clients.", min=1)],
    rate: Annotated[
        float, typer.Option(help="Events per second of each client, were each answered at once.", min=1e-9)
    ],
    p95: Annotated[float, typer.Option(help="Largest 95th percentile of the latency, in seconds.", min=1e-9)],
    sizes: Annotated[
        str | None,
        typer.Option(
            help="Sizes of the events: JSON file, lognormal:MEDIAN,SIGMA or pareto:LEAST,SHAPE,MOST.",
            show_default="those measured",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", "-f", help="Specification of the fleet, a TOML file, for cores, in-flight, queue and balancing."
        ),
    ] = None,
    group: Annotated[str | None, typer.Option(help="Group of servers of --file.", show_default="the first")] = None,
    servers: Annotated[
        int | None,
        typer.Option(
            help="Number of servers, to compare policies without a search.", min=1, show_default="it is found"
        ),
    ] = None,
    instances: Annotated[int, typer.Option(help="Instances of the model in each server.", min=1)] = 1,
    cores: Annotated[
        int | None,
        typer.Option(
            help="Cores of a machine; of a GPU, instances at full speed.", min=1, show_default="one for each instance"
        ),
    ] = None,
    per_machine: Annotated[int, typer.Option(help="Servers that share a machine.", min=1)] = 1,
    in_flight: Annotated[
        int | None,
        typer.Option(help="Most requests that one server has at once.", min=1, show_default="8, or 2 an instance"),
    ] = None,
    queue: Annotated[
        int | None, typer.Option(help="Most requests that wait for a server.", min=0, show_default="64")
    ] = None,
    uncertainty: Annotated[
        float, typer.Option(help="Relative uncertainty of the service times.", min=0.0, max=0.9)
    ] = 0.1,
    requests: Annotated[int, typer.Option(help="Requests that are recorded in each run.", min=1)] = 10_000,
    replicas: Annotated[int, typer.Option(help="Runs for each figure.", min=2)] = 4,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Say how many servers a number of clients needs, and what each way of balancing makes of them."""
    from beampipe.fleet.planning.measured import parse_sizes, read_measured
    from beampipe.fleet.planning.servers import Bound, Effort, compare_policies, make_shape, plan_servers
    from beampipe.fleet.planning.simulator import ClosedLoop, Load

    result = read_measured(measured)
    drawn = result.event_sizes() if sizes is None else parse_sizes(sizes)
    load = Load(ClosedLoop(clients, 1 / rate), drawn, result.service())
    shape = make_shape(
        file, group, servers or 1, instances, cores=cores, per_machine=per_machine, in_flight=in_flight, queue=queue
    )
    effort = Effort(requests, replicas, seed)
    asked = f"{clients} clients with {rate:g} events/s each"
    with bar("simulations") as step:
        if servers is not None:
            figures = compare_policies(load, shape, effort=effort, progress=lambda _: step())
            if as_json:
                print_json({"shape": shape, "figures": figures})
            else:
                console().print(_policies(shape, figures, f"{asked}, {shape.servers} servers"))
            return
        plan = plan_servers(load, shape, Bound(p95), uncertainty=uncertainty, effort=effort, progress=lambda _: step())
    if as_json:
        print_json(plan)
        return
    console().print(_policies(plan.shape, plan.figures, f"{asked}, {plan.shape.servers} servers"))
    typer.echo(
        f"{plan.shape.servers} servers for p95 <= {p95:g} s with {plan.shape.policy};"
        f" {plan.low} to {plan.high} if service times are {100 * uncertainty:g} % shorter or longer"
    )


def tune_command(
    repository: Annotated[Path, typer.Argument(help="Model repository, of `beampipe serving export`.")],
    model: Annotated[str, typer.Argument(help="Name of a model in it.")],
    p95: Annotated[float, typer.Option(help="Largest 95th percentile of the latency, in seconds.", min=1e-9)],
    choices: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with arrays instances, threads, batch and protocol: what each may be.",
            show_default="what fits the cores",
        ),
    ] = None,
    recorded: Annotated[
        list[Path] | None,
        typer.Option(
            help="Safetensors file with the tensors of a recorded request; may be given several times.",
            show_default="its canary",
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Number of requests in flight.", min=1)] = 8,
    seconds: Annotated[float, typer.Option(help="Length of the longest measurement, in seconds.", min=0.1)] = 10.0,
    triton: TritonFolder = None,
    as_json: Json = False,
) -> None:
    """Find the configuration of a model that answers most events within a latency, on a Triton of its own."""
    from beampipe.fleet.planning import tuning
    from beampipe.triton import ServerSettings

    every = (tuning.choices_here() if choices is None else tuning.read_choices(choices)).all()
    arrays = [tuning.read_request(path) for path in recorded or ()]
    n_trials = sum(number for number, _ in tuning.rounds_of(len(every), seconds, tuning.FACTOR))
    served = tuning.LiveBenchmark(ServerSettings(repository, triton=triton), model, arrays, concurrency)
    with served as bench, bar("measurements", n_trials) as step:
        trials = tuning.tune(bench, every, p95, seconds=seconds, progress=lambda _: step())
    best = trials[0]
    within = best.rank(p95)[0]
    if as_json:
        print_json({"best": best.configuration, "within": within, "trials": trials})
    else:
        title = f"{model}, {concurrency} requests in flight"
        setting = ("instances", "threads", "batch", "protocol")
        table = make_table(
            title,
            (*setting, "note"),
            ("measured [s]", "events/s", "p95 [ms]"),
            caption=f"p95 at most {1e3 * p95:g} ms; those measured longest first",
            importance=(*setting, "events/s", "p95 [ms]"),
        )
        for trial in trials:
            one, result = trial.configuration, trial.measurement
            row = [str(one.instances), str(one.threads), str(one.batch), one.protocol]
            if result is None:
                table.add_row(*row, trial.fault, f"{trial.seconds:.2f}", "", "")
            else:
                note = "" if trial.rank(p95)[0] else "too slow"
                measured = (f"{result.throughput:.4g}", f"{1e3 * result.p95:.4g}")
                table.add_row(*row, note, f"{trial.seconds:.2f}", *measured)
        console().print(table)
        typer.echo(f"{'best' if within else 'nearest, though too slow'}: {best.configuration}")
    if not within:
        raise typer.Exit(1)


def _policies(shape: FleetShape, figures: Mapping[Policy, FleetFigures], title: str) -> Table:
    table = make_table(
        title,
        ["balancing"],
        ["events/s", "p50 [ms]", "p95 [ms]", "p99 [ms]", "refused [%]", "cores busy [%]"],
        caption=f"{shape.instances} instance(s) on {shape.cores} core(s) in each of {shape.machines} machine(s),"
        f" {shape.in_flight} in flight, queue {shape.queue}; errors: one standard deviation",
    )
    for policy, result in figures.items():
        row = [(result.throughput, 1.0), *((one, 1e3) for one in (result.p50, result.p95, result.p99))]
        row += [(result.refused, 100.0), (result.busy, 100.0)]
        table.add_row(policy, *(f"{one.value * unit:.4g} ± {one.error * unit:.2g}" for one, unit in row))
    return table
