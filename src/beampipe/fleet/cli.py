"""`beampipe fleet`: parse, call, print. Whatever takes time to import is imported inside the command that needs it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from beampipe import terminal
from beampipe.fleet.arguments import FLEET_FILE, FleetFile, FleetFolder
from beampipe.fleet.containers.commands import compose_command
from beampipe.fleet.following.commands import gateway_command
from beampipe.fleet.kubernetes.commands import k8s_command
from beampipe.fleet.planning.commands import plan_command, tune_command
from beampipe.fleet.running.changing.commands import update_command
from beampipe.fleet.security.commands import certificate_app, token_app
from beampipe.fleet.sidecar.commands import sidecar_command
from beampipe.fleet.slurm.commands import job_command, slurm_command
from beampipe.fleet.watching.commands import dashboard_command, rules_command
from beampipe.terminal.commands import Commands, Json, print_json

__all__ = ["app"]

app = Commands("Many Tritons behind one gateway: here, on Slurm, on Kubernetes.")
app.command("plan")(plan_command)
app.command("tune")(tune_command)
app.command("dashboard")(dashboard_command)
app.command("rules")(rules_command)
app.add_typer(token_app, name="token")
app.add_typer(certificate_app, name="certificate")
app.command("k8s")(k8s_command)
app.command("compose")(compose_command)
app.command("slurm")(slurm_command)
app.command("gateway")(gateway_command)
app.command("job", hidden=True)(job_command)
app.command("sidecar")(sidecar_command)
app.command("update")(update_command)


class Place(StrEnum):
    """Where a fleet may run."""

    LAPTOP = "laptop"
    SLURM = "slurm"
    KUBERNETES = "kubernetes"


_OfFile = Annotated[Path, typer.Option("--file", "-f", help="Specification of the fleet, a TOML file.")]


@app.command("up")
def up_command(file: FleetFile = FLEET_FILE, folder: FleetFolder = None, as_json: Json = False) -> None:
    """Start a fleet; one that runs becomes what its file says now, and only what differs is changed."""
    from beampipe.fleet.running.starting import start_fleet

    _print_status(start_fleet(file, folder, terminal.say), as_json=as_json)


@app.command("down")
def down_command(file: FleetFile = FLEET_FILE, folder: FleetFolder = None) -> None:
    """End a fleet: requests in progress are finished."""
    from beampipe.fleet.running.ending import end_fleet

    terminal.say(end_fleet(file, folder))


@app.command("status")
def status_command(
    file: FleetFile = FLEET_FILE,
    folder: FleetFolder = None,
    as_json: Json = False,
) -> None:
    """Show servers, gateway, and what happened last."""
    _print_status(_order(file, folder, do="status"), as_json=as_json)


@app.command("watch")
def watch_command(file: FleetFile = FLEET_FILE, folder: FleetFolder = None) -> None:
    """Open the page of a fleet that runs in the browser, and print its address."""
    page = _order(file, folder, do="status")["page"]
    typer.echo(page)
    typer.launch(page)


@app.command("drain")
def drain_command(
    server: Annotated[str, typer.Argument(help="Name of a server.")],
    file: _OfFile = FLEET_FILE,
    folder: FleetFolder = None,
) -> None:
    """Take a server out: it finishes what it has and lives on without requests."""
    _order(file, folder, do="drain", server=server)
    terminal.say(f"{server}: has no requests and gets none; give it some again by: beampipe fleet resume")


@app.command("resume")
def resume_command(
    server: Annotated[str, typer.Argument(help="Name of a server.")],
    file: _OfFile = FLEET_FILE,
    folder: FleetFolder = None,
) -> None:
    """Give a server requests again that was taken out."""
    _order(file, folder, do="resume", server=server)
    terminal.say(f"{server}: takes requests")


@app.command("scale")
def scale_command(
    count: Annotated[int, typer.Argument(help="Number of servers.", min=0)],
    group: Annotated[str | None, typer.Option(help="Group of servers.", show_default="the only one")] = None,
    file: _OfFile = FLEET_FILE,
    folder: FleetFolder = None,
    as_json: Json = False,
) -> None:
    """Have as many servers of a group as that, until the next `beampipe fleet up`."""
    from beampipe.errors import ConfigError
    from beampipe.fleet.specification import read_fleet

    groups = list(read_fleet(file).servers)
    if group is None and len(groups) > 1:
        raise ConfigError(f"--group: got none, expected one of {', '.join(groups)}")
    _order(file, folder, do="scale", group=group or groups[0], count=count)
    _print_status(_order(file, folder, do="status"), as_json=as_json)


@app.command("restart")
def restart_command(
    servers: Annotated[list[str] | None, typer.Argument(help="Names of servers.", show_default="all")] = None,
    file: _OfFile = FLEET_FILE,
    folder: FleetFolder = None,
    as_json: Json = False,
) -> None:
    """Restart servers one after the other; no request is lost."""
    _order(file, folder, do="restart", servers=servers or [])
    _print_status(_order(file, folder, do="status"), as_json=as_json)


@app.command("example")
def example_command(
    place: Annotated[Place, typer.Argument(help="Where the fleet is to run.")] = Place.LAPTOP,
) -> None:
    """Print a specification with its keys explained, to begin with."""
    from importlib.resources import files

    typer.echo((files("beampipe.fleet") / "examples" / f"{place.value}.toml").read_text(encoding="utf-8"), nl=False)


@app.command("run", hidden=True)
def run_command(file: FleetFile, folder: FleetFolder = None) -> None:
    """Keep a fleet in the foreground, as `beampipe fleet up` does behind it."""
    from beampipe.fleet.running.starting import keep_fleet

    keep_fleet(file, folder)


@app.command("member", hidden=True)
def member_command(settings: Annotated[Path, typer.Argument(help="Settings of the server, a JSON file.")]) -> None:
    """Run one server of a fleet in the foreground."""
    from beampipe.fleet.members.member import run_member
    from beampipe.fleet.members.settings import read_member

    run_member(read_member(settings))


def _order(file: Path, folder: Path | None, **order: Any) -> dict[str, Any]:
    from beampipe.fleet.running.folder import folder_of
    from beampipe.fleet.running.line import give_order
    from beampipe.fleet.specification import read_fleet

    return dict(give_order(folder_of(read_fleet(file).name, folder).socket, order))


def _print_status(status: dict[str, Any], *, as_json: bool = False) -> None:
    if as_json:
        print_json(status)
        return
    out = terminal.console()
    gateway = status["gateway"]
    scheme = "grpcs and https" if gateway["tls"] else "grpc and http"
    who = ", with a token" if gateway["tokens"] else ""
    title = f"{status['name']}: {scheme} on {gateway['host']}:{gateway['port']}{who}, {gateway['balancing']}"
    table = terminal.make_table(
        title, ("server", "state", "gateway", "models"), ("process", "starts", "running", "waiting", "answered")
    )
    for row in status["servers"]:
        state = row["state"] if row["wish"] == "serve" else f"{row['state']}, {row['wish']}"
        numbers = [str(row[key] if row[key] is not None else "-") for key in ("pid", "starts", "running", "waiting")]
        table.add_row(row["server"], state, row["gateway"], ", ".join(row["models"]), *numbers, str(row["answered"]))
    out.print(table)
    out.print(f"watch it: {status['page']}" + ("" if status["prometheus"]["pid"] else " (without Prometheus)"))
