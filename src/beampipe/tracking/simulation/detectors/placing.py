"""From the few numbers of a layout to the place of every module.

Barrels and discs whose radii overlap form a *shell*: discs before, barrel layers around, discs behind the centre.
Shells are numbered inside out, from 0. The discs at negative z, the barrel and the discs at positive z of shell k are
the volumes 3 k + 2, 3 k + 3 and 3 k + 4; volume 1 is the beam pipe. Layers count from 1 away from the centre, modules
from 1 in the order in which they are placed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import ceil, pi, radians, tan
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, UInt64
from beampipe.errors import ConfigError
from beampipe.tracking.simulation.detectors.layout import Barrel, Discs, Layout
from beampipe.tracking.simulation.detectors.modules import Modules

__all__ = ["PIPE_VOLUME", "SILICON_X0", "Layer", "Shell", "layout_modules", "shells"]

PIPE_VOLUME: Final = 1
"""Number of the volume of the beam pipe."""

SILICON_X0: Final = 95.7
"""Radiation length of the silicon that all matter is made of [mm], as in the GenericDetector."""

_ROOM: Final = 1.5  # least distance between layers [mm]


@dataclass(frozen=True, eq=False)
class Layer:
    """The modules of one cylinder or disc, all alike in pitch and thickness.

    Attributes:
        name: name of the barrel or the discs, and the number of the layer.
        volume: volume number of the layer's geometry identifiers.
        number: layer number of the layer's geometry identifiers.
        cylinder: whether it is a cylinder, not a disc.
        centre: (n, 3) float64 x, y, z of each module's centre [mm].
        axes: (n, 3, 3) float64; column k is the global direction of local axis k, column 2 the normal.
        half: (n, 3) float64 half width at the lower and at the upper edge, and half length, of each module [mm].
        pitch: width of a channel along both local axes [mm].
        thickness_x0: thickness of a module in radiation lengths.
    """

    name: str
    volume: int
    number: int
    cylinder: bool
    centre: Float64[ndarray, "n 3"]
    axes: Float64[ndarray, "n 3 3"]
    half: Float64[ndarray, "n 3"]
    pitch: tuple[float, ...]
    thickness_x0: float

    @property
    def geometry_id(self) -> UInt64[ndarray, " n"]:
        """ACTS geometry identifier of each module."""
        module = np.arange(1, len(self.centre) + 1, dtype=np.uint64)
        return np.uint64(self.volume << 56 | self.number << 36) | module << np.uint64(8)


@dataclass(frozen=True)
class Shell:
    """All layers in one range of radii.

    Attributes:
        negative: discs at negative z, away from the centre.
        barrel: cylinders, inside out.
        positive: discs at positive z, away from the centre.
    """

    negative: tuple[Layer, ...]
    barrel: tuple[Layer, ...]
    positive: tuple[Layer, ...]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers, in the order of their geometry identifiers."""
        return *self.negative, *self.barrel, *self.positive


def shells(layout: Layout) -> tuple[Shell, ...]:
    """The layers of a layout by shells, inside out.

    Raises:
        ConfigError: layers stand in each other's way.
    """
    parts: list[tuple[float, float, Barrel | Discs]] = [(b.inner_radius, b.outer_radius, b) for b in layout.barrel]
    parts += [(d.inner_radius_mm, d.outer_radius_mm, d) for d in layout.discs]
    groups: list[list[Barrel | Discs]] = []
    end = -np.inf
    for inner, outer, part in sorted(parts, key=lambda part: part[:2]):
        if inner - _ROOM > end:
            groups.append([])
        groups[-1].append(part)
        end = max(end, outer)
    return tuple(_shell(group, 3 * k + 2) for k, group in enumerate(groups))


@lru_cache(maxsize=8)
def layout_modules(layout: Layout) -> Modules:
    """The modules of a layout, sorted by geometry identifier; it needs no pyacts.

    Raises:
        ConfigError: layers stand in each other's way.
    """
    layers = [layer for shell in shells(layout) for layer in shell.layers]
    count = [len(layer.centre) for layer in layers]
    half_x_low, half_x_high, half_y = np.concatenate([layer.half for layer in layers]).T
    return Modules(
        np.concatenate([layer.geometry_id for layer in layers]),
        np.concatenate([layer.centre for layer in layers]),
        np.concatenate([layer.axes for layer in layers]),
        half_x_low,
        half_x_high,
        half_y,
        np.repeat([layer.pitch for layer in layers], count, axis=0),
        np.repeat([layer.thickness_x0 * SILICON_X0 for layer in layers], count),
        layout.name,
    )


def _shell(parts: list[Barrel | Discs], volume: int) -> Shell:
    barrels = sorted((part for part in parts if isinstance(part, Barrel)), key=lambda barrel: barrel.radii_mm[0])
    places = [(radius, barrel) for barrel in barrels for radius in barrel.radii_mm]
    discs = sorted(
        ((z, part) for part in parts if isinstance(part, Discs) for z in part.z_mm), key=lambda place: place[0]
    )
    mirrored = [(z, part) for z, part in discs if part.mirrored]
    shell = Shell(
        tuple(_disc(part, -z, volume, number) for number, (z, part) in enumerate(mirrored, 1)),
        tuple(_cylinder(barrel, radius, volume + 1, number) for number, (radius, barrel) in enumerate(places, 1)),
        tuple(_disc(part, z, volume + 2, number) for number, (z, part) in enumerate(discs, 1)),
    )
    _require_order([(layer.name, *_radii(layer)) for layer in shell.barrel], "radius")
    along = [(layer.name, *_reach(layer)) for layer in shell.positive]
    if shell.barrel and along:
        longest = max(shell.barrel, key=lambda layer: _reach(layer)[1])
        along.insert(0, (longest.name, -_reach(longest)[1], _reach(longest)[1]))
    _require_order(along, "z")
    return shell


