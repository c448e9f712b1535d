"""Arguments that most commands of `beampipe fleet` have: which fleet is meant, and where it keeps what it has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

__all__ = ["FLEET_FILE", "FleetFile", "FleetFolder"]

FLEET_FILE: Final = Path("fleet.toml")
"""Specification of a fleet where none is named."""

FleetFile = Annotated[Path, typer.Argument(help="Specification of the fleet, a TOML file.", metavar="FLEET.toml")]
"""Specification of the fleet that a command is for."""

FleetFolder = Annotated[
    Path | None,
    typer.Option(help="Folder for whatever the fleet keeps while it runs.", show_default="one in the state folder"),
]
"""Run folder of the fleet that a command is for."""
