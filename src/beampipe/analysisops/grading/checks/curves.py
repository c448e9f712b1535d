"""Curves from a distance to a fraction of points: 1 at no distance, falling, without steps."""

from __future__ import annotations

import math

__all__ = ["bell", "ramp", "slope"]


def bell(distance: float, half: float) -> float:
    """``2 ** -(distance / half)**4``: flat on top, one half at `half`, 3e-12 at 2.5 times that."""
    ratio = abs(distance) / half
    return math.exp2(-(ratio**4)) if ratio < 8.0 else 0.0


def slope(distance: float, full: float, zero: float) -> float:
    """1 up to `full`, 0 from `zero` on, half a period of a cosine between them."""
    if distance <= full:
        return 1.0
    if distance >= zero:
        return 0.0
    return 0.5 * (1.0 + math.cos(math.pi * (distance - full) / (zero - full)))


def ramp(distance: float, full: float, zero: float) -> float:
    """1 up to `full`, 0 from `zero` on, a straight line between them."""
    if distance <= full:
        return 1.0
    return max(0.0, (zero - distance) / (zero - full)) if zero > full else 0.0
