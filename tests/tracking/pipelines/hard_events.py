"""Events that no detector gives, and the errors of finders, to compare one with another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.errors import InputError

__all__ = ["KINDS", "absurd", "outcome"]

KINDS = ("one point", "one line", "one phi", "no radius", "inside out", "far away", "denormal", "any bits")
"""What `absurd` can make."""


def absurd(kind: str, n: int = 3000) -> ndarray:
    """(n, 3) float32 hits as no detector gives them."""
    rng = np.random.default_rng(0)
    layer = rng.choice([32.0, 72, 116, 172, 260, 360, 500, 660, 820, 1020], n)
    kinds: dict[str, Any] = {
        "one point": (72.0, 0.3, 20.0),
        "one line": (layer, 0.3, layer / 2),
        "one phi": (layer, 0.3, rng.uniform(-1000, 1000, n)),
        "no radius": (0.0, rng.uniform(-3, 3, n), rng.uniform(-1000, 1000, n)),
        "inside out": (-layer, rng.uniform(-3, 3, n), rng.uniform(-1000, 1000, n)),
        "far away": (layer, rng.uniform(-3, 3, n), rng.uniform(-1e9, 1e9, n)),
        "denormal": (1e-42, 1e-41, rng.uniform(0, 1e-40, n)),
        "any bits": np.nan_to_num(rng.integers(0, 2**32, (3, n), np.uint32).view(np.float32), posinf=0, neginf=0),
    }
    return np.stack([np.broadcast_to(column, n) for column in kinds[kind]], axis=1).astype(np.float32)


def outcome(find: Callable[[], Any]) -> Any:
    """What `find` gives, or type and message of the error of the input that it raises."""
    try:
        return find()
    except InputError as error:
        return type(error), str(error)
