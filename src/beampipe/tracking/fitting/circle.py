"""Transverse momentum of a found track, from the circle that its hits lie on."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Float64, Int64
from beampipe.errors import ShapeError
from beampipe.tracking.events import Hits, Tracks
from beampipe.tracking.fitting.fitter import hit_lists
from beampipe.tracking.fitting.helix import GEV_PER_TESLA_MM

__all__ = ["estimate_pt", "pt_of_tracks"]

MIN_HITS: Final = 3
"""Fewest hits of a track whose pT is known: fewer points define no circle."""


def pt_of_tracks(hits: Hits, tracks: Tracks, field: float) -> Float32[ndarray, " n_tracks"]:
    """`Tracks.pt`: that of the fitted helix of each track, or by `estimate_pt` where there is none."""
    pt = estimate_pt(hits, tracks, field)
    if tracks.parameters is None:
        return pt
    return np.where(tracks.parameters.fitted, tracks.parameters.pt, pt).astype(np.float32)


def estimate_pt(
    hits: Hits, tracks: Tracks | Int64[ndarray, " n_hits"], field: float = 2.0
) -> Float32[ndarray, " n_tracks"]:
    """Transverse momentum of every track, for a particle of unit charge in a solenoid.

    All circles are fitted at once by Taubin's method, which is nearly unbiased for the short arcs that stiff
    tracks leave. With w = x^2 + y^2 about the centroid and W its mean, the circle a w + b x + c y + d = 0 that
    minimises sum (a w + b x + c y + d)^2 under 4 a^2 W + b^2 + c^2 = 1 is the eigenvector with the smallest
    eigenvalue of the covariance of (w / (2 sqrt W), x, y): one symmetric 3 x 3 matrix per track.

    Args:
        hits: hits of the event; their r and phi are used.
        tracks: tracks that were found in these hits, or (n_hits,) the track of each hit, 0 .. n_tracks - 1 and negative
            for none.
        field: solenoidal field [T].

    Returns:
        (n_tracks,) pT [GeV]; infinity for hits on a straight line, NaN for fewer than three hits.

    Raises:
        ShapeError: there is not one label for each hit.

    Source:
        G. Taubin, IEEE Trans. Pattern Anal. Mach. Intell. 13 (1991) 1115; in this form N. Chernov,
        "Circular and Linear Regression" (2010), section 5.9.
    """
    track_id = tracks.track_id if isinstance(tracks, Tracks) else tracks
    if len(track_id) != len(hits):
        raise ShapeError(
            f"pT: got {len(track_id)} labels for {len(hits)} hits, expected one per hit; pass the hits that the tracks"
            " were found in"
        )
    if isinstance(tracks, Tracks):
        row, begin = hit_lists(hits, tracks)
        n_tracks = len(begin) - 1
        label = np.repeat(np.arange(n_tracks), np.diff(begin))
    else:
        row, n_tracks = np.flatnonzero(track_id >= 0), int(track_id.max(initial=-1)) + 1
        label = track_id[row]
    n_hits = np.bincount(label, minlength=n_tracks)
    with np.errstate(divide="ignore", invalid="ignore"):
        radius = _radii(hits.position[row].astype(np.float64), label, n_hits)
    pt = (GEV_PER_TESLA_MM * abs(field) * radius).astype(np.float32)
    pt[n_hits < MIN_HITS] = np.nan
    return pt


def _radii(
    position: Float64[ndarray, "n 3"], label: Int64[ndarray, " n"], n_hits: Int64[ndarray, " n_tracks"]
) -> Float64[ndarray, " n_tracks"]:
    """Radius [mm] of the Taubin circle of each label; meaningless below three hits."""
    n_tracks = len(n_hits)

    def mean(value: Float64[ndarray, " n"]) -> Float64[ndarray, " n_tracks"]:
        average: Float64[ndarray, " n_tracks"] = np.bincount(label, value, n_tracks) / np.maximum(n_hits, 1)
        return average

    x = position[:, 0] * np.cos(position[:, 1])
    y = position[:, 0] * np.sin(position[:, 1])
    x -= mean(x)[label]
    y -= mean(y)[label]
    w = x * x + y * y
    mean_w = mean(w)
    scale = np.where(mean_w > 0, 2 * np.sqrt(mean_w), 1.0)
    columns = ((w - mean_w[label]) / scale[label], x, y)
    covariance = np.empty((n_tracks, 3, 3))
    for i, left in enumerate(columns):
        for j, right in enumerate(columns[: i + 1]):
            covariance[:, i, j] = covariance[:, j, i] = mean(left * right)
    # eigh sorts ascending: column 0 belongs to the smallest eigenvalue.
    a, b, c = np.linalg.eigh(covariance)[1][:, :, 0].T
    a = a / scale
    d = -a * mean_w
    radius: Float64[ndarray, " n_tracks"] = np.sqrt(np.maximum(b * b + c * c - 4 * a * d, 0.0)) / (2 * np.abs(a))
    return radius
