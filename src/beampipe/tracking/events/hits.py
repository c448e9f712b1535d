"""Hits: the space points that were measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from beampipe.arrays import Bool, Float32, Int64, UInt64
from beampipe.errors import NotFiniteError
from beampipe.notebook import Shown, span
from beampipe.tracking.events.arrays import cylindrical, expect_array, expect_cartesian

__all__ = ["Hits"]


@dataclass(frozen=True, eq=False, repr=False)
class Hits(Shown):
    """Measured space points of one event, in the order in which they came.

    Attributes:
        position: (n_hits, 3) float32: r [mm], phi [rad], z [mm].
        geometry_id: (n_hits,) uint64 ACTS geometry identifier of the module, or None.
        local: (n_hits, 2) float32 position on the module [mm], or None.
        variance: (n_hits, 2) float32 variance of `local` [mm^2], or None.

    Raises:
        ShapeError: `position` is not (n, 3), or an optional field has another length.
        DtypeError: a field is not of its type.
        NotFiniteError: a coordinate is NaN or infinite.
    """

    position: Float32[ndarray, "n_hits 3"]
    geometry_id: UInt64[ndarray, " n_hits"] | None = None
    local: Float32[ndarray, "n_hits 2"] | None = None
    variance: Float32[ndarray, "n_hits 2"] | None = None

    def __post_init__(self) -> None:
        expect_array("hits", self.position, np.float32, (None, 3))
        if not np.isfinite(self.position).all():
            row = int(np.argmin(np.isfinite(self.position).all(axis=1)))
            raise NotFiniteError(
                f"hits: got {self.position[row].tolist()} at row {row}, expected finite r, phi, z;"
                " drop or repair that hit"
            )
        n = len(self.position)
        if self.geometry_id is not None:
            expect_array("geometry_id", self.geometry_id, np.uint64, (n,))
        for name, values in (("local", self.local), ("variance", self.variance)):
            if values is not None:
                expect_array(name, values, np.float32, (n, 2))

    @classmethod
    def from_xyz(
        cls,
        xyz: ArrayLike,
        *,
        geometry_id: UInt64[ndarray, " n_hits"] | None = None,
        local: Float32[ndarray, "n_hits 2"] | None = None,
        variance: Float32[ndarray, "n_hits 2"] | None = None,
    ) -> Hits:
        """Hits from Cartesian coordinates, with r = hypot(x, y) and phi = atan2(y, x).

        Args:
            xyz: (n_hits, 3) x, y, z [mm], any real numbers; the detector's axis is x = y = 0.
            geometry_id: (n_hits,) uint64 ACTS geometry identifier of the module, or None.
            local: (n_hits, 2) float32 position on the module [mm], or None.
            variance: (n_hits, 2) float32 variance of `local` [mm^2], or None.

        Raises:
            DtypeError: the coordinates are no real numbers.
            ShapeError: they are not (n, 3), or an optional field has another length.
            NotFiniteError: one of them is NaN or infinite.
        """
        return cls(cylindrical(*expect_cartesian(xyz).T), geometry_id, local, variance)

    def __len__(self) -> int:
        return len(self.position)

    @property
    def xyz(self) -> Float32[ndarray, "n_hits 3"]:
        """(n_hits, 3) float32: x, y, z [mm]."""
        r, phi, z = self.position.T
        return np.stack([r * np.cos(phi), r * np.sin(phi), z], axis=1)

    def facts(self) -> Mapping[str, object]:
        """Number of hits, where they lie, and what is known beside their positions."""
        said: dict[str, object] = {"hits": len(self)}
        if len(self):
            said |= {"r": span(self.position[:, 0], "mm"), "z": span(self.position[:, 2], "mm")}
        beside = [name for name in ("geometry_id", "local", "variance") if getattr(self, name) is not None]
        return {**said, "beside": ", ".join(beside) or "nothing"}

    def take(self, index: Int64[ndarray, " n"] | Bool[ndarray, " n_hits"]) -> Hits:
        """The hits at `index` (positions or a mask), in that order."""
        optional = (self.geometry_id, self.local, self.variance)
        return Hits(self.position[index], *(None if column is None else column[index] for column in optional))
