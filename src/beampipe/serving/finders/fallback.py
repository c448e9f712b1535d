"""`FallbackTrackFinder`: the first that answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from time import monotonic
from typing import Protocol, runtime_checkable

from beampipe.errors import ServiceError
from beampipe.notebook import Shown
from beampipe.tracking.events import Hits, Tracks
from beampipe.tracking.finder import TrackFinder
from beampipe.triton.client.transport import PendingAnswer

__all__ = ["FallbackTrackFinder"]


@runtime_checkable
class _Patient(Protocol):
    """A finder that waits for its servers, if nobody says that there is something else to ask."""

    def impatient(self) -> TrackFinder:
        """The same finder, without the waiting."""


Maker = TrackFinder | Callable[[], TrackFinder]
"""A finder, or what makes one."""


class FallbackTrackFinder(Shown):
    """Asks one finder, and the next if there is no usable answer: a service, else the pipeline here.

    Only a `ServiceError` moves on: what one finder refuses for its data (`InputError`) the others would refuse too. A
    finder that by default waits until its servers are back, as `TritonTrackFinder` does, only waits as the last one.
    Tracks have what the finder that found them was made for: give each the same `parameters`.

    Args:
        first: finder that is asked first.
        *others: finders to ask instead, in order; a function that makes one is called when it is first needed.
        pause: time for which a finder that failed is left out [s]; the last one never is.
        on_failure: function that is told why the next finder is asked, once per pause.
    """

    def __init__(
        self,
        first: TrackFinder,
        *others: Maker,
        pause: float = 5.0,
        on_failure: Callable[[ServiceError], None] = lambda error: None,
    ) -> None:
        self._makers: tuple[Maker, ...] = (first, *others)
        self._made: dict[int, TrackFinder] = {}
        self._pause = pause
        self._on_failure = on_failure
        self._back_at = [float("-inf")] * len(self._makers)
        self._answered = [0] * len(self._makers)
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._finder(0)  # to be closed, even if it is never asked

    @property
    def answered(self) -> tuple[int, ...]:
        """Number of events that each finder has answered so far."""
        return tuple(self._answered)

    def facts(self) -> Mapping[str, object]:
        """Number of finders, of events that each has answered, and the first of them."""
        answered = ", ".join(map(str, self._answered))
        return {"finders": len(self._makers), "answered": answered, "first": self._made[0]}

    def find(self, hits: Hits, /) -> Tracks:
        """The tracks of one event; raises what the last finder raises."""
        row = -1
        while True:
            row = self._next(row)
            try:
                tracks = self._finder(row).find(hits)
            except ServiceError as error:
                self._failed(row, error)
                if row == len(self._makers) - 1:
                    raise
            else:
                self._count(row)
                return tracks

    def submit(self, hits: Hits, /) -> Future[Tracks]:
        """`find`, later; cancelling the future cancels what is asked at that moment."""
        pending: PendingAnswer[Tracks] = PendingAnswer()
        self._submit_next(-1, hits, pending)
        return pending

    async def find_async(self, hits: Hits, /) -> Tracks:
        """`find` for asyncio."""
        return await asyncio.wrap_future(self.submit(hits))

    def close(self) -> None:
        """Close all finders, also those that were handed in."""
        for finder in self._made.values():
            finder.close()

    def __enter__(self) -> FallbackTrackFinder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _submit_next(self, row: int, hits: Hits, pending: PendingAnswer[Tracks]) -> None:
        row = self._next(row)
        try:
            future = self._finder(row).submit(hits)
        except Exception as error:  # refused at the door, or not made
            future = Future()
            future.set_exception(error)
        pending.on_cancel(future.cancel)
        future.add_done_callback(partial(self._done, row, hits, pending))

    def _done(self, row: int, hits: Hits, pending: PendingAnswer[Tracks], future: Future[Tracks]) -> None:
        if future.cancelled():
            # Either nobody waits any more, or the finder was closed.
            pending.cancel()
            return
        error = future.exception()
        if error is None:
            self._count(row)
        elif isinstance(error, ServiceError):
            self._failed(row, error)
            if row < len(self._makers) - 1 and not pending.cancelled():
                self._submit_next(row, hits, pending)
                return
        pending.settle(future.result)

    def _next(self, row: int) -> int:
        """Number of the next finder that did not fail lately."""
        row += 1
        while row < len(self._makers) - 1 and self._back_at[row] > monotonic():
            row += 1
        return row

    def _finder(self, row: int) -> TrackFinder:
        with self._making:
            if row not in self._made:
                maker = self._makers[row]
                made = maker() if callable(maker) else maker
                last = row == len(self._makers) - 1
                self._made[row] = made.impatient() if isinstance(made, _Patient) and not last else made
            return self._made[row]

    def _failed(self, row: int, error: ServiceError) -> None:
        now = monotonic()
        with self._lock:
            news, self._back_at[row] = self._back_at[row] <= now, now + self._pause
        if news and row < len(self._makers) - 1:
            self._on_failure(error)

    def _count(self, row: int) -> None:
        with self._lock:
            self._answered[row] += 1
