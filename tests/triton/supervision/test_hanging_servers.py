"""Servers and models that live and do not answer: each is found, ended, and answers again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from beampipe.triton.engine import Engine
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.management import HttpModelProbe
from beampipe.triton.server.server import TritonServer
from tests.triton.doublers import DYING, add_canary, ask, write_model
from tests.triton.waiting import assert_nothing_left, kinds, wait_until

FOR_EVER = 3600.0
PATIENCE = 2.5
"""Time [s] after which a model is taken to hang."""


def probe_of(server: TritonServer) -> HttpModelProbe:
    return HttpModelProbe(server.settings, server.http_url, server.metrics_url)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small models with canaries."""
    folder = tmp_path_factory.mktemp("canaries")
    write_model(folder, "one")
    write_model(folder, "two", count=2)
    write_model(folder, "dying", DYING)
    for name in ("one", "two", "dying"):
        add_canary(folder, name)
    return folder


@pytest.fixture(scope="module")
def started(engine: Engine, repository: Path) -> Iterator[TritonServer]:
    with TritonServer(
        ServerSettings(repository, models=("one", "two"), triton=engine.folder, patience=PATIENCE)
    ) as running:
        yield running
        running.kill()
    assert_nothing_left(running.prefix)


@pytest.fixture
def server(started: TritonServer) -> TritonServer:
    """A server to be stopped, without incidents so far; each test leaves one that answers."""
    started.incidents.clear()
    return started


@pytest.fixture
def later() -> Iterator[Callable[..., Future[tuple[int, object]]]]:
    """Asks a server in another thread; what has no answer by the end of the test gets none."""
    with ThreadPoolExecutor(32) as pool:

        def started(server: TritonServer, model: str, value: float) -> Future[tuple[int, object]]:
            return pool.submit(answer, server, model, value)

        yield started


def answer(server: TritonServer, model: str, value: float) -> tuple[int, object]:
    try:
        return ask(server.http_url, model, value, timeout=60.0)
    except OSError as error:
        return 0, error


def told(server: TritonServer, kind: str) -> list[str]:
    return [incident.text for incident in server.incidents if incident.kind == kind]


def answers_again(server: TritonServer, model: str) -> None:
    assert answer(server, model, 0.0) == (200, [0.0])


def test_a_stopped_stub(server: TritonServer) -> None:
    victim = next(stub for stub in server.stubs() if stub.model == "two" and stub.alive)
    os.kill(victim.pid, signal.SIGSTOP)
    wait_until(lambda: bool(told(server, "model back")))
    (hang,) = told(server, "hangs")
    assert f"its process {victim.pid} is stopped" in hang
    answers_again(server, "two")
    assert f"stacks of process {victim.pid}" in server.log.read_text()


def test_a_stopped_server(server: TritonServer) -> None:
    first = server.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    wait_until(lambda: bool(told(server, "server back")))
    (hang,) = told(server, "hangs")
    assert "the server: its process is stopped" in hang
    for model in ("one", "two"):
        answers_again(server, model)


def test_a_model_that_sleeps_for_ever(server: TritonServer, later: Callable[..., Future[tuple[int, object]]]) -> None:
    lost = later(server, "one", FOR_EVER)
    wait_until(lambda: bool(told(server, "model back")))
    (hang,) = told(server, "hangs")
    assert hang.startswith("one: no answer and no work")
    assert "nanosleep" in server.log.read_text(), "where it was"
    answers_again(server, "one")
    assert lost.result(60)[0] == 500
    assert not told(server, "server died") + told(server, "restarting"), "the other models notice nothing"


def test_requests_that_wait_for_a_model_that_hangs(
    server: TritonServer, later: Callable[..., Future[tuple[int, object]]]
) -> None:
    requests = [later(server, "one", FOR_EVER) for _ in range(8)]
    wait_until(lambda: bool(told(server, "server back")))
    assert kinds(server) == ["hangs", "stub died", "restarting", "server back"]
    *waiting, worked_on = sorted(request.result(60)[0] for request in requests)
    assert waiting == [0] * 7, "the connection is gone at once, so that clients ask again"
    assert worked_on in (0, 500), "Triton may say that the model's process died, before it ends itself"
    answers_again(server, "one")


def test_a_handler_of_signals_that_hangs(
    engine: Engine, repository: Path, later: Callable[..., Future[tuple[int, object]]]
) -> None:
    with TritonServer(ServerSettings(repository, models=("dying",), triton=engine.folder)) as server:
        first = server.pid
        later(server, "dying", 1.0)
        wait_until(lambda: bool(told(server, "server back")))
        assert "the server reports a fatal signal and does not end" in told(server, "hangs")[0]
        assert f"stacks of process {first}" in server.log.read_text()
        answers_again(server, "dying")
        server.kill()


def test_a_long_queue_of_honest_work_is_left_alone(
    server: TritonServer, later: Callable[..., Future[tuple[int, object]]]
) -> None:
    """Two instances, each answer takes a second without any work: the canary waits longer than a model may be
    silent."""
    requests = [later(server, "two", 1.0) for _ in range(12)]
    waited = 0.0
    assert server._supervisor is not None
    while not all(request.done() for request in requests):
        now = time.monotonic()
        waited = max(waited, now - server._supervisor._canaries.waiting().get("two", now))
        time.sleep(0.05)
    assert [request.result() for request in requests] == [(200, [2.0])] * 12
    assert waited > 1.5 * PATIENCE, "so long the canary waited"
    assert kinds(server) == []
    assert server.answering


def test_requests_that_wait_for_a_stub_that_dies(
    engine: Engine, repository: Path, later: Callable[..., Future[tuple[int, object]]]
) -> None:
    with TritonServer(ServerSettings(repository, models=("one",), triton=engine.folder)) as server:
        requests = [later(server, "one", 0.2) for _ in range(30)]
        wait_until(lambda: probe_of(server).loads()["one"].waiting > 20)
        (victim,) = server.stubs()
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(lambda: bool(told(server, "server back")))
        assert "requests wait for the dead process of one" in told(server, "restarting")[0]
        assert [request.result(60)[0] for request in requests].count(500) <= 1
        answers_again(server, "one")
        server.kill()
