"""The command `beampipe`. Commands parse, call and print; they hold no logic of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from beampipe import __version__
from beampipe.errors import BeampipeError
from beampipe.tracking import cli as tracking
from beampipe.tracking.cli import Device, Pipeline, Threads

__all__ = ["app", "main"]

app = typer.Typer(
    name="beampipe",
    help="From hits to physics.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a BeampipeError is one line; any other error is a fault and keeps its traceback
)
app.add_typer(tracking.app, name="tracking")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"beampipe {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """From hits to physics."""


@app.command()
def track(
    files: Annotated[list[Path], typer.Argument(help="Parquet, ACTS or TrackML CSV or a folder of them, or r,phi,z.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=".parquet or .csv; for several FILES a folder.")],
    pipeline: Pipeline = "module_map",
    device: Device = "cpu",
    scale: Annotated[str, typer.Option(help="Units of three-column files: mm, exatrkx or acts.")] = "mm",
    threads: Threads = 1,
) -> None:
    """Find the tracks of events in files: one label per hit."""
    tracking.track(files, output, pipeline, device, scale, threads)


def main() -> None:
    """Run the command; an error raised on purpose ends it with one line and exit code 2."""
    try:
        app()
    except BeampipeError as error:
        typer.secho(f"beampipe: {error}", err=True, fg="red")
        sys.exit(2)


if __name__ == "__main__":
    main()
