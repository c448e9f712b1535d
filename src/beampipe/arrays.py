"""Types of arrays for signatures, with shapes: the names of `jaxtyping`.

    def pt(px: Float64[ndarray, " n"], py: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]: ...

Tests check every call against them. Elsewhere nobody asks, and jaxtyping is not loaded with all that it needs: a name
is then no more than the array that it is of.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

__all__ = [
    "Bool",
    "Float",
    "Float32",
    "Float64",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Integer",
    "Shaped",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
]

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import (
        Bool,
        Float,
        Float32,
        Float64,
        Int8,
        Int16,
        Int32,
        Int64,
        Integer,
        Shaped,
        UInt8,
        UInt16,
        UInt32,
        UInt64,
    )
else:

    class _Unchecked:
        """An array whose type and shape nobody checks."""

        def __class_getitem__(cls, array_and_shape: tuple[Any, str]) -> Any:
            return array_and_shape[0]

    Bool = Float = Float32 = Float64 = Int8 = Int16 = Int32 = Int64 = Integer = Shaped = _Unchecked
    UInt8 = UInt16 = UInt32 = UInt64 = _Unchecked
