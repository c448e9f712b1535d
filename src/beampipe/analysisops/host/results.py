"""What of a result may be shown to whoever asked for it, and the result where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from beampipe.analysisops.grading.result import ungraded
from beampipe.analysisops.host.messages import Assessment

__all__ = ["error_result", "shown", "summary"]

_TELLING: Final = ("evidence", "provenance", "signals", "meta")
"""Keys whose values may tell what is known of a secret instance, such as its reference."""


def error_result(assessment: Assessment, code: str, message: str) -> dict[str, Any]:
    """The result of an assessment that gave none: nothing of all that can be had.

    Args:
        assessment: what was to be done.
        code: what kind of thing went wrong, such as ``"agent_unavailable"``.
        message: what went wrong.
    """
    return ungraded(
        code,
        code,
        message,
        task_id=assessment.task_id,
        type="",
        level=assessment.level,
        seed=assessment.seed,
        max_score=1.0,
    )


def shown(result: Mapping[str, Any], assessment: Assessment) -> dict[str, Any]:
    """A result as it is sent: with the role of the agent, and of a secret instance neither seed nor evidence.

    Results are published, and the same secret instances are used again.
    """
    sent = {**result, "participant": assessment.role, "instance": assessment.number}
    if not assessment.secret:
        return sent
    return {**{key: _untold(key, value) for key, value in sent.items()}, "seed": None}


def summary(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For each agent the sum of its normalised scores, their number, and how many are errors."""
    participants: dict[str, dict[str, Any]] = {}
    for result in results:
        one = participants.setdefault(
            result["participant"], {"score_total": 0.0, "score_max": 0, "errors": 0, "tasks": {}}
        )
        score = float(result["final"]["normalized_score"])
        one["score_total"] += score
        one["score_max"] += 1
        one["errors"] += result["status"] == "error"
        one["tasks"].setdefault(result["task_id"], []).append(score)
    for one in participants.values():
        one["tasks"] = {task: sum(scores) / len(scores) for task, scores in one["tasks"].items()}
    return {
        "score_total": sum(one["score_total"] for one in participants.values()),
        "score_max": len(results),
        "participants": participants,
    }


def _untold(key: str, value: Any) -> Any:
    if key in _TELLING:
        return {}
    if isinstance(value, Mapping):
        return {name: _untold(name, inner) for name, inner in value.items() if name not in _TELLING}
    if isinstance(value, list):
        return [_untold("", inner) for inner in value]
    return value
