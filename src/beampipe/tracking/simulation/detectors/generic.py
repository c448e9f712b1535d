"""The GenericDetector of ACTS: its modules, from a table that comes with the package."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file, files
from typing import Final

import numpy as np

from beampipe.tracking.simulation.detectors.modules import Modules, volume_of
from beampipe.units import mm, um

__all__ = ["PITCH", "THICKNESS", "generic_modules"]

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
"""Silicon equivalent [mm] of one layer (module and support) for each volume: what a hadron can interact in."""


@lru_cache(maxsize=1)
def generic_modules() -> Modules:
    """The modules of the GenericDetector, from a table that comes with the package; it needs no pyacts."""
    table = files("beampipe.tracking.simulation.detectors") / "generic_modules.npz"
    with as_file(table) as path, np.load(path) as arrays:
        shape = dict(arrays)
    volume = volume_of(shape["geometry_id"]).tolist()
    pitch = np.array([PITCH[number] for number in volume])
    return Modules(**shape, pitch=pitch, silicon=np.array([THICKNESS[number] for number in volume]))
