"""Detectors as arrays of modules: the ACTS GenericDetector, and detectors from short TOML files.

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

Numbers of modules follow from these lengths. A detector that exists gives them instead: `n_phi` and `n_z` of a barrel,
`rings` of discs. Modules may have two `sensors`, which measure one coordinate each, at an angle to each other; see
`beampipe.simulation.stereo`. The Open Data Detector, which comes with the package as ``odd``, is described like that.

Barrels and discs whose radii overlap form a *shell*: discs before, barrel layers around, discs behind the centre; the
discs must begin beyond the ends of the barrels. Shells are numbered inside out, from 0. The discs at negative z, the
barrel and the discs at positive z of shell k are the volumes 3 k + 2, 3 k + 3 and 3 k + 4; volume 1 is the beam pipe.
Layers count from 1 away from the centre, modules from 1 in the order in which they are placed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import as_file, files
from itertools import pairwise
from math import ceil, cos, hypot, pi, radians, sin, tan
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float, Float32, Float64, Int64, UInt64
from beampipe.errors import ConfigError, InputError
from beampipe.plugins import load_plugin, plugin_names
from beampipe.settings import build, read_toml
from beampipe.units import T, mm, um

MAX_FIELD: Final = 20.0
"""Largest field [T]; a larger one is a wrong unit."""


@dataclass(frozen=True)
class Vertex:
    """The luminous region.

    Attributes:
        spread_xy_mm: spread of the vertices across the beam [mm].
        spread_z_mm: spread of the vertices along the beam [mm].
    """

    spread_xy_mm: float = 0.0125
    spread_z_mm: float = 50.0

    def __post_init__(self) -> None:
        _not_negative("vertex", spread_xy_mm=self.spread_xy_mm, spread_z_mm=self.spread_z_mm)


@dataclass(frozen=True)
class Tube:
    """A tube around the beam that scatters particles and measures nothing, such as the beam pipe.

    Attributes:
        radius_mm: radius of the tube [mm].
        thickness_x0: thickness of the tube in radiation lengths, crossed at a right angle.
    """

    radius_mm: float
    thickness_x0: float = 0.003

    def __post_init__(self) -> None:
        _positive("tube", radius_mm=self.radius_mm)
        _not_negative("tube", thickness_x0=self.thickness_x0)


@dataclass(frozen=True)
class Solenoid:
    """The coil that makes the field: a thin cylinder of current around the modules, without iron.

    Attributes:
        radius_mm: radius of the coil [mm].
        half_length_mm: |z| at which it ends [mm].
    """

    radius_mm: float
    half_length_mm: float

    def __post_init__(self) -> None:
        _positive("solenoid", radius_mm=self.radius_mm, half_length_mm=self.half_length_mm)


@dataclass(frozen=True)
class FieldMap:
    """A file with the field at the points of a grid: see `beampipe.simulation.magnetic_field.read_field_map`.

    Attributes:
        file: the file, relative to that of the detector; or one of the same name beside that.
        length_unit_mm: unit of its coordinates [mm]; 10 for centimetres.
        field_unit_T: unit of its fields [T]; 0.1 for kilogauss.
    """

    file: Path
    length_unit_mm: float = 1.0
    field_unit_T: float = 1.0

    def __post_init__(self) -> None:
        _positive("field_map", length_unit_mm=self.length_unit_mm, field_unit_T=self.field_unit_T)


@dataclass(frozen=True)
class Sensor:
    """A sensor of a module.

    Attributes:
        offset_mm: distance from the middle of the module, away from the beam in barrels and from the centre in discs
            [mm].
        stereo_mrad: angle from the long axis of the module to that of the sensor, towards larger phi [mrad].
    """

    offset_mm: float = 0.0
    stereo_mrad: float = 0.0


_ONE_SENSOR: Final = (Sensor(),)


def _check_readout(where: str, pitch_mm: tuple[float, ...], sensors: tuple[Sensor, ...]) -> None:
    """Refuse modules that do not measure two coordinates."""
    double = len(sensors) == 2 and sensors[0].stereo_mrad != sensors[1].stereo_mrad
    if (
        min(pitch_mm, default=0) <= 0
        or (len(pitch_mm), len(sensors)) not in ((2, 1), (1, 2))
        or not (double or len(sensors) == 1)
    ):
        raise ConfigError(
            f"{where}: got pitch_mm = {list(pitch_mm)} and {len(sensors)} sensors, expected two numbers above 0 for one"
            " sensor, or one number for two sensors of different stereo_mrad"
        )


@dataclass(frozen=True)
class Barrel:
    """Cylinders of rectangular modules around the beam, which differ in radius only.

    The modules of a cylinder stand in rows along z, the rows side by side in phi. Every second row stands
    `stagger_mm` further out, so that neighbours overlap without touching; turned modules overlap by themselves.

    Attributes:
        name: name of the barrel.
        radii_mm: mean radius of each cylinder [mm].
        module_mm: width along phi and length along z of a module [mm].
        pitch_mm: width of a channel along phi and along z [mm]; the resolution is pitch / sqrt(12). For modules with
            two sensors that along phi alone.
        thickness_x0: thickness of a module with its support in radiation lengths, crossed at a right angle.
        half_length_mm: |z| that a row reaches to at least [mm]; not needed with `n_z`.
        n_phi: number of rows of each cylinder; by default, as many as overlap.
        n_z: number of modules of a row; by default, as many as reach `half_length_mm`.
        sensors: sensors of a module, one or two.
        digital: a hit is measured at the centre of its channel, so that particles in one channel make one hit.
        sensor_mm: thickness of the silicon of a sensor [mm], for clusters; 0 if it is not known.
        overlap_mm: width along phi by which neighbouring rows overlap at least [mm].
        gap_mm: insensitive gap along z between the modules of a row [mm].
        stagger_mm: distance in radius between even and odd rows [mm].
        tilt_deg: angle by which each module is turned around its long axis [degrees].
    """

    name: str
    radii_mm: tuple[float, ...]
    module_mm: tuple[float, ...]
    pitch_mm: tuple[float, ...]
    thickness_x0: float
    half_length_mm: float = 0.0
    n_phi: tuple[int, ...] = ()
    n_z: int = 0
    sensors: tuple[Sensor, ...] = _ONE_SENSOR
    digital: bool = False
    sensor_mm: float = 0.0
    overlap_mm: float = 1.0
    gap_mm: float = 0.2
    stagger_mm: float = 2.0
    tilt_deg: float = 0.0

    def __post_init__(self) -> None:
        where = f"barrel.{self.name}"
        _pairs(where, module_mm=self.module_mm)
        _check_readout(where, self.pitch_mm, self.sensors)
        _increasing(where, radii_mm=self.radii_mm)
        if self.n_z == 0:
            _positive(where, half_length_mm=self.half_length_mm)
        _positive(where, smallest_radius=self.inner_radius)
        if self.n_z < 0 or (self.n_phi and (len(self.n_phi) != len(self.radii_mm) or min(self.n_phi) < 3)):
            raise ConfigError(
                f"{where}: got n_phi = {list(self.n_phi)} and n_z = {self.n_z}, expected 3 rows or more for each of the"
                f" {len(self.radii_mm)} radii, and no negative number"
            )
        rest = {
            name: getattr(self, name) for name in ("thickness_x0", "sensor_mm", "overlap_mm", "gap_mm", "stagger_mm")
        }
        _not_negative(where, **rest)
        if max(self.pitch_mm) > max(self.module_mm):
            raise ConfigError(
                f"{where}: got pitch_mm = {list(self.pitch_mm)} for modules {list(self.module_mm)} mm, expected less;"
                " is it in um?"
            )
        if abs(self.tilt_deg) > 45 or self.step <= 0:
            raise ConfigError(
                f"{where}: got tilt_deg = {self.tilt_deg} and overlap_mm = {self.overlap_mm} for modules"
                f" {self.module_mm[0]} mm wide, expected at most 45 degrees and less overlap than width"
            )

    @property
    def step(self) -> float:
        """Width along phi that each further row covers [mm]."""
        return self.module_mm[0] * cos(radians(self.tilt_deg)) - self.overlap_mm

    @property
    def modules_in_row(self) -> int:
        """Number of modules along z."""
        return self.n_z or max(
            1, round(-(-(2 * self.half_length_mm + self.gap_mm) // (self.module_mm[1] + self.gap_mm)))
        )

    @property
    def reach(self) -> float:
        """|z| at which a row of modules ends [mm]."""
        return (self.modules_in_row * (self.module_mm[1] + self.gap_mm) - self.gap_mm) / 2

    @property
    def inner_radius(self) -> float:
        """Smallest radius of a module [mm]."""
        inwards = self.stagger_mm / 2 + max(abs(sensor.offset_mm) for sensor in self.sensors)
        return self.radii_mm[0] - inwards - self.module_mm[0] / 2 * abs(sin(radians(self.tilt_deg)))

    @property
    def outer_radius(self) -> float:
        """Largest radius of a module [mm]."""
        half, tilt = self.module_mm[0] / 2, abs(radians(self.tilt_deg))
        outwards = self.stagger_mm / 2 + max(abs(sensor.offset_mm) for sensor in self.sensors)
        return hypot(self.radii_mm[-1] + outwards + half * sin(tilt), half * cos(tilt))


@dataclass(frozen=True)
class Ring:
    """A ring of trapezoidal modules of a disc, all alike.

    Attributes:
        radius_mm: radius of the centres of the modules [mm].
        n_phi: number of modules.
        half_width_mm: half widths at the inner and at the outer edge [mm].
        half_length_mm: half length along r [mm].
        phi0_rad: phi of the first module [rad].
        offset_mm: distance from the disc, away from the centre [mm].
        gap_mm: distance along z of even modules from the middle of the ring, and of odd ones against z [mm].
    """

    radius_mm: float
    n_phi: int
    half_width_mm: tuple[float, ...]
    half_length_mm: float
    phi0_rad: float = 0.0
    offset_mm: float = 0.0
    gap_mm: float = 0.0

    def __post_init__(self) -> None:
        _pairs("rings", half_width_mm=self.half_width_mm)
        _positive("rings", half_length_mm=self.half_length_mm, inner_edge=self.inner_radius, n_phi=float(self.n_phi))

    @property
    def inner_radius(self) -> float:
        """Smallest radius of a module [mm]."""
        return self.radius_mm - self.half_length_mm

    @property
    def outer_radius(self) -> float:
        """Largest radius of a module [mm]."""
        return hypot(self.radius_mm + self.half_length_mm, max(self.half_width_mm))


@dataclass(frozen=True)
class Discs:
    """Discs of trapezoidal modules across the beam, which differ in z only.

    A disc has rings of modules. Every second module of a ring, and every second ring, is shifted along z, so that
    neighbours overlap without touching.

    Attributes:
        name: name of the discs.
        z_mm: z of each disc [mm].
        pitch_mm: width of a channel along phi and along r [mm]; the resolution is pitch / sqrt(12). For modules with
            two sensors that along phi alone.
        thickness_x0: thickness of a module with its support in radiation lengths, crossed at a right angle.
        inner_radius_mm: radius at which the modules begin [mm]; not with `rings`.
        outer_radius_mm: radius that the modules reach to [mm]; not with `rings`.
        module_mm: largest width at the outer edge, and largest length along r, of a module [mm]; not with `rings`.
        rings: rings of modules of each disc, inside out; by default, as many as overlap.
        sensors: sensors of a module, one or two.
        digital: a hit is measured at the centre of its channel, so that particles in one channel make one hit.
        sensor_mm: thickness of the silicon of a sensor [mm], for clusters; 0 if it is not known.
        overlap_mm: width by which neighbours overlap, in phi and in r [mm].
        stagger_mm: distance in z between even and odd modules, and half of that between rings [mm].
        mirrored: the same discs stand at -z.
    """

    name: str
    z_mm: tuple[float, ...]
    pitch_mm: tuple[float, ...]
    thickness_x0: float
    inner_radius_mm: float = 0.0
    outer_radius_mm: float = 0.0
    module_mm: tuple[float, ...] = ()
    rings: tuple[Ring, ...] = ()
    sensors: tuple[Sensor, ...] = _ONE_SENSOR
    digital: bool = False
    sensor_mm: float = 0.0
    overlap_mm: float = 1.0
    stagger_mm: float = 4.0
    mirrored: bool = True

    def __post_init__(self) -> None:
        where = f"discs.{self.name}"
        _check_readout(where, self.pitch_mm, self.sensors)
        _increasing(where, z_mm=self.z_mm)
        _positive(where, smallest_z=self.z_mm[0])
        rest = {name: getattr(self, name) for name in ("thickness_x0", "sensor_mm", "overlap_mm", "stagger_mm")}
        _not_negative(where, **rest)
        if self.rings:
            if self.inner_radius_mm or self.outer_radius_mm or self.module_mm:
                raise ConfigError(f"{where}: got rings and sizes of modules, expected the sizes in the rings only")
            return
        _pairs(where, module_mm=self.module_mm)
        depth = self.outer_radius_mm - self.inner_radius_mm
        _positive(where, inner_radius_mm=self.inner_radius_mm, depth_in_r=depth)
        if self.overlap_mm >= min(self.module_mm):
            raise ConfigError(
                f"{where}: got overlap_mm = {self.overlap_mm} for modules of {self.module_mm} mm, expected less"
            )

    @property
    def inner_radius(self) -> float:
        """Radius at which the modules begin [mm]."""
        return min((ring.inner_radius for ring in self.rings), default=self.inner_radius_mm)

    @property
    def outer_radius(self) -> float:
        """Radius that the modules reach to [mm]."""
        return max((ring.outer_radius for ring in self.rings), default=self.outer_radius_mm)

    @property
    def half_depth(self) -> float:
        """Largest distance along z of a module from its disc [mm]."""
        sensors = max(abs(sensor.offset_mm) for sensor in self.sensors)
        rings = max((abs(ring.offset_mm) + ring.gap_mm for ring in self.rings), default=self.stagger_mm / 2)
        return sensors + rings


@dataclass(frozen=True)
class DetectorLayout:
    """A detector: barrels and discs in the field of a solenoid.

    Attributes:
        name: name of the detector, for messages and files.
        field_T: magnetic field along z [T], in the centre.
        barrel: barrels by name.
        discs: groups of discs by name.
        beam_pipe: beam pipe, or None for none.
        tubes: further tubes, between the shells.
        vertex: luminous region.
        solenoid: coil of the field, or None for none.
        field_map: map of the field, or None for none; without coil and map the field is constant.
    """

    name: str
    field_T: float
    barrel: tuple[Barrel, ...] = ()
    discs: tuple[Discs, ...] = ()
    beam_pipe: Tube | None = None
    tubes: tuple[Tube, ...] = ()
    vertex: Vertex = field(default_factory=Vertex)
    solenoid: Solenoid | None = None
    field_map: FieldMap | None = None

    def __post_init__(self) -> None:
        if not 0 < abs(self.field_T) <= MAX_FIELD:
            raise ConfigError(f"field_T: got {self.field_T}, expected a field of at most {MAX_FIELD} T that bends")
        if self.solenoid is not None and self.field_map is not None:
            raise ConfigError("detector: got both [solenoid] and [field_map], expected one of them")
        if not self.barrel and not self.discs:
            raise ConfigError("detector: got no tables [barrel.NAME] and [discs.NAME], expected at least one")
        if self.beam_pipe is not None and self.beam_pipe.radius_mm + _PIPE_CLEARANCE > self.inner_radius:
            raise ConfigError(
                f"beam_pipe: got radius_mm = {self.beam_pipe.radius_mm}, expected at least {_PIPE_CLEARANCE} mm less"
                f" than the {self.inner_radius:.1f} mm at which the modules begin"
            )
        outer = max([b.outer_radius for b in self.barrel] + [d.outer_radius for d in self.discs])
        if self.solenoid is not None and self.solenoid.radius_mm < outer + _COIL_CLEARANCE:
            raise ConfigError(
                f"solenoid: got radius_mm = {self.solenoid.radius_mm}, expected at least {_COIL_CLEARANCE} mm more than"
                f" the {outer:.1f} mm at which the modules end"
            )

    @property
    def inner_radius(self) -> float:
        """Radius at which the modules begin [mm]."""
        return min([b.inner_radius for b in self.barrel] + [d.inner_radius for d in self.discs])

    @property
    def boxes(self) -> Float32[ndarray, "n_layers 4"]:
        """(n_layers, 4) r_min, r_max, z_min, z_max [mm] of each barrel layer and each disc."""
        boxes = []
        for barrel in self.barrel:
            half = barrel.stagger_mm / 2 + max(abs(sensor.offset_mm) for sensor in barrel.sensors)
            boxes += [(radius - half, radius + half, -barrel.reach, barrel.reach) for radius in barrel.radii_mm]
        for discs in self.discs:
            radii, half = (discs.inner_radius, discs.outer_radius), discs.half_depth
            positions = [*(-z for z in discs.z_mm if discs.mirrored), *discs.z_mm]
            boxes += [(*radii, z - half, z + half) for z in positions]
        return np.array(boxes, np.float32).reshape(-1, 4)


_PIPE_CLEARANCE: Final = 3.0  # [mm]
_COIL_CLEARANCE: Final = 50.0  # [mm]; the field is not smooth near the winding

_SHIPPED: Final = "odd"
"""Name of the detector file that comes with the package."""


def read_layout(path: Path) -> DetectorLayout:
    """A detector from its TOML file.

    Args:
        path: file to read; or ``odd``, the Open Data Detector; or the name of a plug-in of the group
            ``beampipe.detectors``: the path of such a file.

    Raises:
        FileError: the file cannot be read, or is no TOML.
        ConfigError: a key is unknown or missing, or the parts make no detector; a plug-in cannot be imported.
    """
    if not path.exists() and str(path) == _SHIPPED:
        with as_file(files("beampipe.simulation") / f"{_SHIPPED}.toml") as shipped:
            return read_layout(shipped)
    if not path.exists() and str(path) in plugin_names("detectors"):
        path = Path(load_plugin("detectors", str(path)))
    table = read_toml(path, "the TOML file of a detector")
    try:
        layout = build(DetectorLayout, table, str(path), path.parent)
    except ConfigError as error:
        parts = [part for kind in ("barrel", "discs") for part in dict(table.get(kind) or {}).values()]
        radii = [radius for part in parts for radius in (*part.get("radii_mm", ()), part.get("outer_radius_mm", 0))]
        largest = max((radius for radius in radii if isinstance(radius, int | float)), default=_SMALL)
        if not 0 < largest < _SMALL:
            raise
        raise ConfigError(f"{error}; all radii are below {largest:g} mm: are lengths in mm?") from None
    given = layout.field_map
    # A tracker model keeps the map beside the detector file.
    if given is not None and not given.file.exists() and (kept := path.parent / given.file.name).exists():
        return replace(layout, field_map=replace(given, file=kept))
    return layout


def _positive(where: str, **numbers: float) -> None:
    for name, number in numbers.items():
        if number <= 0:
            raise ConfigError(f"{where}: got {name} = {number:g}, expected more than 0")


def _not_negative(where: str, **numbers: float) -> None:
    for name, number in numbers.items():
        if number < 0:
            raise ConfigError(f"{where}: got {name} = {number:g}, expected 0 or more")
        if name == "thickness_x0" and number > 0.5:
            raise ConfigError(f"{where}: got {name} = {number:g}, expected part of a radiation length; in per cent?")


def _pairs(where: str, **pairs: tuple[float, ...]) -> None:
    for name, pair in pairs.items():
        if len(pair) != 2 or min(pair) <= 0:
            raise ConfigError(f"{where}: got {name} = {list(pair)}, expected two numbers above 0")


def _increasing(where: str, **series: tuple[float, ...]) -> None:
    for name, numbers in series.items():
        if not numbers or any(b <= a for a, b in pairwise(numbers)):
            raise ConfigError(f"{where}: got {name} = {list(numbers)}, expected numbers that increase")


@dataclass(frozen=True, eq=False)
class Modules:
    """Planar modules, sorted by geometry identifier.

    A module is a trapezoid: at local 1 = -half_y it reaches to +-half_x_low along local 0, at +half_y to
    +-half_x_high. A rectangle has both equal.

    Attributes:
        geometry_id: (n,) uint64 ACTS geometry identifier of each module.
        centre: (n, 3) float64 global x, y, z of each module's centre [mm].
        axes: (n, 3, 3) float64; column k is the global direction of local axis k, column 2 the normal.
        half_x_low: (n,) float64 reach along local 0 at the lower edge [mm].
        half_x_high: (n,) float64 reach along local 0 at the upper edge [mm].
        half_y: (n,) float64 reach along local 1 [mm].
        pitch: (n, 2) float64 width of a channel along both local axes [mm]; the resolution is pitch / sqrt(12).
        silicon: (n,) float64 thickness of silicon equivalent to all material of a module and its support [mm].
        detector: name of the detector, for messages.
        stereo: (n,) float64 angle of each sensor of a double-sided module to the module [rad]; NaN for a module that
            measures two coordinates by itself. Both sensors of a module are neighbours in the table. None if there are
            no double-sided modules.
        digital: (n,) bool, whether a hit is measured at the centre of its channel; None if this is so nowhere.
        sensor: (n,) float64 thickness of the silicon of a sensor [mm], 0 where it is not known; None if it is nowhere.
    """

    geometry_id: UInt64[ndarray, " n"]
    centre: Float64[ndarray, "n 3"]
    axes: Float64[ndarray, "n 3 3"]
    half_x_low: Float64[ndarray, " n"]
    half_x_high: Float64[ndarray, " n"]
    half_y: Float64[ndarray, " n"]
    pitch: Float64[ndarray, "n 2"]
    silicon: Float64[ndarray, " n"]
    detector: str = "generic"
    stereo: Float64[ndarray, " n"] | None = None
    digital: Bool[ndarray, " n"] | None = None
    sensor: Float64[ndarray, " n"] | None = None

    def __len__(self) -> int:
        return len(self.geometry_id)

    @property
    def area(self) -> Float64[ndarray, " n"]:
        """Area [mm^2]."""
        area: Float64[ndarray, " n"] = 2 * (self.half_x_low + self.half_x_high) * self.half_y
        return area

    @property
    def variance(self) -> Float64[ndarray, "n 2"]:
        """Variance [mm^2] of a measurement along both local axes, pitch^2 / 12."""
        variance: Float64[ndarray, "n 2"] = np.square(self.pitch) / 12
        return variance

    def rows(self, geometry_id: UInt64[ndarray, " m"]) -> Int64[ndarray, " m"]:
        """Row of each identifier.

        Raises:
            InputError: there is no such module.
        """
        row = np.minimum(np.searchsorted(self.geometry_id, geometry_id), len(self) - 1)
        wrong = self.geometry_id[row] != geometry_id
        if wrong.any():
            raise InputError(
                f"geometry_id: got {int(geometry_id[wrong][0])}, expected one of the {len(self)} modules of the"
                f" detector {self.detector!r}; say of which detector the events are"
            )
        return row

    def to_global(self, row: Int64[ndarray, " m"], local: Float64[ndarray, "m 2"]) -> Float64[ndarray, "m 3"]:
        """Global x, y, z [mm] of local positions [mm]."""
        xyz: Float64[ndarray, "m 3"] = self.centre[row] + np.einsum("nik,nk->ni", self.axes[row][:, :, :2], local)
        return xyz

    def to_local(self, row: Int64[ndarray, " m"], xyz: Float64[ndarray, "m 3"]) -> Float64[ndarray, "m 3"]:
        """Local positions [mm] of global ones; the third number is the distance from the module's plane."""
        local: Float64[ndarray, "m 3"] = np.einsum("nik,ni->nk", self.axes[row], xyz - self.centre[row])
        return local

    def inside(
        self, row: Int64[ndarray, " m"], local: Float[ndarray, "m 2"], margin: Float[ndarray, "m 2"] | float = 0.0
    ) -> Bool[ndarray, " m"]:
        """Whether local positions are on the module, or off by no more than `margin` [mm] per axis."""
        margin = np.broadcast_to(margin, local.shape)
        low, high, half = self.half_x_low[row], self.half_x_high[row], self.half_y[row]
        width = low + (high - low) * (np.clip(local[:, 1] / half, -1, 1) + 1) / 2
        # A step along local 1 moves the slanted edge of a trapezoid too.
        slope = np.abs(high - low) / (2 * half)
        in_x = np.abs(local[:, 0]) <= width + margin[:, 0] + slope * margin[:, 1]
        return np.asarray(in_x & (np.abs(local[:, 1]) <= half + margin[:, 1]))

    def uniform(self, row: Int64[ndarray, " m"], rng: np.random.Generator) -> Float32[ndarray, "m 2"]:
        """Local positions drawn uniformly over the area of the modules."""
        low, high, half = self.half_x_low[row], self.half_x_high[row], self.half_y[row]
        # The width grows linearly along local 1: invert its cumulative distribution
        # F(t) = (low t + (high - low) t^2 / 2) / ((low + high) / 2) for t in [0, 1].
        u, rise = rng.random(len(row)), high - low
        t = u * (low + high) / (low + np.sqrt(low**2 + u * rise * (low + high)))
        width = low + rise * t
        x = rng.uniform(-1, 1, len(row)) * width
        return np.column_stack([x, (2 * t - 1) * half]).astype(np.float32)


