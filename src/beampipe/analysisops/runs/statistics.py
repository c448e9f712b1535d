"""Means with standard errors, pass^k and totals of a run; failures count as 0, and missing assessments are reported.

The data of a seed and level are the same in all epochs and for all agents, so its scores are not independent. A seed is
a *cluster*: its value is the mean over levels of the mean over epochs. A task's mean is that of its seeds, and
a mean over tasks gives each the same weight. Standard errors are by bootstrap over the seeds of each task, scaled by
``sqrt(n / (n - 1))``, which removes the bias for few seeds (Rao and Wu, J. Am. Stat. Assoc. 83 (1988) 231). One seed
gives no error: it is None then, not 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.errors import InputError

PASSED: Final = 0.9
"""Normalised score from which on an assessment counts as passed, for pass^k."""

By = Literal["agent", "family", "task_id", "level"]
"""Fields by which results can be grouped."""

_DRAWS: Final = 2000
"""Draws of a bootstrap: the error of an error is 1.6 %."""

_BOOTSTRAP_SEED: Final = 12
"""Fixed seed of the bootstrap: equal results give equal errors."""


@dataclass(frozen=True)
class Score:
    """The figures of one assessment.

    Attributes:
        agent: name of the agent.
        family: family of the task.
        task_id: name of the task.
        level: level of the prompt.
        seed: label of the seed.
        epoch: number of the repetition.
        status: ``"ok"``, ``"fail"`` (a gate failed) or ``"error"`` (the agent failed).
        value: normalised score in 0 .. 1; 0 for an error.
        judge: normalised score by the judge; None if it gave none.
        judged: whether a judge had to score it: the rubric has checks for one, and every gate passed.
        seconds: time that it took [s].
        tokens: number of tokens; None if unknown.
        cost: cost [USD]; None if unknown.
        tool_calls: number of calls of tools.
    """

    agent: str
    family: str
    task_id: str
    level: int
    seed: str
    epoch: int
    status: str
    value: float
    judge: float | None = None
    judged: bool = False
    seconds: float = 0.0
    tokens: int | None = None
    cost: float | None = None
    tool_calls: int = 0


@dataclass(frozen=True)
class Summary:
    """The figures of a group of assessments.

    Attributes:
        mean: mean of the normalised scores, errors as 0.
        error: its standard error; None if some task has only one seed.
        judge: mean score by the judge, over the assessments that it scored; None if it scored none.
        judge_error: its standard error; None if unknown.
        pass_hat: k -> probability that k epochs of the same instance all pass, up to the fewest epochs of any.
        seeds: number of instances.
        assessments: number of assessments that are done.
        failed: number of these in which a gate failed.
        errors: number of these in which the agent failed; they count as 0.
        unscored: number of these that a judge should have scored and did not.
        missing: assessments of the plan that are not done; they are not in the mean.
        ranked: the mean with 0 for each missing assessment, by which agents are ranked: a lost result gains nothing.
        cost: sum of the known costs [USD].
        cost_unknown: assessments whose cost is unknown.
        tokens: sum of the known tokens.
        tokens_unknown: assessments whose tokens are unknown.
        seconds: sum of the times [s].
        tool_calls: sum of the calls of tools.
    """

    mean: float
    error: float | None
    judge: float | None = None
    judge_error: float | None = None
    pass_hat: Mapping[int, float] = field(default_factory=dict)
    seeds: int = 0
    assessments: int = 0
    failed: int = 0
    errors: int = 0
    unscored: int = 0
    missing: int = 0
    ranked: float = 0.0
    cost: float = 0.0
    cost_unknown: int = 0
    tokens: int = 0
    tokens_unknown: int = 0
    seconds: float = 0.0
    tool_calls: int = 0


def scores_of(lines: Iterable[Mapping[str, Any]]) -> list[Score]:
    """The figures of each line of a run's results.

    Raises:
        InputError: a score is not a number in 0 .. 1, which indicates an error in the grading.
    """
    scores = []
    for line in lines:
        assessment, result = line["assessment"], line["result"]
        status, value = str(result["status"]), result["final"]["normalized_score"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(
                f"result of {assessment['task_id']}, {assessment['agent']}, {assessment['seed']}: got a normalised"
                f" score {value!r:.40}, expected a number in 0 .. 1; the grading is at fault"
            )
        llm = result.get("llm") or {}
        judged = llm.get("status") == "scored" and bool(llm.get("max"))
        scores.append(
            Score(
                *_identity(assessment),
                status,
                0.0 if status == "error" else float(value),
                float(llm["score"]) / float(llm["max"]) if judged else None,
                status == "ok" and bool(llm.get("max")),
                float(line["seconds"]),
                sum(line["tokens"].values()) if line["tokens"] else None,
                line["cost"],
                int(line["tool_calls"]),
            )
        )
    return scores


def summarise(
    scores: Iterable[Score],
    by: Sequence[By] = ("agent",),
    *,
    missing: Iterable[Mapping[str, Any]] = (),
) -> dict[tuple[str | int, ...], Summary]:
    """The figures of each group.

    Args:
        scores: the assessments that are done.
        by: fields that define a group.
        missing: assessments that are not done, as JSON.

    Returns:
        Values of the fields -> figures of the group, sorted. The mean of a group of which nothing is done is NaN.
    """
    groups: dict[tuple[str | int, ...], list[Score]] = {}
    for score in scores:
        groups.setdefault(tuple(getattr(score, name) for name in by), []).append(score)
    lacking: dict[tuple[str | int, ...], list[Score]] = {}
    for assessment in missing:
        nothing = Score(*_identity(assessment), "missing", 0.0)
        lacking.setdefault(tuple(getattr(nothing, name) for name in by), []).append(nothing)
    keys = sorted(groups.keys() | lacking.keys())
    return {key: _summary(groups.get(key, []), lacking.get(key, [])) for key in keys}


def mean_with_error(scores: Sequence[Score], of: Literal["value", "judge"] = "value") -> tuple[float, float | None]:
    """Mean over tasks of the mean over seeds, and its standard error by bootstrap over seeds.

    Args:
        scores: at least one; a mean of ``"judge"`` omits those without a score by the judge.
        of: the score to average.

    Returns:
        The mean, NaN if there is nothing; the error, None if a task has one seed only.
    """
    return _with_error([np.array(list(seeds.values())) for seeds in _clusters(scores, of).values()])


def difference(scores: Sequence[Score], agent: str, other: str) -> tuple[float, float | None]:
    """Mean difference of the scores of two agents on the instances that both worked on.

    The difficulty of an instance is common to both and cancels, so the error is smaller than the quadratic sum of both
    errors.

    Args:
        scores: scores of both, and of any others.
        agent: name of the first.
        other: name of the second.

    Returns:
        The mean difference, NaN if they share no instance; its standard error, None if a task has one seed only.
    """
    mine, theirs = (_clusters([score for score in scores if score.agent == name], "value") for name in (agent, other))
    pairs = []
    for task in mine.keys() & theirs.keys():
        shared = sorted(mine[task].keys() & theirs[task].keys())
        if shared:
            pairs.append(np.array([mine[task][seed] - theirs[task][seed] for seed in shared]))
    return _with_error(pairs)


def _with_error(values: Sequence[Float64[ndarray, " n_seeds"]]) -> tuple[float, float | None]:
    """Mean over tasks of the mean over seeds, with its error."""
    if not values:
        return math.nan, None
    mean = float(np.mean([seeds.mean() for seeds in values]))
    if min(map(len, values)) < 2:
        return mean, None
    draw = np.random.default_rng(_BOOTSTRAP_SEED)
    spread = np.zeros(_DRAWS)
    for seeds in values:
        n = len(seeds)
        means = seeds[draw.integers(n, size=(_DRAWS, n))].mean(axis=1)
        spread += (means - seeds.mean()) * math.sqrt(n / (n - 1)) / len(values)
    return mean, float(np.sqrt(np.mean(spread**2)))


def pass_hat(scores: Sequence[Score]) -> dict[int, float]:
    """pass^k: the probability that k epochs of one instance at one level all pass.

    For an instance with c of n epochs passed, the unbiased estimate is ``C(c, k) / C(n, k)``; it is averaged like
    scores.

    Args:
        scores: the assessments.

    Returns:
        k -> probability, for k from 1 to the fewest epochs of any instance.
    """
    cells: dict[tuple[str, str, int], list[bool]] = {}
    for score in scores:
        cells.setdefault((score.task_id, score.seed, score.level), []).append(score.value >= PASSED)
    probabilities = {}
    for k in range(1, min((len(cell) for cell in cells.values()), default=0) + 1):
        nested: dict[str, dict[str, list[float]]] = {}
        for (task, seed, _), cell in cells.items():
            share = math.comb(sum(cell), k) / math.comb(len(cell), k)
            nested.setdefault(task, {}).setdefault(seed, []).append(share)
        tasks = [np.mean([np.mean(levels) for levels in seeds.values()]) for seeds in nested.values()]
        probabilities[k] = float(np.mean(tasks))
    return probabilities


def _clusters(scores: Sequence[Score], of: Literal["value", "judge"]) -> dict[str, dict[str, float]]:
    """For each task the values of its seeds: the mean over levels of the mean over epochs."""
    nested: dict[str, dict[str, dict[int, list[float]]]] = {}
    for score in scores:
        value = score.value if of == "value" else score.judge
        if value is not None:
            seeds = nested.setdefault(score.task_id, {})
            seeds.setdefault(score.seed, {}).setdefault(score.level, []).append(value)
    return {
        task: {seed: float(np.mean([np.mean(values) for values in levels.values()])) for seed, levels in seeds.items()}
        for task, seeds in nested.items()
    }


def _summary(scores: Sequence[Score], missing: Sequence[Score]) -> Summary:
    mean, error = mean_with_error(scores)
    judge, judge_error = mean_with_error(scores, "judge")
    return Summary(
        mean,
        error,
        None if math.isnan(judge) else judge,
        judge_error,
        pass_hat(scores),
        seeds=len({(score.task_id, score.seed) for score in scores}),
        assessments=len(scores),
        failed=sum(score.status == "fail" for score in scores),
        errors=sum(score.status == "error" for score in scores),
        unscored=sum(score.judged and score.judge is None for score in scores),
        missing=len(missing),
        ranked=mean_with_error([*scores, *missing])[0] if missing else mean,
        cost=math.fsum(score.cost for score in scores if score.cost is not None),
        cost_unknown=sum(score.cost is None for score in scores),
        tokens=sum(score.tokens for score in scores if score.tokens is not None),
        tokens_unknown=sum(score.tokens is None for score in scores),
        seconds=math.fsum(score.seconds for score in scores),
        tool_calls=sum(score.tool_calls for score in scores),
    )


def _identity(assessment: Mapping[str, Any]) -> tuple[str, str, str, int, str, int]:
    """The first fields of a score: agent, family, task, level, seed and epoch."""
    agent, family, task, seed = (str(assessment[name]) for name in ("agent", "family", "task_id", "seed"))
    return agent, family, task, int(assessment["level"]), seed, int(assessment["epoch"])
