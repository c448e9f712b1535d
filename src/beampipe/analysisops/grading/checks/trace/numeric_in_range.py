"""A number in a range."""

from __future__ import annotations

from dataclasses import dataclass

from beampipe.analysisops.grading.checks.case import Case, Outcome
from beampipe.analysisops.grading.submission import number_of
from beampipe.errors import ConfigError

__all__ = ["NumericInRange"]


@dataclass(frozen=True)
class NumericInRange:
    """1 in the closed range, ``out_of_range_points / points`` outside it, 0 for what is no finite number.

    Attributes:
        value_path: dotted path of the number in the trace.
        lo: lower end of the range.
        hi: upper end of the range.
        range_path: dotted path of ``[lo, hi]`` in the reference, in their place.
        out_of_range_points: points for a number outside; not more than `points`.
        points: all points.
    """

    value_path: str
    lo: float | None = None
    hi: float | None = None
    range_path: str | None = None
    out_of_range_points: float = 0.0
    points: float = 0.0

    def __post_init__(self) -> None:
        if (self.range_path is None) == (self.lo is None or self.hi is None):
            raise ConfigError("numeric_in_range: expected either lo and hi, or range_path")
        if self.out_of_range_points and not 0.0 <= self.out_of_range_points <= self.points:
            raise ConfigError(
                f"numeric_in_range: got out_of_range_points = {self.out_of_range_points}, expected 0 to {self.points}"
            )

    def __call__(self, case: Case) -> Outcome:
        """The fraction."""
        low, high = self._range(case)
        value = case.number(self.value_path)
        if value is None:
            return Outcome(0.0, f"{self.value_path} is no finite number")
        evidence = {"value": value, "lo": low, "hi": high}
        if low <= value <= high:
            return Outcome(1.0, f"{value:g} is in [{low:g}, {high:g}]", evidence)
        fraction = self.out_of_range_points / self.points if self.points else 0.0
        return Outcome(fraction, f"{value:g} is outside [{low:g}, {high:g}]", evidence)

    def _range(self, case: Case) -> tuple[float, float]:
        if self.range_path is None:
            return float(self.lo or 0.0), float(self.hi or 0.0)
        found = case.expected(self.range_path)
        ends = [number_of(one) for one in found] if isinstance(found, list | tuple) else []
        if len(ends) != 2 or ends[0] is None or ends[1] is None:
            raise ConfigError(f"reference: got {found!r} for {self.range_path}, expected two numbers")
        return ends[0], ends[1]
