"""An attacker: a function that yields what it hands in, with its name, its docstring, and what it may be worth."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from beampipe.analysisops.grading.result import Result
from beampipe.analysisops.tasks.load import Task
from tests.analysisops.redteam.target import Attempt, Target

__all__ = ["ATTACKS", "Attack", "attacker"]

Run = Callable[[Target], Iterable[Attempt]]
Part = Literal["all", "histograms", "uncertainties", "words", "labels"]

_CHECKS: Final = {"histograms": "histogram_l2", "uncertainties": "uncertainty", "words": "word", "labels": "tracks"}
"""Attacked part -> type of the checks that must not fall for it."""

_ROUNDING: Final = 1e-6

MILESTONES: Final = ("zz2mu2nu", "gluon_fraction")
"""Tasks whose answers earn points of their own: an attempt keeps those of the answers that it does not falsify."""


@dataclass(frozen=True)
class Attack:
    """One attacker.

    Attributes:
        name: of the function.
        limit: share of the points that it may get at most.
        part: what it attacks: the whole, or one kind of answer in a submission that is right otherwise.
        needs: section of the specification without which there is nothing to attack, such as ``"histograms"``.
        run: yields the attempts.
    """

    name: str
    limit: float
    part: Part
    needs: str
    run: Run

    def applies(self, task: Task) -> bool:
        """Whether a task has what is attacked."""
        if self.part != "all" and not any(rule.type == _CHECKS[self.part] for rule in task.rubric.rules):
            return False
        return not self.needs or bool(getattr(task.spec, self.needs))

    def share(self, result: Result) -> float:
        """The share of the attacked points that a result has."""
        if self.part == "all":
            return result.normalized
        kind = _CHECKS[self.part]
        # One attempt falsifies one answer: the check that gives it the least counts.
        return min(rule.points / rule.max_points for rule in result.rules if rule.type == kind)

    def best(self, target: Target) -> tuple[float, int]:
        """The largest share of all attempts, and how many there were."""
        shares = [
            self.share(target.grade(attempt)) - _left_right(target.task, attempt.falsified)
            for attempt in self.run(target)
        ]
        return max(shares, default=0.0), len(shares)

    def held(self, share: float) -> bool:
        """Whether a share is within the limit."""
        return share <= self.limit + _ROUNDING


def _left_right(task: Task, falsified: Collection[str]) -> float:
    """Share of the points of rules that depend on none of the falsified answers."""
    if task.id not in MILESTONES or not falsified:
        return 0.0
    wrong: set[str] = set()
    points = 0.0
    for rule in task.rubric.rules:
        if getattr(rule.kind, "answer", "") in falsified or wrong.intersection(rule.scaled_by):
            wrong.add(rule.id)
        else:
            points += rule.points
    return points / task.rubric.max_points


ATTACKS: Final[list[Attack]] = []
"""All attackers, in their order."""


def attacker(limit: float, *, part: Part = "all", needs: str = "") -> Callable[[Run], Run]:
    """Register a function as an attacker."""

    def register(run: Run) -> Run:
        ATTACKS.append(Attack(run.__name__, limit, part, needs, run))
        return run

    return register
