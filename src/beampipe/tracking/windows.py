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


# The order in which layers are searched for the middle hits of triplets, and where tracks begin.


SEED_DEPTH: Final = 5
"""Default of the most layers before a seed layer: a track may have lost its first hits."""

_FIRST: Final = 3
"""Most layers before one of the first layers: a track may begin with a triplet that ends on one and skips a layer."""

_SLOPES: Final = 512
"""Number of straight lines from each vertex to count layers on."""

_VERTICES: Final = (-100.0, 0.0, 100.0)
"""z [mm] of these vertices."""

_NO_LINE: Final = 1000
"""The fewest layers where there is no line."""


@dataclass(frozen=True, eq=False)
class Crossings:
    """Numbers of layers on straight lines of all slopes from the beam line.

    Attributes:
        before: fewest layers before each, on lines from the origin; 1000 where there is no line.
        most_before: most layers before each, on lines from the origin.
        between: fewest layers between an inner and an outer one, on any line; 1000 where there is no line.
    """

    before: Int64[ndarray, " n_layers"]
    most_before: Int64[ndarray, " n_layers"]
    between: Int64[ndarray, "n_layers n_layers"]


def crossings(layers: Float32[ndarray, "n_layers 4"]) -> Crossings:
    """The layers that straight lines cross, each at the middle of its thickness.

    Args:
        layers: r_min, r_max, z_min, z_max [mm] of each layer.
    """
    n_layers = len(layers)
    before, most_before = np.full(n_layers, _NO_LINE), np.zeros(n_layers, np.int64)
    between = np.full((n_layers, n_layers), _NO_LINE)
    along = (2.0 * np.arange(_SLOPES)[:, None] + 1 - _SLOPES) / _SLOPES
    cot = along / (1 - np.abs(along))
    for z0 in _VERTICES:
        r_min, r_max, z_min, z_max = (layers.astype(np.float64) - np.array([0, 0, z0, z0])).T
        barrel = r_max - r_min < z_max - z_min
        r = np.where(barrel, 0.5 * (r_min + r_max), 0.5 * (z_min + z_max) / cot)
        crossed = np.where(barrel, (cot * r >= z_min) & (cot * r <= z_max), (r >= r_min) & (r <= r_max))
        order = np.argsort(np.where(crossed, r, np.inf), axis=1, kind="stable")
        for on_line, n_crossed in zip(order, crossed.sum(axis=1), strict=True):
            on_line = on_line[:n_crossed]
            rank = np.arange(n_crossed)
            if z0 == 0:
                before[on_line] = np.minimum(before[on_line], rank)
                most_before[on_line] = np.maximum(most_before[on_line], rank)
            distance = rank - rank[:, None]
            pairs = np.ix_(on_line, on_line)
            between[pairs] = np.minimum(between[pairs], np.where(distance > 0, distance - 1, _NO_LINE))
    return Crossings(before, most_before, between)


def pair_numbers(windows: Windows) -> Int64[ndarray, "n n"]:
    """Number of each pair, by inner and outer layer, -1 for none; the last row and column serve layer -1."""
    n_layers = len(windows.layers)
    numbers = np.full((n_layers + 1, n_layers + 1), -1)
    numbers[windows.pairs[:, 0], windows.pairs[:, 1]] = np.arange(len(windows.pairs))
    return numbers


def growth_stages(windows: Windows) -> Int64[ndarray, " n_layers"]:
    """The stage in which the hits of each layer are searched around.

    It is one more than the last of the layers from which pairs lead to it. Layers on a ring of pairs, or behind one,
    have no such stage: theirs is the number of layers, beyond all others.

    Args:
        windows: learned windows; only the number of layers and the pairs matter.
    """
    inner, outer = windows.pairs.T
    stage = np.zeros(len(windows.layers), np.int64)
    for _ in stage:
        np.maximum.at(stage, outer, stage[inner] + 1)
        stage = np.minimum(stage, len(stage))
    return stage


def may_begin(windows: Windows, seed_depth: int = SEED_DEPTH) -> Bool[ndarray, "n_pairs max_out"]:
    """Whether a track may begin with each triplet, by the pair inside and the slot of the pair outside.

    The middle hit must lie on a *seed layer*, one with at most `seed_depth` others before it, and no layer may be
    skipped, or one where the triplet ends on one of the first layers. Most other triplets agree by chance, and a track
    that has begun goes on across all gaps of the windows. Around hits of layers without a stage, tracks begin with any
    triplet.

    Args:
        windows: learned windows.
        seed_depth: most layers before a seed layer.
    """
    on_lines, stage = crossings(windows.layers), growth_stages(windows)
    begins = np.zeros(windows.triplet_windows.shape[:2], bool)
    for p, (a, b) in enumerate(windows.pairs):
        outer = windows.pairs[windows.out_begin[b] : windows.out_begin[b + 1], 1]
        skipped = on_lines.between[a, b] + on_lines.between[b, outer]
        begins[p, : len(outer)] = on_lines.before[b] <= seed_depth
        begins[p, : len(outer)] &= skipped <= (on_lines.most_before[outer] <= _FIRST)
        begins[p, : len(outer)] |= stage[b] == len(stage)
    return begins