def _require_order(extents: list[tuple[str, float, float]], axis: str) -> None:
    """Refuse layers that reach into the next one."""
    for (first, _, end), (second, begin, _) in pairwise(extents):
        if begin < end + _ROOM:
            raise ConfigError(
                f"detector: {first} ends at {axis} = {end:.1f} mm and {second} begins at {begin:.1f} mm, expected"
                f" {_ROOM} mm between layers whose radii overlap"
            )


def _corners(layer: Layer) -> Float64[ndarray, "n 4 3"]:
    """x, y, z of the corners of each module [mm]."""
    low, high, length = layer.half.T
    x = np.stack([-low, low, high, -high], axis=1)
    y = np.stack([-length, -length, length, length], axis=1)
    along = np.einsum("nik,nck->nci", layer.axes[:, :, :2], np.stack([x, y], axis=2))
    corners: Float64[ndarray, "n 4 3"] = layer.centre[:, None] + along
    return corners


def _radii(layer: Layer) -> tuple[float, float]:
    """Smallest and largest radius of a cylinder's modules [mm]."""
    corner = _corners(layer)
    radius = np.hypot(corner[..., 0], corner[..., 1])
    # A module is nearest to the beam where its normal goes through it; at a large tilt, at its edge.
    normal = np.abs((layer.centre * layer.axes[:, :, 2]).sum(axis=1))
    foot = np.abs((layer.centre * layer.axes[:, :, 0]).sum(axis=1)) <= layer.half[:, 0]
    return float(np.where(foot, normal, radius.min(axis=1)).min()), float(radius.max())


def _reach(layer: Layer) -> tuple[float, float]:
    """Smallest and largest z of a layer's modules [mm]."""
    z = _corners(layer)[..., 2]
    return float(z.min()), float(z.max())


def _around(width: float, circumference: float) -> int:
    """Number of modules in a ring: ACTS centres a layer on the beam if that is a multiple of four."""
    return 4 * max(1, ceil(circumference / width / 4))


def _cylinder(barrel: Barrel, radius: float, volume: int, number: int) -> Layer:
    rows = _around(barrel.step, 2 * pi * (radius + barrel.stagger_mm / 2))
    row, place = (k.ravel() for k in np.mgrid[:rows, : barrel.modules_in_row])
    phi = 2 * pi * row / rows
    r = radius + barrel.stagger_mm * (row % 2 - 0.5)
    z = (place - (barrel.modules_in_row - 1) / 2) * (barrel.module_mm[1] + barrel.gap_mm)
    turned = phi - radians(barrel.tilt_deg)
    zero = np.zeros(len(phi))
    along = np.column_stack([-np.sin(turned), np.cos(turned), zero])
    up = np.column_stack([zero, zero, zero + 1])
    width, length = barrel.module_mm
    return Layer(
        f"barrel.{barrel.name}, layer {number},",
        volume,
        number,
        True,
        np.column_stack([r * np.cos(phi), r * np.sin(phi), z]),
        np.stack([along, up, np.cross(along, up)], axis=2),
        np.tile([width / 2, width / 2, length / 2], (len(phi), 1)),
        barrel.pitch_mm,
        barrel.thickness_x0,
    )


def _disc(discs: Discs, z: float, volume: int, number: int) -> Layer:
    depth, overlap = discs.outer_radius_mm - discs.inner_radius_mm, discs.overlap_mm
    rings = max(1, ceil((depth - overlap) / (discs.module_mm[1] - overlap)))
    length = (depth + (rings - 1) * overlap) / rings
    centre, axes, half = [], [], []
    for ring in range(rings):
        middle = discs.inner_radius_mm + ring * (length - overlap) + length / 2
        n = _around(discs.module_mm[0] - overlap, 2 * pi * (middle + length / 2))
        k = np.arange(n)
        phi = 2 * pi * k / n
        aside = discs.stagger_mm * ((k % 2 - 0.5) + (ring % 2 - 0.5) / 2)
        zero = np.zeros(n)
        along = np.column_stack([-np.sin(phi), np.cos(phi), zero])
        out = np.column_stack([np.cos(phi), np.sin(phi), zero])
        centre.append(np.column_stack([middle * out[:, 0], middle * out[:, 1], z + aside]))
        axes.append(np.stack([along, out, np.cross(along, out)], axis=2))
        edges = [edge * tan(pi / n) + overlap / 2 for edge in (middle - length / 2, middle + length / 2)]
        half.append(np.tile([*edges, length / 2], (n, 1)))
    return Layer(
        f"discs.{discs.name} at z = {z:g} mm",
        volume,
        number,
        False,
        np.concatenate(centre),
        np.concatenate(axes),
        np.concatenate(half),
        discs.pitch_mm,
        discs.thickness_x0,
    )
