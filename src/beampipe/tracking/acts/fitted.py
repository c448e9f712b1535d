"""Fitted tracks: the numbers a Kalman filter returns, one array per quantity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.tracking.events import Tracks

__all__ = ["ActsTracks", "FittedTracks", "read_fitted"]


@dataclass(frozen=True, eq=False)
class FittedTracks:
    """Parameters at the perigee, the point closest to the beam line (x = y = 0).

    Attributes:
        candidate: (n_tracks,) int64 number of the candidate that was fitted, ascending; candidates that could not
            be fitted are absent.
        q_over_p: (n_tracks,) charge over momentum [e/GeV].
        theta: (n_tracks,) polar angle [rad].
        phi: (n_tracks,) azimuth of the momentum [rad].
        d0: (n_tracks,) signed transverse distance to the beam line [mm].
        z0: (n_tracks,) position along the beam line [mm].
        covariance: (n_tracks, 6, 6) of d0, z0, phi, theta, q_over_p, time in these units, time in mm/c.
        chi2: (n_tracks,) chi2 of the fit, over all hits.
        ndf: (n_tracks,) int64 degrees of freedom.
        n_measurements: (n_tracks,) int64 hits on the track.
        seconds: wall time per stage [s].
        cpu_seconds: processor time per stage [s].
    """

    candidate: Int64[ndarray, " n_tracks"]
    q_over_p: Float64[ndarray, " n_tracks"]
    theta: Float64[ndarray, " n_tracks"]
    phi: Float64[ndarray, " n_tracks"]
    d0: Float64[ndarray, " n_tracks"]
    z0: Float64[ndarray, " n_tracks"]
    covariance: Float64[ndarray, "n_tracks 6 6"]
    chi2: Float64[ndarray, " n_tracks"]
    ndf: Int64[ndarray, " n_tracks"]
    n_measurements: Int64[ndarray, " n_tracks"]
    seconds: dict[str, float]
    cpu_seconds: dict[str, float]

    def __len__(self) -> int:
        return len(self.candidate)

    @property
    def pt(self) -> Float64[ndarray, " n_tracks"]:
        """Transverse momentum sin(theta) / abs(q/p) [GeV]."""
        return np.asarray(np.sin(self.theta) / np.abs(self.q_over_p))


@dataclass(frozen=True, eq=False, repr=False)
class ActsTracks(Tracks):
    """Tracks and the parameters that ACTS fitted to them: found by ACTS, or by another finder.

    Tracks of ACTS may share hits: `candidates` are its hit lists, inside out, and `track_id` gives each shared hit to
    one track, by `beampipe.tracking.acts.finder.label_hits`.

    Attributes:
        fitted: parameters of the tracks that could be fitted; the CKF fits while it finds.
    """

    fitted: FittedTracks = field(kw_only=True)


def read_fitted(
    tracks: Any,
    chosen: Int64[ndarray, " n_tracks"],
    candidate: Int64[ndarray, " n_tracks"],
    seconds: dict[str, float],
    cpu_seconds: dict[str, float],
) -> FittedTracks:
    """Copy the columns of a ``ConstTrackContainer`` (its arrays are views that die with the event).

    Args:
        tracks: ``ConstTrackContainer`` of one event.
        chosen: numbers of the tracks to take.
        candidate: number of the candidate of each track.
        seconds: wall time per stage [s].
        cpu_seconds: processor time per stage [s].
    """
    # Units of ACTS: mm, GeV, charge e; bound parameters: d0, z0, phi, theta, q/p, time.
    n = len(tracks)
    parameters = np.array(tracks.parameters, dtype=np.float64).reshape(n, 6)[chosen]
    return FittedTracks(
        candidate=candidate,
        q_over_p=parameters[:, 4].copy(),
        theta=parameters[:, 3].copy(),
        phi=parameters[:, 2].copy(),
        d0=parameters[:, 0].copy(),
        z0=parameters[:, 1].copy(),
        covariance=np.array(tracks.covariance, dtype=np.float64).reshape(n, 6, 6)[chosen],
        chi2=np.array(tracks.chi2, dtype=np.float64).reshape(n)[chosen],
        ndf=np.array(tracks.ndf, dtype=np.int64).reshape(n)[chosen],
        n_measurements=np.array(tracks.nMeasurements, dtype=np.int64).reshape(n)[chosen],
        seconds=seconds,
        cpu_seconds=cpu_seconds,
    )
