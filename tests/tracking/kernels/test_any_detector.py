"""Edges among random hits of random detectors: layers of any kind, joined in any way, by windows of any width.

Nothing here is like the detector that the kernels were made for: discs on both sides, thick or around the beam line,
pairs that lead inwards or in rings, windows of z0 on one side only, tracks that turn back.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy import ndarray

from beampipe.tracking import kernels
from beampipe.tracking.windows import MAX_OUT, Windows
from tests.tracking.kernels import reference

SEEDS = range(12)

DEPTHS = [seed % 3 for seed in SEEDS]
"""Most layers before a seed layer."""


def random_windows(rng: np.random.Generator) -> Windows:
    """Up to four barrel layers and up to five discs, joined at random."""
    barrels = [
        (r - rng.uniform(0.5, 4), r + rng.uniform(0.5, 4), -rng.uniform(100, 900), rng.uniform(100, 900))
        for r in np.sort(rng.uniform(5, 800, rng.integers(1, 5)))
    ]
    discs = [
        (max(0, rng.uniform(-20, 60)), rng.uniform(150, 900), z - rng.uniform(0.5, 30), z + rng.uniform(0.5, 30))
        for z in rng.uniform(300, 2500, rng.integers(1, 6)) * rng.choice([-1, 1])
    ]
    n = len(barrels) + len(discs)
    in_line = rng.random() < 0.5
    possible = [(i, j) for i in range(n) for j in range(n) if (0 < j - i < 3 if in_line else i != j)]
    pairs = np.array(sorted(rng.permutation(possible)[: 3 * n].tolist()), np.int32)
    curvature, width = rng.choice([1e-3, 3e-3, 6e-3]), rng.choice([50, 150, 400])
    z0_min = rng.uniform(-1, 0.5, len(pairs)) * width
    pair_windows = [
        rng.uniform(0.5, 1.5, len(pairs)) * curvature,
        z0_min,
        z0_min + rng.uniform(0.2, 2, len(pairs)) * width,
    ]
    triplet_windows = rng.uniform(0.5, 2, (len(pairs), MAX_OUT, 4)) * np.array([1e-1, 1, 1, 1e3])
    return Windows(
        layers=np.array(barrels + discs, np.float32),
        pairs=pairs,
        pair_windows=np.stack(pair_windows, axis=1).astype(np.float32),
        out_begin=np.searchsorted(pairs[:, 0], np.arange(n + 1)).astype(np.int32),
        triplet_windows=triplet_windows.astype(np.float32),
    )


def hits_on(windows: Windows, n: int, rng: np.random.Generator) -> ndarray:
    """(n, 3) float32 hits, in half of the events on both sides of phi = pi only."""
    r_min, r_max, z_min, z_max = windows.layers[rng.integers(0, len(windows.layers), n)].T
    phi = rng.uniform(-np.pi, np.pi, n)
    if rng.random() < 0.5:
        phi = np.sign(phi) * np.pi - 0.1 * phi
    return np.stack([rng.uniform(r_min, r_max), phi, rng.uniform(z_min, z_max)], axis=1).astype(np.float32)


@cache
def case(seed: int) -> tuple[Windows, ndarray, ndarray]:
    """Windows, hits, and the edges that the reference finds."""
    rng = np.random.default_rng(seed)
    windows = random_windows(rng)
    position = hits_on(windows, 700, rng)
    return windows, position, reference.module_map_edges(position, windows, None, DEPTHS[seed])


@pytest.mark.parametrize("seed", SEEDS)
def test_edges(isa: str, seed: int) -> None:
    windows, position, want = case(seed)
    got = kernels.module_map_edges(position, windows, 2, None, DEPTHS[seed])
    different = set(map(tuple, got.T.tolist())) ^ set(map(tuple, want.T.tolist()))
    assert len(different) <= 0.005 * want.shape[1]  # which rounding moved across the border of a window
