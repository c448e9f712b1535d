"""Objects made as users make them, without the types that are checked while tests run."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, TypeVar

__all__ = ["unchecked"]

T = TypeVar("T")


def unchecked(cls: type[T], **values: Any) -> T:
    """`cls(**values)` for a frozen dataclass, refused by nothing but its own `__post_init__`."""
    made = object.__new__(cls)
    for field in fields(cls):  # type: ignore[arg-type]
        value = values.pop(field.name, field.default)
        assert value is not MISSING, f"{field.name} is missing"
        object.__setattr__(made, field.name, value)
    assert not values
    made.__post_init__()  # type: ignore[attr-defined]
    return made
