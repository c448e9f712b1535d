"""Events that a calibration does not count, although their jets are inside the cuts on pT and eta.

The cuts on the trigger, pT and eta define which events are measured. Cuts on quality, labels and weights drop some of
these: no loss is silent, so every result contains the shares.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.events.dijets import CUT_NAMES, LAST_OF_PHASE_SPACE, WeightUnits
from beampipe.calibration.events.histograms import Filled
from beampipe.calibration.ntuple.bookkeeping import Bookkeeping

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "clean": "jets that are not clean (layout.branches.clean)",
        "n_trk": "jets with fewer tracks than selection.min_n_trk",
        "label": "jets without the label of a parton (layout.labels)",
        "weight": "weights above selection.max_weight",
    }
)
"""Cut that drops events inside the cuts on pT and eta -> what it drops."""

WARN_DROPPED: Final = 0.01
"""Share of dropped events from which on commands print a warning."""


class Dropped(NamedTuple):
    """Events of a sample inside the cuts on pT and eta that another cut drops, as shares.

    Attributes:
        sample: name of the sample.
        cut: name of the cut, one of `REASONS`.
        events: share of the events.
        weight: share of the sum of nominal weights, scaled to the luminosity.
    """

    sample: str
    cut: str
    events: float
    weight: float

    @property
    def share(self) -> float:
        """The larger of the two shares; 0 if there are no events."""
        return max((abs(share) for share in (self.events, self.weight) if isfinite(share)), default=0.0)

    def __str__(self) -> str:
        """Sample, shares and reason."""
        shares = f"{self.events:.2%} of the events, {self.weight:.2%} of the sum of weights"
        return f"sample {self.sample}: dropped {shares}: {REASONS[self.cut]}"


class CutNumbers(NamedTuple):
    """The cut flow of a sample, all slices together.

    Attributes:
        events: (n_cuts,) numbers of events after each of `CUT_NAMES`.
        weights: (n_cuts,) sums of the weights of these events, scaled to the luminosity.
    """

    events: Float64[ndarray, " c"]
    weights: Float64[ndarray, " c"]

    def dropped(self, sample: str) -> tuple[Dropped, ...]:
        """The shares of the events inside the cuts on pT and eta that each other cut drops."""
        first = CUT_NAMES.index(LAST_OF_PHASE_SPACE)
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = [(numbers[first:-1] - numbers[first + 1 :]) / numbers[first] for numbers in self]
        return tuple(
            map(Dropped, (sample,) * len(shares[0]), CUT_NAMES[first + 1 :], *(each.tolist() for each in shares))
        )


def cut_numbers_of(by_slice: Mapping[int, Filled], bookkeeping: Bookkeeping, weight_bits: int) -> CutNumbers:
    """The cut flows of the slices, scaled and added; arguments are those of `templates.templates_of`."""
    total = CutNumbers(np.zeros(len(CUT_NAMES)), np.zeros(len(CUT_NAMES)))
    for of_slice in bookkeeping.slices:
        if of_slice.number in by_slice:
            flow, units = by_slice[of_slice.number].cut_flow, WeightUnits(weight_bits, of_slice.exponent)
            weights = total.weights + flow.weight / units.scale * of_slice.factors[0]
            total = CutNumbers(total.events + flow.events, weights)
    return total
