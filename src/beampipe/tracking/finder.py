"""The interface of everything that finds tracks, in this process or on a server."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Protocol, TypeVar, runtime_checkable

from beampipe.events import Hits, Tracks
from beampipe.notebook import Shown

__all__ = ["InOneThread", "TrackFinder"]

_Finder = TypeVar("_Finder", bound="InOneThread")


@runtime_checkable
class TrackFinder(Protocol):
    """Finds the tracks of events; for the same pipeline, each kind of finder gives the same labels, byte for byte."""

    def find(self, hits: Hits, /) -> Tracks:
        """The tracks of one event."""
        ...

    def submit(self, hits: Hits, /) -> Future[Tracks]:
        """The tracks of one event, later: returns at once."""
        ...

    async def find_async(self, hits: Hits, /) -> Tracks:
        """The tracks of one event, for asyncio."""
        ...

    def close(self) -> None:
        """Free the resources of the finder; submitted events that are not done are cancelled."""
        ...

    def __enter__(self) -> TrackFinder: ...

    def __exit__(self, *exception: object) -> None: ...


class InOneThread(Shown):
    """Adds the rest of `TrackFinder` to a class that has `find`: one thread processes the submitted events in order.

    The thread is started by the first `submit` and ended by `close`. It is kept among the attributes of the instance,
    which may be a frozen dataclass.
    """

    @abstractmethod
    def find(self, hits: Hits, /) -> Tracks:
        """The tracks of one event."""

    def facts(self) -> Mapping[str, object]:
        """Facts that a notebook shows beside the class of the finder; none by default."""
        return {}

    def submit(self, hits: Hits, /) -> Future[Tracks]:
        """The tracks of one event, later: submitted events are processed one after the other."""
        return self._thread.submit(self.find, hits)

    async def find_async(self, hits: Hits, /) -> Tracks:
        """The tracks of one event, for asyncio."""
        return await asyncio.wrap_future(self.submit(hits))

    def close(self) -> None:
        """End the thread; events that have not begun are cancelled."""
        if "_thread" in self.__dict__:
            self.__dict__.pop("_thread").shutdown(wait=True, cancel_futures=True)

    def __enter__(self: _Finder) -> _Finder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix=type(self).__name__)
