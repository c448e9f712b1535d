"""`beampipe chain ...`: parse, call, print.

Whatever takes time to import is imported inside the command that needs it, so that `beampipe --help` is quick.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beampipe.terminal import console, make_table, say
from beampipe.terminal.commands import Commands, Json, Replace, print_json
from beampipe.terminal.task_options import (
    Account,
    Executor,
    Memory,
    Partition,
    Walltime,
    Workers,
    number_of_workers,
    task_progress,
)

if TYPE_CHECKING:
    from beampipe.chain.run import ChainResult
    from beampipe.chain.settings import ChainSettings
    from beampipe.workflow import SlurmOptions

app = Commands("From collisions to a measurement: simulate, find tracks, calibrate, fit, in one run.")


@app.command("run")
def run_command(
    config: Annotated[Path, typer.Argument(help="TOML file that describes the chain.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for results.", show_default="the one in CONFIG")
    ] = None,
    workers: Workers = 0,
    executor: Executor = "processes",
    partition: Partition = "",
    account: Account = "",
    memory: Memory = "2GiB",
    walltime: Walltime = "01:00:00",
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Run everything that is not yet done, from collisions to the report."""
    from beampipe.chain.settings import load_settings
    from beampipe.workflow import SlurmOptions

    slurm = SlurmOptions(queue=partition or None, account=account or None, memory=memory, walltime=walltime)
    _run(load_settings(config, output), executor, workers, slurm, force=force, as_json=as_json)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for store, results and report.")] = Path(
        "demo/chain"
    ),
    workers: Workers = 0,
    force: Replace = False,
    as_json: Json = False,
) -> None:
    """Run all stages on a few hundred collisions that are simulated here; shipped ntuples add thousands."""
    from beampipe.chain.settings import demo_settings

    say("takes about a minute on two idle cores", err=True)
    _run(demo_settings(output), "processes", workers, None, force=force, as_json=as_json)


@app.command()
def init(
    config: Annotated[Path, typer.Argument(help="TOML file to write.")] = Path("chain.toml"),
    force: Replace = False,
) -> None:
    """Write a commented description of a chain, to start from."""
    from beampipe.chain.settings import EXAMPLE
    from beampipe.files import check_command_output, write_whole

    check_command_output(config, parents=True, force=force)  # the file has no mark, as its user will edit it
    text = EXAMPLE.read_text(encoding="utf-8").partition("\n")[2]
    start = f"# From collisions to a measurement: beampipe chain run {config.name}. Paths are relative to this file.\n"
    write_whole(config, lambda part: part.write_text(start + text, encoding="utf-8"))
    say(f"{config}: next: beampipe chain run {config}")


def _run(
    settings: ChainSettings,
    executor: str,
    workers: int,
    slurm: SlurmOptions | None,
    *,
    force: bool,
    as_json: bool,
) -> None:
    from beampipe.chain.report import PAGE, write_report
    from beampipe.chain.run import RESULT, run_chain
    from beampipe.chain.run import Executor as TaskExecutor
    from beampipe.files import check_command_output

    check_command_output(settings.output / PAGE, parents=True, force=force)
    check_command_output(settings.output / RESULT, parents=True, force=force, marks=['"gluon_fraction"'])
    with task_progress() as progress:
        result = run_chain(settings, TaskExecutor(executor, number_of_workers(workers), slurm), progress)
        page = write_report(result)
    _print(result, as_json=as_json)
    say(f"report: {page}")


def _print(result: ChainResult, *, as_json: bool) -> None:
    from beampipe.chain.report import closure
    from beampipe.chain.run import RESULT

    path = result.settings.output / RESULT
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if as_json:
        print_json({"measurements": result.measurements, "sha256": digest, "output": result.settings.output})
        return
    table = make_table("fraction of gluon jets", ("shares of", "jets of"), ("fitted", "by label", "difference / error"))
    for each in result.measurements:
        for one in each.bins:
            pull = (one.fraction - one.true) / one.error
            name = f"{one.pt_low:g}-{one.pt_high:g} GeV"
            table.add_row(each.shares, name, f"{one.fraction:.3f} ± {one.error:.3f}", f"{one.true:.3f}", f"{pull:+.2f}")
        table.add_row(
            each.shares, "all bins", f"{each.fraction:.3f} ± {each.error:.3f}", f"{each.true:.3f}", f"{each.pull:+.2f}"
        )
    console().print(table)
    say(closure(result.measurements[-1].pull))
    say(f"{path}: sha256 {digest[:16]}")