def volume_of(geometry_id: UInt64[ndarray, " n"]) -> Int64[ndarray, " n"]:
    """Volume number of ACTS geometry identifiers: their upper eight bits."""
    return (geometry_id >> np.uint64(56)).astype(np.int64)


_PIXEL, _SHORT_STRIP, _LONG_STRIP = (7, 8, 9), (12, 13, 14), (16, 17, 18)

PITCH: Final[dict[int, tuple[float, float]]] = {
    **dict.fromkeys(_PIXEL, (50 * um, 50 * um)),
    **dict.fromkeys(_SHORT_STRIP, (80 * um, 1.2 * mm)),
    **dict.fromkeys(_LONG_STRIP, (120 * um, 10.8 * mm)),
}
"""Pitch [mm] along local 0 and local 1 for each volume of the GenericDetector; the resolution is pitch / sqrt(12)."""

THICKNESS: Final[dict[int, float]] = {
    7: 1.65 * mm,
    8: 1.65 * mm,
    9: 1.65 * mm,
    12: 2.75 * mm,
    13: 2.25 * mm,
    14: 2.75 * mm,
    16: 3.85 * mm,
    17: 2.85 * mm,
    18: 3.85 * mm,
}
"""Silicon equivalent [mm] of one layer (module and support) for each volume, in which hadrons interact."""


