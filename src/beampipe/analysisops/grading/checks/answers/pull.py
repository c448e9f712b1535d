"""How far an answer is from the reference, in units of the reference's uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass

from beampipe.analysisops.grading.checks.case import Case, Outcome
from beampipe.analysisops.grading.checks.curves import bell
from beampipe.errors import ConfigError

__all__ = ["Pull"]


@dataclass(frozen=True)
class Pull:
    """``2 ** -(pull / half)**4`` with ``pull = (value - reference) / sqrt(u**2 + (relative * reference)**2)``.

    `u` is the uncertainty of the reference, never the one that the agent quotes: a wide error bar buys nothing. With
    the default `half` a pull of 0.5 keeps 0.997 of the points, 1 keeps 0.96, 2 one half, and 5 nothing.

    Attributes:
        answer: name of the answer.
        half: pull at which one half of the points are left, more than 0.
        relative: what two good analyses of the same data may differ by, relative to the reference.
    """

    answer: str
    half: float = 2.0
    relative: float = 0.0

    def __post_init__(self) -> None:
        if not self.half > 0.0 or not 0.0 <= self.relative < 1.0:
            raise ConfigError(
                f"pull: got half = {self.half}, relative = {self.relative}, expected more than 0, and from 0 to 1"
            )

    def __call__(self, case: Case) -> Outcome:
        """The fraction; 0 without a finite number."""
        path = f"instance.quantities.{self.answer}"
        reference = case.expected_number(f"{path}.value")
        uncertainty = math.hypot(case.expected_number(f"{path}.uncertainty"), self.relative * reference)
        if not uncertainty > 0.0:
            raise ConfigError(f"reference: got uncertainty {uncertainty} of {self.answer}, expected more than 0")
        value, _ = case.submission.answer(self.answer)
        evidence = {"reference": reference, "reference_uncertainty": uncertainty}
        if value is None:
            return Outcome(0.0, f"answers.{self.answer}.value is no finite number", evidence)
        pull = (value - reference) / uncertainty
        return Outcome(bell(pull, self.half), f"pull {pull:.2f}", {**evidence, "value": value, "pull": pull})
