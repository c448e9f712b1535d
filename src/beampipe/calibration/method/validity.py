"""What speaks against a scale factor in a bin of pT: flags, each by a stated rule.

The first three say that the number has no valid error. Such a bin has no total uncertainty. The others say that it has
one, but that a reader should look before using it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64

__all__ = [
    "FEWEST_EFFECTIVE",
    "FEWEST_JETS",
    "FLAGS",
    "NO_VALID_ERROR",
    "SMALLEST_DETERMINANT",
    "flags_of",
    "in_words",
]

FEWEST_JETS: Final = 100
"""Number of jets of one region below which a bin has few: of data, or of one flavour of simulation."""

FEWEST_EFFECTIVE: Final = 25.0
"""Effective number of jets below which one weight may dominate: an event that has a fifth of the sum of weights leaves
no more than 25."""

SMALLEST_DETERMINANT: Final = 0.05
"""Difference of the fractions of quarks below which it is small: extraction then multiplies errors by 20."""

FLAGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "no_value": "the scale factor is not known",
        "no_statistical_error": "fewer than half of the replicas, or fewer than two, have a value",
        "no_systematic_error": "the shift of a systematic is not known",
        "negative_efficiency": "the efficiency extracted from data or simulation is below 0",
        "efficiency_above_1": "the efficiency extracted from data or simulation is above 1",
        "small_determinant": f"the fractions of quarks differ by less than {SMALLEST_DETERMINANT:g}",
        "dominated_by_one_weight": f"enough jets, but their effective number is below {FEWEST_EFFECTIVE:g}",
        "few_events": f"fewer than {FEWEST_JETS} jets of a region, in data or of a flavour in simulation",
    }
)
"""What each flag says, by its name."""

NO_VALID_ERROR: Final = ("no_value", "no_statistical_error", "no_systematic_error")
"""Flags of bins that have no valid error, and therefore no total uncertainty."""


def flags_of(
    nominal: Float64[ndarray, " p"],
    statistical: Float64[ndarray, " p"],
    sources: Mapping[str, Float64[ndarray, " p"]],
    efficiencies: Float64[ndarray, "2 p"],
    fractions: Float64[ndarray, "p 2"],
    jets: Float64[ndarray, "q 2 3 2"],
) -> tuple[tuple[str, ...], ...]:
    """The flags of one scale factor, for each bin of pT those of `FLAGS` that hold.

    Args:
        nominal: the scale factor.
        statistical: its statistical uncertainty.
        sources: its uncertainty by name of the systematic.
        efficiencies: efficiency in data and in simulation, extracted.
        fractions: fractions of quarks in forward and central jets.
        jets: number and effective number of jets by region of (quark, gluon, data); no bins if they are not known.
    """
    n_pt = len(nominal)
    lost = np.zeros(n_pt, bool)
    for values in sources.values():
        lost |= ~np.isfinite(values)
    few, one_weight = np.zeros(n_pt, bool), np.zeros(n_pt, bool)
    if len(jets):
        number, effective = jets[..., 0].reshape(n_pt, -1), jets[..., 1].reshape(n_pt, -1)
        few |= (number < FEWEST_JETS).any(axis=1)
        one_weight |= ((number >= FEWEST_JETS) & (effective < FEWEST_EFFECTIVE)).any(axis=1)
    with np.errstate(invalid="ignore"):
        holds = (
            ~np.isfinite(nominal),
            ~np.isfinite(statistical),
            lost,
            (efficiencies < 0).any(axis=0),
            (efficiencies > 1).any(axis=0),
            np.abs(fractions[:, 0] - fractions[:, 1]) < SMALLEST_DETERMINANT,
            one_weight,
            few,
        )
    named = tuple(zip(FLAGS, holds, strict=True))
    return tuple(tuple(name for name, where in named if where[p]) for p in range(n_pt))


def in_words(flags: Iterable[str]) -> str:
    """Flags for a reader: ``few_events`` becomes ``few events``; empty if there are none."""
    return ", ".join(flag.replace("_", " ") for flag in flags)
