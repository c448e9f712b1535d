"""The command `beampipe`. Commands parse, call and print; they hold no logic of their own.

The modules of an area are imported when one of its commands is used; `beampipe --help` imports none of them.
"""

from __future__ import annotations

from functools import cache
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from beampipe.terminal.commands import Commands
from beampipe.terminal.exit import run

if TYPE_CHECKING:
    from collections.abc import Callable

app = Commands(
    "From hits to physics: find tracks in particle-physics events, serve track finding, calibrate taggers.",
    name="beampipe",
    completion=True,
)


def _version(wanted: bool) -> bool:
    if wanted:
        from beampipe import __version__
        from beampipe.files import HOW_TO_BUILD, WITHOUT_KERNELS

        typer.echo(f"beampipe {__version__}")
        if __version__.endswith(WITHOUT_KERNELS):
            typer.echo(f"It has no compiled kernels, so it finds no tracks: {HOW_TO_BUILD}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """From hits to physics: find tracks in particle-physics events, serve track finding, calibrate taggers."""


@cache
def _fleet() -> Any:
    from beampipe.fleet.cli import app
    from beampipe.serving.fleet_demo import fleet_demo_command

    app.command("demo")(fleet_demo_command)
    return app


def _imported(name: str) -> Callable[[], Any]:
    return lambda: resolve_name(name)


_COMMANDS: dict[str, tuple[str, Callable[[], Any]]] = {
    "serve": (
        "Serve track finding with Triton until Ctrl-C or SIGTERM.",
        _imported("beampipe.serving.cli:serve_command"),
    ),
    "track": (
        "Find the tracks of the events in files, and write the number of its track for each hit.",
        _imported("beampipe.serving.track_command:track"),
    ),
    "tracking": (
        "Track finding: simulate events, find tracks, score them, draw them, train.",
        _imported("beampipe.tracking.cli:app"),
    ),
    "serving": ("Track finding as a service.", _imported("beampipe.serving.cli:app")),
    "triton": (
        "Any NVIDIA Triton: run it under supervision, load and unload models.",
        _imported("beampipe.triton.cli:app"),
    ),
    "fleet": ("Many Tritons behind one gateway: here, on Slurm, on Kubernetes.", _fleet),
    "calibration": ("Quark/gluon tagging: scale factors from ROOT files.", _imported("beampipe.calibration.cli:app")),
    "chain": (
        "From collisions to a measurement: simulate, find tracks, calibrate, fit, in one run.",
        _imported("beampipe.chain.cli:app"),
    ),
    "analysisops": (
        "Can an agent do the analysis? Tasks with known truth, tools, grades.",
        _imported("beampipe.analysisops.cli:app"),
    ),
    "docs": (
        "Read a page of the documentation, or copy all pages and the examples.",
        _imported("beampipe.terminal.documents:docs_command"),
    ),
}
for _name, (_help, _load) in _COMMANDS.items():
    app.add_lazy(_name, _help, _load)


def main() -> NoReturn:
    """Run the command `beampipe`; a `BeampipeError` ends it with its message on one line and exit code 2."""
    run(app, "beampipe")


if __name__ == "__main__":
    main()
