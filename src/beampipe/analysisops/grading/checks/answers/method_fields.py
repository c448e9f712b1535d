"""Whether the method is told at all."""

from __future__ import annotations

from dataclasses import dataclass

from beampipe.analysisops.grading.checks.case import Case, Outcome
from beampipe.errors import ConfigError

__all__ = ["MethodFields"]


@dataclass(frozen=True)
class MethodFields:
    """Fraction of the fields of ``method`` that hold a text of some words which the prompt does not hold.

    It cannot tell a good text from a bad one: give it few points, and scale it by a check of a number.

    Attributes:
        fields: names of the fields.
        words: so many different words a text needs.
    """

    fields: tuple[str, ...]
    words: int = 3

    def __post_init__(self) -> None:
        if not self.fields or self.words < 1:
            raise ConfigError(f"method_fields: got {self.fields}, words = {self.words}, expected fields and at least 1")

    def __call__(self, case: Case) -> Outcome:
        """The fraction."""
        method = case.submission.section("method")
        prompt = " ".join(case.prompt.split())
        lacking = [name for name in self.fields if not self._is_told(method.get(name), prompt)]
        fraction = 1.0 - len(lacking) / len(self.fields)
        return Outcome(fraction, f"not told: {', '.join(lacking) or 'nothing'}", {"lacking": lacking})

    def _is_told(self, text: object, prompt: str) -> bool:
        return isinstance(text, str) and len(set(text.split())) >= self.words and " ".join(text.split()) not in prompt
