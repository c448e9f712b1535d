"""The commands `slurm` and `job`: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["job_command", "slurm_command"]


def slurm_command(
    specification: Annotated[Path, typer.Argument(help="TOML file of the fleet.", metavar="FLEET.toml")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the scripts, which all nodes see.")],
) -> None:
    """Write scripts for Slurm that start servers and a gateway, and make their shared folder ready."""
    from beampipe.fleet.running.folder import shared_folder
    from beampipe.fleet.slurm.folder import slurm_notes, write_slurm
    from beampipe.fleet.specification import read_fleet

    fleet = read_fleet(specification)
    for path in write_slurm(fleet, specification, output):
        typer.echo(path)
    for note in slurm_notes(fleet):
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"servers: {output / 'start.sh'}", err=True)
    typer.echo(f"gateway: beampipe fleet gateway {specification} --registry {shared_folder(fleet)}", err=True)


def job_command(settings: Annotated[Path, typer.Argument(help="Settings of the job, a JSON file.")]) -> None:
    """Keep the servers of one job of Slurm, in it."""
    from beampipe.fleet.slurm.job import Job
    from beampipe.fleet.slurm.settings import read_job
    from beampipe.fleet.slurm.slurm import this_job

    Job(read_job(settings), this_job()).run()
