"""What the track fit knows of a detector: how well each layer measures, and how much it scatters."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Float64, Int64
from beampipe.errors import ConfigError, FileError

__all__ = ["PION_MASS", "FitTables", "layer_of", "load_fit_tables", "save_fit_tables"]

PION_MASS: Final = 0.13957039
"""Mass [GeV] that every track is given where its speed matters. Source: Particle Data Group, charged pion."""


@dataclass(frozen=True, eq=False)
class FitTables:
    """Learned tables of one detector in a constant solenoidal field.

    A layer is a barrel where its box is longer in z than in r, else a disc. A barrel layer measures along phi and z, a
    disc along phi and r. Where a track crosses a layer, its direction is scattered in each of two planes by an angle of
    the variance ``scattering * path / (p beta)^2``, with `path` the length of its way through the layer in units of
    the thickness, and it loses the energy ``energy_loss * scattering * path``.

    Attributes:
        layers: (n_layers, 4) float32: r_min, r_max, z_min, z_max [mm] of each layer; boxes do not overlap.
        variance: (n_layers, 2) float32 [mm^2] of a hit across the track (along phi), and along z (barrel) or r (disc).
        scattering: (n_layers,) float32 [GeV^2] of a crossing at right angles.
        beam_pipe: (2,) float32: radius [mm] and scattering [GeV^2] of the material inside the first hit.
        energy_loss: (1,) float32 [1/GeV]: energy lost for each GeV^2 of scattering.
        field: (1,) float32: magnetic field along z [T].

    Raises:
        ConfigError: the tables do not fit together, a variance is not positive, or the field is 0.
    """

    layers: Float32[ndarray, "n_layers 4"]
    variance: Float32[ndarray, "n_layers 2"]
    scattering: Float32[ndarray, " n_layers"]
    beam_pipe: Float32[ndarray, " 2"]
    energy_loss: Float32[ndarray, " 1"]
    field: Float32[ndarray, " 1"]

    def __post_init__(self) -> None:
        n = len(self.layers)
        shapes = {
            "layers": (n, 4),
            "variance": (n, 2),
            "scattering": (n,),
            "beam_pipe": (2,),
            "energy_loss": (1,),
            "field": (1,),
        }
        for name, shape in shapes.items():
            table = getattr(self, name)
            if table.shape != shape or table.dtype != np.float32 or not np.isfinite(table).all():
                raise ConfigError(
                    f"fit tables: got {name} {table.dtype} of shape {table.shape}, expected finite float32 {shape}"
                )
        if not (self.variance > 0).all() or (self.scattering < 0).any() or (self.beam_pipe < 0).any():
            raise ConfigError("fit tables: got a variance <= 0 or scattering < 0, expected positive resolutions")
        if self.field[0] == 0:
            raise ConfigError("fit tables: got a field of 0 T, expected one that bends tracks")

    @property
    def barrel(self) -> ndarray:
        """(n_layers,) bool: whether each layer is a barrel."""
        r_min, r_max, z_min, z_max = self.layers.T
        return np.asarray(z_max - z_min > r_max - r_min)

    @property
    def beam_line(self) -> Float64[ndarray, " 4"]:
        """Radius and scattering of the beam pipe, energy loss and field, as one array for the kernel."""
        return np.concatenate([self.beam_pipe, self.energy_loss, self.field]).astype(np.float64)


def layer_of(
    position: Float32[ndarray, "n_hits 3"], layers: Float32[ndarray, "n_layers 4"]
) -> Int64[ndarray, " n_hits"]:
    """Row of the layer that each hit lies on, -1 for none.

    Args:
        position: r [mm], phi [rad], z [mm] of each hit.
        layers: r_min, r_max, z_min, z_max [mm] of each layer.
    """
    r, _, z = position.T
    r_min, r_max, z_min, z_max = layers.T[:, :, None]
    inside = (r >= r_min) & (r <= r_max) & (z >= z_min) & (z <= z_max)
    return np.where(inside.any(axis=0), inside.argmax(axis=0), -1)


def save_fit_tables(tables: FitTables, path: Path) -> None:
    """Write learned tables to a safetensors file."""
    from safetensors.numpy import save_file

    save_file({f.name: np.ascontiguousarray(getattr(tables, f.name)) for f in fields(tables)}, path)


def load_fit_tables(path: Path) -> FitTables:
    """Read learned tables from a safetensors file.

    Raises:
        FileError: the file is missing, truncated or lacks a table.
        ConfigError: its tables do not fit together.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tables = load_file(path)
        return FitTables(**{f.name: tables[f.name] for f in fields(FitTables)})
    except (OSError, SafetensorError, KeyError) as error:
        raise FileError(
            f"{path}: got no readable fit tables ({error}), expected a safetensors file of them; learn them with"
            " `beampipe tracking train`"
        ) from error
