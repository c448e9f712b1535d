"""Layers, doublet windows and triplet windows of a detector, learned from simulation without a network.

A *doublet* joins hits on two layers that a particle crosses one after the other. It has a curvature kappa (of the
circle through both hits and the beam line), cot = dz / ds (s: length of arc) and an intercept z0.
A *triplet* is two doublets that share a hit. It passes if::

    dkappa^2 / (a (1/d_in^2 + 1/d_out^2) + b kappa^2)  +  t^2 / (c + d kappa^2)  <  1

with dkappa the change of curvature, t = (cot_out - cot_in) / (1 + cot_in cot_out) the tangent of the change of dip,
d the transverse lengths of the doublets and kappa that of the inner one. The terms in a and c are measurement errors,
those in b and d are multiple scattering, which grows with 1 / pT. Each triple of layers has its own a, b, c, d.

Source: the module map of the L2IT group (C. Biscarat et al., EPJ Web Conf. 251 (2021) 03047) with layers in place of
modules and a chi2 in place of boxes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Int16, Int32, Int64
from beampipe.errors import ConfigError, FileError

LayerNumbers = Int16[ndarray, " n_hits"]
"""Number of the layer that each hit lies on; -1 for none."""

MAX_OUT: Final = 16
"""Most layer pairs that start on one layer."""

WIDENING: Final = 5.0
"""Largest distance from a layer's box [mm] at which hits still count as on it, where no other layer is as near.
Measuring r from a beam line off the axis moves hits by up to this much."""

_OF_GAP: Final = 0.49
"""Largest widening of two layers as a share of the gap between them."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Learned tables of one detector and one range of momentum.

    Attributes:
        layers: (n_layers, 4) float32: r_min, r_max, z_min, z_max [mm] of each layer; boxes do not overlap.
        pairs: (n_pairs, 2) int32: inner and outer layer, sorted.
        pair_windows: (n_pairs, 3) float32: kappa_max [1/mm], z0_min, z0_max [mm].
        out_begin: (n_layers + 1,) int32: `pairs[out_begin[l]:out_begin[l + 1]]` start on layer l.
        triplet_windows: (n_pairs, MAX_OUT, 4) float32: a, b, c, d for the inner pair and the n-th pair that
            starts on its outer layer; a = 0 where no particle was seen.

    Raises:
        ConfigError: the tables do not fit together.
    """

    layers: Float32[ndarray, "n_layers 4"]
    pairs: Int32[ndarray, "n_pairs 2"]
    pair_windows: Float32[ndarray, "n_pairs 3"]
    out_begin: Int32[ndarray, " n_layers_and_1"]
    triplet_windows: Float32[ndarray, "n_pairs max_out 4"]

    def __post_init__(self) -> None:
        n_layers, n_pairs = len(self.layers), len(self.pairs)
        shapes = {
            "layers": (n_layers, 4),
            "pairs": (n_pairs, 2),
            "pair_windows": (n_pairs, 3),
            "out_begin": (n_layers + 1,),
            "triplet_windows": (n_pairs, MAX_OUT, 4),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ConfigError(f"windows: got {name} of shape {getattr(self, name).shape}, expected {shape}")
        if n_pairs and not (self.pairs.min() >= 0 and self.pairs.max() < n_layers):
            raise ConfigError(f"windows: got a layer number beyond the {n_layers} layers in pairs")

    def up_to(self, curvature: float) -> Windows:
        """The windows with curvature limits scaled by `curvature`, for tracks of higher momentum only.

        Args:
            curvature: share of each doublet's largest curvature that is kept.
        """
        if curvature == 1:
            return self
        share = np.array([curvature, 1, 1], np.float32)
        return replace(self, pair_windows=self.pair_windows * share)

    def widened(self) -> Windows:
        """The same windows, their layers larger on all sides by `WIDENING`, or by less where layers would overlap."""
        r_min, r_max, z_min, z_max = self.layers.T
        gap_r, gap_z = r_min[:, None] - r_max, z_min[:, None] - z_max
        gap = np.maximum(np.maximum(gap_r, gap_r.T), np.maximum(gap_z, gap_z.T))
        np.fill_diagonal(gap, np.inf)
        by = np.float32(max(min(WIDENING, _OF_GAP * float(gap.min(initial=np.inf))), 0.0))
        return replace(self, layers=self.layers + by * np.array([-1, 1, -1, 1], np.float32))


def save_windows(windows: Windows, path: Path) -> None:
    """Write learned tables to a safetensors file."""
    from safetensors.numpy import save_file

    save_file({f.name: np.ascontiguousarray(getattr(windows, f.name)) for f in fields(windows)}, path)


def load_windows(path: Path) -> Windows:
    """Read learned tables from a safetensors file.

    Raises:
        FileError: the file is missing, truncated or lacks a table.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tables = load_file(path)
        return Windows(**{f.name: tables[f.name] for f in fields(Windows)})
    except (OSError, SafetensorError, KeyError) as error:
        raise FileError(f"{path}: got no readable windows ({error}), expected a safetensors file of them") from error


