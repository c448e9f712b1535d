"""A helix about the z axis, by its point closest to the beam line (x = y = 0): the formulas of the track fit.

A helix is five numbers: d0 [mm], phi [rad], omega = dphi/ds [1/mm], z0 [mm], cot = dz/ds, with s the length of arc in
the transverse plane, counted from the perigee. T0 = (cos phi, sin phi) is the direction there, N0 = (-sin phi, cos phi)
its normal, and the perigee lies at d0 N0: the sign of d0 is that of ACTS. After the arc s the direction has turned by
alpha = omega s, and the particle is at::

    d0 N0 + S T0 + K N0,  z0 + s cot      with  S = sin(alpha) / omega,  K = (1 - cos(alpha)) / omega

A charge q [e] in the field B [T] along z turns by omega = -c B (q/p) / sin(theta), with c of `GEV_PER_TESLA_MM`.

Source: P. Billoir, S. Qian, Nucl. Instrum. Meth. A 311 (1992) 139, for perigee parameters; the sign of d0 as in
`Acts::LineSurface` (radius = line x direction).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Float64, Int64
from beampipe.errors import ConfigError, ShapeError
from beampipe.events import Hits, Position, Tracks, hit_lists

GEV_PER_TESLA_MM: Final = 0.299792458e-3
"""pT [GeV] = this * charge [e] * field [T] * radius [mm]: the speed of light, 299 792 458 m/s, in these units.

