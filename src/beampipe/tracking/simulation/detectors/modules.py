"""The sensitive modules of a detector as arrays: where each is, how it is turned, how large and how fine it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float, Float32, Float64, Int64, UInt64
from beampipe.errors import InputError

__all__ = ["Modules", "volume_of"]


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
        silicon: (n,) float64 thickness of silicon that stands for all matter of a module and its support [mm].
        detector: name of the detector, for messages.
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
