"""What a detector is made of, typed by hand in a short TOML file.

    name = "compact"
    field_T = 3.8

    [vertex]
    spread_xy_mm = 0.01
    spread_z_mm = 45

    [beam_pipe]
    radius_mm = 22
    thickness_x0 = 0.003

    [barrel.pixel]                    # cylinders of flat modules around the beam
    radii_mm = [29, 68, 109, 160]
    half_length_mm = 270
    module_mm = [16, 66]              # along phi and along z
    pitch_mm = [0.1, 0.15]
    thickness_x0 = 0.02

    [discs.pixel]                     # rings of trapezoids across the beam, at z and -z
    z_mm = [320, 390, 510]
    inner_radius_mm = 45
    outer_radius_mm = 160
    module_mm = [24, 60]              # at the outer edge, and along r
    pitch_mm = [0.1, 0.15]
    thickness_x0 = 0.02

Barrels and discs whose radii overlap stand in one shell; the discs must then begin beyond the ends of the barrels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import cos, hypot, radians, sin
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError
from beampipe.settings import build, read_toml

__all__ = ["Barrel", "BeamPipe", "Discs", "Layout", "Vertex", "read_layout"]

_MOST_FIELD: Final = 20.0  # [T]


@dataclass(frozen=True)
class Vertex:
    """Where the collisions are: the luminous region.

    Attributes:
        spread_xy_mm: spread of the vertices across the beam [mm].
        spread_z_mm: spread of the vertices along the beam [mm].
    """

    spread_xy_mm: float = 0.0125
    spread_z_mm: float = 50.0

    def __post_init__(self) -> None:
        _not_negative("vertex", spread_xy_mm=self.spread_xy_mm, spread_z_mm=self.spread_z_mm)


@dataclass(frozen=True)
class BeamPipe:
    """A tube around the beam that scatters particles and measures nothing.

    Attributes:
        radius_mm: radius of the tube [mm].
        thickness_x0: thickness of the tube in radiation lengths, crossed at a right angle.
    """

    radius_mm: float
    thickness_x0: float = 0.003

    def __post_init__(self) -> None:
        _positive("beam_pipe", radius_mm=self.radius_mm)
        _not_negative("beam_pipe", thickness_x0=self.thickness_x0)


@dataclass(frozen=True)
class Barrel:
    """Cylinders of rectangular modules around the beam, which differ in radius only.

    The modules of a cylinder stand in rows along z, the rows side by side in phi. Every second row stands
    `stagger_mm` further out, so that neighbours overlap without touching; turned modules overlap by themselves.

    Attributes:
        name: name of the barrel.
        radii_mm: mean radius of each cylinder [mm].
        half_length_mm: |z| that a row reaches to at least [mm].
        module_mm: width along phi and length along z of a module [mm].
        pitch_mm: width of a channel along phi and along z [mm]; the resolution is pitch / sqrt(12).
        thickness_x0: thickness of a module with its support in radiation lengths, crossed at a right angle.
        overlap_mm: width along phi by which neighbouring rows overlap at least [mm].
        gap_mm: distance along z between the modules of a row [mm]: nothing is measured there.
        stagger_mm: distance in radius between even and odd rows [mm].
        tilt_deg: angle by which each module is turned around its long axis [degrees].
    """

    name: str
    radii_mm: tuple[float, ...]
    half_length_mm: float
    module_mm: tuple[float, ...]
    pitch_mm: tuple[float, ...]
    thickness_x0: float
    overlap_mm: float = 1.0
    gap_mm: float = 0.2
    stagger_mm: float = 2.0
    tilt_deg: float = 0.0

    def __post_init__(self) -> None:
        where = f"barrel.{self.name}"
        _pairs(where, module_mm=self.module_mm, pitch_mm=self.pitch_mm)
        _increasing(where, radii_mm=self.radii_mm)
        _positive(where, half_length_mm=self.half_length_mm, smallest_radius=self.inner_radius)
        rest = {name: getattr(self, name) for name in ("thickness_x0", "overlap_mm", "gap_mm", "stagger_mm")}
        _not_negative(where, **rest)
        if abs(self.tilt_deg) > 45 or self.step <= 0:
            raise ConfigError(
                f"{where}: got tilt_deg = {self.tilt_deg} and overlap_mm = {self.overlap_mm} for modules"
                f" {self.module_mm[0]} mm wide, expected at most 45 degrees and less overlap than width"
            )

    @property
    def step(self) -> float:
        """Width along phi that a row adds [mm]."""
        return self.module_mm[0] * cos(radians(self.tilt_deg)) - self.overlap_mm

    @property
    def modules_in_row(self) -> int:
        """Number of modules along z."""
        return max(1, round(-(-(2 * self.half_length_mm + self.gap_mm) // (self.module_mm[1] + self.gap_mm))))

    @property
    def reach(self) -> float:
        """Where a row of modules ends [mm]: |z|."""
        return (self.modules_in_row * (self.module_mm[1] + self.gap_mm) - self.gap_mm) / 2

    @property
    def inner_radius(self) -> float:
        """Smallest radius of a module [mm]."""
        return self.radii_mm[0] - self.stagger_mm / 2 - self.module_mm[0] / 2 * abs(sin(radians(self.tilt_deg)))

    @property
    def outer_radius(self) -> float:
        """Largest radius of a module [mm]."""
        half, tilt = self.module_mm[0] / 2, abs(radians(self.tilt_deg))
        return hypot(self.radii_mm[-1] + self.stagger_mm / 2 + half * sin(tilt), half * cos(tilt))


@dataclass(frozen=True)
class Discs:
    """Discs of trapezoidal modules across the beam, which differ in z only.

    A disc has rings of modules. Every second module of a ring, and every second ring, stands aside along z, so that
    neighbours overlap without touching.

    Attributes:
        name: name of the discs.
        z_mm: z of each disc [mm].
        inner_radius_mm: radius at which the modules begin [mm].
        outer_radius_mm: radius that the modules reach to [mm].
        module_mm: largest width at the outer edge, and largest length along r, of a module [mm].
        pitch_mm: width of a channel along phi and along r [mm]; the resolution is pitch / sqrt(12).
        thickness_x0: thickness of a module with its support in radiation lengths, crossed at a right angle.
        overlap_mm: width by which neighbours overlap, in phi and in r [mm].
        stagger_mm: distance in z between even and odd modules, and half of that between rings [mm].
        mirrored: the same discs stand at -z.
    """

    name: str
    z_mm: tuple[float, ...]
    inner_radius_mm: float
    outer_radius_mm: float
    module_mm: tuple[float, ...]
    pitch_mm: tuple[float, ...]
    thickness_x0: float
    overlap_mm: float = 1.0
    stagger_mm: float = 4.0
    mirrored: bool = True

    def __post_init__(self) -> None:
        where = f"discs.{self.name}"
        _pairs(where, module_mm=self.module_mm, pitch_mm=self.pitch_mm)
        _increasing(where, z_mm=self.z_mm)
        depth = self.outer_radius_mm - self.inner_radius_mm
        _positive(where, smallest_z=self.z_mm[0], inner_radius_mm=self.inner_radius_mm, depth_in_r=depth)
        _not_negative(where, **{name: getattr(self, name) for name in ("thickness_x0", "overlap_mm", "stagger_mm")})
        if self.overlap_mm >= min(self.module_mm):
            raise ConfigError(
                f"{where}: got overlap_mm = {self.overlap_mm} for modules of {self.module_mm} mm, expected less"
            )


@dataclass(frozen=True)
class Layout:
    """A detector: barrels and discs in a constant solenoid field.

    Attributes:
        name: name of the detector, for messages and files.
        field_T: magnetic field along z [T].
        barrel: barrels by name.
        discs: groups of discs by name.
        beam_pipe: beam pipe, or None for none.
        vertex: luminous region.
    """

    name: str
    field_T: float
    barrel: tuple[Barrel, ...] = ()
    discs: tuple[Discs, ...] = ()
    beam_pipe: BeamPipe | None = None
    vertex: Vertex = field(default_factory=Vertex)

    def __post_init__(self) -> None:
        if not 0 < abs(self.field_T) <= _MOST_FIELD:
            raise ConfigError(f"field_T: got {self.field_T}, expected a field of at most {_MOST_FIELD} T that bends")
        if not self.barrel and not self.discs:
            raise ConfigError("detector: got no tables [barrel.NAME] and [discs.NAME], expected at least one")
        if self.beam_pipe is not None and self.beam_pipe.radius_mm + _PIPE_ROOM > self.inner_radius:
            raise ConfigError(
                f"beam_pipe: got radius_mm = {self.beam_pipe.radius_mm}, expected at least {_PIPE_ROOM} mm less than"
                f" the {self.inner_radius:.1f} mm at which the modules begin"
            )

    @property
    def inner_radius(self) -> float:
        """Radius at which the modules begin [mm]."""
        return min([b.inner_radius for b in self.barrel] + [d.inner_radius_mm for d in self.discs])


_PIPE_ROOM: Final = 3.0  # [mm]


def read_layout(path: Path) -> Layout:
    """A detector from its TOML file.

    Args:
        path: file to read.

    Raises:
        FileError: the file cannot be read, or is no TOML.
        ConfigError: a key is unknown or missing, or the parts make no detector.
    """
    return build(Layout, read_toml(path, "the TOML file of a detector"), str(path))


def _positive(where: str, **numbers: float) -> None:
    for name, number in numbers.items():
        if number <= 0:
            raise ConfigError(f"{where}: got {name} = {number:g}, expected more than 0")


def _not_negative(where: str, **numbers: float) -> None:
    for name, number in numbers.items():
        if number < 0:
            raise ConfigError(f"{where}: got {name} = {number:g}, expected 0 or more")


def _pairs(where: str, **pairs: tuple[float, ...]) -> None:
    for name, pair in pairs.items():
        if len(pair) != 2 or min(pair) <= 0:
            raise ConfigError(f"{where}: got {name} = {list(pair)}, expected two numbers above 0")


def _increasing(where: str, **series: tuple[float, ...]) -> None:
    for name, numbers in series.items():
        if not numbers or any(b <= a for a, b in pairwise(numbers)):
            raise ConfigError(f"{where}: got {name} = {list(numbers)}, expected numbers that increase")
