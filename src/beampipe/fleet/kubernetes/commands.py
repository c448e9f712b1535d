"""The command `k8s`: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["k8s_command"]


def k8s_command(
    specification: Annotated[Path, typer.Argument(help="TOML file of the fleet.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")],
) -> None:
    """Write values for SuperSONIC's Helm chart, and plain manifests, for a fleet."""
    from beampipe.fleet.kubernetes.folder import kubernetes_notes, write_kubernetes
    from beampipe.fleet.specification import read_fleet

    fleet = read_fleet(specification)
    for path in write_kubernetes(fleet, output):
        typer.echo(path)
    for note in kubernetes_notes(fleet):
        typer.echo(f"note: {note}", err=True)
