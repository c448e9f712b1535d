"""`beampipe fleet`: parse, call, print. Slow imports are inside the command that needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from beampipe import terminal
from beampipe.errors import ServiceUnavailableError
from beampipe.fleet.control.control_socket import send_command
from beampipe.fleet.run_folder import run_folder_of, shared_folder
from beampipe.fleet.security import add_token, revoke_token
from beampipe.fleet.specification import MonitoringSettings, read_fleet
from beampipe.terminal.commands import Commands, Json, print_json, with_options

FLEET_FILE: Final = Path("fleet.toml")
"""Specification of a fleet where none is named."""

FleetFile = Annotated[Path, typer.Option("--file", "-f", help="Specification of the fleet, a TOML file.")]
"""Specification of the fleet that a command is for."""

_Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the files; for Slurm all nodes must see it.")]

FleetFolder = Annotated[
    Path | None,
    typer.Option(help="Folder for whatever the fleet keeps while it runs.", show_default="one in the state folder"),
]
"""Run folder of the fleet that a command is for."""


app = Commands("Many Tritons behind one gateway: here, on Slurm, on Kubernetes.")

token_app = Commands("Tokens of clients; the file holds their hashes only.")

app.add_typer(token_app, name="token")

certificate_app = Commands("Certificates of an authority of your own.")

app.add_typer(certificate_app, name="certificate")


@app.command("plan")
def plan_command(
    measured: Annotated[Path, typer.Argument()],
    clients: Annotated[int, typer.Option(min=1)],
    rate: Annotated[float, typer.Option(min=1e-9)],
    p95: Annotated[float, typer.Option(min=1e-9)],
    file: Path | None = None,
    instances: Annotated[int, typer.Option(min=1)] = 1,
    requests: Annotated[int, typer.Option(min=1)] = 10_000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Say how many servers a number of clients needs.

    Args:
        measured: JSON with measured service times.
        clients: Number of clients.
        rate: Events per second of each client, were each answered at once.
        p95: Largest 95th percentile of the latency, in seconds.
        file: Specification of the fleet, a TOML file, for in_flight, queue and balancing of its gateway.
        instances: Instances of the model in each server, each with a core (or share of a GPU).
        requests: Requests that are recorded in each of four runs.
        seed: Seed of every random choice.
    """
    from beampipe.fleet.planning import Load, Measured, make_shape, plan_servers
    from beampipe.fleet.server import read_settings

    load = Load(read_settings(Measured, measured), clients, 1 / rate)
    shape = make_shape(None if file is None else read_fleet(file).gateway, instances)
    with terminal.bar("simulations") as step:
        plan = plan_servers(load, shape, p95, requests=requests, seed=seed, progress=lambda: step())
    if as_json:
        print_json(plan)
        return
    shape = plan.shape
    table = terminal.make_table(
        f"{clients} clients with {rate:g} events/s each, {shape.policy}",
        (),
        ["servers", "events/s", "p50 [ms]", "p95 [ms]", "p99 [ms]", "refused [%]", "busy [%]"],
        caption=f"each server works on {shape.parallel} event(s) at once, {shape.in_flight} in flight, queue"
        f" {shape.queue}; errors: one standard deviation",
    )
    for servers, result in plan.figures.items():
        row = [(result.throughput, 1.0), *((one, 1e3) for one in (result.p50, result.p95, result.p99))]
        row += [(result.refused, 100.0), (result.busy, 100.0)]
        table.add_row(str(servers), *(f"{one.value * unit:.4g} ± {one.error * unit:.2g}" for one, unit in row))
    terminal.console().print(table)
    typer.echo(f"{shape.servers} servers for p95 <= {p95:g} s")


@app.command("compose")
def compose_command(output: _Output, file: FleetFile = FLEET_FILE) -> None:
    """Write a Dockerfile, Docker Compose, and an Apptainer definition for a fleet."""
    from beampipe.fleet.deploy.containers import compose_notes, write_compose

    fleet = read_fleet(file)
    _echo_files(write_compose(fleet, output), compose_notes(fleet))


