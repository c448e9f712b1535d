"""Where the beam line lies, by the tracks that were found: they point back to it.

A circle through the three innermost hits of a track passes the z axis at the signed distance d0. Tracks of direction
phi that come from a beam line at (x, y) have ``d0 = x sin(phi) - y cos(phi)``: a wave over phi, whose two amplitudes
are found by least squares. Tracks of displaced particles and false ones are far off the wave, and left out.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from beampipe.tracking.events import Hits

__all__ = ["FEWEST_TRACKS", "beam_line"]

FEWEST_TRACKS: Final = 50
"""Fewest tracks that tell where the beam line lies."""

_STEP: Final = 20.0
"""Least distance in r of the hits that a circle is put through [mm]: overlapping modules are nearer."""

_MOST_TRACKS: Final = 300
"""Tracks that are looked at, about: so many tell it to some 0.02 mm."""

_ROUNDS: Final = 3
_NEAR: Final = 3.0
"""Tracks farther from the wave than so many times the median are left out, in each round."""


def beam_line(hits: Hits, track_id: Int64[ndarray, " n_hits"]) -> tuple[float, float] | None:
    """x and y [mm] of the line that the tracks of one event come from; None if there are too few.

    Args:
        hits: hits of the event.
        track_id: track of each hit, -1 for none.
    """
    if track_id.max(initial=-1) + 1 < FEWEST_TRACKS or len(points := _three_points(hits, track_id)) < FEWEST_TRACKS:
        return None
    d0, phi = _at_the_axis(points)
    wave = np.stack([np.sin(phi), -np.cos(phi)], axis=1)
    near = np.isfinite(d0)
    place = np.zeros(2)
    for _ in range(_ROUNDS):
        place = np.linalg.lstsq(wave[near], d0[near], rcond=None)[0]
        distance = np.abs(d0 - wave @ place)
        near = distance <= _NEAR * np.median(distance[near])
    return float(place[0]), float(place[1])


def _three_points(hits: Hits, track_id: Int64[ndarray, " n_hits"]) -> Float64[ndarray, "n_tracks 3 2"]:
    """x and y [mm] of three inner hits of each track that has them, from the beam outwards."""
    n_tracks = int(track_id.max(initial=-1)) + 1
    step = 1 + n_tracks // _MOST_TRACKS
    rows = np.flatnonzero((track_id >= 0) & (track_id % step == 0))
    r, phi = hits.position[rows, :2].astype(np.float64).T
    track = track_id[rows]
    left = np.lexsort((r, track))
    chosen = []
    for _ in range(3):
        # The innermost hit that is left of each track; then none as near to the beam as that.
        tracks, first = np.unique(track[left], return_index=True)
        innermost = np.full(n_tracks, -1)
        innermost[tracks] = left[first]
        chosen.append(innermost)
        left = left[r[left] > r[innermost[track[left]]] + _STEP]
    inner = np.stack(chosen, axis=1)
    inner = inner[(inner >= 0).all(axis=1)]
    points: Float64[ndarray, "n_tracks 3 2"] = np.stack([r * np.cos(phi), r * np.sin(phi)], axis=1)[inner]
    return points


def _at_the_axis(
    points: Float64[ndarray, "n_tracks 3 2"],
) -> tuple[Float64[ndarray, " n_tracks"], Float64[ndarray, " n_tracks"]]:
    """Distance at which the circle of each track passes the z axis [mm], and its direction there [rad]."""
    start = points[:, 0]
    (x1, y1), (x2, y2) = (points[:, 1] - start).T, (points[:, 2] - start).T
    square1, square2 = x1 * x1 + y1 * y1, x2 * x2 + y2 * y2
    with np.errstate(divide="ignore", invalid="ignore"):  # three hits in one line have no circle
        towards = np.stack([y2 * square1 - y1 * square2, x1 * square2 - x2 * square1], axis=1)
        centre = start + towards / (2 * (x1 * y2 - y1 * x2))[:, None]
        away = np.linalg.norm(centre, axis=1)
        nearest = centre * (1 - np.linalg.norm(start - centre, axis=1) / away)[:, None]
        normal = centre / away[:, None]
    # A particle runs across the normal, and outwards.
    outwards = np.where(normal[:, 0] * y1 - normal[:, 1] * x1 > 0, 1, -1)
    phi = np.arctan2(outwards * normal[:, 0], -outwards * normal[:, 1])
    return nearest[:, 0] * np.sin(phi) - nearest[:, 1] * np.cos(phi), phi
