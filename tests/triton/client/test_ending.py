"""A program that ends while its client waits: at once, whatever the server does."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import Final

import pytest

from beampipe.triton.client.model_client import DaemonThreadPool
from beampipe.triton.engine import Engine
from beampipe.triton.metrics import read_metrics
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer
from tests.triton.client.servers import SERVERS, Fake, Held
from tests.triton.waiting import wait_until

ROOT: Final = Path(__file__).parents[3]

LIMIT = 15.0
"""Time [s] in which even a busy machine ends a program; the client would wait for a minute."""

PROGRAM = """
import asyncio, sys
import numpy as np
from beampipe.triton.client import ModelClient

url, model, way, n = *sys.argv[1:4], int(sys.argv[4])
client = ModelClient(url, model, on_failure=lambda error: print(error, flush=True))
event = {"FEATURES": np.ones((n, 3), np.float32)} if model == "exatrkx" else {"X": np.full(n, 40, np.float32)}
if way == "infer":
    client.infer(event)
elif way == "infer_async":
    asyncio.run(client.infer_async(event))
else:
    futures = [client.submit(event) for _ in range(20)]
    if way == "submit":
        futures[0].result()
"""


def started(url: str, way: str, model: str = "exatrkx", n: int = 5) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, url, model, way, str(n)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def assert_interrupted(program: subprocess.Popen[str]) -> None:
    program.send_signal(signal.SIGINT)
    _, output = program.communicate(timeout=LIMIT)
    assert "KeyboardInterrupt" in output
    assert "Fatal" not in output
    assert program.returncode not in (0, -signal.SIGSEGV, -signal.SIGABRT)


@pytest.mark.parametrize(("scheme", "way"), [("grpc", "infer"), ("http", "submit"), ("grpc", "infer_async")])
def test_an_interrupted_program_ends_at_once(scheme: str, way: str) -> None:
    held = Held()
    with SERVERS[scheme](Fake(held)) as url:
        program = started(url, way)
        assert held.arrived.acquire(timeout=60)
        assert_interrupted(program)
        held.release.set()


def test_it_does_though_the_server_works_on_its_memory(engine: Engine, doublers: Path) -> None:
    with TritonServer(ServerSettings(doublers, ("one",), triton=engine.folder)) as server:
        program = started(f"grpc://{server.grpc_url}", "submit", "one", 20_000)
        wait_until(lambda: read_metrics(server.metrics_url)["one"].values["pending"] > 0)
        assert_interrupted(program)
        server.kill()
    assert not list(Path("/dev/shm").glob(f"beampipe_client_{program.pid}_*"))


def test_a_program_that_forgot_its_futures_ends_at_once() -> None:
    held = Held()
    with SERVERS["grpc"](Fake(held)) as url:
        program = started(url, "forget")
        _, output = program.communicate(timeout=LIMIT)
        held.release.set()
    assert program.returncode == 0, output


def test_a_program_that_waits_for_a_server_to_come_back_ends_at_once(closed_port: int) -> None:
    program = started(f"http://127.0.0.1:{closed_port}", "submit")
    assert program.stdout is not None
    assert "is a server running there" in program.stdout.readline()
    assert_interrupted(program)


def test_an_interrupt_never_reaches_a_thread_of_the_client() -> None:
    """Where one took it, a main thread that waits for an answer was not woken."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    blocked: Future[set[int | signal.Signals]] = Future()
    threads = DaemonThreadPool(1)
    threads.submit(lambda: blocked.set_result(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
    assert {signal.SIGINT, signal.SIGTERM} <= blocked.result(LIMIT)
    threads.close(LIMIT)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
