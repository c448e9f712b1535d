"""The command `gateway`: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["gateway_command"]


def gateway_command(
    specification: Annotated[Path, typer.Argument(help="TOML file of the fleet.", metavar="FLEET.toml")],
    registry: Annotated[
        Path | None,
        typer.Option(
            help="Folder that all machines of the fleet see, with the registry and the secret of its servers.",
            show_default="that of beampipe fleet slurm",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder for what the gateway keeps here.", show_default="one in the state folder"),
    ] = None,
) -> None:
    """Keep a gateway in the foreground, before servers that others run: those of Slurm's jobs, say."""
    from beampipe.fleet.following.starting import follow_fleet

    follow_fleet(specification, registry, folder)
