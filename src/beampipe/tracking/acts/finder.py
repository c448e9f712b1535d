"""`ActsTrackFinder`: hits to tracks by triplet seeding and the combinatorial Kalman filter of ACTS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.tracking.acts.algorithms import SEEDS, SPACE_POINTS, TRACKS, finding_algorithms
from beampipe.tracking.acts.detector import ActsDetector, detector, pyacts, require_measurements, run_sequence
from beampipe.tracking.acts.fitted import ActsTracks, read_fitted
from beampipe.tracking.acts.settings import ACTS_EFFICIENT, ActsSettings
from beampipe.tracking.acts.whiteboard import (
    Clock,
    Failures,
    HitLists,
    Laps,
    feed,
    python_algorithm,
    read_hit_lists,
    reader,
)
from beampipe.tracking.events import NO_TRACK, Hits
from beampipe.tracking.finder import InOneThread
from beampipe.tracking.kernels.reference import number_by_first_hit

__all__ = ["ActsTrackFinder", "label_hits"]


class ActsTrackFinder(InOneThread):
    """Finds tracks with ACTS; needs the module, local position and variance of each hit.

    The hits are handed over as arrays in memory; that hand-over, which a program that lives in ACTS does not
    have, is in none of the times.

    Args:
        settings: cuts of seeding, filter and selection.
        threads: events in flight in `find_batch`; ACTS does not split one event.
        where: detector that the hits are of, or None for the Generic detector. The settings have to fit it: the
            volumes whose hits make seeds, and their radii.
    """

    def __init__(
        self, settings: ActsSettings = ACTS_EFFICIENT, threads: int = 1, where: ActsDetector | None = None
    ) -> None:
        self.settings = settings
        self.threads = threads
        self._detector = detector(settings.field_z) if where is None else where

    def facts(self) -> Mapping[str, object]:
        """Field that the settings are for, and threads."""
        return {"field": f"{self.settings.field_z:.3g} T", "threads": self.threads}

    def find(self, hits: Hits, /) -> ActsTracks:
        """The tracks of one event: hit lists as ACTS made them, and one label per hit.

        Raises:
            InputError: a hit lacks its module, local position or variance.
        """
        return self.find_batch([hits])[0]

    def find_batch(self, hits: Sequence[Hits]) -> list[ActsTracks]:
        """The tracks of many events.

        Args:
            hits: hits of each event.

        Raises:
            InputError: a hit lacks its module, local position or variance.
        """
        for event in hits:
            require_measurements(event, self._detector, "ActsTrackFinder")
        failures, clock, collected = Failures(), Clock(), _Collected()
        algorithms, rows = feed(hits, failures)
        algorithms.append(clock.tick("start"))
        for stage, algorithm in finding_algorithms(self.settings, self._detector).items():
            algorithms += [algorithm, clock.tick(stage)]
        algorithms.append(_collector(collected, rows, clock, self.settings.measurements_min, failures))
        try:
            run_sequence(algorithms, len(hits), self.threads)
        finally:
            failures.reraise()
        return [collected[number] for number in range(len(hits))]


class _Collected(dict[int, ActsTracks]):
    """Results by event number: with several threads they come in any order."""


def _collector(collected: _Collected, rows: HitLists, clock: Clock, min_hits: int, failures: Failures) -> Any:
    acts, examples = pyacts()

    def setup(algorithm: Any) -> Callable[[int, Any], None]:
        space_points = reader(algorithm, acts.SpacePointContainer, SPACE_POINTS)
        seeds = reader(algorithm, acts.SeedContainer, SEEDS)
        tracks = reader(algorithm, examples.ConstTrackContainer, TRACKS)

        def run(number: int, context: Any) -> None:
            container = tracks(context)
            laps: Laps = clock.laps(number)
            every = np.arange(len(container), dtype=np.int64)
            candidates = read_hit_lists(container, rows[number])
            fitted = read_fitted(container, every, every, laps.wall, laps.cpu)
            counts = {
                "hits": len(rows[number]),
                "spacepoints": len(space_points(context)),
                "seeds": len(seeds(context)),
                "tracks": len(container),
            }
            chi2_per_ndf = fitted.chi2 / np.maximum(fitted.ndf, 1)
            track_id = label_hits(counts["hits"], candidates, chi2_per_ndf, min_hits)
            collected[number] = ActsTracks(track_id, laps.wall, counts, candidates, laps.cpu, fitted=fitted)

        return run

    return python_algorithm("Collect", setup, failures)


def label_hits(n_hits: int, hit_lists: HitLists, chi2_per_ndf: ndarray, min_hits: int) -> Int64[ndarray, " n_hits"]:
    """One label per hit from tracks that share hits.

    Tracks take their hits in turn: the longest first, among equals the one with the smaller chi2 per degree of
    freedom, then the lower number. A hit goes to the first that takes it. A track left with fewer than `min_hits`
    hits of its own is a duplicate: it is dropped, and takes none.

    Args:
        n_hits: number of hits of the event.
        hit_lists: rows of the hits of each track.
        chi2_per_ndf: (n_tracks,) chi2 per degree of freedom.
        min_hits: fewest hits of its own for a track to stay.

    Returns:
        (n_hits,) labels 0 .. n - 1 numbered by first hit, `NO_TRACK` elsewhere.
    """
    labels = np.full(n_hits, NO_TRACK, np.int64)
    order = np.lexsort((chi2_per_ndf, np.array([-len(rows) for rows in hit_lists]))) if len(hit_lists) else ()
    for track in order:
        free = hit_lists[track][labels[hit_lists[track]] == NO_TRACK]
        if len(free) >= min_hits:
            labels[free] = track
    return number_by_first_hit(labels)
