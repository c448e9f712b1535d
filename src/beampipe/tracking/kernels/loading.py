"""Finds the native kernels."""

from __future__ import annotations

import os
import warnings
from functools import cache
from importlib import import_module
from types import ModuleType

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64


@cache
def native() -> ModuleType | None:
    """The compiled kernels; None, with one warning, where they were not built."""
    # Idle threads sleep: spinning ones would slow down other events on the same cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        return import_module("beampipe.tracking.kernels._native")
    except ImportError as error:
        warnings.warn(
            f"beampipe's native kernels are not available ({error}); the numpy reference runs instead, some hundred"
            " times slower, without hints on units and without a second search where the beam line lies elsewhere:"
            " install a wheel, or a C++ compiler and `pip install` from source",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def build() -> str:
    """Digest of the sources of the compiled kernels, which was built into them; ``numpy`` where the reference runs."""
    kernels = native()
    return "numpy" if kernels is None else str(kernels.BUILD)


def contiguous(array: ndarray) -> ndarray:
    """The array with rows contiguous in memory, as the native kernels read it."""
    return np.ascontiguousarray(array)


def blocks(offsets: Int64[ndarray, " n_events_and_1"] | None, n_hits: int) -> Int64[ndarray, " n_blocks_and_1"]:
    """The blocks of a graph, as the native kernels read them: all hits are one block where there are no offsets."""
    return np.array([0, n_hits], np.int64) if offsets is None else np.ascontiguousarray(offsets)
