"""A number that is large enough."""

from __future__ import annotations

from dataclasses import dataclass

from beampipe.analysisops.grading.checks.case import Case, Outcome
from beampipe.errors import ConfigError

__all__ = ["ThresholdGe"]


@dataclass(frozen=True)
class ThresholdGe:
    """1 if the number is at least the threshold, else 0; 0 too for what is no finite number.

    Attributes:
        value_path: dotted path of the number in the trace.
        threshold: what it must reach.
        threshold_path: dotted path of the threshold in the reference, in its place.
        missing_points: read, and not given: where a number below the threshold earns nothing, silence must not earn
            more than honesty.
    """

    value_path: str
    threshold: float | None = None
    threshold_path: str | None = None
    missing_points: float = 0.0

    def __post_init__(self) -> None:
        if (self.threshold is None) == (self.threshold_path is None):
            raise ConfigError("threshold_ge: expected either threshold or threshold_path")

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        if self.threshold_path is not None:
            threshold = case.expected_number(self.threshold_path)
        else:
            threshold = float(self.threshold or 0.0)
        value = case.number(self.value_path)
        if value is None:
            return Outcome(0.0, f"{self.value_path} is no finite number")
        evidence = {"value": value, "threshold": threshold}
        return Outcome(float(value >= threshold), f"{value:g}, expected at least {threshold:g}", evidence)
