"""What the columns of an event look like by themselves: rounded, given twice, or phi in parts of a turn."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32

__all__ = ["FEWEST_FOR_COLUMNS", "odd_columns"]

FEWEST_FOR_COLUMNS: Final = 1000
"""Fewest hits of an event whose columns are looked at."""

_MOST: Final = 0.9
"""Share of the hits from which on a property of a number is one of its column."""

_FEWEST_VALUES: Final = 0.6
"""Distinct values of phi per hit below which it is told. Hits of one event hardly ever have the same."""

_MOST_SORTED: Final = 5000
"""Hits of which the distinct values are counted, about."""

_EDGE: Final = 0.01
"""Distance from the ends of a turn, in parts of it, within which some of `FEWEST_FOR_COLUMNS` hits lie."""

_PARTS_OF_A_TURN: Final = ((-1, 1, "pi"), (0, 2, "pi"), (-0.5, 0.5, "turns"), (0, 1, "turns"))
"""Least and most of phi where it is given in these units; in rad it is rarely just that."""


def odd_columns(position: Float32[ndarray, "n_hits 3"]) -> list[str]:
    """What is to be told of the columns of one event; nothing if they look well, or if there are too few hits.

    Args:
        position: r [mm], phi [rad], z [mm], of all hits.
    """
    if len(position) < FEWEST_FOR_COLUMNS:
        return []
    r, phi, z = position.T
    return [*_rounded(r, "r"), *_rounded(z, "z"), *_coarse(phi), *_part_of_a_turn(phi)]


def _rounded(length: Float32[ndarray, " n_hits"], name: str) -> list[str]:
    """Layers lie at whole numbers of mm, but not all along both r and z."""
    whole = np.mean(length == np.rint(length))
    return [f"{name} is a whole number in {whole:.0%} of the hits"] if whole > _MOST else []


def _coarse(phi: Float32[ndarray, " n_hits"]) -> list[str]:
    """Angles that were rounded, or come twice."""
    if np.mean(phi.astype(np.float16) == phi) > _MOST:
        return ["phi was rounded to 16 bits"]
    # Hits of one phi stand anywhere in an event, but in one slice of the detector; sorting all of them takes long.
    low, width = phi.min(), np.ptp(phi) * min(1, _MOST_SORTED / len(phi))
    part = phi[phi <= low + width]
    values = len(np.unique(part))
    return [f"phi has only {values} values in {len(part)} hits"] if values < _FEWEST_VALUES * len(part) else []


def _part_of_a_turn(phi: Float32[ndarray, " n_hits"]) -> list[str]:
    """Angles that fill just the range that another unit has."""
    least, most = float(phi.min()), float(phi.max())
    for first, last, unit in _PARTS_OF_A_TURN:
        edge = _EDGE * (last - first)
        if -edge / 10 < least - first < edge and -edge / 10 < last - most < edge:
            return [f"phi runs from {least:.3f} to {most:.3f}, as if it were in {unit}"]
    return []
