"""The magnetic field of a detector for ACTS: constant along z, that of a solenoid, or a map from a file.

ACTS's own `SolenoidBField` is not used: off the axis it is wrong (pyacts 48.1). Halfway to the end of a coil of 3 T,
its radial field is 0.6 T next to the axis, where it has to vanish.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.errors import ConfigError, FileError
from beampipe.simulation.detector import MAX_FIELD, DetectorLayout, FieldMap, Solenoid, modules_of_layout

_STEP: Final = 25.0
"""Largest distance between points of the map [mm]; ACTS interpolates linearly between them."""

_MARGIN: Final = 100.0
"""Distance that the map reaches beyond the modules [mm]."""

_ROUNDS: Final = 12
"""Steps of the arithmetic-geometric mean; it converges quadratically, here from a ratio of 1e-6 on."""


def solenoid_field(
    coil: Solenoid, r: Float64[ndarray, "*shape"], z: Float64[ndarray, "*shape"]
) -> tuple[Float64[ndarray, "*shape"], Float64[ndarray, "*shape"]]:
    """Radial and longitudinal field of a coil at points not on its winding, relative to that in its centre.

    The coil is a thin cylinder of current without iron: N. Derby, S. Olbert, Am. J. Phys. 78 (2010) 229, with complete
    elliptic integrals after R. Bulirsch, Numer. Math. 13 (1969) 305.

    Args:
        coil: the coil.
        r: distance from the axis [mm].
        z: distance from the middle of the coil along the axis [mm].
    """
    a = coil.radius_mm
    gamma = (a - r) / (a + r)
    radial, along = np.zeros(np.shape(r)), np.zeros(np.shape(r))
    for sign in (1.0, -1.0):
        end = z + sign * coil.half_length_mm
        length = np.sqrt(end**2 + (r + a) ** 2)
        k = np.sqrt(end**2 + (a - r) ** 2) / length
        radial += sign * a / length * _elliptic(k, np.ones_like(k), 1.0, -np.ones_like(k))
        along += sign * end / length * _elliptic(k, gamma**2, 1.0, gamma)
    centre = np.pi * coil.half_length_mm / np.hypot(coil.half_length_mm, a)
    return radial / centre, along * a / (a + r) / centre


def _elliptic(k: ndarray, p: ndarray, c: float, s: ndarray) -> ndarray:
    """Integral of (c cos^2 + s sin^2) / ((cos^2 + p sin^2) sqrt(cos^2 + k^2 sin^2)) over a quarter turn, p > 0."""
    root = np.sqrt(p)
    sum_c, sum_s, mean = c + s / p, 2 * (s / root + c * k / root), 1 + k
    root, product, other = root + k / root, k, k
    for _ in range(_ROUNDS):
        other = 2 * np.sqrt(product)
        product = other * mean
        ratio = product / root
        sum_c, sum_s = sum_c + sum_s / root, 2 * (sum_s + sum_c * ratio)
        root, mean = ratio + root, other + mean
    result: ndarray = np.pi / 2 * (sum_s + sum_c * mean) / (mean * (mean + root))
    return result


def build_field(field: float, layout: DetectorLayout | None = None) -> Any:
    """The field of a detector as ``acts.MagneticFieldProvider``.

    Args:
        field: field along z in the centre [T].
        layout: layout of the detector; if it has a solenoid or a map of the field, ACTS interpolates a map.

    Raises:
        FileError: the map of the field cannot be read.
        ConfigError: the map of the field is not that of this detector.
        MissingExtraError: pyacts is not installed, or uproot for a map in a ROOT file.
    """
    import acts

    unit = acts.UnitConstants
    if layout is None or (layout.solenoid is None and layout.field_map is None):
        return acts.ConstantBField(acts.Vector3(0.0, 0.0, field * unit.T))
    modules = modules_of_layout(layout)
    reach = np.hypot(np.maximum(modules.half_x_low, modules.half_x_high), modules.half_y) + _MARGIN
    r_max = float((np.hypot(modules.centre[:, 0], modules.centre[:, 1]) + reach).max())
    z_max = float((np.abs(modules.centre[:, 2]) + reach).max())
    if layout.field_map is not None:
        table = read_field_map(layout.field_map, layout.field_T, r_max, z_max)
    else:
        assert layout.solenoid is not None
        z, r = np.meshgrid(_points(-z_max, z_max), _points(0.0, r_max), indexing="ij")
        radial, along = solenoid_field(layout.solenoid, r.ravel(), z.ravel())
        table = np.column_stack([r.ravel(), z.ravel(), layout.field_T * radial, layout.field_T * along])
    dimensions = table.shape[1] // 2
    table[:, dimensions:] *= field / layout.field_T
    read = acts.MagneticFieldMapRz if dimensions == 2 else acts.MagneticFieldMapXyz
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "field.txt"
        np.savetxt(path, table, fmt="%.9g")
        return read(str(path), lengthUnit=unit.mm, bFieldUnit=unit.T)


def _points(first: float, last: float) -> Float64[ndarray, " n"]:
    return np.linspace(first, last, int(np.ceil((last - first) / _STEP)) + 1)


_NAMES: Final = (("r", "z", "Br", "Bz"), ("x", "y", "z", "Bx", "By", "Bz"))
"""Columns of a map about the axis, and of one in space."""

_TOLERANCE: Final = 0.02
"""Largest relative difference between the field of a map in the centre and `field_T`."""


def read_field_map(given: FieldMap, field: float, r_max: float, z_max: float) -> Float64[ndarray, "n_points n_columns"]:
    """The table of a map of the field, in mm and T, in the order of points that ACTS expects.

    Files are those of ACTS. A text has the columns r, z, Br, Bz or x, y, z, Bx, By, Bz, separated by spaces or commas;
    lines that do not begin with a number are comments. A ROOT file has a tree with branches of these names. Points are
    in any order; they form a grid with equal steps.

    Args:
        given: the file and its units.
        field: expected field along z in the centre [T].
        r_max: distance from the axis that the points must reach [mm].
        z_max: distance along the axis that they must reach on both sides [mm].

    Raises:
        FileError: the file cannot be read, or has other columns.
        ConfigError: its points form no such grid or do not cover the detector, or the field is another one.
        MissingExtraError: uproot is not installed, for a ROOT file.
    """
    path = given.file
    table = _root_table(path) if path.suffix == ".root" else _text_table(path)
    dimensions = table.shape[1] // 2
    table *= np.repeat([given.length_unit_mm, given.field_unit_T], dimensions)
    # ACTS expects r to change fastest of r and z, but z of x, y and z.
    names, fastest = _NAMES[dimensions - 2], (0, 1) if dimensions == 2 else (2, 1, 0)
    # ACTS counts coordinates that differ at all as different, so those of one row or column are made equal.
    table[:, :dimensions] = np.round(table[:, :dimensions], 3)
    table = table[np.lexsort([table[:, axis] for axis in fastest])]
    places = table[:, :dimensions]
    axes = [np.unique(places[:, axis]) for axis in range(dimensions)]
    steps = [np.diff(axis) for axis in axes]
    if len(table) != np.prod([len(axis) for axis in axes]) or len(np.unique(places, axis=0)) != len(table):
        sizes = " x ".join(str(len(axis)) for axis in axes)
        raise ConfigError(f"{path}: got {len(table)} points, expected each of a grid of {sizes} once")
    if any(len(step) == 0 or np.ptp(step) > 0.01 * step.mean() for step in steps):
        raise ConfigError(f"{path}: got unequal steps along {' or '.join(names[:dimensions])}, expected a regular grid")
    needed = [(0.0, r_max), (-z_max, z_max)] if dimensions == 2 else [(-r_max, r_max)] * 2 + [(-z_max, z_max)]
    for name, axis, (low, high) in zip(names, axes, needed, strict=False):
        if axis[0] > low or axis[-1] < high:
            raise ConfigError(
                f"{path}: got {name} from {axis[0]:.0f} to {axis[-1]:.0f} mm, expected a grid that covers the detector:"
                f" {low:.0f} to {high:.0f} mm; is length_unit_mm = {given.length_unit_mm:g} right?"
            )
    centre = table[np.argmin((places**2).sum(axis=1)), -1]
    largest = np.abs(table[:, dimensions:]).max()
    if not (largest <= MAX_FIELD and abs(centre - field) <= _TOLERANCE * abs(field)):  # also if it is not a number
        raise ConfigError(
            f"{path}: got a field of {centre:.4g} T in the centre and up to {largest:.4g} T, expected"
            f" field_T = {field:g} in the centre and at most {MAX_FIELD:g} T;"
            f" is field_unit_T = {given.field_unit_T:g} right?"
        )
    return table


def _text_table(path: Path) -> Float64[ndarray, "n_points n_columns"]:
    """All columns of a text file."""
    try:
        lines = [line.replace(",", " ") for line in path.read_text(encoding="utf-8").splitlines()]
        rows = [line for line in lines if re.match(r"\s*[+-]?\.?\d", line)]
        table = np.loadtxt(rows, ndmin=2) if rows else np.empty((0, 0))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); expected a map of the magnetic field") from error
    except ValueError as error:
        raise FileError(f"{path}: got no table of numbers ({error}), expected {_EXPECTED}") from error
    if table.shape[1] not in (4, 6):
        raise FileError(f"{path}: got {table.shape[1]} columns, expected {_EXPECTED}")
    return table


def _root_table(path: Path) -> Float64[ndarray, "n_points n_columns"]:
    """The columns of the first tree in a ROOT file that has them."""
    import uproot

    try:
        with uproot.open(path) as file:
            for tree in file.values(filter_classname="TTree"):
                for names in _NAMES:
                    if set(names) <= set(tree.keys()):
                        return np.column_stack([tree[name].array(library="np") for name in names]).astype(np.float64)
    except Exception as error:  # uproot raises all kinds of exceptions for damaged files
        raise FileError(f"{path}: cannot be read ({error}); expected a ROOT file") from error
    raise FileError(f"{path}: got no tree with the branches of a map, expected {_EXPECTED}")


_EXPECTED: Final = " or ".join(", ".join(names) for names in _NAMES)