@lru_cache(maxsize=1)
def generic_modules() -> Modules:
    """The modules of the GenericDetector, from a table that comes with the package; it needs no pyacts."""
    table = files("beampipe.simulation") / "generic_modules.npz"
    with as_file(table) as path, np.load(path) as arrays:
        shape = dict(arrays)
    volume = volume_of(shape["geometry_id"]).tolist()
    pitch = np.array([PITCH[number] for number in volume])
    return Modules(**shape, pitch=pitch, silicon=np.array([THICKNESS[number] for number in volume]))


PIPE_VOLUME: Final = 1
"""Number of the volume of the beam pipe, which is its layer 1, and of the other tubes."""

SILICON_X0: Final = 95.7
"""Radiation length of silicon [mm], the only material, as in the GenericDetector."""

_SMALL: Final = 150.0  # outermost radius [mm] below which other units are likely
_CLEARANCE: Final = 1.5  # least distance between layers [mm]


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
        pitch: width of a channel along both local axes [mm]; along the first one alone for double-sided modules.
        thickness_x0: thickness of a sensor in radiation lengths.
        grid: number of modules along phi and along z of a cylinder; of rings, and of modules in the outermost ring, of
            a disc.
        sensors: sensors of each module, neighbours in the arrays.
        digital: whether a hit is measured at the centre of its channel.
        sensor_mm: thickness of the silicon of a sensor [mm], 0 if it is not known.
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
    grid: tuple[int, int]
    sensors: tuple[Sensor, ...] = _ONE_SENSOR
    digital: bool = False
    sensor_mm: float = 0.0

    @property
    def geometry_id(self) -> UInt64[ndarray, " n"]:
        """ACTS geometry identifier of each module."""
        module = np.arange(1, len(self.centre) + 1, dtype=np.uint64)
        return np.uint64(self.volume << 56 | self.number << 36) | module << np.uint64(8)

    @property
    def corners(self) -> Float64[ndarray, "n 4 3"]:
        """x, y, z of the corners of each module [mm]."""
        low, high, length = self.half.T
        x = np.stack([-low, low, high, -high], axis=1)
        y = np.stack([-length, -length, length, length], axis=1)
        along = np.einsum("nik,nck->nci", self.axes[:, :, :2], np.stack([x, y], axis=2))
        corners: Float64[ndarray, "n 4 3"] = self.centre[:, None] + along
        return corners

    @property
    def radii(self) -> tuple[float, float]:
        """Smallest and largest radius of the modules of a cylinder [mm]."""
        radius = np.hypot(self.corners[..., 0], self.corners[..., 1])
        # A module is nearest to the beam where its normal goes through it; at a large tilt, at its edge.
        normal = np.abs((self.centre * self.axes[:, :, 2]).sum(axis=1))
        foot = np.abs((self.centre * self.axes[:, :, 0]).sum(axis=1)) <= self.half[:, 0]
        return float(np.where(foot, normal, radius.min(axis=1)).min()), float(radius.max())

    @property
    def z_range(self) -> tuple[float, float]:
        """Smallest and largest z of the modules [mm]."""
        z = self.corners[..., 2]
        return float(z.min()), float(z.max())


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


