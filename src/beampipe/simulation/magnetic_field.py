"""The magnetic field of a detector for ACTS: constant along z, or that of a solenoid.

ACTS's own `SolenoidBField` is not used: off the axis it is wrong (pyacts 48.1). Halfway to the end of a coil of 3 T,
its radial field is 0.6 T next to the axis, where it has to vanish.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.simulation.detector import DetectorLayout, Solenoid, modules_of_layout

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
        layout: layout of the detector; if it has a solenoid, the field is a map around the modules.

    Raises:
        MissingExtraError: pyacts is not installed.
    """
    import acts

    tesla = acts.UnitConstants.T
    if layout is None or layout.solenoid is None:
        return acts.ConstantBField(acts.Vector3(0.0, 0.0, field * tesla))
    modules = modules_of_layout(layout)
    reach = np.hypot(np.maximum(modules.half_x_low, modules.half_x_high), modules.half_y) + _MARGIN
    r_max = float((np.hypot(modules.centre[:, 0], modules.centre[:, 1]) + reach).max())
    z_max = float((np.abs(modules.centre[:, 2]) + reach).max())
    r, z = np.meshgrid(_points(0.0, r_max), _points(-z_max, z_max))  # ACTS expects r to change fastest
    radial, along = solenoid_field(layout.solenoid, r, z)
    table = np.column_stack([r.ravel(), z.ravel(), field * radial.ravel(), field * along.ravel()])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "field.txt"
        np.savetxt(path, table, fmt="%.9g")
        return acts.MagneticFieldMapRz(str(path), lengthUnit=acts.UnitConstants.mm, bFieldUnit=tesla)


def _points(first: float, last: float) -> Float64[ndarray, " n"]:
    return np.linspace(first, last, int(np.ceil((last - first) / _STEP)) + 1)
