"""What Prometheus is told, and the real one, which looks at servers that come and go."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from beampipe import processes
from beampipe.errors import ConfigError
from beampipe.fleet import Fleet
from beampipe.fleet.monitoring import prometheus
from beampipe.fleet.monitoring.prometheus import (
    SETTINGS,
    Prometheus,
    grafana_dashboard,
    prometheus_processes,
    prometheus_program,
    prometheus_settings,
    role_relabelings,
    write_settings,
    write_targets,
)
from beampipe.fleet.registry import BEAT
from beampipe.fleet.specification import MonitoringSettings
from beampipe.triton.server.haproxy import PublicPort
from tests.fleet.monitoring.conftest import fleet_in
from tests.fleet.monitoring.exporters import Exporter, gateway, is_ready, record, start, traffic, triton
from tests.fleet.specimens import write_model


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


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.prometheus
def test_servers_come_and_go_without_a_reload(started: Prometheus, watch: Path) -> None:
    with Exporter(triton(50.0, waiting=2)) as one, Exporter(triton(20.0)) as two:
        pid = started.pid
        records = {"cpu-0": record("cpu-0", one.port)}
        write_targets(watch, records | {"cpu-1": record("cpu-1", two.port)})
        wait_for(lambda: len(values(started, "server:events:rate")) == 2)
        wait_for(lambda: values(started, "fleet:waiting:sum") == {"": 3})
        assert asked(started, "server:events:rate{server='cpu-0'}")[0]["metric"]["group"] == "cpu"
        assert values(started, "fleet:latency_ms:mean")[""] == pytest.approx(8.0)
        assert values(started, "fleet:queue_ms:mean")[""] == pytest.approx(2.0)
        assert values(started, "stage:time_ms:mean", "stage")["connect"] == pytest.approx(1.9)
        # What the gateway says, and only what is kept of it.
        assert values(started, "gateway:waiting:sum") == {"": 3}
        assert values(started, "gateway:servers_up:count") == {"": 1}
        assert asked(started, "haproxy_backend_http_responses_total") == []
        write_targets(watch, records)
        wait_for(lambda: values(started, "up{job='triton'}") == {"cpu-0": 1})
    assert started.pid == pid
    wait_for(lambda: values(started, "fleet:servers_up:sum") == {"": 0})


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
            wait_for(lambda: all(asked(made, query) for query in queries))
            for level, server_name in (("gateway", ""), ("server", "cpu-0")):
                for share in (50, 95, 99):  # all took 8 ms: the bin from 7.9 to 10 ms
                    assert 7.9 < values(made, f"{level}:latency_ms:p{share}")[server_name] <= 10.0
            wait_for(lambda: values(made, "gateway:refusals:rate", "reason")["rate"] > 0)
        finally:
            made.stop()


@pytest.mark.prometheus
def test_after_a_kill_it_goes_on_with_what_it_kept(started: Prometheus) -> None:
    wait_for(lambda: bool(asked(started, "gateway:waiting:sum")))
    before, pid = time.time(), started.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: started.pid is None)
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
        wait_for(answers)
        begin = time.monotonic()
        wait_for(lambda: answers() and time.monotonic() > begin + 1.2)  # until it has seen an answer itself
        pid = made.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: answers() and made.pid != pid)
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
    wait_for(lambda: "scrape_interval: 700ms" in settings())
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

        wait_for(is_said)
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
