"""What a check looks at, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from beampipe.analysisops.grading.evidence import Evidence
from beampipe.analysisops.grading.submission import MISSING, Submission, look_up, number_of
from beampipe.analysisops.ledger import Entry
from beampipe.errors import ConfigError

__all__ = ["Case", "Outcome"]


@dataclass(frozen=True)
class Case:
    """One submission with all that is known to the host.

    Attributes:
        submission: what the agent answered.
        reference: content of eval_ref.yaml, and under ``"instance"`` the reference values of the instance.
        entries: the ledger of the session, its signatures checked.
        evidence: contents that the submission names.
        provenance: label of each submitted number.
        prompt: the text that the agent got.
    """

    submission: Submission
    reference: Mapping[str, Any] = field(default_factory=dict)
    entries: Sequence[Entry] = ()
    evidence: Evidence = field(default_factory=Evidence)
    provenance: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prompt: str = ""

    def number(self, path: str) -> float | None:
        """The finite number at a dotted path of the submission; None if there is none."""
        return number_of(look_up(self.submission.content, path))

    def expected(self, path: str) -> Any:
        """What stands at a dotted path of the reference.

        Raises:
            ConfigError: nothing stands there; a fault of the task or of the host, not of the agent.
        """
        found = look_up(self.reference, path)
        if found is MISSING:
            raise ConfigError(f"reference: got no {path}, expected it; the rubric of the task asks for it")
        return found

    def expected_number(self, path: str) -> float:
        """The finite number at a dotted path of the reference.

        Raises:
            ConfigError: there is none.
        """
        found = number_of(self.expected(path))
        if found is None:
            raise ConfigError(f"reference: got {self.expected(path)!r} for {path}, expected a finite number")
        return found


@dataclass(frozen=True)
class Outcome:
    """What a check says.

    Attributes:
        fraction: of its points that are earned, 0 to 1; a gate lets pass at 1 only.
        reason: why, in a sentence.
        evidence: the numbers that the fraction was computed from.
    """

    fraction: float
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
