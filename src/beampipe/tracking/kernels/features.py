"""What the networks see: one definition, for training, the reference kernels and (retold in C++) the native ones.

Nothing here depends on phi itself but the embedding's input: a rotation about the beam changes no edge feature.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from beampipe.tracking.kernels.geometry import MIN_DR, doublet

__all__ = [
    "EDGE_FEATURES",
    "EMBEDDING_SIZE",
    "FILTER_INPUTS",
    "HIT_FEATURES",
    "NODE_FEATURES",
    "PAIR_FEATURES",
    "edge_features",
    "filter_features",
    "hit_features",
    "node_features",
]

HIT_FEATURES: Final = ("r", "cos_phi", "sin_phi", "z", "eta")
"""What the embedding sees of a hit."""

NODE_FEATURES: Final = ("r", "z", "eta")
"""What filter and interaction network see of a hit."""

EDGE_FEATURES: Final = ("kappa", "slope", "z0", "dr", "dz", "dphi")
"""What filter and interaction network see of an edge: the fields of `beampipe.tracking.kernels.geometry.Doublet`."""

PAIR_FEATURES: Final = ("chi2_in", "chi2_out", "n_in", "n_out", "level_in", "level_out")
"""What the interaction network sees of the triplets that an edge is part of."""

FILTER_INPUTS: Final = len(EDGE_FEATURES) + 2 * len(NODE_FEATURES) + 1
"""Length of the filter's input: the edge, both of its hits and their squared embedding distance."""

EMBEDDING_SIZE: Final = 8
"""Length of the source and of the target vector of a hit."""


def hit_features(position: Float32[ndarray, "n 3"]) -> Float32[ndarray, "n 5"]:
    """Input of the embedding, `HIT_FEATURES`: r and z in m, cos and sin of phi, eta / 4."""
    r, phi, z = position.T
    eta = np.arcsinh(z / np.maximum(r, MIN_DR))
    out = np.stack(
        [r * np.float32(1e-3), np.cos(phi), np.sin(phi), z * np.float32(1e-3), eta * np.float32(0.25)], axis=1
    )
    return out.astype(np.float32)


def node_features(position: Float32[ndarray, "n 3"]) -> Float32[ndarray, "n 3"]:
    """Input of filter and interaction network per hit, `NODE_FEATURES`: r and z in m, eta / 4."""
    return np.ascontiguousarray(hit_features(position)[:, [0, 3, 4]])


def edge_features(
    position: Float32[ndarray, "n 3"], edge_index: Int64[ndarray, "2 n_edges"]
) -> Float32[ndarray, "n_edges 6"]:
    """Input of filter and interaction network per edge, `EDGE_FEATURES`, scaled to order one and clipped to [-4, 4].

    1000 mm kappa, asinh(slope) / 4, z0 / 200 mm, dr / 200 mm, dz / 500 mm, 10 dphi.
    """
    edge, f32 = doublet(position, edge_index), np.float32
    scaled = [
        edge.kappa * f32(1000),
        np.arcsinh(edge.slope) * f32(0.25),
        edge.z0 / f32(200),
        edge.dr / f32(200),
        edge.dz / f32(500),
        edge.dphi * f32(10),
    ]
    clipped: Float32[ndarray, "n_edges 6"] = np.clip(np.stack(scaled, axis=1), f32(-4), f32(4)).astype(np.float32)
    return clipped


def filter_features(
    position: Float32[ndarray, "n 3"], edge_index: Int64[ndarray, "2 n_edges"], distance2: Float32[ndarray, " n_edges"]
) -> Float32[ndarray, "n_edges 13"]:
    """Input of the filter: `EDGE_FEATURES`, `NODE_FEATURES` of the inner and of the outer hit, squared distance.

    Args:
        position: r [mm], phi [rad], z [mm] of each hit.
        edge_index: inner hit and outer hit of each edge.
        distance2: squared distance of the inner hit's source vector from the outer hit's target vector.
    """
    nodes = node_features(position)
    inner, outer = edge_index
    parts = [edge_features(position, edge_index), nodes[inner], nodes[outer], distance2[:, None]]
    return np.concatenate(parts, axis=1)
