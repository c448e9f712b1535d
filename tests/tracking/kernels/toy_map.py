"""A small detector and loose windows: random hits with plenty of doublets and triplets."""

import numpy as np
from numpy import ndarray

from beampipe.tracking.windows import MAX_OUT, Windows

BARRELS = (32.0, 72.0, 116.0, 172.0)
DISCS = (600.0, 700.0, 820.0)


def toy_windows(seed: int = 0, known: float = 0.8) -> Windows:
    """Four barrel layers and three discs on one side, each joined to its next two, windows of random width.

    Args:
        seed: of the widths.
        known: fraction of the triples of layers that have a window.
    """
    rng = np.random.default_rng(seed)
    barrel = [(r - 2, r + 2, -500, 500) for r in BARRELS]
    disc = [(30, 180, z - 2, z + 2) for z in DISCS]
    layers = np.array(barrel + disc, np.float32)
    n = len(layers)
    pairs = np.array([(i, j) for i in range(n) for j in range(i + 1, min(i + 3, n))], np.int32)
    out_begin = np.searchsorted(pairs[:, 0], np.arange(n + 1)).astype(np.int32)
    pair_windows = np.stack(
        [rng.uniform(5e-4, 2e-3, len(pairs)), -rng.uniform(100, 300, len(pairs)), rng.uniform(100, 300, len(pairs))],
        axis=1,
    ).astype(np.float32)
    triplet_windows = np.zeros((len(pairs), MAX_OUT, 4), np.float32)
    for p, (_, outer) in enumerate(pairs):
        for slot in range(out_begin[outer + 1] - out_begin[outer]):
            if rng.random() < known:
                triplet_windows[p, slot] = rng.uniform(0.5, 2, 4) * np.array([1e-3, 0.1, 1e-2, 1e3])
    return Windows(layers, pairs, pair_windows, out_begin, triplet_windows)


def toy_hits(n: int, seed: int = 0) -> ndarray:
    """(n, 3) float32 hits spread over the layers, some outside all of them, some duplicated."""
    rng = np.random.default_rng(seed)
    windows = toy_windows()
    layer = rng.integers(0, len(windows.layers), n)
    r_min, r_max, z_min, z_max = windows.layers[layer].T
    r, z = rng.uniform(r_min, r_max), rng.uniform(z_min, z_max)
    r[rng.random(n) < 0.05] += 20
    position = np.stack([r, (np.pi + rng.uniform(-0.2, 0.2, n)) % (2 * np.pi) - np.pi, z], axis=1).astype(np.float32)
    position[: n // 20] = position[n // 20 : 2 * (n // 20)]
    return position


def helix_hits(n_tracks: int, seed: int = 0) -> ndarray:
    """(n, 3) float32 hits of straight and slightly bent tracks; a third of the hits have a twin on their layer."""
    rng = np.random.default_rng(seed)
    shape = (n_tracks, len(BARRELS))
    r = np.array(BARRELS) + rng.uniform(-1.5, 1.5, shape)
    twin = r + rng.choice([-0.4, 0.4], shape)
    phi0, cot = rng.uniform(-np.pi, np.pi, (n_tracks, 1)), rng.uniform(-1, 1, (n_tracks, 1))
    kappa, z0 = rng.uniform(-3e-4, 3e-4, (n_tracks, 1)), rng.uniform(-40, 40, (n_tracks, 1))

    def on_helix(r: ndarray) -> ndarray:
        phi = (phi0 + np.arcsin(kappa * r / 2) + np.pi) % (2 * np.pi) - np.pi
        return np.stack([r, phi, z0 + cot * r], axis=2)

    position = np.concatenate([on_helix(r).reshape(-1, 3), on_helix(twin)[rng.random(shape) < 1 / 3]])
    return rng.permutation(position).astype(np.float32)
