"""A number near a target."""

from __future__ import annotations

from dataclasses import dataclass

from beampipe.analysisops.grading.checks.case import Case, Outcome
from beampipe.analysisops.grading.checks.curves import ramp
from beampipe.errors import ConfigError

__all__ = ["TargetSoft"]


@dataclass(frozen=True)
class TargetSoft:
    """1 within the tolerance, then a straight line that reaches 0 at ``soft_factor * tolerance``.

    The public benchmark's line starts at the target, so that its points drop by a third just outside the tolerance;
    this one starts where the full points end.

    Attributes:
        value_path: dotted path of the number in the trace.
        target: what it should be.
        target_path: dotted path of the target in the reference, in its place.
        tolerance: distance up to which all points are given, more than 0.
        tolerance_path: dotted path of the tolerance in the reference, in its place.
        soft_factor: multiple of the tolerance from which no points are given, more than 1.
    """

    value_path: str
    target: float | None = None
    target_path: str | None = None
    tolerance: float | None = None
    tolerance_path: str | None = None
    soft_factor: float = 3.0

    def __post_init__(self) -> None:
        if (self.target is None) == (self.target_path is None):
            raise ConfigError("target_soft: expected either target or target_path")
        if (self.tolerance is None) == (self.tolerance_path is None):
            raise ConfigError("target_soft: expected either tolerance or tolerance_path")
        if not self.soft_factor > 1.0:
            raise ConfigError(f"target_soft: got soft_factor = {self.soft_factor}, expected more than 1")

    def __call__(self, case: Case) -> Outcome:
        """The fraction; 0 for what is no finite number."""
        target = case.expected_number(self.target_path) if self.target_path else float(self.target or 0.0)
        tolerance = case.expected_number(self.tolerance_path) if self.tolerance_path else float(self.tolerance or 0.0)
        if not tolerance > 0.0:
            raise ConfigError(f"target_soft: got a tolerance of {tolerance}, expected more than 0")
        value = case.number(self.value_path)
        if value is None:
            return Outcome(0.0, f"{self.value_path} is no finite number")
        distance = abs(value - target)
        evidence = {"value": value, "target": target, "tolerance": tolerance}
        fraction = ramp(distance, tolerance, self.soft_factor * tolerance)
        return Outcome(fraction, f"{distance:g} from {target:g}, tolerance {tolerance:g}", evidence)
