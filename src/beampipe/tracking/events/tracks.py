"""Tracks: the candidates that were found, and the helices that were fitted to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Float64, Int8, Int64
from beampipe.errors import InputError
from beampipe.lazy import above
from beampipe.notebook import Shown, span
from beampipe.tracking.beam_spot import ON_AXIS, BeamSpot
from beampipe.tracking.events.arrays import expect_array
from beampipe.tracking.events.hits import Hits

if TYPE_CHECKING:
    from awkward import Array

__all__ = ["NO_TRACK", "FitStatus", "TrackParameters", "Tracks"]

NO_TRACK = -1
"""`track_id` of a hit that is on no track."""


class FitStatus(IntEnum):
    """What came of the fit of one track.

    Attributes:
        FITTED: parameters and covariance are there.
        TOO_FEW_HITS: fewer than three hits on layers that the fit knows.
        NO_START: no helix through the first, the middle and the last hit: two of them lie at one place.
        NOT_CONVERGED: the steps lead to no helix.
    """

    FITTED = 0
    TOO_FEW_HITS = 1
    NO_START = 2
    NOT_CONVERGED = 3


@dataclass(frozen=True, eq=False, repr=False)
class TrackParameters(Shown):
    """Helices of tracks at the perigee, the point closest to the beam line (x = y = 0); signs as in ACTS.

    A track that could not be fitted has NaN in `values`, `covariance` and `chi2`; its `status` says why.

    Attributes:
        values: (n_tracks, 5) float64: d0 [mm], z0 [mm], phi [rad], theta [rad], charge over momentum [e/GeV].
        covariance: (n_tracks, 5, 5) float64 of these, in these units.
        chi2: (n_tracks,) float64 of the hits.
        n_hits: (n_tracks,) int64 hits that were fitted: those on layers that the fit knows.
        status: (n_tracks,) int8: a `FitStatus` for each track.
    """

    values: Float64[ndarray, "n_tracks 5"]
    covariance: Float64[ndarray, "n_tracks 5 5"]
    chi2: Float64[ndarray, " n_tracks"]
    n_hits: Int64[ndarray, " n_tracks"]
    status: Int8[ndarray, " n_tracks"]

    def __post_init__(self) -> None:
        n = len(self.values)
        expect_array("values", self.values, np.float64, (n, 5))
        expect_array("covariance", self.covariance, np.float64, (n, 5, 5))
        expect_array("chi2", self.chi2, np.float64, (n,))
        expect_array("n_hits", self.n_hits, np.int64, (n,))
        expect_array("status", self.status, np.int8, (n,))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def fitted(self) -> Bool[ndarray, " n_tracks"]:
        """Which tracks have parameters."""
        return np.asarray(self.status == FitStatus.FITTED)

    @property
    def ndf(self) -> Int64[ndarray, " n_tracks"]:
        """Degrees of freedom: two measurements a hit less five parameters."""
        return np.asarray(2 * self.n_hits - 5)

    @property
    def pt(self) -> Float64[ndarray, " n_tracks"]:
        """Transverse momentum sin(theta) / abs(q/p) [GeV], of a particle of unit charge."""
        return np.asarray(np.sin(self.values[:, 3]) / np.abs(self.values[:, 4]))

    def facts(self) -> Mapping[str, object]:
        """Number of tracks, of those that could be fitted, and their range of pT."""
        said: dict[str, object] = {"tracks": len(self), "fitted": int(np.count_nonzero(self.fitted))}
        pt = self.pt[self.fitted]
        return {**said, "pT": span(pt, "GeV")} if len(pt) else said


@dataclass(frozen=True, eq=False, repr=False)
class Tracks(Shown):
    """Track candidates as one label per hit.

    Attributes:
        track_id: (n_hits,) int64 in input order: 0 .. n_tracks - 1, `NO_TRACK` (-1) for a hit on no track.
            Tracks are numbered by their first hit in input order.
        seconds: wall time of each stage [s], in pipeline order.
        counts: sizes along the way, e.g. ``{"hits": 91000, "edges": 120000}``; of our pipelines also ``"outside"``, the
            hits on no layer of the detector, and ``"unfilled_layers"``, the layers without hits or filled in a part.
        candidates: rows of the hits of each track, from a finder whose tracks share hits; None where the labels say
            all.
        cpu_seconds: processor time of each stage [s], from a finder that measures it.
        beam_spot: beam line that the hits were seen from: the one that was expected, or where the tracks clearly come
            from.
        parameters: fitted helix of each track; None where no fit was asked for.
    """

    track_id: Int64[ndarray, " n_hits"]
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    candidates: Sequence[Int64[ndarray, " _"]] | None = None
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    beam_spot: BeamSpot = ON_AXIS
    parameters: TrackParameters | None = None

    def __post_init__(self) -> None:
        expect_array("track_id", self.track_id, np.int64, (None,))

    @property
    def n_tracks(self) -> int:
        """Number of tracks."""
        return int(self.track_id.max(initial=NO_TRACK)) + 1

    @property
    def share_on_tracks(self) -> float:
        """Share of the hits that are on a track, in [0, 1]; NaN where there are no hits."""
        n = len(self.track_id)
        return np.count_nonzero(self.track_id >= 0) / n if n else float("nan")

    def hits(self, track: int) -> Int64[ndarray, " n"]:
        """Rows of the hits of one track, in input order; ``event.hits.take(tracks.hits(0))`` are the hits themselves.

        Args:
            track: number of the track, 0 .. n_tracks - 1; of a finder whose tracks share hits, a row of `candidates`.

        Returns:
            (n,) int64 rows of the hits.

        Raises:
            InputError: there is no such track.
        """
        n_tracks = self.n_tracks if self.candidates is None else len(self.candidates)
        if not 0 <= track < n_tracks:
            there = f"0 to {n_tracks - 1}" if n_tracks else "none: there are no tracks"
            raise InputError(f"track: got {track}, expected {there}")
        if self.candidates is not None:
            return np.sort(self.candidates[track])
        return np.flatnonzero(self.track_id == track)

    def pt(self, hits: Hits, field: float = 2.0) -> Float32[ndarray, " n_tracks"]:
        """Transverse momentum of each track: by its fitted helix, or the circle through its hits if it has none.

        The circle (`beampipe.tracking.display.estimate_pt`) is for particles of unit charge from anywhere.

        Args:
            hits: hits that the tracks were found in.
            field: solenoidal field along z [T], for the circles; a fit knows its own from the tracker model. 2 T is
                that of the Generic detector.

        Returns:
            (n_tracks,) float32 pT [GeV]; infinity for hits on a straight line, NaN for fewer than three hits.

        Raises:
            ShapeError: the tracks are of another number of hits.
        """
        pt: Float32[ndarray, " n_tracks"] = above("beampipe.tracking.fitting.circle:pt_of_tracks")(hits, self, field)
        return pt

    def to_awkward(self, hits: Hits, field: float = 2.0) -> Array:
        """The tracks as an array of awkward, one record per track; needs the extra ``formats``.

        Args:
            hits: hits that the tracks were found in.
            field: solenoidal field along z [T], as for `pt`.

        Returns:
            (n_tracks,) records: `pt` [GeV] as by `pt`, `n_hits`, and `hits`, the hits of the track from the beam line
            outwards, as records of `row`, `r` [mm], `phi` [rad] and `z` [mm]. If the tracks were fitted, also `d0`
            [mm], `z0` [mm], `phi` [rad], `theta` [rad], `q_over_p` [e/GeV], `chi2` and `fitted`.

        Raises:
            ShapeError: the tracks are of another number of hits.
            MissingExtraError: awkward is not installed.
        """
        return above("beampipe.tracking.formats.jagged:jagged_tracks")(hits, self, field)

    def facts(self) -> Mapping[str, object]:
        """Number of tracks and of hits on them, fits, and the time that was taken."""
        on, n = int(np.count_nonzero(self.track_id >= 0)), len(self.track_id)
        said: dict[str, object] = {"tracks": self.n_tracks, "hits on tracks": f"{on} of {n}"}
        if self.parameters is not None:
            said["fitted"] = int(np.count_nonzero(self.parameters.fitted))
        return {**said, "time": f"{sum(self.seconds.values()):.3g} s"} if self.seconds else said