def shells(layout: DetectorLayout) -> tuple[Shell, ...]:
    """The layers of a layout by shells, inside out.

    Raises:
        ConfigError: layers overlap.
    """
    parts: list[tuple[float, float, Barrel | Discs]] = [(b.inner_radius, b.outer_radius, b) for b in layout.barrel]
    parts += [(d.inner_radius, d.outer_radius, d) for d in layout.discs]
    groups: list[list[Barrel | Discs]] = []
    end = -np.inf
    for inner, outer, part in sorted(parts, key=lambda part: part[:2]):
        if inner - _CLEARANCE > end:
            groups.append([])
        groups[-1].append(part)
        end = max(end, outer)
    return tuple(_shell(group, 3 * k + 2) for k, group in enumerate(groups))


@lru_cache(maxsize=8)
def modules_of_layout(layout: DetectorLayout) -> Modules:
    """The modules of a layout, sorted by geometry identifier; it needs no pyacts.

    Raises:
        ConfigError: layers overlap.
    """
    layers = [layer for shell in shells(layout) for layer in shell.layers]
    count = [len(layer.centre) for layer in layers]
    half_x_low, half_x_high, half_y = np.concatenate([layer.half for layer in layers]).T
    # The coordinate along a strip is anywhere on it.
    pitch = [np.broadcast_to([*layer.pitch, 0.0][:2], (len(layer.centre), 2)).copy() for layer in layers]
    for layer, widths in zip(layers, pitch, strict=True):
        if len(layer.pitch) == 1:
            widths[:, 1] = 2 * layer.half[:, 2]
    stereo = [
        np.resize([np.nan if len(layer.pitch) == 2 else each.stereo_mrad / 1000 for each in layer.sensors], n)
        for layer, n in zip(layers, count, strict=True)
    ]
    return Modules(
        np.concatenate([layer.geometry_id for layer in layers]),
        np.concatenate([layer.centre for layer in layers]),
        np.concatenate([layer.axes for layer in layers]),
        half_x_low,
        half_x_high,
        half_y,
        np.concatenate(pitch),
        np.repeat([layer.thickness_x0 * SILICON_X0 for layer in layers], count),
        layout.name,
        np.concatenate(stereo) if any(len(layer.pitch) == 1 for layer in layers) else None,
        np.repeat([layer.digital for layer in layers], count) if any(layer.digital for layer in layers) else None,
        np.repeat([layer.sensor_mm for layer in layers], count) if any(layer.sensor_mm for layer in layers) else None,
    )


