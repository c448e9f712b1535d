"""Cuts that a trace must list."""

from __future__ import annotations

from dataclasses import dataclass

from beampipe.analysisops.grading.checks.case import Case, Outcome

__all__ = ["CheckCutIds"]


@dataclass(frozen=True)
class CheckCutIds:
    """1 if every id is the ``cut_id`` of some object in the list ``cuts``, else 0.

    It reads no expression of a cut: it can tell only what an agent says that it did.

    Attributes:
        required_cut_ids: the ids.
    """

    required_cut_ids: tuple[str, ...]

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        cuts = case.submission.content.get("cuts")
        listed = cuts if isinstance(cuts, list) else []
        ids = {one["cut_id"] for one in listed if isinstance(one, dict) and isinstance(one.get("cut_id"), str)}
        missing = [name for name in self.required_cut_ids if name not in ids]
        if missing:
            return Outcome(0.0, f"missing: {', '.join(missing)}", {"missing": missing})
        return Outcome(1.0, "all cuts are listed")
