"""Array types with shapes for signatures, named as in `jaxtyping`.

    def pt(px: Float64[ndarray, " n"], py: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]: ...

Tests check every call against them. Otherwise jaxtyping is not imported, and each name is an alias of the array type
that it contains.
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
        """An array whose type and shape are not checked."""

        def __class_getitem__(cls, array_and_shape: tuple[Any, str]) -> Any:
            return array_and_shape[0]

    Bool = Float = Float32 = Float64 = Int8 = Int16 = Int32 = Int64 = Integer = Shaped = _Unchecked
    UInt8 = UInt16 = UInt32 = UInt64 = _Unchecked