def _shell(parts: list[Barrel | Discs], volume: int) -> Shell:
    barrels = sorted((part for part in parts if isinstance(part, Barrel)), key=lambda barrel: barrel.radii_mm[0])
    places = [(number, barrel) for barrel in barrels for number in range(len(barrel.radii_mm))]
    discs = sorted(
        ((z, part) for part in parts if isinstance(part, Discs) for z in part.z_mm),
        key=lambda z_and_part: z_and_part[0],
    )
    mirrored = [(z, part) for z, part in discs if part.mirrored]
    shell = Shell(
        tuple(_disc(part, -z, volume, number) for number, (z, part) in enumerate(mirrored, 1)),
        tuple(_cylinder(barrel, radius, volume + 1, number) for number, (radius, barrel) in enumerate(places, 1)),
        tuple(_disc(part, z, volume + 2, number) for number, (z, part) in enumerate(discs, 1)),
    )
    _require_order([(layer, *layer.radii) for layer in shell.barrel], "radius", parts)
    along = [(layer, *layer.z_range) for layer in shell.positive]
    if shell.barrel and along:
        disc = _radii(shell.positive[0])
        facing = [layer for layer in shell.barrel if layer.radii[0] < disc[1] and layer.radii[1] > disc[0]]
        for layers in (facing, shell.barrel):  # first those that the disc would touch
            longest = max(layers, key=lambda layer: layer.z_range[1], default=shell.barrel[0])
            _require_order([(longest, 0.0, longest.z_range[1]), *along], "z", parts)
    _require_order(along, "z", parts)
    return shell


