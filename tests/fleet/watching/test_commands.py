"""The commands of those who watch."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from beampipe.errors import ConfigError
from beampipe.fleet.watching import grafana_dashboard, rules_text
from beampipe.fleet.watching.commands import dashboard_command, rules_command, watch_command
from beampipe.fleet.watching.prometheus import checked_url

app = typer.Typer()
app.command("watch")(watch_command)
app.command("dashboard")(dashboard_command)
app.command("rules")(rules_command)


def test_dashboard_and_rules_are_printed() -> None:
    done = CliRunner().invoke(app, ["dashboard", "--name", "tracking"])
    assert json.loads(done.stdout) == grafana_dashboard("tracking")
    assert CliRunner().invoke(app, ["rules", "--interval", "15"]).stdout == rules_text(15.0)


def test_the_page_is_there_until_an_interrupt(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text('name = "tracking"\nrepository = "models"\n[servers.cpu]\n')
    code = "from tests.fleet.watching.test_commands import app; app()"
    command = [sys.executable, "-c", code, "watch", str(tmp_path / "fleet.toml"), "--registry", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[0]
        with urllib.request.urlopen(f"{url}fleet.json") as reply:
            assert json.load(reply)["fleet"] == "tracking"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    "url", ["127.0.0.1:9090", "https://host:9090", "http://host", "http://host:x", "http://host:1/a"]
)
def test_what_is_no_address_of_prometheus_is_said(url: str) -> None:
    with pytest.raises(ConfigError, match=r"http://127\.0\.0\.1:9090"):
        checked_url(url)
    assert checked_url("http://127.0.0.1:9090") == "http://127.0.0.1:9090"
