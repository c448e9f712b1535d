"""A histogram against a hidden one: its shape, and its total."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from beampipe.analysisops.contract import HistogramReference
from beampipe.analysisops.grading.checks.case import Case, Outcome
from beampipe.analysisops.grading.checks.curves import slope
from beampipe.analysisops.grading.evidence import histogram_of
from beampipe.errors import ConfigError

__all__ = ["HistogramL2"]

_SAME_EDGE = 1e-6
"""Edges are the same within this fraction of the width of a bin."""

_LARGEST = 1e250
"""A larger number is no content of a bin, and sums of such ones would overflow."""


@dataclass(frozen=True)
class HistogramL2:
    """``shape * yield``; both fall from 1 to 0 as half a period of a cosine.

    With p = values / sum of values, p* that of the reference and u an even spread over the bins, the distance of the
    shapes is ``|p - p*|_2 / |u - p*|_2``: 1 for the right total spread evenly, whatever the reference looks like. The
    distance of the yields is ``|ln(sum / sum*)| / ln(factor)``. At a distance of 1 nothing is left.

    Finer bins are merged if the edges of the reference are among theirs. Where the reference itself is even, or has
    one bin, only the very same shape has a distance of 0.

    Attributes:
        histogram: name of the answer under ``histograms``.
        factor: yield, as a multiple of the reference or its inverse, from which no points are given.
    """

    histogram: str
    factor: float = 2.0

    def __post_init__(self) -> None:
        if not self.factor > 1.0:
            raise ConfigError(f"histogram_l2: got factor = {self.factor}, expected more than 1")

    def __call__(self, case: Case) -> Outcome:
        """The fraction; 0 without a histogram of these bins that the tools filled from data."""
        expected = case.expected(f"instance.histograms.{self.histogram}")
        reference = HistogramReference(tuple(expected["edges"]), tuple(expected["values"]))
        found, reason = histogram_of(self.histogram, case.submission, case.entries, case.evidence)
        if found is None:
            return Outcome(0.0, reason)
        values = _in_bins_of(reference.edges, found)
        if values is None:
            low, high, n = reference.edges[0], reference.edges[-1], len(reference.values)
            return Outcome(0.0, f"its bins are others than the {n} from {low:g} to {high:g} that were asked for")
        total, right = math.fsum(values), math.fsum(reference.values)
        if not right > 0.0:
            raise ConfigError(f"reference: got a total of {right} in {self.histogram}, expected more than 0")
        if not 0.0 < total < math.inf:
            return Outcome(0.0, f"its total is {total:g}, expected more than 0")
        shape = _distance(values, total, reference.values, right)
        scale = abs(math.log(total) - math.log(right)) / math.log(self.factor)
        evidence = {"shape_distance": shape, "yield": total, "reference_yield": right}
        reason = f"shape off by {shape:.3f} of an even spread, yield {total / right:.3f} of the reference"
        return Outcome(slope(shape, 0.0, 1.0) * slope(scale, 0.0, 1.0), reason, evidence)


def _distance(values: Sequence[float], total: float, reference: Sequence[float], right: float) -> float:
    """Distance of the shapes, in units of that of an even spread."""
    even = 1.0 / len(reference)
    off = math.hypot(*(one / total - other / right for one, other in zip(values, reference, strict=True)))
    room = math.hypot(*(even - other / right for other in reference))
    if room < 1e-12:
        return 0.0 if off < 1e-12 else 1.0
    return off / room


def _in_bins_of(edges: Sequence[float], found: HistogramReference) -> list[float] | None:
    """Contents in other bins, whose edges must be among those of the histogram; None if they are not."""
    if len(found.values) < len(edges) - 1 or not all(abs(one) < _LARGEST for one in (*found.edges, *found.values)):
        return None
    near = _SAME_EDGE * (edges[1] - edges[0])
    values, place = [], 0
    for edge in edges:
        start = place
        while place < len(found.edges) and found.edges[place] < edge - near:
            place += 1
        if place == len(found.edges) or found.edges[place] > edge + near:
            return None
        values.append(math.fsum(found.values[start:place]))
    return values[1:]
