"""The command `compose`: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["compose_command"]


def compose_command(
    specification: Annotated[Path, typer.Argument(help="TOML file of the fleet.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")],
) -> None:
    """Write a Dockerfile, Docker Compose, and an Apptainer definition for a fleet."""
    from beampipe.fleet.containers.folder import compose_notes, write_compose
    from beampipe.fleet.specification import read_fleet

    fleet = read_fleet(specification)
    for path in write_compose(fleet, output):
        typer.echo(path)
    for note in compose_notes(fleet):
        typer.echo(f"note: {note}", err=True)