def _radii(layer: Layer) -> tuple[float, float]:
    """Smallest and largest radius of the corners of the modules of a layer [mm]."""
    radius = np.hypot(layer.corners[..., 0], layer.corners[..., 1])
    return float(radius.min()), float(radius.max())


def _require_order(extents: list[tuple[Layer, float, float]], axis: str, parts: list[Barrel | Discs]) -> None:
    """Refuse layers of a shell, made of `parts`, that reach into the next one along an axis."""
    for (first, _, end), (second, begin, _) in pairwise(extents):
        if begin >= end + _CLEARANCE:
            continue
        seen = f"{first.name} ends at {axis} = {end:.1f} mm and {second.name} begins at {begin:.1f} mm"
        (_, low), (high, _) = sorted((_radii(first), _radii(second)))
        # Layers whose radii are apart are in one shell because of others, which fill the gap.
        between = [p for p in parts if min(p.outer_radius, high) - max(p.inner_radius, low) > _CLEARANCE]
        whole = [p for p in between if p.inner_radius < low + _CLEARANCE and p.outer_radius > high - _CLEARANCE]
        causes = " and ".join(
            f"{'barrel' if isinstance(part, Barrel) else 'discs'}.{part.name} (r = {part.inner_radius:.1f} to"
            f" {part.outer_radius:.1f} mm)"
            for part in whole or between
        )
        if not causes:
            raise ConfigError(f"detector: {seen}, expected {_CLEARANCE} mm between layers whose radii overlap")
        raise ConfigError(
            f"detector: {first.name} and {second.name} are in one shell because of {causes}, with radii between theirs"
            f" (r = {low:.1f} to {high:.1f} mm): {seen}, expected {_CLEARANCE} mm along {axis} in a shell; keep shells"
            f" {_CLEARANCE} mm apart in r, or divide what joins them into two tables"
        )