@app.command("k8s")
def k8s_command(output: _Output, file: FleetFile = FLEET_FILE) -> None:
    """Write values for SuperSONIC's Helm chart, and plain manifests, for a fleet."""
    from beampipe.fleet.deploy.kubernetes import kubernetes_notes, write_kubernetes

    fleet = read_fleet(file)
    _echo_files(write_kubernetes(fleet, output), kubernetes_notes(fleet))


@app.command("slurm")
def slurm_command(output: _Output, file: FleetFile = FLEET_FILE) -> None:
    """Write scripts for Slurm that start servers and a gateway, and make their shared folder ready."""
    from beampipe.fleet.deploy.slurm import slurm_notes, write_slurm

    fleet = read_fleet(file)
    _echo_files(write_slurm(fleet, file, output), slurm_notes(fleet))
    typer.echo(f"servers: {output / 'start.sh'}", err=True)
    typer.echo(f"gateway: beampipe fleet gateway -f {file} --registry {shared_folder(fleet)}", err=True)


def _echo_files(paths: Iterable[Path], notes: Iterable[str]) -> None:
    """Print the paths of generated files, and which settings have no effect there."""
    for path in paths:
        typer.echo(path)
    for note in notes:
        typer.echo(f"note: {note}", err=True)


@app.command("job", hidden=True)
def job_command(settings: Annotated[Path, typer.Argument()]) -> None:
    """Run the servers of one Slurm job, inside of it.

    Args:
        settings: Settings of the job, a JSON file.
    """
    from beampipe.fleet.deploy.slurm_job import JobSettings, JobSupervisor, current_job
    from beampipe.fleet.server import read_settings

    JobSupervisor(read_settings(JobSettings, settings), current_job()).run()


@app.command("gateway")
def gateway_command(file: FleetFile = FLEET_FILE, registry: Path | None = None, folder: FleetFolder = None) -> None:
    """Run a gateway in the foreground, for servers that are started elsewhere, such as by Slurm jobs.

    Args:
        registry: Folder that all machines of the fleet see, with the registry and the secret of its servers. [default:
            that of beampipe fleet slurm]
    """
    from beampipe.fleet.control.daemon import run_gateway

    run_gateway(file, registry, folder)


@app.command("sidecar")
def sidecar_command(
    url: Annotated[str, typer.Option(metavar="URL")],
    token_file: Path | None = None,
    ca: Path | None = None,
    certificate: Path | None = None,
    port: int = 8001,
    host: str = "127.0.0.1",
    patience: Annotated[int, typer.Option(min=1)] = 30,
) -> None:
    """Open a plain port on this machine to a remote fleet, for clients without support for tokens and TLS.

    Args:
        url: Address of the gateway of the fleet, grpcs://HOST:PORT.
        token_file: File with the token that is shown to the gateway.
        ca: PEM file of the authority that signed the gateway's certificate. [default: the system's]
        certificate: PEM file with the certificate and key that are shown to the gateway.
        port: Port for plain gRPC on this machine; Athena uses 8001.
        host: Address to listen on, of this machine alone.
        patience: How long to retry while the gateway does not answer, in seconds.
    """
    from beampipe.fleet.sidecar import Sidecar, run_sidecar
    from beampipe.triton.client.endpoint import Security, parse_endpoint

    security = Security(token_file, ca, certificate)
    run_sidecar(Sidecar(parse_endpoint(url, "grpc"), security, port, host, patience), lambda text: typer.echo(text))


_Tokens = Annotated[Path, typer.Option("--tokens", help="File of tokens, gateway.tokens of the fleet.")]

_Authority = Annotated[Path, typer.Option("--authority", help="Folder of the authority.")]

_Days = Annotated[int, typer.Option(help="How long it holds, in days.", min=1, max=36500)]


@token_app.command("add")
def add_command(name: Annotated[str, typer.Argument()], tokens: _Tokens = Path("tokens")) -> None:
    """Make a token and print it; it is not stored. A running fleet accepts it at once.

    Args:
        name: Whose token it is, as the file of tokens shows it.
    """
    typer.echo(add_token(tokens, name))


@token_app.command("revoke")
def revoke_command(name: Annotated[str, typer.Argument()], tokens: _Tokens = Path("tokens")) -> None:
    """Revoke a token. A running fleet refuses it at once.

    Args:
        name: Whose token it is.
    """
    revoke_token(tokens, name)


