"""Types and shapes of the arrays in events."""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from beampipe.arrays import Float32, Float64
from beampipe.errors import DtypeError, ShapeError

__all__ = ["cylindrical", "expect_array", "expect_cartesian"]


def expect_array(name: str, array: ndarray, dtype: type, shape: tuple[int | None, ...]) -> None:
    """Refuse an array that is not of the stated type and shape (None matches any length)."""
    if array.dtype != dtype:
        raise DtypeError(f"{name}: got dtype {array.dtype}, expected {np.dtype(dtype)}; convert it first")
    if array.ndim != len(shape) or any(
        want is not None and got != want for got, want in zip(array.shape, shape, strict=True)
    ):
        wanted = ", ".join("n" if length is None else str(length) for length in shape)
        raise ShapeError(f"{name}: got shape {array.shape}, expected ({wanted})")


def cylindrical(x: ndarray, y: ndarray, z: ndarray) -> Float32[ndarray, "n 3"]:
    """x, y, z [mm] as r [mm], phi [rad], z [mm]."""
    return np.stack([np.hypot(x, y), np.arctan2(y, x), z], axis=1).astype(np.float32)


def expect_cartesian(xyz: ArrayLike) -> Float64[ndarray, "n_hits 3"]:
    """x, y, z [mm] as float64.

    Raises:
        DtypeError: the coordinates are no real numbers.
        ShapeError: they are not (n, 3).
    """
    try:
        array = np.asarray(xyz)
    except ValueError:
        raise ShapeError("xyz: got rows of different lengths, expected (n, 3): x, y, z [mm] of each hit") from None
    if array.dtype.kind not in "iuf":
        raise DtypeError(f"xyz: got dtype {array.dtype}, expected real numbers: x, y, z [mm] of each hit")
    array = array.astype(np.float64)
    expect_array("xyz", array, np.float64, (None, 3))
    return array
