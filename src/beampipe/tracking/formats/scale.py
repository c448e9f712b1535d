"""What one unit of r, phi and z means in a file or a request. The only definition; clients and servers import it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.errors import UnknownNameError

__all__ = ["SCALES", "Scale", "scale_named"]


@dataclass(frozen=True)
class Scale:
    """The size of one unit of each coordinate.

    Attributes:
        name: name by which a user chooses the scale.
        r: length that r is divided by [mm].
        phi: angle that phi is divided by [rad].
        z: length that z is divided by [mm].
    """

    name: str
    r: float
    phi: float
    z: float

    def to_mm(self, features: Float32[ndarray, "n_hits 3"]) -> Float32[ndarray, "n_hits 3"]:
        """Features in this scale as r [mm], phi [rad], z [mm]."""
        position: Float32[ndarray, "n_hits 3"] = features * self._units()
        return position

    def from_mm(self, position: Float32[ndarray, "n_hits 3"]) -> Float32[ndarray, "n_hits 3"]:
        """r [mm], phi [rad], z [mm] as features in this scale."""
        features: Float32[ndarray, "n_hits 3"] = position / self._units()
        return features

    def _units(self) -> Float32[ndarray, " 3"]:
        return np.array([self.r, self.phi, self.z], np.float32)


SCALES: Final = {
    scale.name: scale
    for scale in (
        Scale("mm", 1.0, 1.0, 1.0),
        Scale("exatrkx", 3000.0, np.pi, 400.0),
        Scale("acts", 1000.0, np.pi, 1000.0),
    )
}
"""`mm`: mm, rad, mm. `exatrkx`: r/3000, phi/pi, z/400. `acts`: r/1000, phi/pi, z/1000."""


def scale_named(name: str) -> Scale:
    """The scale of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in SCALES:
        raise UnknownNameError("scale", name, SCALES)
    return SCALES[name]