Source: Particle Data Group, Review of Particle Physics, "Particle detectors at accelerators", measurement of momenta
in a uniform magnetic field, p cos(lambda) = 0.3 z B R.
"""

SMALL_TURN: Final = 1e-3
"""Angle [rad] below which differences of nearly equal terms are taken from their series."""


@dataclass(frozen=True, eq=False)
class Crossings:
    """Where helices come closest to given points in the transverse plane; one value per point.

    Attributes:
        u: point along T0 [mm].
        v: point along N0 [mm].
        s: length of arc from the perigee [mm].
        sin: sine of the angle turned until there.
        cos: cosine of that angle.
        along: S, the way of the helix along T0 [mm].
        across: K, the way of the helix along N0 [mm].
    """

    u: Float64[ndarray, ...]
    v: Float64[ndarray, ...]
    s: Float64[ndarray, ...]
    sin: Float64[ndarray, ...]
    cos: Float64[ndarray, ...]
    along: Float64[ndarray, ...]
    across: Float64[ndarray, ...]


def cartesian(position: Position) -> Float64[ndarray, "n_hits 3"]:
    """x, y, z [mm] of hits at r [mm], phi [rad], z [mm]."""
    r, phi, z = position.astype(np.float64).T
    return np.stack([r * np.cos(phi), r * np.sin(phi), z], axis=1)


def cross(helix: Float64[ndarray, "... 5"], x: Float64[ndarray, ...], y: Float64[ndarray, ...]) -> Crossings:
    """Where each helix comes closest to its point (x, y) [mm] in the transverse plane."""
    d0, phi, omega = helix[..., 0], helix[..., 1], helix[..., 2]
    u, v = x * np.cos(phi) + y * np.sin(phi), y * np.cos(phi) - x * np.sin(phi)
    forward = 1 - omega * (v - d0)
    length = np.hypot(omega * u, forward)
    sin, cos = omega * u / length, forward / length
    along = u / length
    alpha = np.arctan2(sin, cos)
    small = np.abs(alpha) < SMALL_TURN
    with np.errstate(divide="ignore", invalid="ignore"):
        s = np.where(small, along * (1 + alpha * alpha / 6), alpha / omega)
        across = omega * along * along / (1 + cos)
    return Crossings(u, v, np.asarray(s), sin, cos, along, across)


def through(
    point: Float64[ndarray, "n 3"],
    phi: Float64[ndarray, " n"],
    omega: Float64[ndarray, " n"],
    cot: Float64[ndarray, " n"],
) -> Float64[ndarray, "n 5"]:
    """The helix that passes each point x, y, z [mm] in the direction of phi and cot."""
    x, y, z = point.T
    a, b = x * np.cos(phi) + y * np.sin(phi), y * np.cos(phi) - x * np.sin(phi)
    forward = 1 + omega * b
    length = np.hypot(omega * a, forward)
    alpha = np.arctan2(omega * a, forward)
    d0 = (omega * (a * a + b * b) + 2 * b) / (1 + length)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = np.where(np.abs(alpha) < SMALL_TURN, a / length * (1 + alpha * alpha / 6), alpha / omega)
    return np.stack([d0, phi - alpha, omega, z - s * cot, cot], axis=-1)


def curvature(
    first: Float64[ndarray, "... 3"], middle: Float64[ndarray, "... 3"], last: Float64[ndarray, "... 3"]
) -> Float64[ndarray, ...]:
    """omega [1/mm] of the circle through three points in the transverse plane; NaN where two coincide."""
    half, chord, rest = (way[..., :2] for way in (middle - first, last - first, last - middle))
    turned = 2 * (half[..., 0] * chord[..., 1] - half[..., 1] * chord[..., 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(turned / np.prod([np.hypot(way[..., 0], way[..., 1]) for way in (half, chord, rest)], axis=0))


def perigee_of(
    vertex: Float64[ndarray, "n 3"], momentum: Float64[ndarray, "n 3"], charge: Float64[ndarray, " n"], field: float
) -> Float64[ndarray, "n 5"]:
    """Parameters of particles at the perigee: d0 [mm], z0 [mm], phi [rad], theta [rad], q/p [e/GeV].

    Args:
        vertex: x, y, z [mm] where each particle starts.
        momentum: px, py, pz [GeV] there.
        charge: charge [e] of each particle.
        field: magnetic field along z [T].
    """
    pt = np.hypot(momentum[:, 0], momentum[:, 1])
    phi = np.arctan2(momentum[:, 1], momentum[:, 0])
    omega = -GEV_PER_TESLA_MM * field * charge / pt
    return to_acts(through(vertex, phi, omega, momentum[:, 2] / pt), field)


def to_acts(helix: Float64[ndarray, "n 5"], field: float) -> Float64[ndarray, "n 5"]:
    """Helices as parameters of ACTS: d0 [mm], z0 [mm], phi [rad] in (-pi, pi], theta [rad], q/p [e/GeV]."""
    d0, phi, omega, z0, cot = helix.T
    q_over_p = -omega / np.sqrt(1 + cot * cot) / (GEV_PER_TESLA_MM * _nonzero_field(field))
    return np.stack([d0, z0, -np.remainder(np.pi - phi, 2 * np.pi) + np.pi, np.arctan2(1.0, cot), q_over_p], axis=-1)


def from_acts(parameters: Float64[ndarray, "n 5"], field: float) -> Float64[ndarray, "n 5"]:
    """Parameters of ACTS as helices: the inverse of `to_acts`."""
    d0, z0, phi, theta, q_over_p = parameters.T
    omega = -GEV_PER_TESLA_MM * _nonzero_field(field) * q_over_p / np.sin(theta)
    return np.stack([d0, phi, omega, z0, 1 / np.tan(theta)], axis=-1)


def _nonzero_field(field: float) -> float:
    if field == 0:
        raise ConfigError("field: got 0 T, expected a field; without one, hits tell nothing of the momentum")
    return field


# Transverse momentum from the circle through the hits of a track


MIN_CIRCLE_HITS: Final = 3
"""Fewest hits of a track with a pT: fewer points define no circle."""


def pt_of_tracks(hits: Hits, tracks: Tracks, field: float | None) -> Float32[ndarray, " n_tracks"]:
    """`Tracks.pt`: pT of the fitted helix of each track, or of `estimate_pt` where there is none."""
    pt, fit = estimate_pt(hits, tracks, field), tracks.parameters
    return pt if fit is None else np.where(fit.fitted, fit.pt, pt).astype(np.float32)


def estimate_pt(
    hits: Hits, tracks: Tracks | Int64[ndarray, " n_hits"], field: float | None = None
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
        field: solenoidal field [T]; that of the tracks if not given.

    Returns:
        (n_tracks,) pT [GeV]; infinity for hits on a straight line, NaN for fewer than three hits.

    Raises:
        ShapeError: there is not one label for each hit.
        ConfigError: no field is given or known of the tracks, or it is 0 or not finite.

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
    if field is None and isinstance(tracks, Tracks):
        field = tracks.magnetic_field
    if not n_tracks:
        return np.empty(0, np.float32)
    if field is None or not np.isfinite(field) or field == 0:
        stated = "no magnetic field" if field is None else f"a magnetic field of {field} T"
        raise ConfigError(
            f"pT: got {stated}, expected that of the detector in T; make the tracks with"
            " Tracks(track_id, magnetic_field=2.0), as finders do, or dataclasses.replace(tracks, magnetic_field=2.0)"
        )
    pt = (GEV_PER_TESLA_MM * abs(field) * radius).astype(np.float32)
    pt[n_hits < MIN_CIRCLE_HITS] = np.nan
    return pt


def _radii(
    position: Float64[ndarray, "n 3"], label: Int64[ndarray, " n"], n_hits: Int64[ndarray, " n_tracks"]
) -> Float64[ndarray, " n_tracks"]:
    """Radius [mm] of the Taubin circle of each label; meaningless below three hits."""
    n_tracks = len(n_hits)

    def mean(value: Float64[ndarray, " n"]) -> Float64[ndarray, " n_tracks"]:
        return np.asarray(np.bincount(label, value, n_tracks) / np.maximum(n_hits, 1))

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
    return np.asarray(np.sqrt(np.maximum(b * b + c * c - 4 * a * d, 0.0)) / (2 * np.abs(a)))
