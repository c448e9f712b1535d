"""Comparing labels, whatever the tracks' numbers."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64

__all__ = ["agreement"]


def agreement(one: Int64[ndarray, " n_hits"], other: Int64[ndarray, " n_hits"]) -> float:
    """Fraction of hits that are on the same set of hits in both, or on no track in both; 1 for no hits."""
    if len(one) == 0:
        return 1.0
    _, pair, shared = np.unique(np.stack([one, other]), axis=1, return_inverse=True, return_counts=True)
    size_one, size_other = (np.bincount(labels + 1)[labels + 1] for labels in (one, other))
    same = (shared[pair.reshape(-1)] == size_one) & (size_one == size_other)
    return float(np.mean(np.where((one < 0) | (other < 0), (one < 0) & (other < 0), same)))
