"""The commands of those who watch."""

from __future__ import annotations

import json

import typer
from typer.testing import CliRunner

from beampipe.fleet.cli import dashboard_command, rules_command
from beampipe.fleet.monitoring.prometheus import grafana_dashboard, rules_text

app = typer.Typer()
app.command("dashboard")(dashboard_command)
app.command("rules")(rules_command)


def test_dashboard_and_rules_are_printed() -> None:
    done = CliRunner().invoke(app, ["dashboard", "--name", "tracking"])
    assert json.loads(done.stdout) == grafana_dashboard("tracking")
    assert CliRunner().invoke(app, ["rules", "--interval", "15"]).stdout == rules_text(15.0)
