"""The compiled kernels of the calibration."""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from types import ModuleType


@cache
def native() -> ModuleType | None:
    """The compiled loops; None, with one warning, if they are not built."""
    try:
        return import_module("beampipe.calibration.kernels._native")
    except ImportError as error:
        warnings.warn(
            f"beampipe's native kernels of the calibration are not available ({error}); numpy runs instead and gives"
            " the same numbers, several times slower: install a wheel, or a C++ compiler and `pip install` from source",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def build() -> str:
    """Digest of the sources and build settings of the compiled loops; ``numpy`` if there are none."""
    compiled = native()
    return "numpy" if compiled is None else str(compiled.BUILD)