# The order in which layers are searched for the middle hits of triplets: from the beam outwards.


SEED_DEPTH: Final = 3
"""Default of the most layers before a seed layer: a track may have lost its first hits."""

SEED_STAGE: Final = 0
"""Stage of the seed layers."""


def layer_depths(windows: Windows) -> Int64[ndarray, " n_layers"]:
    """The number of other layers that a track from the origin crosses before each layer.

    It is the least number over the straight lines to the middles of the four sides of the layer's box: some tracks
    reach a disc at its inner edge, which the discs before it do not cover.
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


_MOST_FURTHER: Final = 2
"""Most layers by which the second hit of a track is further out than the first, where both lie on barrels."""


def may_begin(windows: Windows, seed_depth: int = SEED_DEPTH) -> Bool[ndarray, "n_layers n_layers"]:
    """Whether a track may begin with a doublet, by its inner and its outer layer.

    Between barrels, most doublets are long, but hardly any track has lost two hits in a row. Such a track begins with
    its second hit, if there are seed layers beyond that.
    """
    r_min, r_max, z_min, z_max = windows.layers.T
    barrel, depth = r_max - r_min < z_max - z_min, layer_depths(windows)
    long = barrel[:, None] & barrel & (depth - depth[:, None] > _MOST_FURTHER)
    begins: Bool[ndarray, "n_layers n_layers"] = ~long | (depth >= seed_depth)
    return begins


def growth_stages(windows: Windows, seed_depth: int = SEED_DEPTH) -> Int64[ndarray, " n_layers"]:
    """The stage in which the hits of each layer are searched around, `SEED` or later.

    Layers with at most `seed_depth` others before them are *seed layers*, as are those on which no pair ends: around
    their hits, all doublets are tried. On other layers only doublets that are edges already are extended, so a layer's
    stage is one more than the largest stage of the layers from which pairs lead to it. Layers on a cycle of pairs, or
    behind one, have no such stage: they are seed layers, too.

    Args:
        windows: learned windows; only the boxes of layers and the pairs matter.
        seed_depth: most layers before a seed layer, as `layer_depths` counts them.
    """
    inner, outer = windows.pairs.T
    seeded = ~np.isin(np.arange(len(windows.layers)), outer) | (layer_depths(windows) <= seed_depth)
    stage = {int(layer): SEED_STAGE for layer in np.flatnonzero(seeded)}
    before = {int(layer): set(inner[outer == layer].tolist()) for layer in np.flatnonzero(~seeded)}
    while ready := [layer for layer in before if layer not in stage and before[layer] <= stage.keys()]:
        stage |= {layer: 1 + max(stage[other] for other in before[layer]) for layer in ready}
    return np.array([stage.get(layer, SEED_STAGE) for layer in range(len(windows.layers))], np.int64)
