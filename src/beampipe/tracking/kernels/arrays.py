"""The arrays that kernels and stages hand on to each other: shape and dtype of each, named once."""

from __future__ import annotations

from numpy import ndarray

from beampipe.arrays import Float32, Int16, Int64

__all__ = [
    "Chi2",
    "EdgeIndex",
    "EdgeValues",
    "LayerNumbers",
    "Offsets",
    "PairTable",
    "Position",
    "TrackIds",
    "Triplets",
]

Position = Float32[ndarray, "n_hits 3"]
"""r [mm], phi [rad] and z [mm] of each hit."""

Offsets = Int64[ndarray, " n_events_and_1"]
"""First hit of each event, and the end."""

LayerNumbers = Int16[ndarray, " n_hits"]
"""Number of the layer that each hit lies on; -1 for none."""

TrackIds = Int64[ndarray, " n_hits"]
"""Track of each hit; -1 for none."""

EdgeIndex = Int64[ndarray, "2 n_edges"]
"""Inner hit and outer hit of each edge."""

EdgeValues = Float32[ndarray, " n_edges"]
"""One number of each edge: a score, a logit, a weight or a squared distance."""

Triplets = Int64[ndarray, "2 n_triplets"]
"""Pairs of edges, in and out, that share a hit."""

Chi2 = Float32[ndarray, " n_triplets"]
"""chi2 of each triplet in units of its window; below 1."""

PairTable = Float32[ndarray, "n_edges 6"]
"""What the triplets say of each edge, in the order of `PAIR_FEATURES`."""
