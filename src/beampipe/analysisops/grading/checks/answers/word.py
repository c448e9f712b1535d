"""An answer that is a word of a closed list."""

from __future__ import annotations

from dataclasses import dataclass

from beampipe.analysisops.grading.checks.case import Case, Outcome
from beampipe.errors import ConfigError, UnknownNameError

__all__ = ["Word"]


@dataclass(frozen=True)
class Word:
    """All points if the word is that of the reference, letter by letter, else none; no synonyms, no words among words.

    A guess is right with one chance in as many as there are choices. Where that is much, scale the check by one that
    cannot be guessed.

    Attributes:
        word: name of the answer under ``words``.
        choices: the words there are, at least two. In YAML, yes and no must stand in quotes.
    """

    word: str
    choices: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.choices)) < 2:
            raise ConfigError(f"word: got choices = {list(self.choices)}, expected at least two different ones")

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        right = case.expected(f"instance.words.{self.word}")
        if right not in self.choices:
            raise UnknownNameError(f"word {self.word} of the reference", str(right), self.choices)
        said = case.submission.section("words").get(self.word)
        evidence = {"said": said if isinstance(said, str) else None, "reference": right}
        if said not in self.choices:
            return Outcome(0.0, f"words.{self.word} is none of {', '.join(self.choices)}", evidence)
        return Outcome(float(said == right), f"{said}, {'right' if said == right else 'wrong'}", evidence)
