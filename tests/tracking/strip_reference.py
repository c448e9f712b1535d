"""Slow reference of the comparison of space points with tracks, see `beampipe.tracking.strips`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.events import NO_TRACK, Hits
from beampipe.simulation.detector import Modules

_FEWEST = 5
"""Fewest hits that are no space points of a track that is extrapolated."""

_SIGMAS = 4.0
"""Largest difference between the two residuals, in standard deviations."""

_ASIDE = 3.0
"""Largest mean of the two residuals, the error of the extrapolation [mm]."""

_SCALE = 1.0
"""Error of the extrapolation by which candidates are weighed [mm]."""

_AROUND = 150.0
"""Distance around the crossing of a track with a layer in which space points are tried [mm]."""


def checked_points(hits: Hits, track_id: Int64[ndarray, " n_hits"], modules: Modules) -> Int64[ndarray, " n_hits"]:
    """Labels with the space points that agree with the tracks.

    Tracks with fewer than five other hits stay as they are, and so do all where hits have no measurements.

    Args:
        hits: hits of one event.
        track_id: track of each hit, -1 for none; tracks share no hits.
        modules: modules of the detector.

    Returns:
        Track of each hit.

    Raises:
        InputError: a hit is on no module of the detector.
    """
    if modules.stereo is None or hits.geometry_id is None or hits.local is None or hits.variance is None:
        return track_id
    row = modules.rows(hits.geometry_id)
    is_point = np.isfinite(modules.stereo[row])
    n_tracks = int(track_id.max(initial=NO_TRACK)) + 1
    others = np.flatnonzero((track_id >= 0) & ~is_point)
    is_known = np.bincount(track_id[others], minlength=n_tracks) >= _FEWEST
    others = others[is_known[track_id[others]]]
    points = np.flatnonzero(is_point)
    if not is_known.any() or len(points) == 0:
        return track_id
    helix = _Helices.fit(hits.xyz[others].astype(np.float64), track_id[others], n_tracks)
    track, point = _candidates(helix, np.flatnonzero(is_known), hits, points, row, modules)
    residual = []
    for sensor in (0, 1):
        on = row[point] + sensor
        predicted = modules.to_local(on, helix.crossing(track, on, modules))[:, 0]
        residual.append(hits.local[point, sensor] - predicted)
    pull = (residual[0] - residual[1]) / np.sqrt(hits.variance[point].sum(axis=1))
    aside = (residual[0] + residual[1]) / 2
    agrees = (np.abs(pull) < _SIGMAS) & (np.abs(aside) < _ASIDE)
    track, point, chi2 = track[agrees], point[agrees], (pull**2 + (aside / _SCALE) ** 2)[agrees]
    order = np.argsort(chi2, kind="stable")
    # The best point of each track on each module, then the best track of each point.
    order = order[np.sort(np.unique(track[order] * np.int64(len(modules)) + row[point[order]], return_index=True)[1])]
    order = order[np.unique(point[order], return_index=True)[1]]
    labels = track_id.copy()
    labels[points[np.append(is_known, False)[track_id[points]]]] = NO_TRACK
    is_free = labels[point[order]] == NO_TRACK
    labels[point[order][is_free]] = track[order][is_free]
    return labels


@dataclass(frozen=True, eq=False)
class _Helices:
    """Circles across the beam, and lines in z against the arc length from the point that is nearest to the axis.

    Attributes:
        centre: (n, 2) centre of each circle [mm].
        radius: (n,) its radius [mm].
        start: (n,) azimuth of the point nearest to the axis, seen from the centre [rad].
        turn: (n,) direction of flight around the centre, 1 or -1.
        z: (n,) z at that point [mm].
        slope: (n,) slope of z against the arc length.
    """

    centre: Float64[ndarray, "n 2"]
    radius: Float64[ndarray, " n"]
    start: Float64[ndarray, " n"]
    turn: Float64[ndarray, " n"]
    z: Float64[ndarray, " n"]
    slope: Float64[ndarray, " n"]

    @classmethod
    def fit(cls, xyz: Float64[ndarray, "n_hits 3"], track: Int64[ndarray, " n_hits"], n_tracks: int) -> _Helices:
        """The helix of each track; meaningless for tracks without hits."""
        count = np.maximum(np.bincount(track, minlength=n_tracks), 1)

        def sums(values: ndarray) -> ndarray:
            return np.bincount(track, values, n_tracks)

        middle = np.stack([sums(xyz[:, axis]) / count for axis in (0, 1)], axis=1)
        u, v = (xyz[:, :2] - middle[track]).T
        uu, uv, vv = sums(u * u), sums(u * v), sums(v * v)
        matrix = np.stack([uu, uv, uv, vv], axis=1).reshape(-1, 2, 2) + 1e-9 * np.eye(2)
        right = np.stack([sums(u * (u * u + v * v)), sums(v * (u * u + v * v))], axis=1) / 2
        shift = np.linalg.solve(matrix, right[..., None])[..., 0]
        centre, radius = middle + shift, np.sqrt((shift**2).sum(axis=1) + (uu + vv) / count)
        start = np.arctan2(-centre[:, 1], -centre[:, 0])
        x, y = (xyz[:, :2] - centre[track]).T
        angle = _wrapped(np.arctan2(y, x) - start[track])
        arc = np.abs(angle) * radius[track]
        arc_middle, z_middle = sums(arc) / count, sums(xyz[:, 2]) / count
        away = arc - arc_middle[track]
        slope = sums(away * (xyz[:, 2] - z_middle[track])) / np.maximum(sums(away * away), 1e-9)
        return cls(centre, radius, start, np.sign(sums(angle)), z_middle - slope * arc_middle, slope)

    def at_angle(self, track: Int64[ndarray, " n"], angle: ndarray) -> Float64[ndarray, "n 3"]:
        """Points at azimuths around the centres, counted from the start in the direction of flight [mm]."""
        azimuth = self.start[track] + self.turn[track] * angle
        xy = self.centre[track] + self.radius[track, None] * np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1)
        return np.column_stack([xy, self.z[track] + self.slope[track] * angle * self.radius[track]])

    def at_radius(self, track: Int64[ndarray, " n"], r: float) -> Float64[ndarray, "n 3"]:
        """Where the tracks cross a cylinder around the axis; NaN where they do not reach it [mm]."""
        away = np.hypot(*self.centre[track].T)
        with np.errstate(invalid="ignore"):
            angle = np.arccos((away**2 + self.radius[track] ** 2 - r**2) / (2 * away * self.radius[track]))
        return self.at_angle(track, angle)

    def at_z(self, track: Int64[ndarray, " n"], z: ndarray) -> Float64[ndarray, "n 3"]:
        """Where the tracks cross planes across the beam [mm]."""
        slope = np.where(np.abs(self.slope[track]) < 1e-6, 1e-6, self.slope[track])
        return self.at_angle(track, np.clip((z - self.z[track]) / slope / self.radius[track], 0, np.pi))

    def crossing(
        self, track: Int64[ndarray, " n"], row: Int64[ndarray, " n"], modules: Modules
    ) -> Float64[ndarray, "n 3"]:
        """Where the tracks cross the planes of modules, which are along or across the beam [mm]."""
        centre, normal = modules.centre[row], modules.axes[row][:, :, 2]
        is_disc = np.abs(normal[:, 2]) > 0.5
        flat = normal[:, :2] / np.maximum(np.hypot(normal[:, 0], normal[:, 1]), 1e-9)[:, None]
        distance = ((centre[:, :2] - self.centre[track]) * flat).sum(axis=1) / self.radius[track]
        half_chord = np.sqrt(np.maximum(1 - distance**2, 0))
        along = np.stack([-flat[:, 1], flat[:, 0]], axis=1)
        # Of the two points of the circle on the plane, the one that is nearer to the module.
        side = np.where(((centre[:, :2] - self.centre[track]) * along).sum(axis=1) > 0, 1.0, -1.0)
        x, y = (distance[:, None] * flat + (side * half_chord)[:, None] * along).T
        angle = np.abs(_wrapped(np.arctan2(y, x) - self.start[track]))
        return np.where(is_disc[:, None], self.at_z(track, centre[:, 2]), self.at_angle(track, angle))


def _wrapped(angle: ndarray) -> ndarray:
    """Angles in [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _candidates(
    helix: _Helices,
    tracks: Int64[ndarray, " n"],
    hits: Hits,
    points: Int64[ndarray, " m"],
    row: Int64[ndarray, " n_hits"],
    modules: Modules,
) -> tuple[Int64[ndarray, " k"], Int64[ndarray, " k"]]:
    """Pairs of a track and a space point near its crossing with the layer of the point."""
    from scipy.spatial import cKDTree

    layers = modules.geometry_id >> np.uint64(36)
    layer = layers[row[points]]
    xyz = hits.xyz[points].astype(np.float64)
    of_track, of_point = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for number in np.unique(layer):
        mine = np.flatnonzero(layer == number)
        centre = modules.centre[layers == number]
        if np.ptp(centre[:, 2]) > np.ptp(np.hypot(centre[:, 0], centre[:, 1])):
            crossing = helix.at_radius(tracks, float(np.hypot(centre[:, 0], centre[:, 1]).mean()))
        else:
            crossing = helix.at_z(tracks, np.full(len(tracks), centre[:, 2].mean()))
        reached = np.flatnonzero(np.isfinite(crossing).all(axis=1))
        near = cKDTree(xyz[mine]).query_ball_point(crossing[reached], _AROUND)
        count = np.array([len(each) for each in near], np.int64)
        of_track.append(np.repeat(tracks[reached], count))
        of_point.append(points[mine[np.concatenate([np.empty(0, np.int64), *near]).astype(np.int64)]])
    return np.concatenate(of_track), np.concatenate(of_point)
