"""`beampipe.tracking.kernels.geometry` on tensors: the same formulas, constants and names."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor

from beampipe.arrays import Float32, Int64
from beampipe.tracking.kernels import geometry

__all__ = ["MIN_DR", "TWO_PI", "Arc", "Doublet", "arc", "doublet", "triplet_chi2", "wrapped"]

TWO_PI: Final = 2 * math.pi
MIN_DR: Final = float(geometry.MIN_DR)
"""`geometry.MIN_DR` [mm], as torch takes it."""

_MIN_CHORD, _MIN_ARC = float(geometry.MIN_CHORD), float(geometry.MIN_ARC)


class Doublet(NamedTuple):
    """`geometry.Doublet` with tensors."""

    kappa: Float32[Tensor, " n_edges"]
    slope: Float32[Tensor, " n_edges"]
    z0: Float32[Tensor, " n_edges"]
    dr: Float32[Tensor, " n_edges"]
    dz: Float32[Tensor, " n_edges"]
    dphi: Float32[Tensor, " n_edges"]


class Arc(NamedTuple):
    """`geometry.Arc` with tensors."""

    kappa: Float32[Tensor, " n_edges"]
    cot: Float32[Tensor, " n_edges"]
    z0: Float32[Tensor, " n_edges"]
    inverse_d2: Float32[Tensor, " n_edges"]

    def take(self, rows: Int64[Tensor, " n"]) -> Arc:
        """The arcs in `rows`."""
        return Arc(*(column[rows] for column in self))


def wrapped(angle: Float32[Tensor, " n"]) -> Float32[Tensor, " n"]:
    """The angle [rad] between -pi and pi."""
    return angle - TWO_PI * torch.round(angle / TWO_PI)


def doublet(position: Float32[Tensor, "n 3"], edge_index: Int64[Tensor, "2 n_edges"]) -> Doublet:
    """`geometry.doublet`: each edge along its chord."""
    inner, outer = edge_index
    r, phi, z = position.T.contiguous()
    dr, dz, dphi = r[outer] - r[inner], z[outer] - z[inner], wrapped(phi[outer] - phi[inner])
    sin_half = torch.sin(0.5 * dphi)
    distance = torch.sqrt(dr * dr + 4 * r[inner] * r[outer] * sin_half * sin_half)
    kappa = 2 * torch.sin(dphi) / distance.clamp(min=_MIN_CHORD)
    slope = dz / torch.where(dr.abs() < MIN_DR, torch.where(dr < 0, -MIN_DR, MIN_DR), dr)
    return Doublet(kappa, slope, z[inner] - r[inner] * slope, dr, dz, dphi)


def arc(position: Float32[Tensor, "n 3"], edge_index: Int64[Tensor, "2 n_edges"]) -> Arc:
    """`geometry.arc`: each edge along its circle."""
    r, phi, z = position.T.contiguous()
    a, b = edge_index
    r_a, r_b, z_a = r[a], r[b], z[a]
    dr, dphi = r_b - r_a, wrapped(phi[b] - phi[a])
    half = torch.sin(0.5 * dphi)
    inverse_d2 = 1 / (dr * dr + 4 * r_a * r_b * half * half).clamp(min=_MIN_CHORD * _MIN_CHORD)
    kappa = 2 * torch.sin(dphi) * torch.sqrt(inverse_d2)
    bend = kappa * kappa * float(geometry.ARC_SERIES)
    ds = dr * (1 + bend * (r_a * r_a + r_a * r_b + r_b * r_b))
    cot = (z[b] - z_a) / torch.where(ds.abs() < _MIN_ARC, _MIN_ARC, ds)
    return Arc(kappa, cot, z_a - r_a * (1 + bend * r_a * r_a) * cot, inverse_d2)


def triplet_chi2(
    inner: Arc, outer: Arc, window: Float32[Tensor, "n 4"]
) -> tuple[Float32[Tensor, " n"], Float32[Tensor, " n"]]:
    """`geometry.triplet_chi2` before the division: chi2 is the first tensor over the second.

    A triplet passes where the first is the smaller one and the windows know it (a > 0); few do, so only these are
    divided.
    """
    a, b, c, d = window.T
    turn = 1 + inner.cot * outer.cot
    s = a * (inner.inverse_d2 + outer.inverse_d2) + b * inner.kappa * inner.kappa
    t = turn * turn * (c + d * inner.kappa * inner.kappa)
    return (outer.kappa - inner.kappa).square() * t + (outer.cot - inner.cot).square() * s, s * t
