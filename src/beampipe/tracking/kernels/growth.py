"""The order in which layers are searched for the middle hits of triplets: from the beam outwards, as tracks grow."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from beampipe.tracking.windows import Windows

__all__ = ["SEED", "SEED_DEPTH", "stages"]

SEED_DEPTH: Final = 2
"""Most pairs of layers from an innermost layer to a seed layer: a track may have lost its first hits."""

SEED: Final = 0
"""Stage of the seed layers."""


def stages(windows: Windows) -> Int64[ndarray, " n_layers"]:
    """The stage in which the hits of each layer are searched around, `SEED` or later.

    Tracks begin on the innermost layers, on which no pair ends. Layers at most `SEED_DEPTH` pairs away from one are
    *seed layers*: around their hits, all doublets are tried. On the others only those doublets go on that are edges
    already, so a layer's stage is one more than the last of the layers from which pairs lead to it. Layers on a ring of
    pairs, or behind one, have no such stage: they are seed layers, too. All of it follows from `Windows.pairs`.
    """
    inner, outer = windows.pairs.T
    seeded = ~np.isin(np.arange(len(windows.layers)), outer)
    for _ in range(SEED_DEPTH):
        seeded = seeded | np.isin(np.arange(len(windows.layers)), outer[seeded[inner]])
    stage = {int(layer): SEED for layer in np.flatnonzero(seeded)}
    before = {int(layer): set(inner[outer == layer].tolist()) for layer in np.flatnonzero(~seeded)}
    while ready := [layer for layer in before if layer not in stage and before[layer] <= stage.keys()]:
        stage |= {layer: 1 + max(stage[other] for other in before[layer]) for layer in ready}
    return np.array([stage.get(layer, SEED) for layer in range(len(windows.layers))], np.int64)