@certificate_app.command("authority")
def authority_command(authority: _Authority = Path("certificates"), days: _Days = 3650) -> None:
    """Make an authority: ca.pem for clients, ca-key.pem to sign with."""
    from beampipe.fleet.certificates import make_authority

    typer.echo(make_authority(authority, days))


@certificate_app.command("server")
def server_command(
    hosts: Annotated[list[str], typer.Argument()], authority: _Authority = Path("certificates"), days: _Days = 365
) -> None:
    """Make a certificate for a gateway. A running fleet uses it at once.

    Args:
        hosts: Names and addresses at which clients reach the gateway.
    """
    from beampipe.fleet.certificates import make_server

    typer.echo(make_server(authority, hosts, days))


@certificate_app.command("client")
def client_command(
    name: Annotated[str, typer.Argument()], authority: _Authority = Path("certificates"), days: _Days = 365
) -> None:
    """Make a certificate by which a client shows who it is.

    Args:
        name: Whose it is, the common name of the certificate.
    """
    from beampipe.fleet.certificates import make_client

    typer.echo(make_client(authority, name, days))


@app.command("dashboard")
def dashboard_command(name: str = "fleet") -> None:
    """Print a dashboard for Grafana, as JSON.

    Args:
        name: Name of the fleet.
    """
    import json

    from beampipe.fleet.monitoring.prometheus import grafana_dashboard

    typer.echo(json.dumps(grafana_dashboard(name), indent=2))


@app.command("rules")
def rules_command(file: Path | None = None) -> None:
    """Print the recording and alerting rules for Prometheus, as YAML.

    Args:
        file: Specification of the fleet, a TOML file, for the interval and the objective of its monitoring.
    """
    from beampipe.fleet.monitoring.prometheus import rules_text

    typer.echo(rules_text(MonitoringSettings() if file is None else read_fleet(file).monitoring), nl=False)


_RESTART_TIMEOUT: Final = 3600.0
"""Time limit [s] for the restart of all servers, in addition to that of a trial."""


def _share(text: str | float) -> float:
    """A share, as a number or in percent: ``0.05`` or ``5%``; a default is a number already."""
    if not isinstance(text, str):
        return text
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise typer.BadParameter(f"got {text!r}, expected a share such as 5% or 0.05") from None


@app.command("update")
def update_command(
    file: FleetFile = FLEET_FILE,
    folder: FleetFolder = None,
    share: Annotated[float | None, typer.Option(parser=_share, metavar="SHARE")] = None,
    recorded: Path | None = None,
    allow_differences: Annotated[float, typer.Option(parser=_share, metavar="SHARE")] = 0.0,
    slower: float = 1.2,
    least: int = 200,
    within: float = 300.0,
    as_json: Json = False,
) -> None:
    """Serve the current models of the repository: one server after the other; no request is lost.

    Args:
        share: Try the new models on this share of the requests first, such as 5%. [default: no trial]
        recorded: Recorded requests whose answers are compared, arrays MODEL/NUMBER/TENSOR of numpy.savez. [default: the
            models' canaries]
        allow_differences: Share of the answers that may differ.
        slower: Largest ratio of the new models' time to the old ones'.
        least: Number of requests of each model that the new ones must answer.
        within: Longest time of the trial, in seconds.
    """
    from beampipe.fleet.control.release import ReleaseRule

    order: dict[str, Any] = {"do": "update"}
    if share is not None:
        ReleaseRule(share, allow_differences, slower, least, within)  # refused here, if it is
        order |= {"share": share, "events": None if recorded is None else str(recorded.absolute())}
        order |= {"allow_differences": allow_differences, "slower": slower, "least": least, "within": within}
    elif recorded is not None:
        raise typer.BadParameter("got --recorded without --share, expected both: it is for a trial")
    done = _send(file, folder, _RESTART_TIMEOUT + within, **order)
    if as_json:
        print_json(done)
    else:
        _print_update(done)
    if not done.get("decision", {}).get("promoted", True):
        raise typer.Exit(1)


def _print_update(done: Mapping[str, Any]) -> None:
    from beampipe.fleet.control.release import decision_of, decision_tables

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


