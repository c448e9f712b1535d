"""`beampipe fleet update`: parse, call, print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from beampipe import terminal
from beampipe.fleet.arguments import FLEET_FILE, FleetFile, FleetFolder
from beampipe.terminal.commands import Json, print_json

__all__ = ["update_command"]

_STARTS: Final = 3600.0
"""Time [s] that all servers may take to start again, beyond a trial."""


def _share(text: str | float) -> float:
    """A share, as a number or in percent: ``0.05`` or ``5%``; a default is a number already."""
    if not isinstance(text, str):
        return text
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise typer.BadParameter(f"got {text!r}, expected a share such as 5% or 0.05") from None


def update_command(
    file: FleetFile = FLEET_FILE,
    folder: FleetFolder = None,
    share: Annotated[
        float | None,
        typer.Option(
            parser=_share,
            metavar="SHARE",
            help="Try the new models on this share of the requests first, such as 5%.",
            show_default="no trial",
        ),
    ] = None,
    recorded: Annotated[
        Path | None,
        typer.Option(
            help="Recorded requests whose answers are compared, arrays MODEL/NUMBER/TENSOR of numpy.savez.",
            show_default="the models' canaries",
        ),
    ] = None,
    allow_differences: Annotated[
        float, typer.Option(parser=_share, metavar="SHARE", help="Share of the answers that may differ.")
    ] = 0.0,
    slower: Annotated[float, typer.Option(help="Largest ratio of the new models' time to the old ones'.")] = 1.2,
    least: Annotated[int, typer.Option(help="Number of requests of each model that the new ones must answer.")] = 200,
    within: Annotated[float, typer.Option(help="Longest time of the trial, in seconds.")] = 300.0,
    as_json: Json = False,
) -> None:
    """Serve the models as they are in the repository now: one server after the other; no request is lost."""
    from beampipe.fleet.releases.rule import ReleaseRule
    from beampipe.fleet.running.folder import folder_of
    from beampipe.fleet.running.line import give_order
    from beampipe.fleet.specification import read_fleet

    order: dict[str, Any] = {"do": "update"}
    if share is not None:
        ReleaseRule(share, allow_differences, slower, least, within)  # refused here, if it is
        order |= {"share": share, "events": None if recorded is None else str(recorded.absolute())}
        order |= {"allow_differences": allow_differences, "slower": slower, "least": least, "within": within}
    elif recorded is not None:
        raise typer.BadParameter("got --recorded without --share, expected both: it is for a trial")
    done = give_order(folder_of(read_fleet(file).name, folder).socket, order, _STARTS + within)
    if as_json:
        print_json(done)
    else:
        _print(done)
    if not done.get("decision", {}).get("promoted", True):
        raise typer.Exit(1)


def _print(done: Mapping[str, Any]) -> None:
    from beampipe.fleet.releases.table import decision_of, decision_tables

    out = terminal.console()
    if "decision" in done:
        decision = decision_of(done["decision"])
        for table in decision_tables(decision):
            out.print(table)
        out.print(decision.text, markup=False, soft_wrap=True)
        if not decision.promoted:
            out.print("The repository still holds the new models: the next `beampipe fleet up` serves them.")
            return
    out.print(f"models {done['digest']}: {done['servers']} server(s) changed")
