"""Commands for whoever watches a fleet: parse, call, print. The command `beampipe fleet` takes them among its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["dashboard_command", "rules_command", "watch_command"]


def watch_command(
    registry: Annotated[
        Path, typer.Option(help="Folder of the registry, in which the servers say that they are there.")
    ],
    file: Annotated[Path, typer.Argument(help="Specification of the fleet, a TOML file.", metavar="FLEET.toml")] = Path(
        "fleet.toml"
    ),
    prometheus: Annotated[
        str | None, typer.Option(metavar="URL", help="Address of Prometheus, http://127.0.0.1:PORT.")
    ] = None,
    events: Annotated[Path | None, typer.Option(help="Folder with displays of events as HTML.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port on loopback; 0 for a free one.", show_default="monitoring.page_port")
    ] = None,
) -> None:
    """Show a fleet live on a page: throughput, latency, queues, stages, servers, and events with their tracks."""
    import threading
    from contextlib import suppress

    from beampipe.fleet.specification import read_fleet
    from beampipe.fleet.watching.prometheus import checked_url
    from beampipe.fleet.watching.watch_server import WatchServer

    url = None if prometheus is None else checked_url(prometheus)
    with WatchServer(read_fleet(file), registry, lambda: url, events=events, port=port) as server:
        typer.echo(f"{server.url}   (Ctrl-C ends it)")
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


def dashboard_command(
    name: Annotated[str, typer.Option(help="Name of the fleet.")] = "fleet",
) -> None:
    """Print a dashboard for Grafana, as JSON."""
    import json

    from beampipe.fleet.watching.dashboard import grafana_dashboard

    typer.echo(json.dumps(grafana_dashboard(name), indent=2))


def rules_command(
    interval: Annotated[
        float, typer.Option(help="Time between two looks of Prometheus at a server, in seconds.", min=0.1)
    ] = 2.0,
) -> None:
    """Print the recording and alerting rules for Prometheus, as YAML."""
    from beampipe.fleet.watching.rules import rules_text

    typer.echo(rules_text(interval), nl=False)