_STATUS, _COMMAND = 3.0, 600.0  # longest wait [s] for the status, and for the end of another command

Send = Callable[..., dict[str, Any]]
"""Sends a command to a running fleet, by its name ``do`` and its arguments; returns the answer."""


def _sender(file: FleetFile = FLEET_FILE, folder: FleetFolder = None) -> Send:
    return partial(_send, file, folder, _COMMAND)


def _send(file: Path, folder: Path | None, timeout: float = _STATUS, **order: Any) -> dict[str, Any]:
    from beampipe.fleet.control.intent import check_owner, left_over

    run = run_folder_of(read_fleet(file).name, folder)
    check_owner(run, file)
    try:
        return dict(send_command(run.socket, order, timeout))
    except ServiceUnavailableError as error:
        if left := left_over(run, set()):
            found = f"{len(left)} of its processes are left over: {'; '.join(left.values())}"
            raise ServiceUnavailableError(f"{error}\n{found}; to end them: beampipe fleet down") from error
        raise


@app.command("check")
def check_command(file: FleetFile = FLEET_FILE, folder: FleetFolder = None, as_json: Json = False) -> None:
    """Check a specification, and the models, credentials and addresses that it names, without starting anything."""
    from beampipe.fleet.control.daemon import check_start

    fleet, _, notes = check_start(file, folder)
    if as_json:
        print_json({"name": fleet.name, "notes": notes})
        return
    for note in notes:
        typer.echo(f"note: {note}")
    terminal.say(f"{fleet.name}: can be started here")


@app.command("up")
def up_command(
    file: FleetFile = FLEET_FILE, folder: FleetFolder = None, take_over: bool = False, as_json: Json = False
) -> None:
    """Start a fleet, or apply a changed specification to a running one.

    Args:
        take_over: Replace a fleet of the same name that was started by another specification.
    """
    from beampipe.fleet.control.daemon import start_fleet

    status = start_fleet(file, folder, terminal.say, take_over=take_over)
    _print_status(status, as_json=as_json)
    if not status["ready"]:  # all servers are drained
        raise typer.Exit(1)


@app.command("down")
def down_command(file: FleetFile = FLEET_FILE, folder: FleetFolder = None) -> None:
    """Stop a fleet; requests in progress are finished."""
    from beampipe.fleet.control.daemon import stop_fleet

    terminal.say(stop_fleet(file, folder))


@app.command("status")
def status_command(file: FleetFile = FLEET_FILE, folder: FleetFolder = None, as_json: Json = False) -> None:
    """Show servers and gateway; exit with 1 if one of them takes no requests, other than drained servers.

    Also if a certificate of the gateway has ended.
    """
    status = _send(file, folder, do="status")
    _print_status(status, as_json=as_json)
    ends = [row["end"] for row in status["gateway"]["credentials"] if row["end"] is not None]
    if not status["ready"] or min(ends, default=status["time"]) < status["time"]:
        raise typer.Exit(1)


@app.command("watch")
def watch_command(file: FleetFile = FLEET_FILE, folder: FleetFolder = None) -> None:
    """Open the page of a running fleet in the browser, and print its address."""
    page = _send(file, folder, do="status")["page"]
    typer.echo(page)
    typer.launch(page)


@app.command("drain")
@with_options(send=_sender)
def drain_command(server: Annotated[str, typer.Argument()], send: Send) -> None:
    """Drain a server: it finishes its requests and goes on running without further ones.

    Args:
        server: Name of a server.
    """
    send(do="drain", server=server)
    terminal.say(f"{server}: drained; undo by: beampipe fleet resume")


@app.command("resume")
@with_options(send=_sender)
def resume_command(server: Annotated[str, typer.Argument()], send: Send) -> None:
    """Give a drained server requests again.

    Args:
        server: Name of a server.
    """
    send(do="resume", server=server)
    terminal.say(f"{server}: takes requests")


@app.command("scale")
@with_options(send=_sender)
def scale_command(
    count: Annotated[int, typer.Argument(min=0)], send: Send, group: str | None = None, as_json: Json = False
) -> None:
    """Set the number of servers in a group, until `beampipe fleet up` with another number in the specification.

    Args:
        count: Number of servers.
        group: Group of servers. [default: the only one]
    """
    send(do="scale", group=group, count=count)
    _print_status(send(do="status"), as_json=as_json)


