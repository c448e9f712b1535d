"""The pipeline in this process."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor

from beampipe.tracking.events import Hits, Tracks
from beampipe.tracking.pipelines.loading import load_pipeline

__all__ = ["DirectTrackFinder"]


class DirectTrackFinder:
    """Runs a pipeline here; events that are submitted wait for each other.

    Args:
        pipeline: a name of `beampipe.tracking.PIPELINES`.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        threads: for one event; as many as there are cores if not given.

    Raises:
        UnknownNameError: no such pipeline or device.
        ConfigError: the device is not there, or `threads` is not positive.
        FileError: weights are missing or damaged.
    """

    def __init__(self, pipeline: str = "exatrkx", *, device: str = "cpu", threads: int | None = None) -> None:
        self._pipeline = load_pipeline(pipeline, device=device, threads=threads)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=pipeline)

    def find(self, hits: Hits) -> Tracks:
        """The tracks of one event."""
        return self._pipeline.find(hits)

    def submit(self, hits: Hits) -> Future[Tracks]:
        """The same, later."""
        return self._pool.submit(self._pipeline.find, hits)

    async def find_async(self, hits: Hits) -> Tracks:
        """The same for asyncio."""
        return await asyncio.wrap_future(self.submit(hits))

    def close(self) -> None:
        """End the thread; what has not begun is cancelled."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> DirectTrackFinder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
