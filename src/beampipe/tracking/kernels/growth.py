"""The order in which layers are searched for the middle hits of triplets: from the beam outwards, as tracks grow."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.tracking.windows import Windows

__all__ = ["SEED", "SEED_DEPTH", "depths", "stages"]

SEED_DEPTH: Final = 3
"""Most layers before a seed layer, where nothing else is said: a track may have lost its first hits."""

SEED: Final = 0
"""Stage of the seed layers."""


def depths(windows: Windows) -> Int64[ndarray, " n_layers"]:
    """The number of other layers that a track from the origin crosses before each layer.

    The least of those on the straight lines to the middles of the four sides of the layer's box: a disc is also reached
    along its inner edge, which the discs before it do not cover.
    """
    r_min, r_max, z_min, z_max = windows.layers.T
    r_middle, z_middle = np.float32(0.5) * (r_min + r_max), np.float32(0.5) * (z_min + z_max)
    ways = [(r_min, z_middle), (r_max, z_middle), (r_middle, z_min), (r_middle, z_max)]
    least: Int64[ndarray, " n_layers"] = np.min([_layers_before(windows, r, z) for r, z in ways], axis=0)
    return least


def _layers_before(windows: Windows, r: ndarray, z: ndarray) -> Int64[ndarray, " n_layers"]:
    """The number of layers other than its own that the line to each point (r, z) of a layer crosses."""
    r_min, r_max, z_min, z_max = windows.layers.T
    r, z = r[:, None], z[:, None]
    begins_before = (r_min < r) & np.where(z > 0, z_min < z, (z == 0) | (z_max > z))
    # The line separates the corners of the boxes that it crosses.
    low, high = np.where(z > 0, r_max, r_min), np.where(z > 0, r_min, r_max)
    crossed = begins_before & (z_min * r <= low * z) & (z_max * r >= high * z)
    count: Int64[ndarray, " n_layers"] = np.count_nonzero(crossed & ~np.eye(len(r), dtype=bool), axis=1)
    return count


def stages(windows: Windows, seed_depth: int = SEED_DEPTH) -> Int64[ndarray, " n_layers"]:
    """The stage in which the hits of each layer are searched around, `SEED` or later.

    Layers with at most `seed_depth` others before them are *seed layers*, as are those on which no pair ends: around
    their hits, all doublets are tried. On the others only those doublets go on that are edges already, so a layer's
    stage is one more than the last of the layers from which pairs lead to it. Layers on a ring of pairs, or behind one,
    have no such stage: they are seed layers, too.

    Args:
        windows: learned windows, of which the boxes of layers and the pairs of them matter.
        seed_depth: most layers before a seed layer, as `depths` counts them.
    """
    inner, outer = windows.pairs.T
    seeded = ~np.isin(np.arange(len(windows.layers)), outer) | (depths(windows) <= seed_depth)
    stage = {int(layer): SEED for layer in np.flatnonzero(seeded)}
    before = {int(layer): set(inner[outer == layer].tolist()) for layer in np.flatnonzero(~seeded)}
    while ready := [layer for layer in before if layer not in stage and before[layer] <= stage.keys()]:
        stage |= {layer: 1 + max(stage[other] for other in before[layer]) for layer in ready}
    return np.array([stage.get(layer, SEED) for layer in range(len(windows.layers))], np.int64)
