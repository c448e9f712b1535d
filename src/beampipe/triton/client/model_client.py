"""`ModelClient`: arrays in, arrays out, from one server or several; its threads, and its behaviour at fork and exit."""

from __future__ import annotations

import asyncio
import atexit
import os
import random
import signal
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final, TypedDict, TypeVar

from numpy import ndarray

from beampipe.errors import ConfigError, DeadlineError, ServiceError, ServiceUnavailableError
from beampipe.notebook import Shown
from beampipe.triton.backoff import Backoff
from beampipe.triton.client.endpoint import Security, WireProtocol, parse_endpoint
from beampipe.triton.client.servers import InferenceCall, NotSentError, RemoteModel, Servers, addresses_of
from beampipe.triton.client.signature import Due, ModelSignature
from beampipe.triton.client.transports import PendingAnswer, Transport

_Work = Callable[[], object]

_NAME: Final = "beampipe-client"

_INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM)


class DaemonThreadPool:
    """A pool of daemon threads, of which there are as many as needed up to a maximum.

    Unlike an executor's threads they do not delay the end of an interrupted program. They end by `close`, or when this
    object is garbage-collected. Ctrl-C goes to the main thread, never to them.

    Args:
        size: largest number of threads.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        end = weakref.finalize(self, _end, self._work, size)
        end.atexit = False

    def submit(self, work: _Work) -> None:
        """Run `work`, which must not raise, as soon as a thread is free."""
        self._work.put(work)
        if self._idle.acquire(blocking=False):
            return
        with self._lock:
            if len(self._threads) < self._size:
                thread = threading.Thread(target=_run, args=(self._work, self._idle), name=_NAME, daemon=True)
                self._threads.append(thread)
                with _interrupts_blocked():
                    thread.start()

    def close(self, limit: float) -> None:
        """End the threads and wait for them, at most `limit` seconds; pending work is dropped."""
        deadline = monotonic() + limit
        with suppress(Empty):
            while True:
                self._work.get_nowait()
        _end(self._work, self._size)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - monotonic()))


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block interrupts for threads started here, and for those that these start.

    Linux delivers a signal to any thread. Python only records it there, and a main thread that waits for a lock is not
    woken.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _run(queue: SimpleQueue[_Work | None], idle: threading.Semaphore) -> None:
    while (work := queue.get()) is not None:
        work()
        del work  # it holds arrays, and the next one may take a while
        idle.release()


def _end(queue: SimpleQueue[_Work | None], threads: int) -> None:
    for _ in range(threads):
        queue.put(None)


_CLOSING: Final = 0.5
"""Longest time [s] that closing waits for a server to release shared memory, and for threads to end."""


class ClientResources:
    """Connections, threads and requests in flight of one client in one process; connections are made on demand.

    Args:
        connect: makes the connections.
        in_flight: largest number of threads that wait for answers.

    Attributes:
        closed: event that is set by `close`; it also interrupts pauses.
        waiting: futures of the requests in flight.
        threads: threads that wait for answers, started on demand. One per request: retries and cancellation are simple,
            and a loop of callbacks was measured to be no faster.
    """

    def __init__(self, connect: Callable[[], Servers], in_flight: int) -> None:
        self.closed = threading.Event()
        self.waiting: set[Future[Any]] = set()
        self.threads = DaemonThreadPool(in_flight)
        self._connect = connect
        self._lock = threading.Lock()
        self._servers: Servers | None = None

    def servers(self) -> Servers | None:
        """Connections to the servers, None after `close`."""
        if self._servers is None:
            with self._lock:
                if not self.closed.is_set():
                    self._servers = self._servers or self._connect()
        return self._servers

    def close(self, limit: float = _CLOSING) -> None:
        """Cancel requests, free the shared memory and drop the connections, within twice `limit` seconds."""
        with self._lock:
            self.closed.set()
            servers, self._servers = self._servers, None
        for pending in list(self.waiting):
            pending.cancel()
        self.threads.close(limit)
        if servers is not None:
            servers.close(limit)


_Answer = TypeVar("_Answer")

_RETRY: Final = Backoff(longest=1.0, first=0.05)
"""Pauses before a retry on the same server."""

_JITTER: Final = random.Random()  # separate from the user's generator, which keeps its seed
"""Shortens each pause by up to half, so that clients that lost the same server do not return at once."""


class ClientOptions(TypedDict, total=False):
    """The keyword arguments of `ModelClient`, for classes that pass them on."""

    protocol: WireProtocol
    timeout: float
    retries: int | None
    token: str | Path | None
    tls: bool | str | Path | None
    certificate: str | Path | None
    in_flight: int
    on_failure: Callable[[ServiceError], None] | None
    transport: Transport | None


class ModelClient(Shown):
    """A client of Triton servers that hold the same model::

        with ModelClient("grpc://127.0.0.1:8001", "doubler") as client:
            doubled = client.infer({"X": np.arange(3, dtype=np.float32)})["Y"]

    The model's configuration, read once, declares its tensors; arrays are checked against it before they are sent and
    when they arrive. The batch axis of a model that batches is added and removed here. Thread-safe.
    A copy in another process, by fork or by pickling, makes connections of its own.

    Args:
        urls: one or more of ``grpc://host:8001``, ``http://host:8000``, ``grpcs://``, ``https://``, ``host:8001``. A
            host name with several addresses counts as that many servers.
        model: name of the model on the servers.
        protocol: ``auto`` passes large tensors to a server of this machine and user, which `TritonServer` or ``beampipe
            serve`` started, through shared memory, and sends the others, or all if shared memory is not available;
            ``shm`` passes all tensors that way to any server and fails if it cannot; ``grpc`` and ``http`` use no
            shared memory.
        timeout: longest wait for one request with its retries [s]. With several servers each gets its share of it.
        retries: largest number of repetitions if a server is down, stopping or broken; None for as many as `timeout`
            allows. With several servers and at least one retry, each is tried once. Before a retry on the same server
            there is a pause of at most 0.05 s, which doubles each time, up to 1 s. A request that is refused for its
            data is never repeated.
        token: secret that is sent as ``authorization: Bearer TOKEN``, or the path of a file that holds it. A client
            with a secret as text cannot be pickled; of a file the path is pickled, and the file read again.
        tls: True to trust the system's certificates, a PEM file to trust those in it.
        certificate: PEM file with a certificate and its key, for servers with mutual TLS.
        in_flight: most requests in flight from `submit` and `infer_async`; others wait here.
        on_failure: function that is called with the error before a request is repeated, once until a server answers
            again; not called in copies in other processes.
        transport: replaces the servers, such as a `FakeTransport` in tests; the URLs are then only names.

    Attributes:
        model: name of the model.
        urls: URLs of the servers.

    Raises:
        ConfigError: a URL or number is out of range.
        UnknownNameError: no such scheme or protocol.
        FileError: no such file of certificates, or no token in its file.

    Warns:
        UserWarning: the token would be sent to another machine without encryption.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        model: str,
        *,
        protocol: WireProtocol = "auto",
        timeout: float = 60.0,
        retries: int | None = None,
        token: str | Path | None = None,
        tls: bool | str | Path | None = None,
        certificate: str | Path | None = None,
        in_flight: int = 16,
        on_failure: Callable[[ServiceError], None] | None = None,
        transport: Transport | None = None,
    ) -> None:
        urls = (urls,) if isinstance(urls, str) else tuple(urls)
        distinct = bool(urls) and len(set(urls)) == len(urls)
        for name, value, good, expected in (
            ("urls", urls, distinct, "one or more distinct URLs such as grpc://127.0.0.1:8001"),
            ("model", model, bool(model), "the name of a model"),
            ("timeout", timeout, 0 < timeout < 1e6, "seconds, more than 0"),
            ("retries", retries, retries is None or retries >= 0, "0 or more, or None"),
            ("in_flight", in_flight, in_flight >= 1, "1 or more"),
        ):
            if not good:
                raise ConfigError(f"{name}: got {value!r}, expected {expected}")
        endpoints = [parse_endpoint(url, protocol, tls=bool(tls)) for url in urls]
        roots = None if tls is None or isinstance(tls, bool) else Path(tls)
        security = Security(token, roots, None if certificate is None else Path(certificate))
        plain = [str(endpoint) for endpoint in endpoints if not endpoint.tls and not endpoint.local]
        if token is not None and plain:
            warnings.warn(
                f"{', '.join(plain)}: got a token for a connection that is not encrypted, expected grpcs:// or https://;"
                " whoever listens on the way can read it",
                stacklevel=2,
            )
        self.model, self.urls = model, urls
        self._timeout, self._retries, self._in_flight = timeout, retries, in_flight
        self._on_failure = on_failure
        connect = partial(RemoteModel, model=model, protocol=protocol, security=security, transport=transport)
        look_up = addresses_of if transport is None else None
        self._connect = partial(Servers, endpoints, connect, timeout, look_up)
        self._closed = False
        self._begin()

    def facts(self) -> Mapping[str, object]:
        """The model and its servers."""
        return {"model": self.model, "servers": ", ".join(self.urls)}

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
        return self.call(_ArrayCall(arrays, outputs))

    def submit(self, arrays: Mapping[str, ndarray], outputs: Due | None = None) -> Future[dict[str, ndarray]]:
        """`infer`, later; cancelling the future cancels the request. The time allowed begins when it is sent."""
        return self.call_later(_ArrayCall(arrays, outputs))

    async def infer_async(self, arrays: Mapping[str, ndarray], outputs: Due | None = None) -> dict[str, ndarray]:
        """`infer` for asyncio; cancelling the task cancels the request."""
        return await asyncio.wrap_future(self.submit(arrays, outputs))

    def call_later(self, call: InferenceCall[_Answer], *, retries: int | None = None) -> PendingAnswer[_Answer]:
        """`call`, later, as `submit` is `infer` later."""
        pending: PendingAnswer[_Answer] = PendingAnswer()
        here = self._here
        if here.closed.is_set():
            raise _after_close()
        here.waiting.add(pending)
        pending.add_done_callback(here.waiting.discard)
        # The caller's context, which has the span that the request belongs to.
        context = copy_context()
        work = partial(self.call, call, pending, retries=retries)
        here.threads.submit(partial(context.run, pending.settle, work))
        if here.closed.is_set():  # perhaps since then, so that `close` missed this request
            pending.cancel()
        return pending

    def call(
        self, call: InferenceCall[_Answer], pending: PendingAnswer[_Answer] | None = None, *, retries: int | None = None
    ) -> _Answer:
        """The answer to a request in the caller's own terms; raises what `infer` raises.

        Args:
            call: the request.
            pending: future of the answer, by which the request may be cancelled; None if it cannot be.
            retries: largest number of repetitions; None for the client's setting.
        """
        here = self._here
        deadline = monotonic() + self._timeout
        retries = self._retries if retries is None else retries
        tried: list[RemoteModel] = []
        reason: ServiceError | None = None
        while True:
            if (servers := here.servers()) is None:
                if pending is not None:
                    pending.cancel()  # closed before `close` came to it
                raise _after_close()
            balance = servers.balance()
            remote = balance.pick(tried)
            untried = sum(server not in tried for server in balance.servers)
            if pending is not None:
                pending.check()
            try:
                limit = deadline
                if untried > 1 and retries != 0:  # a server that hangs must leave time for the others
                    limit = monotonic() + (deadline - monotonic()) / untried
                with balance.in_flight(remote):
                    answer = remote.ask(call, limit, pending)
            except (ServiceUnavailableError, DeadlineError) as error:
                tried.append(remote)
                servers.failed()
                if not self._may_repeat(error, tried, balance.servers, retries, deadline):
                    if reason is not None and isinstance(error, NotSentError):
                        raise reason from None  # more useful than that there was no time left
                    if reason is not None and isinstance(error, DeadlineError):
                        error.args = (f"{error}; before that: {reason}",)
                    raise
                reason = error
            else:
                self._reported = False
                return answer

    def signatures(self) -> list[ModelSignature]:
        """The tensors and parameters of the model on each server that answers.

        Raises:
            ServiceUnavailableError: none answers.
            DeadlineError: none answers in time.
            ServiceError: a server has no such model.
        """
        if (servers := self._here.servers()) is None:
            raise _after_close()
        found: list[ModelSignature] = []
        errors: list[ServiceError] = []
        for remote in servers.balance().servers:
            try:
                found.append(remote.signature(monotonic() + self._timeout))
            except (ServiceUnavailableError, DeadlineError) as error:
                errors.append(error)
        if not found:
            raise errors[0]
        return found

    def close(self, limit: float = _CLOSING) -> None:
        """Cancel requests in flight, free the shared memory and drop the connections, within twice `limit` seconds."""
        self._closed = True
        self._here.close(limit)

    def forget(self) -> None:
        """Start with new connections; the old ones belong to the process that this one was forked from."""
        _INHERITED.append(self._here)
        self._begin()

    def __enter__(self) -> ModelClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in self.__dict__.items() if key != "_here"} | {"_on_failure": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._begin()

    def _begin(self) -> None:
        """Start without connections in this process."""
        self._reported = False
        self._here: ClientResources = ClientResources(self._connect, self._in_flight)
        if self._closed:
            self._here.close()
        _CLIENTS.add(self)

    def _may_repeat(
        self,
        error: ServiceError,
        tried: Sequence[RemoteModel],
        servers: Sequence[RemoteModel],
        retries: int | None,
        deadline: float,
    ) -> bool:
        """Whether to repeat a request: on another server at once, after a pause where all were tried. Reports why."""
        if self._closed:
            raise _after_close()
        if retries is not None and len(tried) > (max(retries, len(servers) - 1) if retries else 0):
            return False
        if all(server in tried for server in servers):
            if isinstance(error, DeadlineError):
                return False  # long work is not repeated
            pause = _RETRY.pause(tried.count(tried[-1]) - 1) * _JITTER.uniform(0.5, 1.0)
            if monotonic() + pause >= deadline:
                return False
            self._report(error)
            self._here.closed.wait(pause)
        else:
            self._report(error)
        return monotonic() < deadline

    def _report(self, error: ServiceError) -> None:
        reported, self._reported = self._reported, True
        if not reported and self._on_failure is not None:
            self._on_failure(error)


def _after_close() -> ServiceError:
    return ServiceError("client: got a request after close(), expected none; make a new one")


@dataclass(frozen=True, eq=False)
class _ArrayCall:
    """A request in terms of arrays.

    Attributes:
        arrays: inputs by name of tensor.
        due: requested outputs, None for all.
    """

    arrays: Mapping[str, ndarray]
    due: Due | None

    def inputs(self, signature: ModelSignature) -> Mapping[str, ndarray]:
        return self.arrays

    def outputs(self, signature: ModelSignature) -> Due:
        return dict.fromkeys(signature.outputs) if self.due is None else self.due

    def result(self, signature: ModelSignature, arrays: dict[str, ndarray]) -> dict[str, ndarray]:
        return {name: signature.required(arrays, name) for name in self.outputs(signature)}


_CLIENTS: Final[weakref.WeakSet[ModelClient]] = weakref.WeakSet()

_INHERITED: Final[list[ClientResources]] = []
"""Resources of the process that this one was forked from, kept unused: gRPC must not close here what it still uses."""


def _forget_clients() -> None:
    for client in list(_CLIENTS):
        client.forget()


os.register_at_fork(after_in_child=_forget_clients)


@atexit.register
def _close_clients() -> None:
    deadline = monotonic() + _CLOSING
    for client in list(_CLIENTS):
        with suppress(Exception):
            client.close(max(0.0, deadline - monotonic()))
