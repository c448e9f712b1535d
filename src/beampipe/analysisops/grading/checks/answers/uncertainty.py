"""Whether a quoted uncertainty is honest."""

from __future__ import annotations

import math
from dataclasses import dataclass

from beampipe.analysisops.grading.checks.case import Case, Outcome
from beampipe.analysisops.grading.checks.curves import slope
from beampipe.errors import ConfigError

__all__ = ["Uncertainty"]


@dataclass(frozen=True)
class Uncertainty:
    """Full points while ``|ln(quoted / reference)| <= ln(full)``, none from ``ln(zero)`` on, a cosine between them.

    Too small and too large cost the same; what is not more than 0 earns nothing. Scale it by the check of the value:
    an honest error bar around a wrong number is worth nothing.

    Attributes:
        answer: name of the answer.
        full: factor up to which all points are given, at least 1.
        zero: factor from which none are given, more than `full`.
    """

    answer: str
    full: float = 1.15
    zero: float = 3.0

    def __post_init__(self) -> None:
        if not 1.0 <= self.full < self.zero:
            raise ConfigError(f"uncertainty: got full = {self.full}, zero = {self.zero}, expected 1 <= full < zero")

    def __call__(self, case: Case) -> Outcome:
        """The fraction; 0 without a number that is more than 0."""
        reference = case.expected_number(f"instance.quantities.{self.answer}.uncertainty")
        if not reference > 0.0:
            raise ConfigError(f"reference: got uncertainty {reference} of {self.answer}, expected more than 0")
        _, quoted = case.submission.answer(self.answer)
        if quoted is None or not quoted > 0.0:
            reason = f"answers.{self.answer}.uncertainty is no number that is more than 0"
            return Outcome(0.0, reason, {"reference": reference})
        distance = abs(math.log(quoted) - math.log(reference))
        fraction = slope(distance, math.log(self.full), math.log(self.zero))
        evidence = {"quoted": quoted, "reference": reference}
        return Outcome(fraction, f"quoted {quoted:.4g}, expected about {reference:.4g}", evidence)
