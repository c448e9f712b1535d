"""Finders by name, as the command line asks for them: our pipelines and ACTS side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from beampipe.events import BeamSpot
from beampipe.tracking.acts import ActsTrackFinder, acts_settings
from beampipe.tracking.acts.fitting import KALMAN_FIT, KalmanFitted
from beampipe.tracking.finder import TrackFinder
from beampipe.tracking.loading import load_pipeline
from beampipe.tracking.models import DEFAULT_MODEL, TrackerModel


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
