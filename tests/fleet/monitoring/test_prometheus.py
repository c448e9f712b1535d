"""Prometheus beside a fleet: its rules, queries and dashboard, what it scrapes, and how it is kept running."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml
from typer.testing import CliRunner

from beampipe import processes
from beampipe.errors import ConfigError
from beampipe.fleet import Fleet
from beampipe.fleet.cli import app
from beampipe.fleet.gateway.access_log import Traffic
from beampipe.fleet.monitoring import prometheus
from beampipe.fleet.monitoring.prometheus import (
    SETTINGS,
    Prometheus,
    dashboard_contents,
    grafana_dashboard,
    prometheus_processes,
    prometheus_program,
    prometheus_settings,
    role_relabelings,
    rules_text,
    write_settings,
    write_targets,
)
from beampipe.fleet.registry import BEAT
from beampipe.fleet.specification import MonitoringSettings
from beampipe.triton.server.haproxy import PublicPort
from tests.fleet.conftest import until
from tests.fleet.monitoring.conftest import Exporter, fleet_in, record
from tests.fleet.specimens import write_model

STAGES = {"embed": 0.4, "connect": 1.9, "classify": 3.1, "segment": 0.6}
"""Mean time [ms] of each stage."""


def triton(rate: float, waiting: int = 1, model: str = "module_map") -> Callable[[float], Iterator[str]]:
    """Metrics of a Triton that answers events at a steady rate [1/s]: 8 ms each, of which 2 in the queue."""

    def lines(seconds: float) -> Iterator[str]:
        n = int(rate * seconds)
        labels = f'model="{model}",version="1"'
        yield f'beampipe_events_refused_total{{model="{model}",instance="{model}_0"}} 0'
        yield f"nv_inference_request_success{{{labels}}} {n}"
        yield f'nv_inference_request_failure{{{labels},reason="OTHER"}} 0'
        yield f"nv_inference_request_duration_us{{{labels}}} {8000 * n}"
        yield f"nv_inference_queue_duration_us{{{labels}}} {2000 * n}"
        yield f"nv_inference_compute_infer_duration_us{{{labels}}} {5900 * n}"
        yield f"nv_inference_pending_request_count{{{labels}}} {waiting}"
        yield f'beampipe_events_total{{model="{model}",instance="{model}_0"}} {n}'
        for stage, time_ms in STAGES.items():
            total = 1e-3 * time_ms * n
            yield f'beampipe_stage_seconds_total{{model="{model}",instance="{model}_0",stage="{stage}"}} {total}'

    return lines


def gateway(servers: dict[str, str]) -> Callable[[float], Iterator[str]]:
    """Metrics of a gateway that knows servers in the given states, and has 3 requests waiting."""

    def lines(_: float) -> Iterator[str]:
        for server, state in servers.items():
            for known in ("UP", "DOWN", "MAINT", "DRAIN"):
                yield f'haproxy_server_status{{proxy="http",server="{server}",state="{known}"}} {int(known == state)}'
        for proxy in ("grpc", "http"):
            yield f'haproxy_backend_current_queue{{proxy="{proxy}"}} {3 if proxy == "grpc" else 0}'
            yield f'haproxy_backend_retry_warnings_total{{proxy="{proxy}"}} 0'
            yield f'haproxy_backend_redispatch_warnings_total{{proxy="{proxy}"}} 0'
            yield f'haproxy_backend_http_responses_total{{proxy="{proxy}",code="2xx"}} 0'
        for proxy in ("fleet", "status"):
            yield f'haproxy_frontend_intercepted_requests_total{{proxy="{proxy}"}} 0'
            yield f'haproxy_frontend_requests_denied_total{{proxy="{proxy}"}} 0'
            yield f'haproxy_frontend_http_responses_total{{proxy="{proxy}",code="5xx"}} 0'

    return lines


def traffic(servers: Sequence[str], rate: float = 40.0) -> Callable[[float], Iterator[str]]:
    """Metrics of requests of 8 ms at a gateway, at a rate [1/s]; of ten one is refused by its rate, one fails."""
    counted, number = Traffic(), 0

    def lines(seconds: float) -> Iterator[str]:
        nonlocal number
        while number < int(rate * seconds):
            number += 1
            end = {"end": "LR", "refused": "rate"} if number % 10 == 0 else {"end": "--", "refused": "-"}
            place = {"path": "/v2/models/one/infer", "server": servers[number % len(servers)]}
            answer = {"model": "one", "status": 500 if number % 10 == 1 else 200, "grpc_status": "-"}
            counted.add({**place, **end, **answer, "time_us": "8000", "time_ms": 8})
        yield from counted.metrics()

    return lines


def start(prometheus: Prometheus) -> None:
    """Start a Prometheus and wait until it answers."""
    prometheus.launch()
    until(lambda: is_ready(prometheus))


def is_ready(prometheus: Prometheus) -> bool:
    """Whether it runs and answers queries."""
    try:
        with urllib.request.urlopen(f"{prometheus.url}/-/ready", timeout=1.0) as reply:
            return bool(reply.status == 200)
    except (OSError, ValueError):  # no answer; it does not run and has no address
        return False


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prometheus") / "watch"


@pytest.fixture(scope="module")
def started(watch: Path) -> Iterator[Prometheus]:
    """One that runs, for tests that leave it running."""
    with Exporter(gateway({"cpu-0": "UP", "cpu-1": "DOWN"})) as status:
        prometheus = Prometheus(fleet_in(watch), watch, status_port=status.port)
        start(prometheus)
        yield prometheus
        prometheus.stop()
    assert prometheus.pid is None


def asked(prometheus: Prometheus, query: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{prometheus.url}/api/v1/query?{urlencode({'query': query})}") as reply:
        result: list[dict[str, Any]] = json.load(reply)["data"]["result"]
    return result


def values(prometheus: Prometheus, query: str, label: str = "server") -> dict[str, float]:
    return {request["metric"].get(label, ""): float(request["value"][1]) for request in asked(prometheus, query)}


@pytest.mark.prometheus
def test_servers_come_and_go_without_a_reload(started: Prometheus, watch: Path) -> None:
    with Exporter(triton(50.0, waiting=2)) as one, Exporter(triton(20.0)) as two:
        pid = started.pid
        records = {"cpu-0": record("cpu-0", one.port)}
        write_targets(watch, records | {"cpu-1": record("cpu-1", two.port)})
        until(lambda: len(values(started, "server:events:rate")) == 2)
        until(lambda: values(started, "fleet:waiting:sum") == {"": 3})
        assert asked(started, "server:events:rate{server='cpu-0'}")[0]["metric"]["group"] == "cpu"
        assert values(started, "fleet:latency_ms:mean")[""] == pytest.approx(8.0)
        assert values(started, "fleet:queue_ms:mean")[""] == pytest.approx(2.0)
        assert values(started, "stage:time_ms:mean", "stage")["connect"] == pytest.approx(1.9)
        # What the gateway says, and only what is kept of it.
        assert values(started, "gateway:waiting:sum") == {"": 3}
        assert values(started, "gateway:servers_up:count") == {"": 1}
        assert asked(started, "haproxy_backend_http_responses_total") == []
        write_targets(watch, records)
        until(lambda: values(started, "up{job='triton'}") == {"cpu-0": 1})
    assert started.pid == pid
    until(lambda: values(started, "fleet:servers_up:sum") == {"": 0})


@pytest.mark.prometheus
def test_every_query_of_the_dashboard_has_an_answer(fleet: Fleet, tmp_path: Path) -> None:
    queries = [target["expr"] for panel in grafana_dashboard()["panels"] for target in panel["targets"]]
    with (
        Exporter(triton(50.0, waiting=2)) as server,
        Exporter(gateway({"cpu-0": "UP"})) as status,
        Exporter(traffic(["cpu-0"])) as page,
    ):
        made = Prometheus(fleet, tmp_path / "watch", status_port=status.port, page_port=page.port)
        write_targets(tmp_path / "watch", {"cpu-0": record("cpu-0", server.port)})
        start(made)
        try:
            # An alert fires after half a minute only.
            until(lambda: all(asked(made, query) for query in queries if "ALERTS{" not in query))
            for level, server_name in (("gateway", ""), ("server", "cpu-0")):
                for share in (50, 95, 99):  # all took 8 ms: the bin from 7.9 to 10 ms
                    assert 7.9 < values(made, f"{level}:latency_ms:p{share}")[server_name] <= 10.0
            until(lambda: values(made, "gateway:refusals:rate", "reason")["rate"] > 0)
        finally:
            made.stop()


@pytest.mark.prometheus
def test_after_a_kill_it_goes_on_with_what_it_kept(started: Prometheus) -> None:
    until(lambda: bool(asked(started, "gateway:waiting:sum")))
    before, pid = time.time(), started.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: started.pid is None)
    assert not is_ready(started)
    start(started)
    assert started.pid != pid
    with urllib.request.urlopen(f"{started.url}/api/v1/query?query=gateway:waiting:sum&time={before}") as reply:
        assert json.load(reply)["data"]["result"]
    started.launch()  # it runs: nothing happens
    assert "--storage.tsdb.retention.time=15d" in processes.arguments(started.pid or 0)


@pytest.mark.prometheus
def test_one_that_hangs_is_replaced(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "_SILENCE", 1.0)
    incidents = list[str]()
    made = Prometheus(fleet, tmp_path / "watch", note=incidents.append)

    def answers() -> bool:
        made.update({})
        url = made.url
        return url is not None and PublicPort("127.0.0.1", int(url.rpartition(":")[2]), False, False, "/").answers()

    try:
        until(answers)
        begin = time.monotonic()
        until(lambda: answers() and time.monotonic() > begin + 1.2)  # until it has seen an answer itself
        pid = made.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        until(lambda: answers() and made.pid != pid)
    finally:
        made.stop()
    assert f"prometheus: hangs; killing process {pid}" in incidents


@pytest.mark.prometheus
def test_it_takes_other_settings_while_it_runs(started: Prometheus, fleet: Fleet) -> None:
    def settings() -> str:
        with urllib.request.urlopen(f"{started.url}/api/v1/status/config") as reply:
            return str(json.load(reply)["data"]["yaml"])

    pid = started.pid
    assert "scrape_interval: 200ms" in settings()
    started.reconfigure(replace(fleet, monitoring=MonitoringSettings(interval=0.7)))
    until(lambda: "scrape_interval: 700ms" in settings())
    assert started.pid == pid


@pytest.mark.prometheus
def test_another_page_may_not_read_it(started: Prometheus) -> None:
    request = urllib.request.Request(f"{started.url}/api/v1/query?query=up", headers={"Origin": "http://evil.example"})
    with urllib.request.urlopen(request) as reply:
        assert reply.headers["Access-Control-Allow-Origin"] is None


@pytest.mark.prometheus
def test_one_that_was_left_over_gives_way(started: Prometheus, fleet: Fleet, watch: Path) -> None:
    """The last test with this one, which it ends."""
    assert [process.pid for process in prometheus_processes(watch)] == [started.pid]
    assert prometheus_processes(watch.parent) == []
    other = Prometheus(fleet, watch)
    start(other)
    assert started.pid is None
    assert [process.pid for process in prometheus_processes(watch)] == [other.pid]
    other.stop()


@pytest.mark.prometheus
def test_a_port_that_is_taken_is_said(fleet: Fleet, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = MonitoringSettings(prometheus_port=taken.getsockname()[1])
        incidents = list[str]()
        prometheus = Prometheus(replace(fleet, monitoring=settings), tmp_path / "watch", note=incidents.append)

        def is_said() -> bool:
            prometheus.update({})
            return any("address already in use" in text for text in incidents)

        until(is_said)
        prometheus.stop()
    assert prometheus.pid is None
    prometheus.stop()


def test_where_it_is_not_installed_it_is_missed_only_if_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert prometheus_program(MonitoringSettings()) is None
    with pytest.raises(ConfigError, match="apt-get install prometheus"):
        prometheus_program(MonitoringSettings(prometheus=True))


@pytest.mark.prometheus
@pytest.mark.parametrize("ports", [{}, {"status_port": 2404, "page_port": 2405}])
def test_prometheus_takes_the_settings(fleet: Fleet, tmp_path: Path, ports: dict[str, int]) -> None:
    write_model(fleet.repository, "athena", "module-map.2")
    folder = tmp_path / 'odd " folder'
    write_settings(fleet, folder, **ports)
    done = subprocess.run(["promtool", "check", "config", folder / SETTINGS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 rule files found" in done.stdout


def test_chains_of_models_and_their_steps_are_marked(fleet: Fleet, tmp_path: Path) -> None:
    assert "role" not in prometheus_settings(fleet, tmp_path / "rules.yml", "servers.json")
    write_model(fleet.repository, "module_map")
    write_model(fleet.repository, "module_map_athena", "module_map")
    write_model(fleet.repository, "exatrkx", "embed", "frnn", "wcc")
    (triton,) = yaml.safe_load(prometheus_settings(fleet, tmp_path / "rules.yml", "servers.json"))["scrape_configs"]
    assert triton["metric_relabel_configs"] == role_relabelings(fleet.repository)
    assert [(rule["regex"], rule["replacement"]) for rule in role_relabelings(fleet.repository)] == [
        ("exatrkx|module_map_athena", "chain"),
        ("embed", "first"),
        ("frnn|wcc", "step"),
    ]


def test_targets_are_the_servers_that_there_should_be(tmp_path: Path) -> None:
    now = time.time()
    records = {
        "gpu-0": record("gpu-0", 8003),
        "cpu-0": record("cpu-0", 8002, state="hangs", beat=now - 20 * BEAT),
        "cpu-1": record("cpu-1", 8004, state="ending"),
        "cpu-2": record("cpu-2", 8005, beat=now - 3600),
    }
    path = write_targets(tmp_path, records)
    assert json.loads(path.read_text()) == [
        {"targets": ["127.0.0.1:8002"], "labels": {"server": "cpu-0", "group": "cpu"}},
        {"targets": ["127.0.0.1:8003"], "labels": {"server": "gpu-0", "group": "gpu"}},
    ]


RECORDED = re.compile(r"record: (\S+)")
SERIES = re.compile(r"\b(?:all|fleet|server|model|stage|gateway):\w+:\w+\b")


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.prometheus
def test_prometheus_reads_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    text = rules_text(MonitoringSettings(interval=0.5))
    path.write_text(text)
    assert f"{text.count('expr:')} rules found" in promtool("check", "rules", "--lint-fatal", path)


@pytest.mark.prometheus
def test_the_rules_make_the_stated_numbers_and_alerts(tmp_path: Path) -> None:
    """The cases stand in `rules_test.yml`."""
    (tmp_path / "rules.yml").write_text(rules_text(MonitoringSettings()))
    shutil.copy(Path(__file__).with_name("rules_test.yml"), tmp_path)
    promtool("test", "rules", tmp_path / "rules_test.yml")


def test_every_alert_is_tried() -> None:
    alerts = re.findall(r"alert: (\w+)", rules_text(MonitoringSettings()))
    cases = Path(__file__).with_name("rules_test.yml").read_text()
    assert len(alerts) > 5
    for alert in alerts:
        assert re.search(rf"alertname: {alert}\n\s+exp_alerts:\n", cases), f"{alert} is never expected"


def queries() -> list[str]:
    tiles, panels = dashboard_contents().values()
    return [tile["query"] for tile in tiles] + [query for panel in panels for query in panel["lines"]]


def test_what_is_shown_is_recorded() -> None:
    recorded = set(RECORDED.findall(rules_text(MonitoringSettings())))
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
    assert CliRunner().invoke(app, ["rules"]).stdout == rules_text(MonitoringSettings())


def test_the_rules_of_a_fleet_have_its_interval_and_its_objective(tmp_path: Path) -> None:
    specification = tmp_path / "fleet.toml"
    specification.write_text(
        'repository = "models"\n[servers.cpu]\n[monitoring]\ninterval = 15\nobjective = {share = 0.999, within = 0.6}\n'
    )
    printed = CliRunner().invoke(app, ["rules", "--file", str(specification)]).stdout
    assert "[60s]" in printed
    assert 'le=~"0.5(.0)?"' in printed
    assert "14.4 * (1 - 0.999)" in printed