@app.command("restart")
@with_options(send=_sender)
def restart_command(
    send: Send, servers: Annotated[list[str] | None, typer.Argument()] = None, as_json: Json = False
) -> None:
    """Restart servers one after the other; no request is lost.

    Args:
        servers: Names of servers. [default: all]
    """
    send(do="restart", servers=servers or [])
    _print_status(send(do="status"), as_json=as_json)


@app.command("example")
def example_command(platform: Annotated[Literal["laptop", "slurm", "kubernetes"], typer.Argument()] = "laptop") -> None:
    """Print a specification with its keys explained, as a starting point.

    Args:
        platform: Where the fleet is to run.
    """
    from importlib.resources import files

    typer.echo((files("beampipe.fleet") / "examples" / f"{platform}.toml").read_text(encoding="utf-8"), nl=False)


@app.command("run", hidden=True)
def run_command(file: FleetFile, folder: FleetFolder = None) -> None:
    """Run a fleet in the foreground; `beampipe fleet up` does it in the background."""
    from beampipe.fleet.control.daemon import run_fleet

    run_fleet(file, folder)


@app.command("member", hidden=True)
def member_command(settings: Annotated[Path, typer.Argument()]) -> None:
    """Run one server of a fleet in the foreground.

    Args:
        settings: Settings of the server, a JSON file.
    """
    from beampipe.fleet.server import FleetServerSettings, read_settings, run_server

    run_server(read_settings(FleetServerSettings, settings))


def _percentiles(row: Mapping[str, Any]) -> list[str]:
    return ["-" if row[key] is None else f"{row[key]:.3g}" for key in ("p50_ms", "p95_ms", "p99_ms")]


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
        title,
        ("server", "state", "gateway", "models"),
        ("process", "starts", "running", "waiting", "answered", "p50 [ms]", "p95 [ms]", "p99 [ms]"),
        importance=("state", "answered", "p50 [ms]", "p99 [ms]", "p95 [ms]", "waiting", "running", "gateway"),
    )
    for row in status["servers"]:
        state = row["state"] if row["desired"] == "serve" else f"{row['state']}, {row['desired']}"
        numbers = [str(row[key] if row[key] is not None else "-") for key in ("pid", "starts", "running", "waiting")]
        numbers += [str(row["answered"]), *_percentiles(row)]
        table.add_row(row["server"], state, row["gateway"], ", ".join(row["models"]), *numbers)
    numbers = [str(gateway["pid"] or "-"), "", "", str(gateway["waiting"]), str(gateway["requests"]["answered"])]
    table.add_row("gateway", gateway["state"], "", "", *numbers, *_percentiles(gateway))
    out.print(table)
    silent, connections = gateway["silent_s"], gateway["connections"]
    probe = "no probe answered yet" if silent is None else f"probe answered {silent:g} s ago"
    ends = []
    for end, count in gateway["requests"].items():  # refused ones by reason, failed ones by model
        parts = ", ".join(f"{name} {number}" for name, number in gateway.get(end, {}).items() if number)
        ends.append(f"{count} {end}" + (f" ({parts})" if parts else ""))
    out.print(f"gateway: {probe}; {connections} connections; requests: {', '.join(ends)}", markup=False, soft_wrap=True)
    for what, key in (("asked", "asked"), ("left over", "left_over")):
        for text in status[key]:
            out.print(f"{what}: {text}", markup=False, soft_wrap=True)
    for row in gateway["credentials"]:
        if row["end"] is not None:
            days = (row["end"] - status["time"]) / 86400
            left = f"has ended {-days:.1f} days ago" if days < 0 else f"ends in {days:.1f} days"
            out.print(f"{row['file']}: {left}", markup=False, soft_wrap=True)
        if row["refused"] is not None:
            out.print(f"{row['refused']}; the gateway goes on with what it had", markup=False, soft_wrap=True)
    out.print(f"watch it: {status['page']}" + ("" if status["prometheus"]["pid"] else " (without Prometheus)"))
