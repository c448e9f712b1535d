from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beampipe.triton.backoff import RestartPause
from beampipe.triton.engine import Engine
from beampipe.triton.server.cleanup import processes_of, shared_memory_of
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.management import HttpModelProbe
from beampipe.triton.server.server import TritonServer
from beampipe.triton.supervision.supervisor import Supervisor
from tests.triton.doublers import ask
from tests.triton.waiting import assert_nothing_left, kinds, wait_until


def probe_of(server: TritonServer) -> HttpModelProbe:
    return HttpModelProbe(server.settings, server.http_url, server.metrics_url)


@pytest.fixture(scope="module")
def started(engine: Engine, doublers: Path) -> Iterator[TritonServer]:
    with TritonServer(ServerSettings(doublers, triton=engine.folder)) as running:
        yield running
        running.kill()
    assert_nothing_left(running.prefix)


@pytest.fixture
def server(started: TritonServer) -> TritonServer:
    """A server to be broken, without incidents so far; each test leaves it with both models."""
    started.incidents.clear()
    return started


def kill_stub(server: TritonServer, model: str) -> int:
    """Kill a stub in the middle of its life."""
    pid = next(stub.pid for stub in server.stubs() if stub.model == model and stub.alive)
    os.kill(pid, signal.SIGKILL)
    return pid


def kill_server(server: TritonServer) -> int:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


@contextmanager
def asking(server: TritonServer, model: str) -> Iterator[list[int]]:
    """Ask a model all the time; gives the list of statuses, -1 for no answer."""
    statuses: list[int] = []
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            try:
                statuses.append(ask(server.http_url, model, 0.0)[0])
            except OSError:
                statuses.append(-1)
            time.sleep(0.005)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield statuses
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("model", ["one", "two"])
def test_a_dead_stub_is_replaced_and_the_other_model_notices_nothing(server: TritonServer, model: str) -> None:
    other = {"one": "two", "two": "one"}[model]
    count = {"one": 1, "two": 2}[model]
    with asking(server, other) as statuses:
        wait_until(lambda: len(statuses) > 3)
        dead = kill_stub(server, model)
        wait_until(lambda: "model back" in kinds(server))
        assert ask(server.http_url, model, 0.0) == (200, [0.0])
        alive = {stub.pid for stub in server.stubs() if stub.model == model and stub.alive}
        assert len(alive) >= count
        assert dead not in alive
        before = len(statuses)
        wait_until(lambda: len(statuses) > before)
    assert set(statuses) == {200}
    assert kinds(server) == ["stub died", "model back"]


def test_a_dead_server_comes_back_with_the_models_it_had(server: TritonServer) -> None:
    server.unload("two")
    wait_until(lambda: all(stub.model == "one" for stub in server.stubs() if stub.alive))
    supervisor = server._supervisor
    assert supervisor is not None
    wait_until(lambda: supervisor._inventory.loaded() == ("one",))
    assert kinds(server) == [], "unloading on purpose is no death"
    first = kill_server(server)
    wait_until(lambda: "server back" in kinds(server))
    assert server.pid != first
    assert ask(server.http_url, "one", 0.0) == (200, [0.0])
    assert ask(server.http_url, "two", 0.0)[0] == 404
    assert sum(process.program != "haproxy" for process in processes_of(server.prefix)) == 2
    assert len(shared_memory_of(server.prefix)) == 1, "those of the dead server are gone"
    server.load("two")


def test_the_watchdog_is_replaced(server: TritonServer) -> None:
    first = server._watchdog.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: server._watchdog.pid not in (first, None))


def test_a_stub_killed_at_work_is_replaced(server: TritonServer) -> None:
    """Unloading a model whose stub has died with a request never ends in Triton: this must not."""
    answers: list[tuple[int, list[float] | str]] = []
    worker = threading.Thread(target=lambda: answers.append(ask(server.http_url, "one", 30.0)))
    worker.start()
    time.sleep(0.7)  # until it works on the request
    kill_stub(server, "one")
    wait_until(lambda: "model back" in kinds(server))
    assert ask(server.http_url, "one", 0.0) == (200, [0.0])
    worker.join()
    assert answers[0][0] == 500
    # Again, now that an old generation hangs behind the new one.
    kill_stub(server, "one")
    wait_until(lambda: kinds(server).count("model back") == 2)
    assert ask(server.http_url, "one", 0.0) == (200, [0.0])


def test_a_server_that_keeps_dying_is_started_again_after_a_pause(server: TritonServer) -> None:
    server._supervision.close()
    with Supervisor(server, probe_of(server), pauses=lambda: RestartPause(free=1, held=60.0, longest=0.1)):
        for count in range(1, 3):
            kill_server(server)
            wait_until(lambda: kinds(server).count("server back") == count)  # noqa: B023 - used at once
    assert kinds(server) == ["server died", "server back", "server died", "backing off", "server back"]
    assert ask(server.http_url, "one", 0.0) == (200, [0.0])
