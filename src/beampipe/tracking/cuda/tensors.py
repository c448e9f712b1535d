"""The tensors that the CUDA stages hand on to each other: shape and dtype of each, named once."""

from __future__ import annotations

from torch import Tensor

from beampipe.arrays import Float32, Int64

__all__ = ["Chi2Tensor", "EdgeTensor", "EdgeValueTensor", "PairTensor", "PositionTensor", "TripletTensor"]

PositionTensor = Float32[Tensor, "n_hits 3"]
"""r [mm], phi [rad] and z [mm] of each hit."""

EdgeTensor = Int64[Tensor, "2 n_edges"]
"""Inner hit and outer hit of each edge."""

EdgeValueTensor = Float32[Tensor, " n_edges"]
"""One number of each edge: a score, a logit or a squared distance."""

TripletTensor = Int64[Tensor, "2 n_triplets"]
"""Pairs of edges, in and out, that share a hit."""

Chi2Tensor = Float32[Tensor, " n_triplets"]
"""chi2 of each triplet in units of its window; below 1."""

PairTensor = Float32[Tensor, "n_edges 6"]
"""What the triplets say of each edge, in the order of `PAIR_FEATURES`."""
