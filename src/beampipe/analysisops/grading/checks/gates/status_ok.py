"""The agent says that it finished."""

from __future__ import annotations

from dataclasses import dataclass

from beampipe.analysisops.grading.checks.case import Case, Outcome

__all__ = ["StatusOk"]


@dataclass(frozen=True)
class StatusOk:
    """Pass if ``status`` is ``"ok"``, letter by letter; an agent that reports an error gets no points for it."""

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        status = case.submission.content.get("status")
        shown = repr(status)[:60]
        return Outcome(1.0, "the agent finished") if status == "ok" else Outcome(0.0, f"status is {shown}, not 'ok'")
