"""The seam of the load generator: what sends events and says which came back.

A loop (closed or open) runs in one thread and knows only a `Sender`: it hands over events by number and collects
answers. Whatever is behind it may be an HTTP connection, a client library or the pipeline itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import ConfigError, ShapeError
from beampipe.tracking.events import Hits, Tracks

__all__ = ["Arrival", "FutureSender", "Sender", "Workload", "direct_workload", "in_event_loop", "in_threads"]


@dataclass(frozen=True, eq=False)
class Workload:
    """Events to send, in a cycle, and the labels that each must get.

    Attributes:
        hits: hits of each event.
        labels: for each event, (n_hits,) int64, what the pipeline gives when it is run directly.

    Raises:
        ConfigError: there is no event.
        ShapeError: not one label per hit.
    """

    hits: tuple[Hits, ...]
    labels: tuple[Int64[ndarray, " _"], ...]

    def __post_init__(self) -> None:
        if not self.hits:
            raise ConfigError("workload: got no event, expected 1 or more")
        if [len(hits) for hits in self.hits] != [len(labels) for labels in self.labels]:
            raise ShapeError("workload: got labels that do not fit the events, expected one label per hit")

    def __len__(self) -> int:
        return len(self.hits)

    def difference(self, event: int, answer: ndarray | memoryview) -> str | None:
        """What is wrong with the labels served for an event, or None if they are equal byte for byte."""
        expected = self.labels[event]
        served = np.frombuffer(answer, np.uint8) if len(answer) else np.empty(0, np.uint8)
        if served.nbytes != expected.nbytes:
            return f"event {event}: got {served.nbytes} bytes of labels, expected {expected.nbytes}"
        wrong = served != expected.view(np.uint8)
        if wrong.any():
            n_wrong = len(np.unique(np.flatnonzero(wrong) // expected.itemsize))
            return f"event {event}: {n_wrong} of {len(expected)} labels differ from the direct ones"
        return None


def direct_workload(hits: Sequence[Hits], find: Callable[[Hits], Tracks]) -> Workload:
    """The events with the labels that `find` gives here and now."""
    return Workload(tuple(hits), tuple(np.ascontiguousarray(find(one).track_id) for one in hits))


@dataclass(frozen=True, eq=False)
class Arrival:
    """What came back for one event: labels, or the reason why there are none.

    Attributes:
        ticket: number under which the event was sent.
        finished: when the whole answer was there, by the clock of the sender [s].
        labels: int64, or their bytes; may be overwritten by the next `Sender.send`. None after an error.
        error: why there are no labels, or None.
    """

    ticket: int
    finished: float
    labels: ndarray | memoryview | None
    error: str | None = None


@runtime_checkable
class Sender(Protocol):
    """Sends events of one workload; used by one thread."""

    def send(self, ticket: int, event: int) -> None:
        """Send event number `event` without waiting for its answer; every ticket gets exactly one answer."""

    def answers(self, timeout: float) -> Sequence[Arrival]:
        """What came back, waiting for the first for up to `timeout` seconds; empty if nothing did."""

    def close(self) -> None:
        """Free connections and threads."""


class FutureSender:
    """Anything with a ``submit``: a client of ours, a pool of threads, an event loop.

    Args:
        submit: function that sends one event, as `beampipe.tracking.TrackFinder.submit`.
        workload: events that are sent.
        closing: function that is called at the end.
        clock: function that gives the time [s], growing.
    """

    def __init__(
        self,
        submit: Callable[[Hits], Future[Tracks]],
        workload: Workload,
        closing: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._submit, self._workload, self._closing, self._clock = submit, workload, closing, clock
        self._done: SimpleQueue[Arrival] = SimpleQueue()

    def send(self, ticket: int, event: int) -> None:
        try:
            future = self._submit(self._workload.hits[event])
        except Exception as error:  # refused at the door: an answer as any other
            self._done.put(Arrival(ticket, self._clock(), None, _words(error)))
            return
        future.add_done_callback(lambda done: self._done.put(self._answer(ticket, done)))

    def _answer(self, ticket: int, done: Future[Tracks]) -> Arrival:
        now = self._clock()
        if done.cancelled():
            return Arrival(ticket, now, None, "cancelled")
        error = done.exception()
        if error is not None:
            return Arrival(ticket, now, None, _words(error))
        return Arrival(ticket, now, np.ascontiguousarray(done.result().track_id))

    def answers(self, timeout: float) -> Sequence[Arrival]:
        try:
            out = [self._done.get(timeout=max(0.0, timeout))]
        except Empty:
            return []
        while not self._done.empty():
            out.append(self._done.get())
        return out

    def close(self) -> None:
        self._closing()


def in_threads(find: Callable[[Hits], Tracks], workload: Workload, threads: int) -> FutureSender:
    """Calls a ``find`` that waits, from that many threads."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="load")
    return FutureSender(lambda hits: pool.submit(find, hits), workload, pool.shutdown)


def in_event_loop(find_async: Callable[[Hits], Coroutine[Any, Any, Tracks]], workload: Workload) -> FutureSender:
    """Awaits a ``find_async`` in an event loop of its own, in one thread."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="load", daemon=True)
    thread.start()

    def stop() -> None:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    return FutureSender(lambda hits: asyncio.run_coroutine_threadsafe(find_async(hits), loop), workload, stop)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
