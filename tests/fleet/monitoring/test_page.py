"""The page's server: what it hands out, and to whom."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beampipe.errors import ServiceError
from beampipe.fleet import Fleet
from beampipe.fleet.monitoring.page import ALERTS, PageServer, fleet_metrics
from beampipe.fleet.registry import SILENCE, write_record
from tests.fleet.monitoring.conftest import Exporter, record


def answering(text: str) -> Callable[[float], Iterator[str]]:
    return lambda seconds: iter([text])


@pytest.fixture
def prometheus() -> Iterator[Exporter]:
    with Exporter(answering('{"data": {"alerts": []}}')) as server:
        yield server


@pytest.fixture
def server(fleet: Fleet, tmp_path: Path, prometheus: Exporter) -> Iterator[PageServer]:
    url = f"http://127.0.0.1:{prometheus.port}"
    with PageServer(fleet, tmp_path / "registry", lambda: url) as server:
        yield server


def ask(server: PageServer, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, dict(reply.getheaders()), body


def test_the_page_may_run_its_own_script_only(server: PageServer) -> None:
    status, headers, body = ask(server, "/")
    assert status == 200
    assert b'data-interval="0.2"' in body
    assert b"{{" not in body
    assert "default-src 'none'; script-src 'sha256-" in headers["Content-Security-Policy"]
    assert "http" not in headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/", "/fleet.json", "/metrics"])
def test_another_name_that_leads_here_is_refused(server: PageServer, prometheus: Exporter, path: str) -> None:
    port = server.port
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", f"0.0.0.0:{port}"):
        assert ask(server, path, Host=host)[0] == 403
    assert prometheus.paths == []


def test_its_own_names_are_taken(server: PageServer) -> None:
    assert ask(server, "/", Host=f"localhost:{server.port}", Sec_Fetch_Site="none")[0] == 200
    assert ask(server, "/fleet.json", Sec_Fetch_Site="same-origin")[0] == 200
    assert ask(server, "/fleet.json", Sec_Fetch_Site="cross-site")[0] == 403


def test_the_firing_alerts_are_read_from_prometheus(server: PageServer, prometheus: Exporter) -> None:
    down = {"labels": {"alertname": "ServerDown", "server": "cpu-1"}, "annotations": {"summary": "Server cpu-1 ..."}}
    alerts = [{**down, "state": "firing"}, {**down, "state": "pending"}]
    prometheus.lines = answering(json.dumps({"data": {"alerts": alerts}}))
    output = json.loads(ask(server, "/fleet.json")[2])["prometheus"]
    assert output["alerts"] == [{"alertname": "ServerDown", "server": "cpu-1", "summary": "Server cpu-1 ..."}]
    assert output["said"] == ""
    assert prometheus.paths == [ALERTS]
    prometheus.lines = answering("no JSON")
    output = json.loads(ask(server, "/fleet.json")[2])["prometheus"]
    assert output["alerts"] == []
    assert "does not answer" in output["said"]


CLOSED = (
    "/api/v1/query?query=up",
    "/api/v1/query_range?query=up",
    "/api/v1/query/",
    "/api/v1/query_exemplars",
    "/api/v1/series",
    "/api/v1/labels",
    "/api/v1/status/config",
    "/api/v1/admin/tsdb/snapshot",
    "/api/v1/../v1/targets",
    "/api/v1/%71uery",
    "/-/quit",
    "/-/reload",
    "/graph",
    "/page.js",
    "/../pyproject.toml",
    "/events/",
)


def test_nothing_of_prometheus_is_open(server: PageServer, prometheus: Exporter) -> None:
    assert {path: ask(server, path)[0] for path in CLOSED} == dict.fromkeys(CLOSED, 404)
    assert prometheus.paths == []


def test_only_get_is_known(server: PageServer, prometheus: Exporter) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "HEAD"):
        assert ask(server, "/fleet.json", method)[0] == 501
    assert prometheus.paths == []


def test_states_are_those_of_the_registry(server: PageServer, tmp_path: Path) -> None:
    assert json.loads(ask(server, "/fleet.json")[2])["servers"] == []
    write_record(tmp_path / "registry", record("cpu-0", 8002, text="loads"))
    (seen,) = json.loads(ask(server, "/fleet.json")[2])["servers"]
    assert (seen["server"], seen["state"], seen["text"], seen["metrics"]) == ("cpu-0", "ready", "loads", 8002)
    assert seen["age"] < SILENCE
    assert b'beampipe_fleet_server_state{server="cpu-0",group="cpu",state="ready"} 1\n' in ask(server, "/metrics")[2]


def test_servers_without_a_record_and_their_places_are_on_the_page_and_among_the_metrics(
    fleet: Fleet, tmp_path: Path
) -> None:
    write_record(tmp_path / "registry", record("cpu-0", 8002))
    with PageServer(
        fleet,
        tmp_path / "registry",
        lambda: None,
        port=0,
        expected=lambda: [record(name, 0, state="starting") for name in ("cpu-0", "cpu-1")],
        states=lambda: {"gateway": "hangs", "cpu-0": "DOWN"},
        metrics=lambda: ["more 1"],
    ) as server:
        seen = json.loads(ask(server, "/fleet.json")[2])
        metrics = ask(server, "/metrics")[2].decode()
    assert {row["server"]: row["state"] for row in seen["servers"]} == {"cpu-0": "ready", "cpu-1": "starting"}
    assert (seen["gateway"], [row["gateway"] for row in seen["servers"]]) == ("hangs", ["DOWN", None])
    assert 'beampipe_fleet_server_state{server="cpu-1",group="cpu",state="ready"} 0\n' in metrics
    assert metrics.endswith("more 1\n")


def test_metrics_tell_one_state_for_each_server() -> None:
    records = {
        "cpu-0": record("cpu-0", 8002, state="hangs"),
        "cpu-1": record("cpu-1", 8003, beat=time.time() - 2 * SILENCE),
    }
    lines = [line for line in fleet_metrics(records) if line.endswith(" 1")]
    assert lines == [
        'beampipe_fleet_server_state{server="cpu-0",group="cpu",state="hangs"} 1',
        'beampipe_fleet_server_state{server="cpu-1",group="cpu",state="silent"} 1',
    ]


@pytest.mark.parametrize(("url", "said"), [(None, "No Prometheus runs"), ("http://127.0.0.1:1", "does not answer at")])
def test_where_prometheus_is_missing_the_rest_is_there(
    fleet: Fleet, tmp_path: Path, url: str | None, said: str
) -> None:
    with PageServer(fleet, tmp_path, lambda: url, port=0) as server:
        output = json.loads(ask(server, "/fleet.json")[2])["prometheus"]
        assert (output["url"], output["alerts"]) == (url, [])
        assert said in output["said"]


def test_a_port_that_is_taken_is_said(server: PageServer, fleet: Fleet, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=f"port {server.port} cannot be had"):
        PageServer(fleet, tmp_path, lambda: None, port=server.port)
    server.stop()
    server.stop()
