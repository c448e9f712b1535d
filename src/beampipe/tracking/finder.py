"""The interface of everything that finds tracks, in this process or on a server."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from numpy import ndarray

from beampipe.events import Event, Events, Hits, Tracks
from beampipe.lazy import import_name
from beampipe.notebook import Shown

_Finder = TypeVar("_Finder", bound="InOneThread")


def event_in(source: Any) -> Event | Hits:
    """An event or its hits as they are; the event that any other source of `open_events` holds.

    Raises:
        TypeError: it has several events, or is something else; the message names the right call.
        BeampipeError: any error of `open_events`.
    """
    if isinstance(source, Event | Hits):
        return source
    if not (isinstance(source, Mapping | str | Path) or hasattr(source, "columns") or hasattr(source, "fields")):
        return hits_of(source)
    events: Events = import_name("beampipe.tracking.formats.registry:open_events")(source)
    first = list(islice(events, 2))
    if len(first) != 1:
        raise TypeError(
            f"find: got {'several' if first else 'no'} events, expected one; call find_tracks(events, finder)"
        )
    return first[0]


def hits_of(event: object) -> Hits:
    """The hits of an event, or the hits themselves.

    Raises:
        TypeError: it is neither; the message names the right call.
    """
    if isinstance(event, Event):
        return event.hits
    if isinstance(event, Hits):
        return event
    calls: tuple[tuple[type | tuple[type, ...], str], ...] = (
        ((str, Path), "open the file with open_events, or call find_tracks(path, finder)"),
        (ndarray, "make hits of the array: Hits.from_xyz(x, y, z), or Hits(position) with r, phi, z"),
        (
            (Events, list, tuple, Iterator),
            "take one at a time: for event in events: finder.find(event), or find_tracks(events, finder)",
        ),
    )
    call = next(
        (text for kind, text in calls if isinstance(event, kind)),
        "find_tracks(table, finder) reads a table, and Hits.from_xyz(x, y, z) arrays",
    )
    raise TypeError(f"find: got {type(event).__name__}, expected an Event or its Hits; {call}")


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

    def submit(self, event: Event | Hits, /) -> Future[Tracks]:
        """The tracks of one event, later: submitted events are processed one after the other."""
        event = event_in(event)
        hits = hits_of(event)
        return self._thread.submit(lambda: self.find(hits).found_in(event))

    async def find_async(self, event: Event | Hits, /) -> Tracks:
        """The tracks of one event, for asyncio."""
        return await asyncio.wrap_future(self.submit(event))

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
