"""`ModelClient`: arrays in, arrays out, from one server or several."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, TypeVar

from numpy import ndarray

from beampipe.errors import ConfigError, ServiceError, ServiceUnavailableError
from beampipe.triton.client.balance import Backoff, Balance
from beampipe.triton.client.endpoint import Security, WireProtocol, parse_endpoint
from beampipe.triton.client.remote import Question, RemoteModel
from beampipe.triton.client.signature import Due, ModelSignature
from beampipe.triton.client.transport import PendingAnswer, Transport

__all__ = ["ModelClient"]

_Answer = TypeVar("_Answer")

_RETRY: Final = Backoff(longest=2.0)
"""Pauses before the same server is asked again."""


class ModelClient:
    """Asks Triton servers that hold the same model::

        with ModelClient("grpc://127.0.0.1:8001", "doubler") as client:
            doubled = client.infer({"X": np.arange(3, dtype=np.float32)})["Y"]

    The model's configuration, read once, says which tensors it takes and gives; arrays are checked against it before
    they are sent and when they come. The batch axis of a model that batches is added and taken away here. Thread-safe.
    A copy in another process, by fork or by pickling, makes connections of its own.

    Args:
        urls: one or more of ``grpc://host:8001``, ``http://host:8000``, ``grpcs://``, ``https://``, ``host:8001``.
        model: name of the model on the servers.
        protocol: ``auto`` hands large tensors to a server on this machine through shared memory and sends the rest;
            ``shm`` does so with all tensors and insists; ``grpc`` and ``http`` never do.
        timeout: longest wait for one request with its retries [s].
        retries: how often a request is repeated if a server is down, stopping or broken; with several URLs and at
            least one retry, each URL is tried once. Before the same server is asked again there is a pause of 0.25 s,
            then twice that, up to 2 s. A request that is refused for its data is never repeated.
        token: secret that is sent as ``authorization: Bearer TOKEN``.
        tls: True to trust the system's certificates, a PEM file to trust those in it.
        in_flight: most requests on their way at once from `submit` and `infer_async`; the others wait here.
        transport: asked instead of servers, such as a `FakeTransport` in tests; the URLs are then only names.

    Raises:
        ConfigError: a URL or number is out of range.
        UnknownNameError: no such scheme or protocol.
        FileError: no such file of certificates.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        model: str,
        *,
        protocol: WireProtocol = "auto",
        timeout: float = 60.0,
        retries: int = 1,
        token: str | None = None,
        tls: bool | str | Path | None = None,
        in_flight: int = 16,
        transport: Transport | None = None,
    ) -> None:
        urls = (urls,) if isinstance(urls, str) else tuple(urls)
        distinct = bool(urls) and len(set(urls)) == len(urls)
        for name, value, good, expected in (
            ("urls", urls, distinct, "one or more distinct URLs such as grpc://127.0.0.1:8001"),
            ("model", model, bool(model), "the name of a model"),
            ("timeout", timeout, 0 < timeout < 1e6, "seconds, more than 0"),
            ("retries", retries, retries >= 0, "0 or more"),
            ("in_flight", in_flight, in_flight >= 1, "1 or more"),
        ):
            if not good:
                raise ConfigError(f"{name}: got {value!r}, expected {expected}")
        endpoints = [parse_endpoint(url, protocol, tls=bool(tls)) for url in urls]
        security = Security(token, None if tls is None or isinstance(tls, bool) else Path(tls))
        self._timeout = timeout
        self._attempts = 1 + (max(retries, len(urls) - 1) if retries else 0)
        self._in_flight = in_flight
        self._connect = [partial(RemoteModel, endpoint, model, protocol, security, transport) for endpoint in endpoints]
        self._here = _InThisProcess()
        self._closed = False
        _CLIENTS.add(self)

    def infer(self, arrays: Mapping[str, ndarray], outputs: Due | None = None) -> dict[str, ndarray]:
        """The answer to one request.

        Args:
            arrays: inputs by name of tensor, of the types and shapes that the configuration states.
            outputs: names of the arrays to get with the shape that each must have, None for any that the configuration
                allows; all outputs if not given. An output comes through shared memory only if its shape is known.

        Raises:
            InputError: the model cannot use these arrays.
            ServiceUnavailableError: no server that answers, after the retries.
            DeadlineError: no answer in time.
            ServiceError: an answer that cannot be right, or a refusal for another reason.
        """
        return self.ask(_ArraysWanted(arrays, outputs))

    def submit(self, arrays: Mapping[str, ndarray], outputs: Due | None = None) -> Future[dict[str, ndarray]]:
        """`infer`, later; cancelling the future cancels the request. The time allowed begins when it is sent."""
        return self.ask_later(_ArraysWanted(arrays, outputs))

    async def infer_async(self, arrays: Mapping[str, ndarray], outputs: Due | None = None) -> dict[str, ndarray]:
        """`infer` for asyncio; cancelling the task cancels the request."""
        return await asyncio.wrap_future(self.submit(arrays, outputs))

    def ask_later(self, question: Question[_Answer]) -> PendingAnswer[_Answer]:
        """`ask`, later, as `submit` is `infer` later."""
        pending: PendingAnswer[_Answer] = PendingAnswer()
        here = self._here
        pool = here.pool(self._in_flight, self._check_open)
        here.waiting.add(pending)
        pending.add_done_callback(here.waiting.discard)
        pool.submit(pending.settle, partial(self.ask, question, pending))
        return pending

    def close(self) -> None:
        """Cancel what is on its way, free the shared memory and drop the connections."""
        self._closed = True
        self._here.close()

    def __enter__(self) -> ModelClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_here": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.forget()
        _CLIENTS.add(self)

    def forget(self) -> None:
        """Start with new connections: those there belong to the process that this one was forked from."""
        # Kept, unused: gRPC must not close here what works on in the parent.
        _INHERITED.append(self.__dict__.get("_here"))
        self._here = _InThisProcess()

    def _check_open(self) -> None:
        if self._closed:
            raise ServiceError("client: got a request after close(), expected none; make a new one")

    def ask(self, question: Question[_Answer], pending: PendingAnswer[_Answer] | None = None) -> _Answer:
        """The answer to a question that becomes arrays for the server that is asked; raises what `infer` raises.

        Args:
            question: what is to be known.
            pending: who waits for the answer and may stop to; None if nobody can.
        """
        balance = self._here.balance(self._connect, self._check_open)
        deadline = monotonic() + self._timeout
        tried: list[RemoteModel] = []
        for attempt in range(self._attempts):
            remote = balance.pick(tried)
            if remote in tried:
                # Nobody else to ask: give it a moment, longer each time.
                sleep(max(0.0, min(_RETRY.pause(attempt - 1), deadline - monotonic())))
            if pending is not None:
                pending.check()
            try:
                with balance.asking(remote):
                    return remote.ask(question, deadline, pending)
            except ServiceUnavailableError as error:
                self._check_open()
                if attempt == self._attempts - 1:
                    raise
                last = error
            tried.append(remote)
        raise last


