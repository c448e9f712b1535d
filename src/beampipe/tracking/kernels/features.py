"""Input features of the networks, for training and the reference kernels; native/networks repeats them in C++.

Only the input of the embedding depends on phi itself: a rotation about the beam changes no edge feature.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32
from beampipe.events import Position
from beampipe.tracking.kernels.geometry import MIN_DR, EdgeIndex, EdgeValues, PairTable, doublet

HIT_FEATURES: Final = ("r", "cos_phi", "sin_phi", "z", "eta")
"""Features of a hit for the embedding."""

NODE_FEATURES: Final = ("r", "z", "eta")
"""Features of a hit for filter and interaction network."""

EDGE_FEATURES: Final = ("kappa", "slope", "z0", "dr", "dz", "dphi")
"""Features of an edge for filter and interaction network, from `beampipe.tracking.kernels.geometry.Doublet`."""

PAIR_FEATURES: Final = ("chi2_in", "chi2_out", "n_in", "n_out", "level_in", "level_out")
"""Features of the triplets of an edge, for the interaction network."""

FILTER_INPUTS: Final = len(EDGE_FEATURES) + 2 * len(NODE_FEATURES) + 1
"""Length of the filter's input: the edge, both of its hits and their squared embedding distance."""

LENGTH_SCALE: Final = 1e-3
"""Factor on r and z of a hit: the networks take metres."""

ETA_SCALE: Final = 0.25
"""Factor on pseudorapidities, and on asinh(slope), which is one."""

KAPPA_SCALE: Final = 1000.0
"""Factor on the curvature of an edge [mm]: 1 stands for 1/m, a pT of 0.6 GeV in 2 T."""

RADIAL_UNIT: Final = 200.0
"""Length that z0 and dr of an edge are divided by [mm]."""

AXIAL_UNIT: Final = 500.0
"""Length that dz of an edge is divided by [mm]."""

DPHI_SCALE: Final = 10.0
"""Factor on dphi of an edge [1/rad]."""

FEATURE_MAX: Final = 4.0
"""Largest absolute value of an edge feature; larger ones are clipped."""

LINK: Final = 0.125
"""Increment of ``level_in`` or ``level_out`` of `PAIR_FEATURES` per link of a chain of triplets."""

NO_PARTNER: Final = np.float32(2.0)
"""chi2 feature of an edge with no partner; a triplet that passes has chi2 < 1."""

EMBEDDING_SIZE: Final = 8
"""Length of the source and of the target vector of a hit."""


def hit_features(position: Position) -> Float32[ndarray, "n_hits 5"]:
    """Input of the embedding, `HIT_FEATURES`: r and z in m, cos and sin of phi, eta / 4."""
    r, phi, z = position.T
    eta = np.arcsinh(z / np.maximum(r, MIN_DR))
    length, angle = np.float32(LENGTH_SCALE), np.float32(ETA_SCALE)
    return np.stack([r * length, np.cos(phi), np.sin(phi), z * length, eta * angle], axis=1).astype(np.float32)


def node_features(position: Position) -> Float32[ndarray, "n_hits 3"]:
    """Input of filter and interaction network per hit, `NODE_FEATURES`: r and z in m, eta / 4."""
    return np.ascontiguousarray(hit_features(position)[:, [0, 3, 4]])


def edge_features(position: Position, edge_index: EdgeIndex) -> Float32[ndarray, "n_edges 6"]:
    """Input of filter and interaction network per edge, `EDGE_FEATURES`, scaled to order one and clipped to [-4, 4].

    1000 mm kappa, asinh(slope) / 4, z0 / 200 mm, dr / 200 mm, dz / 500 mm, 10 dphi.
    """
    edge, f32 = doublet(position, edge_index), np.float32
    scaled: list[ndarray] = [
        edge.kappa * f32(KAPPA_SCALE),
        np.arcsinh(edge.slope) * f32(ETA_SCALE),
        edge.z0 / f32(RADIAL_UNIT),
        edge.dr / f32(RADIAL_UNIT),
        edge.dz / f32(AXIAL_UNIT),
        edge.dphi * f32(DPHI_SCALE),
    ]
    highest = f32(FEATURE_MAX)
    return np.asarray(np.clip(np.stack(scaled, axis=1), -highest, highest).astype(np.float32))


def filter_features(position: Position, edge_index: EdgeIndex, distance2: EdgeValues) -> Float32[ndarray, "n_edges 13"]:
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


def on_chains(pair_features: PairTable, min_hits: int) -> Bool[ndarray, " n_edges"]:
    """Whether each edge lies on a chain of triplets of at least `min_hits` hits, and of three.

    The longest chain through an edge has as many links inwards and outwards as its levels, and two more hits.

    Args:
        pair_features: `PAIR_FEATURES` of each edge.
        min_hits: fewest hits of a chain.
    """
    links = pair_features[:, PAIR_FEATURES.index("level_in")] + pair_features[:, PAIR_FEATURES.index("level_out")]
    return np.asarray(links >= np.float32(LINK * max(min_hits - 2, 1)))
