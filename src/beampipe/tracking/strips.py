"""Space points of double-sided strips, compared with the track by their two measurements.

Pipelines find tracks by positions. The position of a space point is good across its strips, but off along them by
centimetres for soft particles, and ghosts look the same; see `beampipe.simulation.stereo`. A track through its other
hits says where it crosses both sensors, so that each measurement can be compared with it. The common part of the two
differences is the error of the extrapolation. Their difference is not: it has the resolution of the strips.

The track is a circle (I. Kasa, IEEE Trans. Instrum. Meas. 25 (1976) 8) and a straight line in z against the arc length,
through its hits that are not on double-sided modules.

Pipelines run this in C++ (`kernels/native/pipelines/strips.cpp`), which reads the modules from a table in the tracker
model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from beampipe.simulation.detector import Modules

STRIPS: Final = "strips"
"""Name of the step that compares space points with tracks, and of the table of double-sided modules."""


def save_strips(modules: Modules, path: Path) -> None:
    """Write the table of double-sided modules that the C++ reads.

    It has the volume and the number of each layer, its modules, and whether they are double-sided (``layers``, int32),
    and for these the centre, the direction across the strips and the normal of each sensor (``sensors``, float32).

    Args:
        modules: modules of a detector, some of them double-sided.
        path: safetensors file to write.
    """
    from safetensors.numpy import save_file

    assert modules.stereo is not None
    identifier, first, count = np.unique(modules.geometry_id >> np.uint64(36), return_index=True, return_counts=True)
    is_double = np.isfinite(modules.stereo)
    layers = np.stack([identifier >> np.uint64(20), identifier & np.uint64(0xFFFFF), count, is_double[first]], axis=1)
    axes = modules.axes[is_double]
    sensors = np.concatenate([modules.centre[is_double], axes[:, :, 0], axes[:, :, 2]], axis=1)
    save_file({"layers": layers.astype(np.int32), "sensors": sensors.astype(np.float32)}, path)
