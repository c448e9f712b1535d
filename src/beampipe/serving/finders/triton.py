"""`TritonTrackFinder`: asks one server or several."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from beampipe.errors import ConfigError, ServiceError, ServiceUnavailableError
from beampipe.serving.finders.answer import Answer
from beampipe.serving.finders.remote import Remote, connect
from beampipe.tracking.events import Hits, Tracks
from beampipe.triton.client.balance import Balance
from beampipe.triton.client.endpoint import Endpoint, Protocol, Security, parse_endpoint

__all__ = ["TritonTrackFinder"]

_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 2.0


class TritonTrackFinder:
    """Finds tracks by asking Triton servers that hold the same model.

    The model's configuration, read once, says what units it takes, whether it batches and whether it needs more than
    positions. Thread-safe. A copy in another process, by fork or by pickling, makes connections of its own.

    Args:
        urls: one or more of ``grpc://host:8001``, ``http://host:8000``, ``grpcs://``, ``https://``, ``host:8001``.
        model: name of the model.
        protocol: ``auto`` hands large events to a server on this machine through shared memory and sends the rest;
            ``shm`` does so with all events and insists; ``grpc`` and ``http`` never do.
        timeout: for one event [s], with its retries.
        retries: how often an event is asked again if a server is down, stopping or broken; with several URLs and at
            least one retry, each URL is tried once. Before the same server is asked again there is a pause of 0.25 s,
            then twice that, up to 2 s. A request that is refused for its data is never repeated.
        token: sent as ``authorization: Bearer TOKEN``.
        tls: True to trust the system's certificates, a PEM file to trust those in it.
        stages: also ask what the stages took; the tracks then have `seconds` and `counts`.
        in_flight: most requests on their way at once from `submit` and `find_async`; the others wait here.

    Raises:
        ConfigError: a URL or number is out of range.
        UnknownNameError: no such scheme or protocol.
        FileError: no such file of certificates.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        model: str = "exatrkx",
        *,
        protocol: Protocol = "auto",
        timeout: float = 60.0,
        retries: int = 1,
        token: str | None = None,
        tls: bool | str | Path | None = None,
        stages: bool = False,
        in_flight: int = 16,
    ) -> None:
        urls = (urls,) if isinstance(urls, str) else tuple(urls)
        for name, value, good in (
            ("urls", urls, bool(urls) and len(set(urls)) == len(urls)),
            ("model", model, bool(model)),
            ("timeout", timeout, 0 < timeout < 1e6),
            ("retries", retries, retries >= 0),
            ("in_flight", in_flight, in_flight >= 1),
        ):
            if not good:
                raise ConfigError(f"{name}: got {value!r}, expected {_EXPECTED[name]}")
        endpoints = [parse_endpoint(url, protocol, tls=bool(tls)) for url in urls]
        security = Security(token, None if tls is None or isinstance(tls, bool) else Path(tls))
        self._timeout = timeout
        self._attempts = 1 + (max(retries, len(urls) - 1) if retries else 0)
        self._in_flight = in_flight
        self._connect = partial(
            _connect_all, endpoints=endpoints, model=model, protocol=protocol, security=security, stages=stages
        )
        self._open = _Open()
        self._closed = False
        _FINDERS.add(self)

    def find(self, hits: Hits) -> Tracks:
        """The tracks of one event.

        Raises:
            InputError: the model cannot use these hits.
            ServiceUnavailableError: no server that answers, after the retries.
            DeadlineError: no answer in time.
            ServiceError: an answer that cannot be right, or a refusal for another reason.
        """
        return self._ask(hits, None)

    def submit(self, hits: Hits) -> Future[Tracks]:
        """The same, later; cancelling the future cancels the request. The time allowed begins when it is sent."""
        answer = Answer()
        open_ = self._open
        pool = open_.pool(self._in_flight, self._check_open)
        open_.waiting.add(answer)
        answer.add_done_callback(open_.waiting.discard)
        pool.submit(answer.settle, partial(self._ask, hits, answer))
        return answer

    async def find_async(self, hits: Hits) -> Tracks:
        """The same for asyncio; cancelling the task cancels the request."""
        return await asyncio.wrap_future(self.submit(hits))

    def close(self) -> None:
        """Cancel what is on its way, free the shared memory and drop the connections."""
        self._closed = True
        self._open.close()

    def __enter__(self) -> TritonTrackFinder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.forget()
        _FINDERS.add(self)

    def forget(self) -> None:
        """Start with new connections: those there belong to the process that this one was forked from."""
        # Kept, unused: gRPC must not close here what works on in the parent.
        _INHERITED.append(self.__dict__.get("_open"))
        self._open = _Open()

    def _check_open(self) -> None:
        if self._closed:
            raise ServiceError("finder: got a request after close(), expected none; make a new one")

    def _ask(self, hits: Hits, answer: Answer | None) -> Tracks:
        balance = self._open.balance(self._connect, self._check_open)
        deadline = monotonic() + self._timeout
        tried: list[Remote] = []
        for attempt in range(self._attempts):
            remote = balance.pick(tried)
            if remote in tried:
                # Nobody else to ask: give it a moment, longer each time.
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (attempt - 1))
                sleep(max(0.0, min(pause, deadline - monotonic())))
            if answer is not None and answer.cancelled():
                raise CancelledError
            try:
                with balance.asking(remote):
                    return _wanted(partial(remote.find, hits, deadline, answer), answer)
            except ServiceUnavailableError as error:
                self._check_open()
                if attempt == self._attempts - 1:
                    raise
                last = error
            tried.append(remote)
        raise last


def _wanted(ask: Callable[[], Tracks], answer: Answer | None) -> Tracks:
    """What `ask` gives; that it was cancelled here is no fault of the server."""
    try:
        return ask()
    except ServiceError:
        if answer is not None and answer.cancelled():
            raise CancelledError from None
        raise


class _Open:
    """What a finder holds in one process: connections, threads, requests on their way."""

    def __init__(self) -> None:
        self.waiting: set[Future[Tracks]] = set()
        self._lock = threading.Lock()
        self._balance: Balance[Remote] | None = None
        self._pool: ThreadPoolExecutor | None = None

    def balance(self, make: Callable[[], Balance[Remote]], check: Callable[[], None]) -> Balance[Remote]:
        if self._balance is None:
            with self._lock:
                check()
                self._balance = self._balance or make()
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
        for answer in list(self.waiting):
            answer.cancel()
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        if balance is not None:
            for remote in balance.servers:
                remote.close()


def _connect_all(
    endpoints: Sequence[Endpoint], model: str, protocol: Protocol, security: Security, stages: bool
) -> Balance[Remote]:
    return Balance([connect(endpoint, model, protocol, security, stages=stages) for endpoint in endpoints])


_EXPECTED: Final = {
    "urls": "one or more distinct URLs such as grpc://127.0.0.1:8001",
    "model": "the name of a model",
    "timeout": "seconds, more than 0",
    "retries": "0 or more",
    "in_flight": "1 or more",
}

_FINDERS: Final[weakref.WeakSet[TritonTrackFinder]] = weakref.WeakSet()
_INHERITED: Final[list[object]] = []


def _in_child() -> None:
    for finder in list(_FINDERS):
        finder.forget()


def _at_exit() -> None:
    for finder in list(_FINDERS):
        with suppress(Exception):
            finder.close()


os.register_at_fork(after_in_child=_in_child)
atexit.register(_at_exit)