@dataclass(frozen=True, eq=False)
class _ArraysWanted:
    """The question of who has arrays and wants arrays.

    Attributes:
        arrays: inputs by name of tensor.
        due: outputs that are wanted, None for all.
    """

    arrays: Mapping[str, ndarray]
    due: Due | None

    def inputs(self, signature: ModelSignature) -> Mapping[str, ndarray]:
        return self.arrays

    def outputs(self, signature: ModelSignature) -> Due:
        return dict.fromkeys(signature.outputs) if self.due is None else self.due

    def result(self, signature: ModelSignature, arrays: dict[str, ndarray]) -> dict[str, ndarray]:
        return {name: signature.required(arrays, name) for name in self.outputs(signature)}


class _InThisProcess:
    """What a client holds in one process: connections, threads, requests on their way."""

    def __init__(self) -> None:
        self.waiting: set[Future[Any]] = set()
        self._lock = threading.Lock()
        self._balance: Balance[RemoteModel] | None = None
        self._pool: ThreadPoolExecutor | None = None

    def balance(self, connect: Sequence[Callable[[], RemoteModel]], check: Callable[[], None]) -> Balance[RemoteModel]:
        if self._balance is None:
            with self._lock:
                check()
                self._balance = self._balance or Balance([make() for make in connect])
        return self._balance

    def pool(self, size: int, check: Callable[[], None]) -> ThreadPoolExecutor:
        if self._pool is None:
            with self._lock:
                check()
                # One thread per request waits for its answer. A thread is simple to retry and to cancel in, and a loop
                # of callbacks was measured to be no quicker.
                self._pool = self._pool or ThreadPoolExecutor(size, thread_name_prefix="beampipe-client")
        return self._pool

    def close(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
            balance, self._balance = self._balance, None
        for pending in list(self.waiting):
            pending.cancel()
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        if balance is not None:
            for remote in balance.servers:
                remote.close()


_CLIENTS: Final[weakref.WeakSet[ModelClient]] = weakref.WeakSet()
_INHERITED: Final[list[object]] = []


def _in_child() -> None:
    for client in list(_CLIENTS):
        client.forget()


def _at_exit() -> None:
    for client in list(_CLIENTS):
        with suppress(Exception):
            client.close()


os.register_at_fork(after_in_child=_in_child)
atexit.register(_at_exit)
