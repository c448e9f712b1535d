"""Fields that a trace must have."""

from __future__ import annotations

from dataclasses import dataclass

from beampipe.analysisops.grading.checks.case import Case, Outcome

__all__ = ["RequiredFields"]


@dataclass(frozen=True)
class RequiredFields:
    """1 if all fields are there at the top of the trace and not null, else 0.

    Attributes:
        required_fields: their names.
    """

    required_fields: tuple[str, ...]

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        lacking = [name for name in self.required_fields if case.submission.content.get(name) is None]
        if lacking:
            return Outcome(0.0, f"missing: {', '.join(lacking)}", {"missing": lacking})
        return Outcome(1.0, "all fields are there")
