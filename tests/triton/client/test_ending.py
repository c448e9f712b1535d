"""Requests that nobody waits for any more, and programs that end while their client waits."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from beampipe.errors import ServiceError
from beampipe.triton.client import ModelClient
from beampipe.triton.client.fake import FakeTransport
from beampipe.triton.client.model_client import DaemonThreadPool
from beampipe.triton.client.transports import PendingAnswer
from beampipe.triton.engine import Engine
from beampipe.triton.metrics import read_metrics
from beampipe.triton.model.contract import TensorSpec
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer
from tests.triton.client.servers import (
    MODEL,
    SERVERS,
    Fake,
    Held,
    Server,
    ask,
    assert_right,
    event,
    grpc_server,
    labels_of,
    later,
)
from tests.triton.waiting import wait_until


def test_a_future_is_cancelled_before_and_after_it_is_sent(serve: Server) -> None:
    held = Held()
    fake = Fake(held)
    with serve(fake) as url, ModelClient(url, MODEL, in_flight=1) as client:
        sent, waiting, kept = later(client), later(client), later(client)
        assert held.arrived.acquire(timeout=60)
        assert waiting.cancel()
        assert sent.cancel()
        assert sent.cancelled()
        assert wait([sent, waiting], 1).not_done == set()
        with pytest.raises(CancelledError):
            sent.result()
        if url.startswith("grpc"):
            assert fake.gone.wait(60)  # the server knows
        held.release.set()
        assert len(kept.result(60)["LABELS"]) == 5
        assert not kept.cancel()
    assert fake.asked == 2


def test_cancelling_is_no_fault_of_the_server() -> None:
    held, other = Held(), Fake()
    with grpc_server(Fake(held)) as one, grpc_server(other) as two, ModelClient([one, two], MODEL) as client:
        cancelled = later(client)
        assert held.arrived.acquire(timeout=60)  # the first is asked first
        assert cancelled.cancel()
        held.release.set()
        for _ in range(7):
            assert_right(client)
    assert other.asked == 4  # so the other half went to the first


def test_an_asyncio_task_that_is_cancelled_cancels_its_request() -> None:
    held = Held()
    fake = Fake(held)

    async def give_up(client: ModelClient) -> None:
        task = asyncio.create_task(client.infer_async({"FEATURES": event()}))
        await asyncio.to_thread(held.arrived.acquire, timeout=60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with grpc_server(fake) as url, ModelClient(url, MODEL) as client:
        asyncio.run(give_up(client))
        assert fake.gone.wait(60)
        held.release.set()


def test_closing_cancels_what_a_free_thread_takes_up_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = PendingAnswer.cancel

    def cancel_late(pending: PendingAnswer[object]) -> bool:
        time.sleep(0.02)
        return cancel(pending)

    def answer(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert released.wait(10)
        return {"LABELS": labels_of(arrays["FEATURES"])}

    released = threading.Event()
    transport = FakeTransport(
        answer, [TensorSpec("FEATURES", "FP32", np.float32, (-1, 3))], [TensorSpec("LABELS", "INT64", np.int64, (-1,))]
    )
    client = ModelClient("grpc://localhost:1", MODEL, in_flight=1, transport=transport)
    futures = [later(client) for _ in range(5)]
    monkeypatch.setattr(PendingAnswer, "cancel", cancel_late)
    released.set()
    client.close()
    assert wait(futures, 10).not_done == set()
    assert all(future.cancelled() or future.exception() is None for future in futures)
    assert any(future.cancelled() for future in futures)


def test_closing_cancels_what_is_on_its_way(serve: Server) -> None:
    held = Held()
    with serve(Fake(held)) as url:
        client = ModelClient(url, MODEL, in_flight=1)
        futures = [later(client) for _ in range(3)]
        assert held.arrived.acquire(timeout=60)
        client.close()
        assert all(future.cancelled() for future in futures)
        with pytest.raises(ServiceError, match=r"after close\(\)"):
            ask(client)
        with pytest.raises(ServiceError, match=r"after close\(\)"):
            later(client)
        held.release.set()


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
