"""Fits the tracks of an event with the compiled kernel."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from beampipe.events import Event, Hits, TrackParameters, Tracks, hit_lists
from beampipe.notebook import Shown
from beampipe.tracking.finder import TrackFinder, event_in, hits_of
from beampipe.tracking.fitting.tables import FitTables
from beampipe.tracking.kernels.loading import contiguous, native


@dataclass(frozen=True, eq=False, repr=False)
class TrackFitter(Shown):
    """Fits a helix to the hits of each track, with the errors and the scattering of a detector.

    Hits count with the resolution of their layer, along the axes of the module that they lie on, and a track is
    scattered where it left a hit. Hits on no layer of the tables are left out: see `TrackParameters.n_hits`. The field
    is along z, and may change with r and z. Particles are taken as pions; the radiation of electrons is not modelled.

    A track whose chi2 is doubtful (as that of one right track of forty) is fitted without each of its hits in turn. If
    the best of these fits is clearly better, the hit is an outlier: see `TrackParameters.outliers`. So is an ambiguous
    hit: another hit of its layer, on no track and apart from it, fits the other hits about as well, or better. Up to
    three hits are left out; at least seven stay, or six of a track whose chi2 is improbable.

    Attributes:
        tables: learned tables of the detector.
        threads: largest number of threads that one call uses; the result does not depend on it.
        reject_outliers: whether outliers are left out.
    """

    tables: FitTables
    threads: int = 1
    reject_outliers: bool = True

    def facts(self) -> Mapping[str, object]:
        """Number of layers of the detector, its field, and the threads."""
        field = f"{float(self.tables.field[0]):.3g} T"
        return {"layers": len(self.tables.layers), "field": field, "threads": self.threads}

    def __call__(self, event: Event | Hits, tracks: Tracks) -> TrackParameters:
        """Parameters of each track; the tracks themselves stay as they are.

        Args:
            event: the event, or its hits.
            tracks: tracks found in it: hit lists (`candidates`) where tracks share hits, else the labels.

        Raises:
            ShapeError: the tracks are of another number of hits.
            InputError: a row of a candidate outside the event.
        """
        hits = hits_of(event)
        rows, begin = hit_lists(hits, tracks)
        tables = self.tables
        fitted = native().fit_tracks(
            contiguous(hits.position),
            rows,
            begin,
            contiguous(tables.layers),
            contiguous(tables.rings),
            contiguous(tables.variance),
            contiguous(tables.scattering),
            tables.all_tubes,
            float(tables.energy_loss[0]),
            float(tables.field[0]),
            contiguous(tables.field_shape),
            self.reject_outliers,
            self.threads,
        )
        return replace(TrackParameters(*fitted), field=float(tables.field[0]))

    def add(self, event: Event | Hits, tracks: Tracks) -> Tracks:
        """The tracks with their parameters, without outliers, and the time of the fit among their `seconds`.

        The parameters are at the perigee relative to `Tracks.beam_spot`.
        """
        hits, before = hits_of(event), perf_counter()
        parameters = self(replace(hits, position=tracks.beam_spot.relative_to(hits.position)), tracks)
        fitted = tracks.with_parameters(parameters)
        field = parameters.field if tracks.magnetic_field is None else tracks.magnetic_field
        return replace(fitted, seconds={**tracks.seconds, "fit": perf_counter() - before}, magnetic_field=field)


@dataclass(frozen=True, eq=False, repr=False)
class FittedFinder(Shown):
    """A finder, here or on a server, and a fit of its tracks in this process.

    A fit that fails drops no track. Hits that the fit leaves out as outliers are on no track.

    Attributes:
        finder: finder of the tracks.
        fitter: fitter of its tracks.
    """

    finder: TrackFinder
    fitter: TrackFitter

    def facts(self) -> Mapping[str, object]:
        """The finder and the fitter."""
        return {"finder": self.finder, "fitter": self.fitter}

    def find(self, event: Event | Hits | Any, /) -> Tracks:
        """The tracks of one event, with their parameters."""
        event = event_in(event)
        hits = hits_of(event)
        return self.fitter.add(hits, self.finder.find(hits)).found_in(event)

    def submit(self, event: Event | Hits, /) -> Future[Tracks]:
        """The tracks of one event, later: fitted in the thread in which they arrive."""
        hits = hits_of(event)
        fitted: Future[Tracks] = Future()
        fitted.set_running_or_notify_cancel()

        def fit(tracks: Future[Tracks]) -> None:
            try:
                fitted.set_result(self.fitter.add(hits, tracks.result()).found_in(event))
            except BaseException as error:  # interrupts, too, are passed to the caller that waits
                fitted.set_exception(error)

        self.finder.submit(hits).add_done_callback(fit)
        return fitted

    async def find_async(self, event: Event | Hits, /) -> Tracks:
        """The tracks of one event, for asyncio."""
        hits = hits_of(event)
        return self.fitter.add(hits, await self.finder.find_async(hits)).found_in(event)

    def close(self) -> None:
        """Free the resources of the finder."""
        self.finder.close()

    def __enter__(self) -> FittedFinder:
        self.finder.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.finder.__exit__(*exception)
