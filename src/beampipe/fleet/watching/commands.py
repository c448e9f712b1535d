"""Commands for whoever watches a fleet: parse, call, print. The command `beampipe fleet` takes them among its own."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["dashboard_command", "rules_command"]


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
