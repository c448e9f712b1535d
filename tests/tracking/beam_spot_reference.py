"""Slow truth of kernels/native/pipelines/policy.cpp: where the tracks of an event come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Float64, Int64
from beampipe.events import BEAM_SPOT_MAX

TOLERATED: Final = 0.2
"""Distance of the beam line from where it is expected [mm] that costs no tracks worth a second search."""

NARROW: Final = 1.0
"""Largest spread of the tracks about the line that they come from [mm]."""

MIN_TRACKS: Final = 20
"""Fewest tracks that tell where a beam line is."""

MIN_HITS: Final = 6
"""Fewest hits of a track that is asked."""

_FAR: Final = 20.0
"""Tracks further from the axis than this [mm] are asked nothing."""

_ROUNDS: Final = 4

_LEAST_TURN: Final = 1e-6
"""Tracks that differ less in direction tell no point: smallest determinant of their normal equations, in units of its
first product."""

_OF_MEDIAN: Final = 1.4826
"""Standard deviation of a normal distribution over the median of its absolute values."""


@dataclass(frozen=True)
class Estimate:
    """Where the tracks of one event come from.

    Attributes:
        x: x of the point that most tracks pass [mm].
        y: y of that point [mm].
        error: standard deviation of either [mm].
        spread: standard deviation of the tracks' distances from it [mm].
        n_tracks: number of tracks that were used.
        share: these as a share of all tracks with enough hits.
    """

    x: float = 0.0
    y: float = 0.0
    error: float = np.inf
    spread: float = np.inf
    n_tracks: int = 0
    share: float = 0.0

    @property
    def significant(self) -> bool:
        """Whether the tracks come from one line that is elsewhere than the axis.

        Most of them come from there, to within `NARROW`; it lies off by more than `TOLERATED` and by more than five
        standard deviations.
        """
        off = float(np.hypot(self.x, self.y))
        one_line = self.n_tracks >= MIN_TRACKS and self.share > 0.5 and self.spread < NARROW
        return one_line and max(TOLERATED, 5 * self.error) < off < BEAM_SPOT_MAX / 2


def impact_parameters(
    position: Float32[ndarray, "n_hits 3"], track_id: Int64[ndarray, " n_hits"]
) -> tuple[Float64[ndarray, " n"], Float64[ndarray, " n"]]:
    """Direction at, and signed distance from, the axis of the circle through the hits of each track.

    The circle is fitted without iteration and with equal weights, after V. Karimaki, Nucl. Instrum. Meth. A 305 (1991)
    187: with averages over the hits, C_ab = <ab> - <a><b> and s = r^2,

        phi = atan2(2 (C_ss C_xy - C_xs C_ys), C_ss (C_xx - C_yy) - C_xs^2 + C_ys^2) / 2,
        k = (sin phi C_xs - cos phi C_ys) / C_ss,    delta = -k <s> + sin phi <x> - cos phi <y>,
        d = 2 delta / (1 + sqrt(1 - 4 delta k)).

    A straight track through (x, y) has d = x sin phi - y cos phi.

    Args:
        position: r [mm], phi [rad], z [mm] of each hit.
        track_id: label of each hit, -1 for none.

    Returns:
        phi [rad] and d [mm] of each track with enough hits.
    """
    on = np.flatnonzero(track_id >= 0)
    track, (r, phi, _) = track_id[on], position[on].T.astype(np.float64)
    x, y, s = r * np.cos(phi), r * np.sin(phi), r * r
    n = np.bincount(track)
    good = np.flatnonzero(n >= MIN_HITS)

    def mean(values: Float64[ndarray, " m"]) -> Float64[ndarray, " n"]:
        return np.bincount(track, values, len(n))[good] / n[good]

    mx, my, ms = mean(x), mean(y), mean(s)
    cxx, cxy, cyy = mean(x * x) - mx * mx, mean(x * y) - mx * my, mean(y * y) - my * my
    cxs, cys, css = mean(x * s) - mx * ms, mean(y * s) - my * ms, mean(s * s) - ms * ms
    angle = 0.5 * np.arctan2(2 * (css * cxy - cxs * cys), css * (cxx - cyy) - cxs**2 + cys**2)
    sine, cosine = np.sin(angle), np.cos(angle)
    k = (sine * cxs - cosine * cys) / np.maximum(css, 1e-9)
    delta = -k * ms + sine * mx - cosine * my
    d = 2 * delta / (1 + np.sqrt(np.maximum(1 - 4 * delta * k, 0)))
    return angle, d


def estimate_beam_spot(position: Float32[ndarray, "n_hits 3"], track_id: Int64[ndarray, " n_hits"]) -> Estimate:
    """The point across the beam that most tracks of an event pass.

    Least squares of d = x sin phi - y cos phi over the tracks, first all of them, then those within three robust
    standard deviations (1.4826 times the median of the distances), three times.

    Args:
        position: r [mm], phi [rad], z [mm] of each hit.
        track_id: label of each hit, -1 for none.
    """
    angle, d = impact_parameters(position, track_id)
    design = np.stack([np.sin(angle), -np.cos(angle)], axis=1)
    near = np.abs(d) < _FAR
    point, spread = np.zeros(2), 0.0
    for _ in range(_ROUNDS):
        if near.sum() < MIN_TRACKS:
            return Estimate(n_tracks=int(near.sum()))
        some = design[near]
        normal = some.T @ some
        (xx, xy), (_, yy) = normal.tolist()
        if not xx * yy - xy * xy > _LEAST_TURN * xx * yy:
            return Estimate(n_tracks=int(near.sum()))
        point = np.linalg.solve(normal, some.T @ d[near])
        distance = np.abs(d - design @ point)
        spread = _OF_MEDIAN * float(np.median(distance[near]))
        near = distance < 3 * spread
    error = spread * float(np.sqrt(np.linalg.inv(normal).diagonal().max()))
    return Estimate(float(point[0]), float(point[1]), error, spread, int(near.sum()), float(near.mean()))
