"""Alerts that are sent: to whom, one message for one cause, and the program that sends them."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from beampipe.errors import ConfigError, FileError
from beampipe.fleet import Fleet
from beampipe.fleet.checks import check_fleet
from beampipe.fleet.deploy.containers import compose_files
from beampipe.fleet.monitoring import alertmanager
from beampipe.fleet.monitoring.alertmanager import Alertmanager, alertmanager_settings
from beampipe.fleet.monitoring.page import _alerts
from beampipe.fleet.monitoring.prometheus import Prometheus, rules_text
from tests.fleet.conftest import until
from tests.fleet.deploy.test_compose import SPECIFICATION
from tests.fleet.specimens import LEAST, specimen

ROUTES = """
[alerts]
heartbeat = "https://alive.example.org/42"
[alerts.routes.shift]
kind = "chat"
url_file = "chat-url"
[alerts.routes.pager]
kind = "webhook"
url = "https://pager.example.org/in"
severity = "critical"
[alerts.routes.experts]
kind = "email"
to = ["a@example.org", "b@example.org"]
[alerts.smtp]
host = "smtp.example.org:587"
sender = "fleet@example.org"
user = "fleet"
password_file = "smtp-password"
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return specimen(tmp_path, LEAST + ROUTES)


def test_each_route_has_a_receiver_and_secrets_stay_in_their_files(fleet: Fleet, tmp_path: Path) -> None:
    assert fleet.alerts is not None
    settings = yaml.safe_load(alertmanager_settings(fleet.alerts))
    routes = {route["receiver"]: route["matchers"] for route in settings["route"]["routes"]}
    everything = ['severity=~"warning|critical"']
    assert routes == {
        "heartbeat": ['alertname="Heartbeat"'],
        "route-shift": everything,
        "route-pager": ['severity=~"critical"'],
        "route-experts": everything,
    }
    _, heartbeat, shift, pager, experts = settings["receivers"]
    assert heartbeat["webhook_configs"] == [{"url": "https://alive.example.org/42", "send_resolved": False}]
    assert shift["slack_configs"][0]["api_url_file"] == str(tmp_path / "chat-url")
    assert pager["webhook_configs"] == [{"url": "https://pager.example.org/in"}]
    assert experts["email_configs"][0]["to"] == "a@example.org, b@example.org"
    assert settings["global"]["smtp_auth_password_file"] == str(tmp_path / "smtp-password")


def test_what_causes_and_follows_are_alerts_of_the_rules(fleet: Fleet) -> None:
    assert fleet.alerts is not None
    names = {
        rule["alert"]
        for group in yaml.safe_load(rules_text(fleet.monitoring, fleet.alerts))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert "Heartbeat" in names
    for rule in yaml.safe_load(alertmanager_settings(fleet.alerts))["inhibit_rules"]:
        for (matcher,) in (rule["source_matchers"], rule["target_matchers"]):
            for pattern in matcher.split('"')[1].split("|"):
                assert any(name.startswith(pattern.removesuffix(".*")) for name in names), pattern


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('kind = "webhook"', 'kind = "email"', "pager: got email with url, expected to"),
        ('url_file = "chat-url"', "", "shift: got chat with nothing, expected url"),
        ("https://pager", "pager", "pager.url: got 'pager.example.org/in', expected http"),
        ('"b@example.org"', '"b"', "experts.to: got 'b', expected an address"),
        ("[alerts.smtp]", "[unknown]", "unknown key 'unknown'"),
        (":587", "", "smtp.host: got 'smtp.example.org', expected name and port"),
        ('user = "fleet"', "", "one of user and password_file"),
        ("[alerts]", "[monitoring]\nprometheus = false\n[alerts]", "Prometheus finds them"),
        ("[alerts]", "[alerts]\nrepeat = 5", "alerts.repeat: got 5 s"),
        (ROUTES[ROUTES.index("[alerts.smtp]") :], "", "alerts.smtp: got none"),
    ],
)
def test_what_cannot_be_sent_is_refused(tmp_path: Path, before: str, after: str, message: str) -> None:
    assert before in ROUTES
    with pytest.raises(ConfigError, match=message):
        specimen(tmp_path, LEAST + ROUTES.replace(before, after))


def test_missing_programs_and_secrets_are_named_before_the_start(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fleet.repository / "one" / "1"
    folder.mkdir(parents=True)
    (folder.parent / "config.pbtxt").write_text('name: "one"\n')
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ConfigError, match="apt-get install prometheus-alertmanager"):
        check_fleet(fleet, tmp_path)
    monkeypatch.setattr("shutil.which", lambda name, **_: f"/usr/bin/{name}")
    with pytest.raises(FileError, match=r"chat-url: got no file, expected the secret of alerts\.shift"):
        check_fleet(fleet, tmp_path)


