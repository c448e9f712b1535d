"""Finds the native kernels."""

from __future__ import annotations

import warnings
from functools import cache
from types import ModuleType

__all__ = ["native"]


@cache
def native() -> ModuleType | None:
    """The compiled kernels, or None, with one warning, where they were not built."""
    try:
        from beampipe.tracking.kernels import _native
    except ImportError as error:
        warnings.warn(
            f"beampipe's native kernels are not available ({error}); the numpy reference runs instead, some hundred"
            " times slower: install a wheel, or a C++ compiler and `pip install` from source",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    module: ModuleType = _native
    return module
