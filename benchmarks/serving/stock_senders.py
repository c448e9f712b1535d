"""NVIDIA's Python clients as senders of a load test: over gRPC and HTTP, asynchronous, in threads, and with asyncio.

Each request is made anew from the array of its event, as users of these clients do, and asks for the labels only.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any, Final

import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.serving.contract import FEATURES, LABELS
from beampipe.serving.load import Arrival, Workload


def stock_request(library: Any, model: str, position: Float32[ndarray, " n 3"]) -> dict[str, Any]:
    """The arguments of a request, made anew from the hits of an event.

    Args:
        library: ``tritonclient.grpc`` or ``tritonclient.http``.
        model: name of the model.
        position: r [mm], phi [rad] and z [mm] of each hit.
    """
    features = library.InferInput(FEATURES.name, list(position.shape), FEATURES.triton_type)
    features.set_data_from_numpy(position)
    return {
        "model_name": model,
        "inputs": [features],
        "outputs": [library.InferRequestedOutput(LABELS.name)],
    }


class _Stock:
    """What the clients share: the request of an event, and the answer as an arrival.

    Args:
        library: ``tritonclient.grpc`` or ``tritonclient.http``.
        model: name of the model.
        workload: events that are sent.
        headers: headers of each request.
    """

    def __init__(self, library: Any, model: str, workload: Workload, headers: Mapping[str, str]) -> None:
        self._library, self._model, self._workload, self._headers = library, model, workload, dict(headers)

    def request(self, event: int) -> dict[str, Any]:
        """The arguments of a request."""
        request = stock_request(self._library, self._model, self._workload.hits[event].position)
        return request | {"headers": dict(self._headers)}  # the client adds to them

    def arrival(self, ticket: int, result: Any) -> Arrival:
        """The labels of an answer; an exception has none."""
        if isinstance(result, Exception):
            return Arrival(ticket, perf_counter(), None, f"{type(result).__name__}: {result}")
        return Arrival(ticket, perf_counter(), result.as_numpy(LABELS.name))


class _Queued(_Stock):
    """Those whose answers come from other threads."""

    def __init__(self, library: Any, model: str, workload: Workload, headers: Mapping[str, str]) -> None:
        super().__init__(library, model, workload, headers)
        self._done: SimpleQueue[Arrival] = SimpleQueue()

    def answers(self, timeout: float) -> Sequence[Arrival]:
        try:
            arrivals = [self._done.get(timeout=max(0.0, timeout))]
        except Empty:
            return []
        while not self._done.empty():
            arrivals.append(self._done.get())
        return arrivals


class CallbackSender(_Queued):
    """``tritonclient.grpc`` with ``async_infer``, whose callbacks come from threads of gRPC."""

    def __init__(
        self, address: str, model: str, workload: Workload, in_flight: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(tritonclient.grpc, model, workload, headers)
        self._client = tritonclient.grpc.InferenceServerClient(address)

    def send(self, ticket: int, event: int) -> None:
        def take(result: Any, error: Exception | None) -> None:
            self._done.put(self.arrival(ticket, result if error is None else error))

        self._client.async_infer(callback=take, **self.request(event))

    def close(self) -> None:
        self._client.close()


class ThreadSender(_Queued):
    """``infer`` in as many threads as requests are in flight, each with a client of its own.

    Args:
        library: ``tritonclient.grpc`` or ``tritonclient.http``.
    """

    def __init__(
        self, library: Any, address: str, model: str, workload: Workload, in_flight: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(library, model, workload, headers)
        self._tickets: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, args=(address,)) for _ in range(in_flight)]
        for thread in self._threads:
            thread.start()

    def _work(self, address: str) -> None:
        with self._library.InferenceServerClient(address) as client:
            while (item := self._tickets.get()) is not None:
                ticket, event = item
                try:
                    result = client.infer(**self.request(event))
                except Exception as error:
                    result = error
                self._done.put(self.arrival(ticket, result))

    def send(self, ticket: int, event: int) -> None:
        self._tickets.put((ticket, event))

    def close(self) -> None:
        for _ in self._threads:
            self._tickets.put(None)
        for thread in self._threads:
            thread.join()


class GreenletSender(_Stock):
    """``tritonclient.http`` with ``async_infer``: greenlets, which run while one of the answers is awaited.

    After each request ``async_infer`` sleeps for 10 ms, so one thread sends fewer than 100 requests a second.
    """

    def __init__(
        self, address: str, model: str, workload: Workload, in_flight: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(tritonclient.http, model, workload, headers)
        self._client = tritonclient.http.InferenceServerClient(address, concurrency=in_flight)
        self._waiting: deque[tuple[int, Any]] = deque()

    def send(self, ticket: int, event: int) -> None:
        self._waiting.append((ticket, self._client.async_infer(**self.request(event))))

    def answers(self, timeout: float) -> Sequence[Arrival]:
        """The oldest answer: an instance answers in the order of the requests."""
        ticket, pending = self._waiting.popleft()
        try:
            result = pending.get_result(timeout=timeout)
        except Exception as error:
            result = error
        return [self.arrival(ticket, result)]

    def close(self) -> None:
        self._client.close()


class AioSender(_Stock):
    """``tritonclient.grpc.aio`` or ``tritonclient.http.aio``, whose loop runs while answers are awaited.

    Args:
        library: the one without ``aio``.
    """

    def __init__(
        self, library: Any, address: str, model: str, workload: Workload, in_flight: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(library, model, workload, headers)
        self._loop = asyncio.new_event_loop()
        self._client = self._loop.run_until_complete(self._open(address, in_flight))
        self._tasks: dict[asyncio.Task[Any], int] = {}

    async def _open(self, address: str, in_flight: int) -> Any:
        more = {"conn_limit": in_flight} if self._library is tritonclient.http else {}
        return self._library.aio.InferenceServerClient(address, **more)

    def send(self, ticket: int, event: int) -> None:
        self._tasks[self._loop.create_task(self._client.infer(**self.request(event)))] = ticket

    def answers(self, timeout: float) -> Sequence[Arrival]:
        waiting = asyncio.wait(self._tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        ended, _ = self._loop.run_until_complete(waiting)
        return [self.arrival(self._tasks.pop(task), task.exception() or task.result()) for task in ended]

    def close(self) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


STOCK_SENDERS: Final = {
    "tritonclient.grpc, async_infer": CallbackSender,
    "tritonclient.grpc, threads": partial(ThreadSender, tritonclient.grpc),
    "tritonclient.grpc.aio": partial(AioSender, tritonclient.grpc),
    "tritonclient.http, async_infer": GreenletSender,
    "tritonclient.http, threads": partial(ThreadSender, tritonclient.http),
    "tritonclient.http.aio": partial(AioSender, tritonclient.http),
}
"""By client: its sender, from address, model, workload, number of requests in flight and headers."""
