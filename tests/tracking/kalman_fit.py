"""Kalman fit by ACTS of the tracks of any finder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import ShapeError
from beampipe.events import NO_TRACK, Hits, Tracks, hit_lists, split_hit_lists
from beampipe.tracking.acts import sequencer
from beampipe.tracking.acts.finder import SPACE_POINTS, space_point_maker
from beampipe.tracking.acts.sequencer import (
    ActsDetector,
    Clock,
    FittedTracks,
    HitLists,
    Laps,
    Measurements,
)

ALL_VOLUMES = (7, 8, 9, 12, 13, 14, 16, 17, 18)
"""Sensitive volumes of the Generic detector. Its strips measure two coordinates, so they give space points too."""

MIN_HITS = 3
"""A helix needs three points."""

FILTERED = "kf_tracks"

FITTED = "kf_tracks_at_perigee"

KEPT = "kept_prototracks"


def fit_tracks(hits: Hits, candidates: Int64[ndarray, " n_hits"] | HitLists, field_z: float = 2.0) -> FittedTracks:
    """Fit the tracks of one event; see `fit_batch`.

    Args:
        hits: hits with geometry_id, local and variance.
        candidates: one label per hit (negative for none), or one array of rows per track.
        field_z: magnetic field along z [T].
    """
    return fit_batch([hits], [candidates], field_z)[0]


def fit_batch(
    hits: Sequence[Hits],
    candidates: Sequence[Int64[ndarray, " _"] | HitLists],
    field_z: float = 2.0,
    threads: int = 1,
    where: ActsDetector | None = None,
) -> list[FittedTracks]:
    """Kalman filter and smoother through the hits of each candidate, sorted by their distance from the origin.

    Start values come from a helix through three hits of the candidate, pixels or strips, that lie apart. All hits
    are used whatever their chi2. A candidate with fewer than three hits, or whose start values or fit fail, has no
    row in the result: see `FittedTracks.candidate`.

    Args:
        hits: one `Hits` per event with geometry_id, local and variance.
        candidates: one label per hit (negative for none), or one array of rows per track, for each event.
        field_z: magnetic field along z [T].
        threads: number of events in flight.
        where: detector that the hits lie in, or None for the Generic one in `field_z`.

    Returns:
        per event the fitted tracks; `seconds` has ``spacepoints``, ``parameters``, ``fit`` and
        ``extrapolation``.

    Raises:
        InputError: hits without module, local position or variance; rows outside the event.
        ShapeError: another number of events or labels.
    """
    if len(hits) != len(candidates):
        raise ShapeError(f"fit: got {len(hits)} events and {len(candidates)} sets of candidates, expected one for each")
    where = where or sequencer.detector(field_z)
    for event in hits:
        sequencer.require_measurements(event, where, "fit_tracks")
    lists = [measured_hit_lists(event, sets) for event, sets in zip(hits, candidates, strict=True)]
    wanted = [np.array([i for i, rows in enumerate(event) if len(rows) >= MIN_HITS], np.int64) for event in lists]

    clock = Clock()
    fitted: dict[int, FittedTracks] = {}
    algorithms, measured = sequencer.feed(hits, where)
    given = [[event[i] for i in chosen] for event, chosen in zip(lists, wanted, strict=True)]
    algorithms += [proto_tracks(given, measured, "prototracks"), clock.tick("start")]
    for stage, algorithm in _stages(where).items():
        algorithms += [algorithm, clock.tick(stage)]
    algorithms.append(_collector(fitted, given, wanted, measured, clock))
    sequencer.run_sequence(algorithms, len(hits), threads)
    return [fitted[number] for number in range(len(hits))]


def proto_tracks(lists: Sequence[HitLists], measured: Sequence[Measurements], key: str) -> Any:
    """An algorithm that puts hit lists on the whiteboard as ``ProtoTrackContainer``."""
    examples = sequencer.pyacts()[1]

    def setup(algorithm: Any) -> Callable[[int, Any], None]:
        write = sequencer.writer(algorithm, examples.ProtoTrackContainer, key)

        def run(number: int, context: Any) -> None:
            of_track = measured[number].of_track
            write(
                context,
                examples.ProtoTrackContainer([examples.ProtoTrack(of_track(track)) for track in lists[number]]),
            )

        return run

    return sequencer.python_algorithm("FeedProtoTracks", setup)


def measured_hit_lists(hits: Hits, candidates: Int64[ndarray, " n_hits"] | HitLists) -> list[Int64[ndarray, " _"]]:
    """Rows of each candidate, inside out.

    Args:
        hits: hits of one event.
        candidates: one label per hit (negative for none), or one array of rows per track.

    Returns:
        one array per candidate (empty for a label that no hit has), by distance from the origin.

    Raises:
        InputError: a row outside the event.
        ShapeError: labels for another number of hits.
    """
    if isinstance(candidates, ndarray):
        if candidates.shape != (len(hits),):
            raise ShapeError(f"track_id: got shape {candidates.shape}, expected ({len(hits)},), one label per hit")
        tracks = Tracks(candidates.astype(np.int64))
    else:
        # A hit that a candidate lists twice is measured once.
        lists = [np.unique(np.asarray(rows, np.int64)) for rows in candidates]
        tracks = Tracks(np.full(len(hits), NO_TRACK, np.int64), candidates=lists)
    return split_hit_lists(*hit_lists(hits, tracks, outwards=True))


def _stages(where: ActsDetector) -> dict[str, Any]:
    acts, examples = sequencer.pyacts()
    quiet = acts.logging.FATAL
    perigee = acts.Surface.createPerigee(acts.Vector3(0.0, 0.0, 0.0))
    estimate = examples.ProtoTracksToParameters(
        level=quiet,
        geometry=where.geometry,
        magneticField=where.field,
        inputProtoTracks="prototracks",
        inputSpacePoints=SPACE_POINTS,
        outputSeeds="fit_seeds",
        outputParameters="fit_parameters",
        outputProtoTracks=KEPT,
    )
    fitter = examples.makeKalmanFitterFunction(
        where.geometry,
        where.field,
        multipleScattering=True,
        energyLoss=True,
        # Filter back inwards at any momentum, from a covariance wide enough to be independent of the outward pass.
        # The cheaper smoothing by stored Jacobians (threshold 0) leaves the scattering in the innermost layer and the
        # beam pipe out of the perigee: pulls of 2 in d0 and phi.
        reverseFilteringMomThreshold=math.inf,
        reverseFilteringCovarianceScaling=100.0,
        freeToBoundCorrection=examples.FreeToBoundCorrection(False),
        chi2Cut=float("inf"),
        useJosephFormulation=False,
        level=quiet,
    )
    fit = examples.TrackFittingAlgorithm(
        level=quiet,
        inputMeasurements=sequencer.MEASUREMENTS,
        inputProtoTracks=KEPT,
        inputInitialTrackParameters="fit_parameters",
        inputClusters="",
        outputTracks=FILTERED,
        pickTrack=-1,
        fit=fitter,
        calibrator=examples.makePassThroughCalibrator(),
        referenceSurface=perigee,
    )
    # Some four percent of the fits stop short of the perigee, with zeros there: this extrapolates all of them to it.
    extrapolate = examples.TrackExtrapolationAlgorithm(
        level=quiet,
        inputTracks=FILTERED,
        outputTracks=FITTED,
        targetSurface=perigee,
        trackingGeometry=where.geometry,
        magneticField=where.field,
        strategy=examples.TrackExtrapolationStrategy.first,
    )
    return {
        "spacepoints": space_point_maker(where.seed_volumes or ALL_VOLUMES, where),
        "parameters": estimate,
        "fit": fit,
        "extrapolation": extrapolate,
    }


def _collector(
    fitted: dict[int, FittedTracks],
    given: Sequence[HitLists],
    wanted: HitLists,
    measured: Sequence[Measurements],
    clock: Clock,
) -> Any:
    _, examples = sequencer.pyacts()

    def setup(algorithm: Any) -> Callable[[int, Any], None]:
        read = sequencer.reader(algorithm, examples.ConstTrackContainer, FITTED)

        def run(number: int, context: Any) -> None:
            tracks = read(context)
            laps: Laps = clock.laps(number)
            candidate = _candidate_of(sequencer.read_hit_lists(tracks, measured[number]), given[number])
            # A filter that did not reach the perigee leaves zeros there.
            variance = np.diagonal(np.array(tracks.covariance).reshape(len(tracks), 6, 6), axis1=1, axis2=2)
            good = np.flatnonzero((candidate >= 0) & (variance[:, :5] > 0).all(axis=1))
            fitted[number] = sequencer.read_fitted(tracks, good, wanted[number][candidate[good]], laps.wall, laps.cpu)

        return run

    return sequencer.python_algorithm("CollectFits", setup)


def _candidate_of(tracks: HitLists, given: HitLists) -> Int64[ndarray, " n_tracks"]:
    """Which candidate each fitted track came from, -1 for the remains of a failed fit.

    The fitter does not record it, but handles candidates in order, and a track has only hits of its candidate.
    """
    sets = [frozenset(rows.tolist()) for rows in given]
    candidate, position = np.full(len(tracks), -1, np.int64), 0
    for number, track in enumerate(tracks):
        if len(track) < MIN_HITS:
            continue
        hits = frozenset(track.tolist())
        match = next((i for i in range(position, len(sets)) if hits <= sets[i]), None)
        if match is not None:
            candidate[number], position = match, match + 1
    return candidate
