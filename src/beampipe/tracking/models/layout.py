"""The layout that a tracker model was learned from: layers as boxes in r and z, field, beam line, units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.errors import ConfigError
from beampipe.tracking.beam_spot import ON_AXIS, BeamSpot

__all__ = ["Layer", "Layout", "Units", "layers_of"]

_BARREL: Final = 1.0
"""A box that is longer than this many times its depth in r is a barrel layer, any other one a disc."""


@dataclass(frozen=True)
class Layer:
    """One layer as the box that holds its hits, with a margin.

    Attributes:
        name: name of the layer, such as ``barrel_1`` or ``disc_minus_3``, counted from the centre outwards.
        r_min: smallest radius [mm].
        r_max: largest radius [mm].
        z_min: smallest z [mm].
        z_max: largest z [mm].

    Raises:
        ConfigError: the box is empty, or reaches beyond the beam line.
    """

    name: str
    r_min: float
    r_max: float
    z_min: float
    z_max: float

    def __post_init__(self) -> None:
        if not (self.r_min < self.r_max and self.r_max > 0 and self.z_min < self.z_max):
            raise ConfigError(
                f"layer {self.name}: got r from {self.r_min:g} to {self.r_max:g} and z from {self.z_min:g} to"
                f" {self.z_max:g}, expected a box: r_min < r_max, z_min < z_max"
            )


@dataclass(frozen=True)
class Units:
    """Units of all numbers of a model; there is one choice, written down so that nobody has to guess.

    Attributes:
        length: unit of r, z and vertices.
        angle: unit of phi.
        momentum: unit of pT.
        field: unit of the magnetic field.
    """

    length: Literal["mm"] = "mm"
    angle: Literal["rad"] = "rad"
    momentum: Literal["GeV"] = "GeV"
    field: Literal["T"] = "T"


@dataclass(frozen=True)
class Layout:
    """Where a tracker model expects hits.

    Attributes:
        layers: the layers; their boxes do not overlap.
        field: magnetic field along z [T].
        beam_spot: beam line that the model was learned about.
        units: units of all numbers.
    """

    layers: tuple[Layer, ...]
    field: float
    beam_spot: BeamSpot = ON_AXIS
    units: Units = Units()

    @property
    def boxes(self) -> Float32[ndarray, "n_layers 4"]:
        """(n_layers, 4) r_min, r_max, z_min, z_max [mm] of each layer."""
        rows = [(layer.r_min, layer.r_max, layer.z_min, layer.z_max) for layer in self.layers]
        return np.array(rows, np.float32).reshape(-1, 4)


def layers_of(boxes: Float32[ndarray, "n_layers 4"]) -> tuple[Layer, ...]:
    """Name the boxes of layers: barrel layers by radius, discs by the side that they are on and their |z|.

    Args:
        boxes: (n_layers, 4) r_min, r_max, z_min, z_max [mm] of each layer.

    Returns:
        The layers in the order of the boxes.
    """
    depth, length = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    middle = (boxes[:, 2] + boxes[:, 3]) / 2
    is_disc = length <= _BARREL * depth
    kinds = np.where(is_disc, np.where(middle < 0, "disc_minus", "disc_plus"), "barrel")
    names = np.empty(len(boxes), object)
    for kind in np.unique(kinds):
        mine = np.flatnonzero(kinds == kind)
        # Discs at one z, side by side in r, are counted from the beam line outwards.
        by_place = np.lexsort((boxes[mine, 0], boxes[mine, 0] if kind == "barrel" else np.abs(middle[mine]).round(-1)))
        for number, place in enumerate(mine[by_place], 1):
            names[place] = f"{kind}_{number}"
    # float32 as decimal: the shortest text that gives the same box again.
    return tuple(Layer(str(name), *(float(str(edge)) for edge in box)) for name, box in zip(names, boxes, strict=True))
