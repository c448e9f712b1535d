"""Rules, queries and dashboard: Prometheus's own tool reads them, and they speak of the same series."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from beampipe.fleet.cli import app
from beampipe.fleet.monitoring.prometheus import dashboard_contents, grafana_dashboard, rules_text

RECORDED = re.compile(r"record: (\S+)")
SERIES = re.compile(r"\b(?:all|fleet|server|model|stage|gateway):\w+:\w+\b")


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.prometheus
def test_prometheus_reads_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(rules_text(0.5))
    assert f"{rules_text(0.5).count('expr:')} rules found" in promtool("check", "rules", "--lint-fatal", path)


@pytest.mark.prometheus
def test_the_rules_make_the_stated_numbers_and_alerts(tmp_path: Path) -> None:
    """The cases stand in `rules_test.yml`."""
    (tmp_path / "rules.yml").write_text(rules_text(2.0))
    shutil.copy(Path(__file__).with_name("rules_test.yml"), tmp_path)
    promtool("test", "rules", tmp_path / "rules_test.yml")


def test_every_alert_is_tried() -> None:
    alerts = re.findall(r"alert: (\w+)", rules_text(2.0))
    cases = Path(__file__).with_name("rules_test.yml").read_text()
    assert len(alerts) > 5
    for alert in alerts:
        assert re.search(rf"alertname: {alert}\n\s+exp_alerts:\n", cases), f"{alert} is never expected"


def queries() -> list[str]:
    tiles, panels = dashboard_contents().values()
    return [tile["query"] for tile in tiles] + [query for panel in panels for query in panel["lines"]]


def test_what_is_shown_is_recorded() -> None:
    recorded = set(RECORDED.findall(rules_text(2.0)))
    for query in queries():
        request = set(SERIES.findall(query))
        if "ALERTS{" in query:  # Prometheus's own series of what fires
            continue
        assert request, query
        assert request <= recorded, query


@pytest.mark.prometheus
def test_prometheus_reads_every_query_of_the_dashboard(tmp_path: Path) -> None:
    panels = grafana_dashboard()["panels"]
    request = [target["expr"] for panel in panels for target in panel["targets"]]
    assert sorted(request) == sorted(queries())
    rules = [{"record": f"asked:{number}", "expr": query} for number, query in enumerate(request)]
    path = tmp_path / "queries.json"  # JSON is YAML, too
    path.write_text(json.dumps({"groups": [{"name": "asked", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", path)


def test_the_dashboard_is_what_grafana_imports() -> None:
    done = CliRunner().invoke(app, ["dashboard", "--name", "tracking"])
    dashboard = json.loads(done.stdout)
    assert dashboard == grafana_dashboard("tracking")
    assert dashboard["uid"] == "beampipe-tracking"
    panels = dashboard["panels"]
    assert [panel["title"] for panel in panels] == [
        each["title"] for part in dashboard_contents().values() for each in part
    ]
    assert len({panel["id"] for panel in panels}) == len(panels)
    source = dashboard["templating"]["list"][0]["name"]
    for panel in panels:
        assert panel["datasource"]["uid"] == f"${{{source}}}"
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters))


def test_the_rules_are_printed() -> None:
    assert CliRunner().invoke(app, ["rules", "--interval", "15"]).stdout == rules_text(15.0)
