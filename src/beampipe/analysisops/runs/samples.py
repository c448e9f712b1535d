"""Assessments as samples of inspect_ai: several at once, with logs for its viewer (``inspect view --log-dir``)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from beampipe.analysisops.runs.engine import Assessment, Failures

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.scorer import Scorer, Target
    from inspect_ai.solver import Generate, Solver, TaskState

_FAMILY: Final = "family"
"""Key of the metadata of a sample by which scores are grouped."""


def as_samples(logs: Path, workers: int) -> Callable[[Sequence[Assessment], Callable[[Assessment], float]], Failures]:
    """A function that does assessments as samples of inspect_ai.

    Args:
        logs: folder of its logs, one of each agent and level.
        workers: number of assessments at once.
    """

    def execute(assessments: Sequence[Assessment], work: Callable[[Assessment], float]) -> Failures:
        failures: Failures = []
        # A level begins when the one before is done: its prompts help at that.
        for (level, agent), same in groupby(
            sorted(assessments, key=lambda one: (-one.level, one.agent.name)), lambda one: (one.level, one.agent.name)
        ):
            _evaluate(_task(f"{agent} level {level}", list(same), work, failures), logs, workers)
        return failures

    return execute


def _task(name: str, assessments: list[Assessment], work: Callable[[Assessment], float], failures: Failures) -> Task:
    from inspect_ai import Task
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.scorer import Score, grouped, mean, scorer, stderr
    from inspect_ai.solver import solver

    waiting = {f"{one.task.task_id} {one.seed.label} {one.epoch}": one for one in assessments}

    @solver(name="assessment")
    def assessment() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            one = waiting[str(state.sample_id)]
            try:
                score = await anyio.to_thread.run_sync(work, one)
            except Exception as error:
                failures.append((one.label, error))
                raise
            state.store.set("score", one.seed.rounded(score))
            return state

        return solve

    @scorer(name="grade", metrics=[mean(), stderr(), grouped(mean(), _FAMILY, all=False)])
    def grade() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            return Score(value=state.store.get("score", 0.0))

        return score

    samples = [
        Sample(key, id=key, metadata={**one.to_json(), _FAMILY: one.task.task_id}) for key, one in waiting.items()
    ]
    return Task(name=name, dataset=MemoryDataset(samples), solver=assessment(), scorer=grade())


def _evaluate(task: Task, logs: Path, workers: int) -> None:
    """Run a task; in a thread of its own where an event loop runs already, as in a notebook."""
    from inspect_ai import eval as inspect_eval

    def run() -> None:
        (log,) = inspect_eval(
            task,
            model=None,
            log_dir=str(logs),
            display="none",
            max_samples=workers,
            fail_on_error=False,
            ctl_server=False,
        )
        if log.status == "cancelled":
            raise KeyboardInterrupt

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        run()
        return
    with ThreadPoolExecutor(1) as thread:
        thread.submit(run).result()