def _around(width: float, circumference: float) -> int:
    """Number of modules in a ring: ACTS centres a layer on the beam if that is a multiple of four."""
    return 4 * max(1, ceil(circumference / width / 4))


def _cylinder(barrel: Barrel, number_of_radius: int, volume: int, number: int) -> Layer:
    radius = barrel.radii_mm[number_of_radius]
    rows = _around(barrel.step, 2 * pi * (radius + barrel.stagger_mm / 2))
    if barrel.n_phi:
        rows = barrel.n_phi[number_of_radius]
    row, column = (k.ravel() for k in np.mgrid[:rows, : barrel.modules_in_row])
    phi = 2 * pi * row / rows
    r = radius + barrel.stagger_mm * (row % 2 - 0.5)
    z = (column - (barrel.modules_in_row - 1) / 2) * (barrel.module_mm[1] + barrel.gap_mm)
    turned = phi - radians(barrel.tilt_deg)
    zero = np.zeros(len(phi))
    width, length = barrel.module_mm
    return _layer(
        barrel,
        f"barrel.{barrel.name}, layer {number},",
        (volume, number),
        np.column_stack([r * np.cos(phi), r * np.sin(phi), z]),
        np.column_stack([-np.sin(turned), np.cos(turned), zero]),
        np.column_stack([zero, zero, zero + 1]),
        np.column_stack([np.cos(turned), np.sin(turned), zero]),
        np.tile([width / 2, width / 2, length / 2], (len(phi), 1)),
        (rows, barrel.modules_in_row),
    )


