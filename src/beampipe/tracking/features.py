"""What the networks see: one definition, for training, the reference kernels and (retold in C++) the native ones.

Nothing here depends on phi itself but the embedding's input: a rotation about the beam changes no edge feature.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

__all__ = [
    "EDGE_FEATURES",
    "HIT_FEATURES",
    "NODE_FEATURES",
    "PAIR_FEATURES",
    "doublet",
    "edge_features",
    "hit_features",
    "node_features",
]

HIT_FEATURES: Final = ("r", "cos_phi", "sin_phi", "z", "eta")
NODE_FEATURES: Final = ("r", "z", "eta")
EDGE_FEATURES: Final = ("kappa", "cot", "z0", "dr", "dz", "dphi")
PAIR_FEATURES: Final = ("chi2_in", "chi2_out", "n_in", "n_out", "level_in", "level_out")

_MIN_DR: Final = np.float32(0.5)  # mm; overlap hits of one layer may have equal radii
_TWO_PI: Final = np.float32(2 * np.pi)


def hit_features(position: Float32[ndarray, "n 3"]) -> Float32[ndarray, "n 5"]:
    """Input of the embedding, `HIT_FEATURES`: r and z in m, cos and sin of phi, eta / 4."""
    r, phi, z = position.T
    eta = np.arcsinh(z / np.maximum(r, _MIN_DR))
    out = np.stack(
        [r * np.float32(1e-3), np.cos(phi), np.sin(phi), z * np.float32(1e-3), eta * np.float32(0.25)], axis=1
    )
    return out.astype(np.float32)


def node_features(position: Float32[ndarray, "n 3"]) -> Float32[ndarray, "n 3"]:
    """Input of filter and GNN per hit, `NODE_FEATURES`: r and z in m, eta / 4."""
    return np.ascontiguousarray(hit_features(position)[:, [0, 3, 4]])


def doublet(
    position: Float32[ndarray, "n 3"], edge_index: Int64[ndarray, "2 n_edges"]
) -> tuple[Float32[ndarray, " n_edges"], ...]:
    """Geometry of each edge: kappa [1/mm], cot, z0 [mm], dr [mm], dz [mm], dphi [rad].

    kappa = 2 sin(dphi) / d with d the transverse distance: the curvature of the circle through both hits and the
    beam line. cot = dz / dr, with |dr| at least 0.5 mm, and z0 = z_inner - r_inner cot.
    """
    inner, outer = edge_index
    r, phi, z = np.ascontiguousarray(position.T)
    dr, dz, dphi = r[outer] - r[inner], z[outer] - z[inner], phi[outer] - phi[inner]
    dphi = dphi - _TWO_PI * np.rint(dphi / _TWO_PI)
    sin_half = np.sin(np.float32(0.5) * dphi)
    distance = np.sqrt(dr * dr + np.float32(4) * r[inner] * r[outer] * sin_half * sin_half)
    kappa = np.float32(2) * np.sin(dphi) / np.maximum(distance, np.float32(1e-3))
    run = np.where(np.abs(dr) < _MIN_DR, np.where(dr < 0, -_MIN_DR, _MIN_DR), dr)
    cot = dz / run
    z0 = z[inner] - r[inner] * cot
    return kappa, cot, z0, dr, dz, dphi


def edge_features(
    position: Float32[ndarray, "n 3"], edge_index: Int64[ndarray, "2 n_edges"]
) -> Float32[ndarray, "n_edges 6"]:
    """Input of filter and GNN per edge, `EDGE_FEATURES`, scaled to order one and clipped to [-4, 4].

    kappa 1000 mm, asinh(cot) / 4, z0 / 200 mm, dr / 200 mm, dz / 500 mm, dphi 10.
    """
    kappa, cot, z0, dr, dz, dphi = doublet(position, edge_index)
    f32 = np.float32
    scaled = [
        kappa * f32(1000),
        np.arcsinh(cot) * f32(0.25),
        z0 / f32(200),
        dr / f32(200),
        dz / f32(500),
        dphi * f32(10),
    ]
    clipped: Float32[ndarray, "n_edges 6"] = np.clip(np.stack(scaled, axis=1), f32(-4), f32(4)).astype(np.float32)
    return clipped
