"""Options of commands that run tasks in a pool of the workflow, and the display of their progress."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from beampipe.lazy import import_name
from beampipe.terminal import Progress, bars, is_quiet, progress_lines

if TYPE_CHECKING:
    from beampipe.workflow import SlurmOptions

Workers = Annotated[
    int, typer.Option("--workers", "-j", help="Number of processes that run tasks; 0 for one per core.", min=0)
]


def _checked_executor(name: str) -> str:
    """The name of an executor; unknown ones are refused before there is anything to do."""
    import_name("beampipe.workflow.pools:require_pool")(name)
    return name


Executor = Annotated[
    str,
    typer.Option(help="Where tasks run: processes, inline, dask, dask=ADDRESS or slurm.", callback=_checked_executor),
]


def slurm_options(
    partition: str = "",
    account: str = "",
    interface: str = "",
    memory: str = "2GiB",
    walltime: str = "01:00:00",
) -> SlurmOptions:
    """The resources of Slurm jobs, from options of a command: `beampipe.terminal.commands.with_options`.

    Args:
        partition: Slurm partition to submit to.
        account: Slurm account to charge.
        interface: Network interface on which Slurm's jobs reach this machine, e.g. ib0.
        memory: Memory of each Slurm job, e.g. 2GiB.
        walltime: Time limit of each Slurm job, HH:MM:SS.
    """
    options: SlurmOptions = import_name("beampipe.workflow:SlurmOptions")(
        queue=partition or None,
        account=account or None,
        interface=interface or None,
        memory=memory,
        walltime=walltime,
    )
    return options


def number_of_workers(workers: int) -> int:
    """Number of workers: the number of cores if `workers` is 0."""
    return workers or len(os.sched_getaffinity(0))


def task_progress() -> AbstractContextManager[Progress]:
    """Progress bars on a terminal; lines of text elsewhere, so that a log shows the progress, too."""
    return bars() if is_quiet() or sys.stderr.isatty() else nullcontext(progress_lines(partial(typer.echo, err=True)))
