"""The seam: whatever finds tracks, here or elsewhere, is asked in the same three ways."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol, runtime_checkable

from beampipe.tracking.events import Hits, Tracks

__all__ = ["TrackFinder"]


@runtime_checkable
class TrackFinder(Protocol):
    """Finds the tracks of events; the same labels, byte for byte, from each kind."""

    def find(self, hits: Hits) -> Tracks:
        """The tracks of one event."""
        ...

    def submit(self, hits: Hits) -> Future[Tracks]:
        """The same, later: returns at once."""
        ...

    async def find_async(self, hits: Hits) -> Tracks:
        """The same for asyncio."""
        ...

    def close(self) -> None:
        """Free what it holds; what was submitted and is not done is cancelled."""
        ...

    def __enter__(self) -> TrackFinder: ...

    def __exit__(self, *exception: object) -> None: ...
