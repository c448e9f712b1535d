"""The result of grading: the public benchmark's fields and the evidence of each check, reproducible byte for byte."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from beampipe.analysisops.grading.submission import Outcome

_DIGITS: Final = 6
"""Significant digits of a number in a result; decimals of a score."""


@dataclass(frozen=True)
class Issue:
    """A remark on a submission.

    Attributes:
        severity: ``"info"``, ``"warn"`` or ``"error"``.
        code: short name of its kind.
        message: a sentence.
    """

    severity: Literal["info", "warn", "error"]
    code: str
    message: str


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        id: its name in the rubric.
        type: its kind.
        points: points earned.
        max_points: most points that it can earn.
        passed: for a gate, whether it passed; for a rule, whether it earned more than half of its points.
        outcome: fraction of its points, before scaling by other rules, with reason and evidence.
    """

    id: str
    type: str
    points: float
    max_points: float
    passed: bool
    outcome: Outcome

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "id": self.id,
            "type": self.type,
            "points": round(self.points, _DIGITS),
            "max_points": round(self.max_points, _DIGITS),
            "passed": self.passed,
            "evidence": {
                **rounded(self.outcome.evidence),
                "fraction": round(self.outcome.fraction, _DIGITS),
                "reason": self.outcome.reason,
            },
        }


@dataclass(frozen=True)
class JudgeResult:
    """The score by a judge, which forms a separate column.

    Attributes:
        status: ``"scored"``, or ``"unscored"`` if there was no judge, or its replies cannot be used.
        score: points, 0 if unscored.
        max_score: maximum points.
        meta: for each of its checks the raw numbers, median, agreement and reasons; under ``"judge"`` its name, or why
            there is no score.
    """

    status: Literal["scored", "unscored"] = "unscored"
    score: float = 0.0
    max_score: float = 0.0
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One graded submission.

    Attributes:
        task_id: name of the task.
        type: family of the task.
        level: level of the prompt.
        seed: seed of the instance, or its label.
        status: ``"ok"``; ``"fail"`` if a gate failed; ``"error"`` if the agent reported an error or its answer is not
            an object.
        gates: results of the gates.
        rules: results of the rules; no points unless the status is ``"ok"``.
        judge: score by the judge.
        issues: remarks.
        signals: numbers of the checks, by ``ID.NAME``.
        provenance: origin of each submitted number.
    """

    task_id: str
    type: str
    level: int
    seed: int | str
    status: Literal["ok", "fail", "error"]
    gates: Sequence[CheckResult]
    rules: Sequence[CheckResult]
    judge: JudgeResult
    issues: Sequence[Issue] = ()
    signals: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """Points of the rules, without those of the judge."""
        return math.fsum(rule.points for rule in self.rules)

    @property
    def max_score(self) -> float:
        """Maximum points of the rules."""
        return math.fsum(rule.max_points for rule in self.rules)

    @property
    def normalized(self) -> float:
        """Score over its maximum, 0 to 1; 0 for a rubric without rules."""
        return self.score / self.max_score if self.max_score > 0.0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON types, without NaN, numbers rounded; equal submissions give equal JSON."""
        score, best = round(self.score, _DIGITS), round(self.max_score, _DIGITS)
        return {
            "task_id": self.task_id,
            "type": self.type,
            "level": self.level,
            "seed": self.seed,
            "status": self.status,
            "hard_checks_passed": self.status == "ok",
            "hard_failures": [gate.id for gate in self.gates if not gate.passed],
            "final": {"total_score": score, "max_score": best, "normalized_score": round(self.normalized, _DIGITS)},
            "rule": {"score": score, "max": best},
            "llm": {
                "status": self.judge.status,
                "score": round(self.judge.score, _DIGITS),
                "max": round(self.judge.max_score, _DIGITS),
                "meta": rounded(self.judge.meta),
            },
            "issues": [asdict(issue) for issue in self.issues],
            "signals": rounded(self.signals),
            "provenance": rounded(self.provenance),
            "checks": [check.to_json() for check in (*self.gates, *self.rules)],
        }


FAILED: Final = "agent_failed"
"""Code of the issue of an agent without a submission, unless a more special one fits."""


def ungraded(
    message: str,
    *,
    task_id: str,
    type: str,
    level: int,
    seed: int | str,
    max_score: float = 0.0,
    failure: str = "agent",
    code: str = FAILED,
    judged: float | None = None,
) -> dict[str, Any]:
    """The result if nothing could be graded: an error and a score of 0, with the same keys as other results.

    Args:
        message: what went wrong.
        task_id: name of the task.
        type: family of the task.
        level: level of the prompt.
        seed: seed of the instance, or its label.
        max_score: largest possible score.
        failure: name of what failed, listed like a gate.
        code: kind of the failure.
        judged: score of the judge; None if there was nothing to judge.
    """
    result = Result(task_id, type, level, seed, "error", (), (), JudgeResult(), [Issue("error", code, message)])
    return {
        **result.to_json(),
        "hard_failures": [failure],
        "final": {"total_score": 0.0, "max_score": max_score, "normalized_score": 0.0},
        "rule": {"score": 0.0, "max": max_score},
        "llm": {"status": "unscored", "score": judged, "max": 0.0, "meta": {}},
    }


def rounded(value: Any) -> Any:
    """JSON types with rounded numbers, and NaN and infinities as text."""
    if isinstance(value, Mapping):
        return {str(key): rounded(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else str(value)
    return value
