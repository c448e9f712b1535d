"""A finder whose tracks come with their fit, wherever they are found."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from beampipe.notebook import Shown
from beampipe.tracking.events import Hits, Tracks
from beampipe.tracking.finder import TrackFinder
from beampipe.tracking.fitting.fitter import TrackFitter

__all__ = ["FittedFinder"]


@dataclass(frozen=True, eq=False, repr=False)
class FittedFinder(Shown):
    """A finder, here or on a server, and a fit of its tracks in this process.

    The labels are those of the finder: a fit that fails drops no track.

    Attributes:
        finder: what finds the tracks.
        fitter: what fits them.
    """

    finder: TrackFinder
    fitter: TrackFitter

    def facts(self) -> Mapping[str, object]:
        """The finder and the fitter."""
        return {"finder": self.finder, "fitter": self.fitter}

    def find(self, hits: Hits, /) -> Tracks:
        """The tracks of one event, with their parameters."""
        return self.fitter.add(hits, self.finder.find(hits))

    def submit(self, hits: Hits, /) -> Future[Tracks]:
        """The tracks of one event, later: fitted in the thread in which they arrive."""
        fitted: Future[Tracks] = Future()
        fitted.set_running_or_notify_cancel()

        def fit(found: Future[Tracks]) -> None:
            try:
                fitted.set_result(self.fitter.add(hits, found.result()))
            except BaseException as error:  # an interrupt, too, belongs to whoever waits for the result
                fitted.set_exception(error)

        self.finder.submit(hits).add_done_callback(fit)
        return fitted

    async def find_async(self, hits: Hits, /) -> Tracks:
        """The tracks of one event, for asyncio."""
        return self.fitter.add(hits, await self.finder.find_async(hits))

    def close(self) -> None:
        """Free what the finder holds."""
        self.finder.close()

    def __enter__(self) -> FittedFinder:
        self.finder.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.finder.__exit__(*exception)
