"""The command `beampipe`. Commands parse, call and print; they hold no logic of their own.

The modules of an area are imported when one of its commands is used; `beampipe --help` imports none of them.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from beampipe.terminal import exit
from beampipe.terminal.commands import Commands

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["app", "main"]

app = Commands(
    "From hits to physics: find tracks in particle-physics events, serve track finding, calibrate taggers.",
    name="beampipe",
    completion=True,
)


def _version(wanted: bool) -> bool:
    if wanted:
        from beampipe import __version__

        typer.echo(f"beampipe {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """From hits to physics: find tracks in particle-physics events, serve track finding, calibrate taggers."""


def _serve() -> Callable[..., None]:
    from beampipe.serving.cli import serve_command

    return serve_command


def _track() -> Callable[..., None]:
    from beampipe.serving.track_command import track

    return track


def _tracking() -> Commands:
    from beampipe.tracking.cli import app

    return app


def _serving() -> Commands:
    from beampipe.serving.cli import app

    return app


@cache
def _fleet() -> Commands:
    from beampipe.fleet.cli import app
    from beampipe.serving.fleet_demo import fleet_demo_command

    app.command("demo")(fleet_demo_command)
    return app


def _calibration() -> Commands:
    from beampipe.calibration.cli import app

    return app


def _analysisops() -> Commands:
    from beampipe.analysisops.cli import app

    return app


_LATER: dict[str, tuple[str, Callable[[], Any]]] = {
    "serve": ("Serve track finding with Triton until Ctrl-C or SIGTERM.", _serve),
    "track": ("Find the tracks of the events in files, and write the number of its track for each hit.", _track),
    "tracking": ("Track finding: simulate events, find tracks, score them, draw them, train.", _tracking),
    "serving": ("Track finding as a service.", _serving),
    "fleet": ("Many Tritons behind one gateway: here, on Slurm, on Kubernetes.", _fleet),
    "calibration": ("Quark/gluon tagging: scale factors from ROOT files.", _calibration),
    "analysisops": ("Can an agent do the analysis? Tasks with known truth, tools, grades.", _analysisops),
}
for _name, (_help, _load) in _LATER.items():
    app.add_later(_name, _help, _load)


def main() -> NoReturn:
    """Run the command `beampipe`; a `BeampipeError` ends it with its message on one line and exit code 2."""
    exit.run(app, "beampipe")


if __name__ == "__main__":
    main()
