"""Checks of composed tasks, against what the generator knows: no reference analysis is behind them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from beampipe.analysisops.grading.submission import Case, Outcome, ramp, slope
from beampipe.analysisops.samples.composed.generate import LEAST_SHIFT
from beampipe.errors import ConfigError

_HALF: Final = 2.0
"""Distance at which half of the points are earned."""

_WIDEST: Final = 2.0
"""Quoted uncertainties count for distances up to this multiple of the achievable one."""

_SMALL, _LARGE = (0.85, 0.35), (1.3, 4.0)
"""Quoted over achievable uncertainty with which all points are earned, and none."""

_MOST: Final = 3.0
"""Shifts count as weights of faults up to this."""


def _ratio(case: Case, answer: str) -> tuple[float, float, float]:
    """Best answer, its uncertainty, and the quoted uncertainty over that; 0 if none is quoted."""
    best, sigma = (case.expected_number(f"instance.quantities.{answer}.{part}") for part in ("value", "uncertainty"))
    if not sigma > 0.0:
        raise ConfigError(f"reference: got uncertainty {sigma} of {answer}, expected more than 0")
    _, quoted = case.submission.answer(answer)
    return best, sigma, quoted / sigma if quoted is not None and quoted > 0.0 else 0.0


@dataclass(frozen=True)
class Achieved:
    """``2 ** -(d / 2)**2`` with the distance d from the answer of the generator's likelihood to the same events.

    d is in units of the larger one of achievable and quoted uncertainty, of which the latter counts up to twice the
    former: an analysis with an uncertainty of r times the achievable one differs by sqrt(r**2 - 1) of it by chance.

    Attributes:
        answer: name of the answer.
    """

    answer: str

    def __call__(self, case: Case) -> Outcome:
        """The fraction; 0 without a finite number."""
        best, sigma, ratio = _ratio(case, self.answer)
        value, _ = case.submission.answer(self.answer)
        if value is None:
            slip = f"answers.{self.answer}.value is no finite number"
            return Outcome(0.0, slip, slip=f"{slip}; give one")
        distance = (value - best) / (sigma * min(max(ratio, 1.0), _WIDEST))
        evidence = {"reference": best, "reference_uncertainty": sigma, "value": value, "pull": distance}
        fraction = math.exp2(-((distance / _HALF) ** 2)) if abs(distance) < 30.0 else 0.0
        return Outcome(fraction, f"{distance:.2f} standard deviations from what these events say", evidence)


@dataclass(frozen=True)
class AchievedUncertainty:
    """All points for a quoted uncertainty of 0.85 to 1.3 times the achievable one, none below 0.35 or above 4 times.

    In between half a period of a cosine in the logarithm: too small costs more than too large.

    Attributes:
        answer: name of the answer.
    """

    answer: str

    def __call__(self, case: Case) -> Outcome:
        """The fraction; 0 without a number that is more than 0."""
        _, sigma, ratio = _ratio(case, self.answer)
        if not ratio:
            slip = f"answers.{self.answer}.uncertainty is no number that is more than 0"
            return Outcome(0.0, slip, {"reference": sigma}, f"{slip}; give the standard uncertainty")
        full, zero = _SMALL if ratio < 1.0 else _LARGE
        fraction = slope(abs(math.log(ratio)), abs(math.log(full)), abs(math.log(zero)))
        return Outcome(fraction, f"{ratio:.2f} of the achievable uncertainty", {"reference": sigma, "ratio": ratio})


@dataclass(frozen=True)
class Faults:
    """Share of the faults that matter that are recognised, by the shift that each causes if it is missed.

    A fault matters if it moves the answer by more than a quarter of the achievable uncertainty. Each fault that is
    stated and not there costs a third. Faults that are there and do not matter may be stated or not.

    Attributes:
        words: names of the answers that say whether a fault is there.
    """

    words: tuple[str, ...]

    def __call__(self, case: Case) -> Outcome:
        """The fraction; 0 if a fault that is not there and one that matters are confused throughout."""
        there, shifts = case.expected("instance.words"), case.expected("instance.shifts")
        said = {name: case.submission.section("words").get(name) for name in self.words}
        weights = {
            name: min(abs(shift), _MOST) for name, shift in shifts.items() if name in said and abs(shift) > LEAST_SHIFT
        }
        recognised = sum(weight for name, weight in weights.items() if said[name] == "yes")
        share = recognised / sum(weights.values()) if weights else 1.0
        invented = sum(said[name] != "no" for name in self.words if there[name] == "no")
        reason = f"{share:.2f} of what matters recognised, {invented} stated that are not there"
        return Outcome(share * ramp(invented, 0.0, 3.0), reason, {"shifts": dict(shifts), "invented": invented})


CHECKS: Final = {"achieved": Achieved, "achieved_uncertainty": AchievedUncertainty, "faults": Faults}
