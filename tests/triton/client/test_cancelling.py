"""A request that nobody waits for any more."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import CancelledError, wait

import numpy as np
import pytest

from beampipe.errors import ServiceError
from beampipe.triton.client import ModelClient
from beampipe.triton.client.fake import FakeTransport
from beampipe.triton.client.transports import PendingAnswer
from beampipe.triton.model.contract import TensorSpec
from tests.triton.client.servers import (
    MODEL,
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
        answer,
        [TensorSpec("FEATURES", "FP32", np.float32, (-1, 3))],
        [TensorSpec("LABELS", "INT64", np.int64, (-1,))],
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
