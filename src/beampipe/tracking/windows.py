"""What simulation teaches about tracks, without a network: layers, doublet windows, triplet windows.

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

from beampipe.arrays import Float32, Int32
from beampipe.errors import ConfigError, FileError

__all__ = ["MAX_OUT", "WIDENING", "Windows", "load_windows", "save_windows"]

MAX_OUT: Final = 16
"""Most layer pairs that start on one layer."""

WIDENING: Final = 5.0
"""Distance from a layer's box [mm] at which hits still count as on it, where no other layer is as near: their r
changes by as much when it is measured from a beam line that lies off the axis."""

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
        """The windows with that share of each doublet's curvature: for the tracks of higher momentum.

        Args:
            curvature: share of the largest curvature that stays inside.
        """
        if curvature == 1:
            return self
        share = np.array([curvature, 1, 1], np.float32)
        return replace(self, pair_windows=self.pair_windows * share)

    def widened(self) -> Windows:
        """The same windows, their layers larger by `WIDENING` on all sides, or by what keeps all of them apart."""
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
