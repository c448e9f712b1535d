"""Assessments as samples of inspect_ai: several at once, with logs for its viewer (``inspect view --log-dir``)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread

from beampipe.analysisops.references import call_name
from beampipe.analysisops.runs.engine import Assessment, Execute, Failures, Work

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.model import ChatMessage
    from inspect_ai.scorer import Scorer, Target
    from inspect_ai.solver import Generate, Solver, TaskState

_FAMILY: Final = "family"
"""Key of the metadata of a sample by which scores are grouped."""


def as_samples(logs: Path, workers: int) -> Execute:
    """A function that does assessments as samples of inspect_ai.

    Args:
        logs: folder of its logs, one of each agent and level.
        workers: number of assessments at once.
    """

    def execute(assessments: Sequence[Assessment], work: Work) -> Failures:
        failures: Failures = []
        # A level begins when the one before is done: its prompts help at that.
        for (level, agent), same in groupby(
            sorted(assessments, key=lambda one: (-one.level, one.agent.name)), lambda one: (one.level, one.agent.name)
        ):
            _evaluate(_task(f"{agent} level {level}", list(same), work, failures), logs, workers)
        return failures

    return execute


def _task(name: str, assessments: list[Assessment], work: Work, failures: Failures) -> Task:
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
                record = await anyio.to_thread.run_sync(work, one)
            except Exception as error:
                failures.append((one.label, error))
                raise
            state.messages = _conversation(record)
            state.store.set("score", one.seed.rounded(record["grade"]["final"]["normalized_score"]))
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


def _conversation(record: Mapping[str, Any]) -> list[ChatMessage]:
    """Prompt, calls of tools and answer of a record, as the viewer shows them."""
    from inspect_ai.model import ChatMessageAssistant, ChatMessageTool, ChatMessageUser
    from inspect_ai.tool import ToolCall, ToolCallError

    messages: list[ChatMessage] = [ChatMessageUser(content=record["request"]["prompt"])]
    for entry in record["ledger"]:
        name, error = call_name(entry["number"]), entry["error"]
        call = ToolCall(id=name, function=entry["tool"], arguments=entry["arguments"])
        messages += [
            ChatMessageAssistant(content="", tool_calls=[call]),
            ChatMessageTool(
                content=json.dumps(entry["result"]),
                tool_call_id=name,
                function=entry["tool"],
                error=ToolCallError("unknown", error) if error else None,
            ),
        ]
    failure = record["error"].encode("utf-8", "replace").decode("utf-8")  # a lone surrogate cannot be written
    answer = failure or json.dumps(record["submission"], indent=1)
    return [*messages, ChatMessageAssistant(content=answer)]


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
