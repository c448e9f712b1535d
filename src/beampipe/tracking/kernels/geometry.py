"""Array types of edges and triplets, and the geometry of doublets and triplets.

The formulas are repeated in C++ (native/geometry.hpp) and in torch (`beampipe.tracking.cuda.graphs`).

A particle from the beam line runs on a helix: a circle of curvature kappa in the transverse plane, on which z grows
with the length of arc s at the constant rate cot = dz / ds = pz / pT, the cotangent of the polar angle. Two hits and
the beam line fix kappa; z is then read in two ways:

`doublet` (input of the networks)
    along the chord in the r-z plane: slope = dz / dr, and z0 where that straight line meets the beam. No division by
    an arc, so it is defined for any two hits; for a stiff track slope and cot agree.

`arc` (for the cuts of the learned windows)
    along the circle: cot = dz / ds, and z0 = z - s cot. A hit at radius r has gone s = (2 / kappa) asin(kappa r / 2) =
    r (1 + (kappa r)^2 / 24 + ...), of which these two terms are used.

Source:
    R. Fruehwirth and A. Strandlie, "Pattern Recognition, Tracking and Vertex Reconstruction in Particle Detectors"
    (2021), chapter 4, for the helix; the rest follows from the law of cosines and the series of asin.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int64

EdgeIndex = Int64[ndarray, "2 n_edges"]
"""Inner hit and outer hit of each edge."""

EdgeValues = Float32[ndarray, " n_edges"]
"""One number of each edge: a score, a logit, a weight or a squared distance."""

Triplets = Int64[ndarray, "2 n_triplets"]
"""Pairs of edges, in and out, that share a hit."""

Chi2 = Float32[ndarray, " n_triplets"]
"""chi2 of each triplet in units of its window; below 1."""

PairTable = Float32[ndarray, "n_edges 6"]
"""Features of the triplets of each edge, in the order of `PAIR_FEATURES`."""


class TripletGraph(NamedTuple):
    """Edges, the triplets that they form, and the chi2 of these."""

    edge_index: EdgeIndex
    triplets: Triplets
    chi2: Chi2


TWO_PI: Final = np.float32(2 * np.pi)

MIN_DR: Final = np.float32(0.5)
"""Smallest |dr| that slopes are divided by, and smallest r of a pseudorapidity [mm]: overlap hits have equal radii."""

MAX_DPHI: Final = np.float32(1.2)
"""An edge of the learned windows goes outwards by more than `MIN_DR`, and turns by less than this [rad]."""

MIN_CHORD: Final = np.float32(1e-3)
"""Hits nearer to each other in the transverse plane are taken as this far apart [mm]."""

MIN_ARC: Final = np.float32(1e-3)
"""A shorter arc between two hits is taken as this long [mm]."""

ARC_SERIES: Final = np.float32(1 / 24)
"""Coefficient of (kappa r)^2 in s / r, from asin(x) = x + x^3 / 6 + ... at x = kappa r / 2."""


class Doublet(NamedTuple):
    """Edges along their chords, for the networks; each field is (n_edges,) float32.

    Attributes:
        kappa: curvature of the circle through both hits and the beam line [1/mm].
        slope: dz / dr, with |dr| at least `MIN_DR`.
        z0: z where the straight line through both hits meets the beam line [mm].
        dr: outer radius less inner radius [mm].
        dz: outer z less inner z [mm].
        dphi: outer phi less inner phi, between -pi and pi [rad].
    """

    kappa: Float32[ndarray, " n_edges"]
    slope: Float32[ndarray, " n_edges"]
    z0: Float32[ndarray, " n_edges"]
    dr: Float32[ndarray, " n_edges"]
    dz: Float32[ndarray, " n_edges"]
    dphi: Float32[ndarray, " n_edges"]


class Arc(NamedTuple):
    """Edges along their circles, for the learned windows; each field is (n_edges,) float32.

    Attributes:
        kappa: curvature of the circle through both hits and the beam line [1/mm].
        cot: dz / ds, z over the length of arc between the hits.
        z0: z where the helix through both hits meets the beam line [mm].
        inverse_d2: inverse of the squared transverse distance of the hits [1/mm^2].
    """

    kappa: Float32[ndarray, " n_edges"]
    cot: Float32[ndarray, " n_edges"]
    z0: Float32[ndarray, " n_edges"]
    inverse_d2: Float32[ndarray, " n_edges"]

    def take(self, rows: Int64[ndarray, " n"]) -> Arc:
        """The arcs in `rows`."""
        return Arc(*(column[rows] for column in self))


def wrapped(angle: Float32[ndarray, " n"]) -> Float32[ndarray, " n"]:
    """The angle [rad] between -pi and pi."""
    return angle - TWO_PI * np.rint(angle / TWO_PI)


def doublet(position: Float32[ndarray, "n 3"], edge_index: Int64[ndarray, "2 n_edges"]) -> Doublet:
    """Geometry of each edge along its chord.

    kappa = 2 sin(dphi) / d with d^2 = dr^2 + 4 r r' sin^2(dphi / 2); slope = dz / dr; z0 = z - r slope.

    Args:
        position: r [mm], phi [rad], z [mm] of each hit.
        edge_index: inner hit and outer hit of each edge.
    """
    inner, outer = edge_index
    r, phi, z = np.ascontiguousarray(position.T)
    dr, dz, dphi = r[outer] - r[inner], z[outer] - z[inner], wrapped(phi[outer] - phi[inner])
    sin_half = np.sin(np.float32(0.5) * dphi)
    distance = np.sqrt(dr * dr + np.float32(4) * r[inner] * r[outer] * sin_half * sin_half)
    kappa = np.float32(2) * np.sin(dphi) / np.maximum(distance, MIN_CHORD)
    slope = dz / np.where(np.abs(dr) < MIN_DR, np.where(dr < 0, -MIN_DR, MIN_DR), dr)
    return Doublet(kappa, slope, z[inner] - r[inner] * slope, dr, dz, dphi)


def arc(position: Float32[ndarray, "n 3"], edge_index: Int64[ndarray, "2 n_edges"]) -> Arc:
    """Geometry of each edge along its circle.

    kappa as in `doublet`; ds = dr (1 + (kappa^2 / 24) (r^2 + r r' + r'^2)); cot = dz / ds;
    z0 = z - r (1 + (kappa r)^2 / 24) cot.

    Args:
        position: r [mm], phi [rad], z [mm] of each hit.
        edge_index: inner hit and outer hit of each edge.
    """
    one = np.float32(1)
    r, phi, z = np.ascontiguousarray(position.T)
    a, b = edge_index
    dr, dphi = r[b] - r[a], wrapped(phi[b] - phi[a])
    half = np.sin(np.float32(0.5) * dphi)
    inverse_d2 = one / np.maximum(dr * dr + np.float32(4) * r[a] * r[b] * half * half, MIN_CHORD * MIN_CHORD)
    kappa = np.float32(2) * np.sin(dphi) * np.sqrt(inverse_d2)
    bend = kappa * kappa * ARC_SERIES
    ds = dr * (one + bend * (r[a] * r[a] + r[a] * r[b] + r[b] * r[b]))
    cot = (z[b] - z[a]) / np.where(np.abs(ds) < MIN_ARC, MIN_ARC, ds)
    return Arc(kappa, cot, z[a] - r[a] * (one + bend * r[a] * r[a]) * cot, inverse_d2)


def triplet_chi2(inner: Arc, outer: Arc, window: Float32[ndarray, "n 4"]) -> Float32[ndarray, " n"]:
    """chi2 of pairs of doublets that share a hit, infinite where the triplet does not pass.

    With t = (cot_out - cot_in) / (1 + cot_in cot_out), the tangent of the change of dip::

        chi2 = dkappa^2 / (a (1/d_in^2 + 1/d_out^2) + b kappa^2)  +  t^2 / (c + d kappa^2)

    Args:
        inner: arcs of the doublets that end at the shared hits; their curvature is the kappa of the formula.
        outer: arcs of the doublets that start at the shared hits.
        window: a, b, c, d of each (see `beampipe.tracking.windows`); a = 0 where the windows have no such triplet.
    """
    a, b, c, d = window.T
    turn = np.float32(1) + inner.cot * outer.cot
    s = a * (inner.inverse_d2 + outer.inverse_d2) + b * inner.kappa * inner.kappa
    t = turn * turn * (c + d * inner.kappa * inner.kappa)
    top = (outer.kappa - inner.kappa) ** 2 * t + (outer.cot - inner.cot) ** 2 * s
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((a > 0) & (top < s * t), top / (s * t), np.float32(np.inf))
