"""Small random hits, graphs and networks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int64
from beampipe.tracking.kernels import GnnWeights, Layer, Mlp

RADII = np.array([32, 70, 115, 170, 260, 360, 500, 660, 820, 1020.0])


def hits(n_tracks: int, seed: int) -> Float32[ndarray, "n 3"]:
    """Helices from the beam line through ten cylinders, in random order: (n, 3) float32."""
    rng = np.random.default_rng(seed)
    phi0 = rng.uniform(-np.pi, np.pi, (n_tracks, 1))
    cot, kappa = np.sinh(rng.uniform(-1.5, 1.5, (n_tracks, 1))), rng.uniform(-7e-4, 7e-4, (n_tracks, 1))
    r = RADII + rng.normal(0, 1, (n_tracks, len(RADII)))
    phi = phi0 + np.arcsin(kappa * r / 2)
    z = rng.normal(0, 50, (n_tracks, 1)) + cot * r
    position = np.stack([r, (phi + np.pi) % (2 * np.pi) - np.pi, z], axis=2).reshape(-1, 3)
    return rng.permutation(position).astype(np.float32)


def mlp(rng: np.random.Generator, *widths: int, scale: float = 1.0) -> Mlp:
    return Mlp(
        tuple(
            Layer(
                (rng.normal(size=(b, a)) * scale / np.sqrt(a)).astype(np.float32),
                (rng.normal(size=b) * 0.1).astype(np.float32),
            )
            for a, b in pairwise(widths)
        )
    )


def embedding(rng: np.random.Generator, hidden: int = 64) -> Mlp:
    """Source and target of a hit lie close together, so that there are neighbours to find."""
    network = mlp(rng, 5, hidden, hidden, hidden, 16, scale=1.6)
    last = network.layers[-1]
    last.weight[8:] = last.weight[:8] + 0.03 * rng.normal(size=(8, hidden))
    last.bias[8:] = last.bias[:8]
    return network


def gnn(rng: np.random.Generator, hidden: int = 32, steps: int = 3, n_pair: int = 6) -> GnnWeights:
    return GnnWeights(
        mlp(rng, 3, hidden, hidden),
        mlp(rng, 6 + n_pair, hidden, hidden),
        tuple(mlp(rng, 3 * hidden, hidden, hidden) for _ in range(steps)),
        tuple(mlp(rng, 3 * hidden, hidden, hidden, scale=0.3) for _ in range(steps)),
        mlp(rng, 3 * hidden, hidden, 1),
    )


def graph(position: Float32[ndarray, "n 3"], n_edges: int, seed: int) -> Int64[ndarray, "2 n_edges"]:
    """Random edges inner -> outer, sorted by inner hit, some of them equal."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, len(position), (2, n_edges))
    rho = np.hypot(position[:, 0], position[:, 2])
    edge_index = np.where(rho[a] < rho[b], [a, b], [b, a])
    return np.ascontiguousarray(edge_index[:, np.lexsort(edge_index[::-1])])
