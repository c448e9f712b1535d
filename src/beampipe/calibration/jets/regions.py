"""Jets to regions: forward or central."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int8
from beampipe.calibration.config.regions import Regions

__all__ = ["assign_regions"]


def assign_regions(eta: Float32[ndarray, "n 2"], regions: Regions) -> Int8[ndarray, "n 2"]:
    """Numbers in `REGIONS` of each jet of a pair, -1 for neither; see `Regions`."""
    size = np.abs(eta)
    if regions.rule == "eta_split":
        central: ndarray = size < regions.split
        return central.astype(np.int8)
    out = np.empty(size.shape, np.int8)
    np.less(size[:, 0], size[:, 1], out=out[:, 0], casting="unsafe")
    np.subtract(1, out[:, 0], out=out[:, 1])
    if regions.min_eta_gap > 0:
        out[np.abs(size[:, 0] - size[:, 1]) < regions.min_eta_gap] = -1
    return out