def test_compose_has_an_alertmanager_with_its_secrets(fleet: Fleet, tmp_path: Path) -> None:
    files = compose_files(fleet)
    document = yaml.safe_load(files["docker-compose.yaml"])
    SPECIFICATION.validate(document)
    service = document["services"]["alertmanager"]
    assert service["secrets"] == list(document["secrets"]) == ["alerts-shift", "alerts-smtp"]
    assert document["secrets"]["alerts-shift"] == {"file": str(tmp_path / "chat-url")}
    assert "api_url_file: /run/secrets/alerts-shift" in files["alertmanager.yml"]
    prometheus = yaml.safe_load(files["prometheus.yml"])
    assert prometheus["alerting"]["alertmanagers"][0]["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    assert prometheus["global"]["external_labels"] == {"fleet": fleet.name}
    assert set(service["networks"]) <= set(document["services"]["prometheus"]["networks"])


class Webhook:
    """Takes what is posted on this machine: the names of the alerts of each message, by path."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, list[str]]] = []
        messages = self.messages

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message: Any = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                alerts = [alert["labels"]["alertname"] for alert in message["alerts"]]
                messages.append((self.path, message["status"], alerts))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.alertmanager
@pytest.mark.prometheus
def test_alerts_arrive_one_for_each_cause(tmp_path: Path, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heartbeat by Prometheus, whose rules need time for others: those are posted as it would.

    It takes 12 s: Prometheus knows of an Alertmanager 5 s after its start, and sends again after 10 s.
    """
    text = LEAST + f'[monitoring]\ninterval = 0.2\n[alerts]\nheartbeat = "{webhook.url}/alive"\n'
    fleet = specimen(tmp_path, text + f'[alerts.routes.shift]\nkind = "webhook"\nurl = "{webhook.url}/shift"\n')
    soon = alertmanager_settings(fleet.alerts).replace("group_wait: 5s", "group_wait: 1s")  # type: ignore[arg-type]
    monkeypatch.setattr(alertmanager, "alertmanager_settings", lambda *_: soon)
    manager = Alertmanager(fleet, tmp_path)
    prometheus = Prometheus(fleet, tmp_path, alertmanager_port=manager.port)

    def post(*alerts: dict[str, str]) -> None:
        labels = [{"labels": {"severity": "critical", "fleet": fleet.name, **alert}} for alert in alerts]
        kind = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{manager.url}/api/v2/alerts", json.dumps(labels).encode(), kind)
        urllib.request.urlopen(request, timeout=60).close()

    try:
        manager.launch()
        prometheus.launch()
        until(lambda: manager._public.answers())
        servers = [{"alertname": "ServerDown", "server": server} for server in ("cpu-0", "cpu-1")]
        post({"alertname": "NoServerLeft"}, *servers)
        until(lambda: ("/shift", "firing", ["NoServerLeft"]) in webhook.messages)
        post({"alertname": "FleetDown"})
        until(lambda: ("/shift", "firing", ["FleetDown"]) in webhook.messages)
        until(lambda: ("/alive", "firing", ["Heartbeat"]) in webhook.messages)
        assert sorted(alerts for path, _, alerts in webhook.messages if path == "/shift") == [
            ["FleetDown"],
            ["NoServerLeft"],
        ]
        until(lambda: not _alerts(prometheus.url)["said"])
        assert "Heartbeat" not in [alert["alertname"] for alert in _alerts(prometheus.url)["alerts"]]
    finally:
        prometheus.stop()
        manager.stop()


@pytest.mark.alertmanager
def test_alertmanager_takes_the_settings(fleet: Fleet, tmp_path: Path) -> None:
    for path in fleet.alerts.files.values():  # type: ignore[union-attr]
        path.write_text("https://chat.example.org/secret")
    manager = Alertmanager(fleet, tmp_path)
    manager.launch()
    try:
        until(lambda: manager._public.answers())
        pid = manager.pid
        manager.reconfigure(specimen(tmp_path, LEAST))
        assert (manager.pid, manager.url) == (None, None)
        manager.update()
        manager.reconfigure(fleet)
        until(lambda: manager.update() or manager.pid is not None)  # type: ignore[func-returns-value]
        assert manager.pid != pid
    finally:
        manager.stop()
