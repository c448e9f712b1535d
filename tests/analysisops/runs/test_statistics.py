"""Means and their errors, against closed forms and against counting."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beampipe.analysisops.runs.statistics import Score, difference, mean_with_error, pass_hat, scores_of, summarise
from beampipe.errors import InputError


def score(value: float, seed: str = "dev-1", **more: Any) -> Score:
    given_ = {"agent": "a", "family": "f", "task_id": "t", "level": 1, "epoch": 1, "status": "ok", **more}
    return Score(seed=seed, value=value, **given_)


def closed_form(tasks: list[list[float]]) -> tuple[float, float]:
    """Mean of means, and its error: the standard deviation of n values over sqrt(n), in quadrature over tasks."""
    mean = float(np.mean([np.mean(task) for task in tasks]))
    variances = [np.var(task, ddof=1) / len(task) for task in tasks]
    return mean, float(np.sqrt(np.sum(variances))) / len(tasks)


def of_tasks(tasks: list[list[float]], epochs: int = 1) -> list[Score]:
    return [
        score(value, f"dev-{seed}", task_id=f"t{task}", level=level, epoch=epoch)
        for task, values in enumerate(tasks)
        for seed, value in enumerate(values)
        for level in (1, 2, 3)
        for epoch in range(epochs)
    ]


@pytest.mark.parametrize("shape", [(20,), (5, 5, 5), (3, 40)])
def test_the_bootstrap_finds_the_closed_form(shape: tuple[int, ...]) -> None:
    draw = np.random.default_rng(5)
    tasks = [list(draw.uniform(size=n)) for n in shape]
    mean, error = mean_with_error(of_tasks(tasks, epochs=4))
    expected, expected_error = closed_form(tasks)
    assert mean == pytest.approx(expected)
    assert error == pytest.approx(expected_error, rel=0.06), "2000 draws: 1.6 %, and more where values are few"


def test_errors_cover_what_they_should() -> None:
    """Epochs of one seed share its data: taken as independent, they would make the error half as large as it is."""
    draw = np.random.default_rng(6)
    pulls, naive = [], []
    for _ in range(80):
        luck = draw.normal(0.5, 0.1, size=8)
        scores = [
            score(luck[seed] + draw.normal(0, 0.02), f"dev-{seed}", epoch=epoch)
            for seed in range(8)
            for epoch in range(4)
        ]
        mean, error = mean_with_error(scores)
        assert error is not None
        pulls.append((mean - 0.5) / error)
        naive.append((mean - 0.5) / (np.std([item.value for item in scores], ddof=1) / math.sqrt(32)))
    assert 0.9 < np.std(pulls) < 1.4, "Student's t of 7 degrees of freedom: 1.18"
    assert np.std(naive) > 1.6


def test_a_difference_is_of_the_same_instances() -> None:
    """Agents that differ by 0.1 on instances that differ by far more."""
    draw = np.random.default_rng(7)
    luck = draw.uniform(0.2, 0.8, size=30)
    noise = draw.normal(0, 0.01, size=30)
    scores = [score(luck[seed], f"dev-{seed}") for seed in range(30)]
    scores += [score(luck[seed] - 0.1 + noise[seed], f"dev-{seed}", agent="b") for seed in range(30)]
    scores += [score(0.0, "dev-99", agent="b"), score(0.0, task_id="u", agent="b")]
    mean, error = difference(scores, "a", "b")
    assert mean == pytest.approx(0.1 - noise.mean())
    assert error == pytest.approx(np.std(noise, ddof=1) / math.sqrt(30), rel=0.06)
    assert math.isnan(difference(scores, "a", "nobody")[0])


def test_one_seed_tells_no_error() -> None:
    mean, error = mean_with_error([score(0.5), score(0.7, epoch=2)])
    assert mean == pytest.approx(0.6)
    assert error is None
    mean, error = mean_with_error([])
    assert math.isnan(mean)
    assert error is None


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=5), min_size=1, max_size=4))
def test_pass_hat_is_the_share_of_all_choices_that_pass(passed: list[list[bool]]) -> None:
    scores = [
        score(1.0 if item else 0.89, f"dev-{seed}", epoch=epoch)
        for seed, cell in enumerate(passed)
        for epoch, item in enumerate(cell)
    ]
    result = pass_hat(scores)
    assert list(result) == list(range(1, min(map(len, passed)) + 1))
    for k, value in result.items():
        shares = [np.mean([all(choice) for choice in combinations(cell, k)]) for cell in passed]
        assert value == pytest.approx(float(np.mean(shares)))
    assert sorted(result.values(), reverse=True) == list(result.values())


def test_errors_count_as_zero_and_what_is_missing_is_said() -> None:
    scores = [score(1.0), score(0.0, "dev-2", status="error"), score(0.5, "dev-3", status="fail", cost=0.5, tokens=7)]
    lost = {"agent": "a", "family": "f", "task_id": "t", "level": 1, "seed": "dev-4", "epoch": 1}
    lacking = [lost, {**lost, "agent": "b"}]
    result = summarise(scores, ("agent",), missing=lacking)
    mine, other = result["a",], result["b",]
    assert mine.mean == pytest.approx(0.5)
    assert (mine.errors, mine.failed, mine.missing, mine.assessments, mine.seeds) == (1, 1, 1, 3, 3)
    assert (mine.cost, mine.cost_unknown, mine.tokens, mine.tokens_unknown) == (0.5, 2, 7, 2)
    assert math.isnan(other.mean)
    assert other.missing == 1


def line(value: object, status: str = "ok", llm: dict[str, Any] | None = None) -> dict[str, Any]:
    assessment = {"agent": "a", "family": "f", "task_id": "t", "level": 1, "seed": "dev-1", "epoch": 1}
    result = {"status": status, "final": {"normalized_score": value}, "llm": llm}
    return {"assessment": assessment, "result": result, "seconds": 1, "tokens": {}, "cost": None, "tool_calls": 2}


def test_scores_are_read_from_results() -> None:
    [one] = scores_of([line(0.75, llm={"status": "scored", "score": 8, "max": 10, "meta": {}})])
    assert (one.value, one.judge, one.judged, one.tokens, one.tool_calls) == (0.75, 0.8, True, None, 2)
    unscored = {"status": "unscored", "score": 0.0, "max": 10, "meta": {"judge": {"reason": "no judge"}}}
    [error, left] = scores_of([line(0.75, "error", unscored), line(0.75, "ok", unscored)])
    assert (error.value, error.judge, error.judged) == (0.0, None, False), "nothing to judge"
    assert (left.value, left.judge, left.judged) == (0.75, None, True)


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), True, "1"])
def test_a_score_that_no_grading_gives_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"expected a number in 0 \.\. 1; the grading is at fault"):
        scores_of([line(value)])