def _disc(discs: Discs, z: float, volume: int, number: int) -> Layer:
    rings = discs.rings or _overlapping_rings(discs)
    outwards = float(np.sign(z))
    centre, phi, half = [], [], []
    for position, ring in enumerate(rings):
        k = np.arange(ring.n_phi)
        around = ring.phi0_rad + 2 * pi * k / ring.n_phi
        if discs.rings:
            aside = outwards * ring.offset_mm + ring.gap_mm * (1 - 2 * (k % 2))
        else:
            aside = discs.stagger_mm * ((k % 2 - 0.5) + (position % 2 - 0.5) / 2)
        centre.append(np.column_stack([ring.radius_mm * np.cos(around), ring.radius_mm * np.sin(around), z + aside]))
        half.append(np.tile([*ring.half_width_mm, ring.half_length_mm], (ring.n_phi, 1)))
        phi.append(around)
    around = np.concatenate(phi)
    zero = np.zeros(len(around))
    return _layer(
        discs,
        f"discs.{discs.name} at z = {z:g} mm",
        (volume, number),
        np.concatenate(centre),
        np.column_stack([-np.sin(around), np.cos(around), zero]),
        np.column_stack([np.cos(around), np.sin(around), zero]),
        np.column_stack([zero, zero, zero + outwards]),
        np.concatenate(half),
        (len(rings), rings[-1].n_phi),
    )


def _overlapping_rings(discs: Discs) -> tuple[Ring, ...]:
    """As many rings of as many modules as cover a disc."""
    depth, overlap = discs.outer_radius_mm - discs.inner_radius_mm, discs.overlap_mm
    n_rings = max(1, ceil((depth - overlap) / (discs.module_mm[1] - overlap)))
    length = (depth + (n_rings - 1) * overlap) / n_rings
    rings = []
    for number in range(n_rings):
        middle = discs.inner_radius_mm + number * (length - overlap) + length / 2
        inner, outer = middle - length / 2, middle + length / 2
        n = _around(discs.module_mm[0] - overlap, 2 * pi * outer)
        half_widths = inner * tan(pi / n) + overlap / 2, outer * tan(pi / n) + overlap / 2
        rings.append(Ring(middle, n, half_widths, length / 2))
    return tuple(rings)


def _layer(
    part: Barrel | Discs,
    name: str,
    volume_and_number: tuple[int, int],
    centre: Float64[ndarray, "n 3"],
    across: Float64[ndarray, "n 3"],
    along: Float64[ndarray, "n 3"],
    outwards: Float64[ndarray, "n 3"],
    half: Float64[ndarray, "n 3"],
    grid: tuple[int, int],
) -> Layer:
    """A layer of the sensors of its modules.

    Args:
        part: barrel or discs that the layer is of.
        name: name of the layer.
        volume_and_number: volume and layer of its geometry identifiers.
        centre: centre of each module [mm].
        across: direction around the beam, of the width of each module.
        along: direction of the length of each module.
        outwards: direction of the offset of its sensors.
        half: half widths at both edges, and half length, of each module [mm].
        grid: numbers of modules, as in `Layer`.
    """
    centres, axes = [], []
    for sensor in part.sensors:
        cosine, sine = cos(sensor.stereo_mrad / 1000), sin(sensor.stereo_mrad / 1000)
        x, y = across * cosine - along * sine, along * cosine + across * sine
        centres.append(centre + sensor.offset_mm * outwards)
        axes.append(np.stack([x, y, np.cross(x, y)], axis=2))
    n_sensors = len(part.sensors)
    return Layer(
        name,
        *volume_and_number,
        isinstance(part, Barrel),
        np.stack(centres, axis=1).reshape(-1, 3),
        np.stack(axes, axis=1).reshape(-1, 3, 3),
        np.repeat(half, n_sensors, axis=0),
        part.pitch_mm,
        part.thickness_x0 / n_sensors,
        grid,
        part.sensors,
        part.digital,
        part.sensor_mm,
    )


@dataclass(frozen=True)
class Detector:
    """The ACTS GenericDetector, or one of your own, in the field of a solenoid.

    Attributes:
        field: magnetic field along z [T] that reconstruction assumes; if it is not constant, that in the centre.
        field_scale: factor on the field in the simulation, to study a wrong field in reconstruction.
        hadronic: let charged hadrons interact with the nuclei of the detector.
        layout: layout of the detector, or None for the GenericDetector.
        clusters: let particles share their charge among channels, and clusters among particles
            (`beampipe.simulation.clusters`); the layout states the thickness of the sensors.
    """

    field: float = 2 * T
    field_scale: float = 1.0
    hadronic: bool = True
    layout: DetectorLayout | None = None
    clusters: bool = False

    @classmethod
    def of(cls, layout: DetectorLayout) -> Detector:
        """A layout in its own field."""
        return cls(field=layout.field_T, layout=layout)


def detector_modules(layout: DetectorLayout | None = None) -> Modules:
    """The modules of a layout, or of the GenericDetector; it needs no pyacts.

    Raises:
        ConfigError: layers of the layout overlap.
    """
    return generic_modules() if layout is None else modules_of_layout(layout)
