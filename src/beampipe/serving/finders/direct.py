"""The pipeline in this process."""

from __future__ import annotations

from beampipe.tracking.events import Hits, Tracks
from beampipe.tracking.finder import InOneThread
from beampipe.tracking.loading import load_pipeline
from beampipe.tracking.pipelines.specs import DEFAULT_PIPELINE

__all__ = ["DirectTrackFinder"]


class DirectTrackFinder(InOneThread):
    """Runs a pipeline here; events that are submitted wait for each other.

    Args:
        pipeline: name of the pipeline, one of `beampipe.tracking.PIPELINES`.
        device: device on which the pipeline runs, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        threads: number of threads for one event; as many as there are cores if not given.
        check: whether hits are compared with the layers of the detector that the pipeline was made for.

    Raises:
        UnknownNameError: no such pipeline or device.
        ConfigError: the device is not there, or `threads` is not positive.
        FileError: weights are missing or damaged.
    """

    def __init__(
        self,
        pipeline: str = DEFAULT_PIPELINE,
        *,
        device: str = "cpu",
        threads: int | None = None,
        check: bool = True,
    ) -> None:
        self._pipeline = load_pipeline(pipeline, device=device, threads=threads, check=check)

    def find(self, hits: Hits, /) -> Tracks:
        """The tracks of one event."""
        return self._pipeline.find(hits)
