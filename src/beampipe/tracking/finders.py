"""Finders by name, as the command line asks for them: our pipelines and ACTS side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Final

from beampipe.tracking.acts import ActsTrackFinder, ActsTracks, acts_settings, fit_tracks
from beampipe.tracking.acts.fitting import hit_lists_of
from beampipe.tracking.beam_spot import BeamSpot
from beampipe.tracking.evaluation.matching import MIN_TRACK_HITS
from beampipe.tracking.events import Hits
from beampipe.tracking.finder import InOneThread, TrackFinder
from beampipe.tracking.loading import load_pipeline
from beampipe.tracking.models import DEFAULT_MODEL, TrackerModel

__all__ = ["KALMAN_FIT", "KalmanFitted", "named_finder", "named_finders"]

KALMAN_FIT: Final = " + Kalman fit"
"""What a finder's name ends in when its candidates are also fitted."""


@dataclass(frozen=True)
class KalmanFitted(InOneThread):
    """A finder and the Kalman fit of ACTS on its candidates.

    The CKF of ACTS gives fitted tracks, ours gives hits: with the fit added, both give the same thing. The tracks
    are those of the finder; a fit that fails drops none. As for ACTS itself, the hand-over of the hits is in none of
    the times. The fit runs on one thread.

    Attributes:
        finder: what finds the tracks; the hits must have their module, local position and variance.
        min_hits: shorter candidates are not fitted; they are not scored either.
        field_z: magnetic field along z [T].
    """

    finder: TrackFinder
    min_hits: int = MIN_TRACK_HITS
    field_z: float = 2.0

    def find(self, hits: Hits, /) -> ActsTracks:
        """Tracks as the finder gave them, with their fit; raises what the finder and `fit_tracks` raise."""
        start = process_time()
        found = self.finder.find(hits)
        cpu = process_time() - start
        rows = hit_lists_of(hits, found.track_id if found.candidates is None else found.candidates)
        fitted = fit_tracks(hits, [track for track in rows if len(track) >= self.min_hits], self.field_z)
        return ActsTracks(
            found.track_id,
            {**found.seconds, "kalman_fit": sum(fitted.seconds.values())},
            {**found.counts, "fitted": len(fitted)},
            found.candidates,
            {"find": cpu, "kalman_fit": sum(fitted.cpu_seconds.values())},
            fitted=fitted,
        )


def named_finder(
    name: str,
    device: str = "cpu",
    threads: int | None = None,
    *,
    model: str | Path | TrackerModel = DEFAULT_MODEL,
    beam_spot: BeamSpot | None = None,
    check: bool = True,
) -> TrackFinder:
    """The finder of that name: a pipeline, or ACTS where hits carry module, local position and variance.

    Args:
        name: a name of `beampipe.tracking.PIPELINES` or of `acts_names`.
        device: device of a pipeline: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; ACTS runs on the CPU.
        threads: number of threads of a pipeline; ACTS works on one event with one thread.
        model: tracker model of a pipeline: the name of a shipped one, or a folder; ACTS has its own detector.
        beam_spot: beam line that a pipeline expects; that of its model if not given.
        check: whether a pipeline compares hits with the layers of its detector.

    Raises:
        UnknownNameError: no finder or shipped model of that name.
        ConfigError: the model was not trained for the pipeline.
        FileError: there is no model in the folder, or its weights are not those that it was made with.
        MissingExtraError: ACTS is asked for and not installed.
    """
    settings = acts_settings(name)
    if settings is None:
        return load_pipeline(name, device=device, threads=threads, model=model, beam_spot=beam_spot, check=check)
    return ActsTrackFinder(settings)


def named_finders(
    names: Sequence[str],
    device: str = "cpu",
    threads: int = 1,
    *,
    fit: bool = False,
    model: str | Path | TrackerModel = DEFAULT_MODEL,
    beam_spot: BeamSpot | None = None,
    check: bool = True,
) -> dict[str, TrackFinder]:
    """The finders asked for, by name.

    ACTS is scored by its own hit lists: as one label per hit, the hits that its tracks share would count against it.

    Args:
        names: names of `beampipe.tracking.PIPELINES` and of `acts_names`.
        device: device of the pipelines: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        threads: number of threads of the pipelines; ACTS works on one event with one thread.
        fit: whether each pipeline is added once more with the Kalman fit of ACTS, as ``NAME + Kalman fit``.
        model: tracker model of the pipelines: the name of a shipped one, or a folder.
        beam_spot: beam line that the pipelines expect; that of the model if not given.
        check: whether the pipelines compare hits with the layers of their detector.

    Raises:
        UnknownNameError: no finder or shipped model of that name.
        ConfigError: the model was not trained for one of the pipelines.
        FileError: there is no model in the folder, or its weights are not those that it was made with.
        MissingExtraError: ACTS is asked for and not installed.
    """
    finders: dict[str, TrackFinder] = {}
    for name in names:
        finders[name] = named_finder(name, device, threads, model=model, beam_spot=beam_spot, check=check)
        if fit and acts_settings(name) is None:
            finders[name + KALMAN_FIT] = KalmanFitted(finders[name])
    return finders
