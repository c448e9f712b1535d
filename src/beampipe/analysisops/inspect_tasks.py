"""Every shipped task as a task of inspect_ai, with our tools and our grades; needs `inspect_ai`.

    inspect eval beampipe/zmumu --model openai/MODEL -T seeds=1+2 -T level=3
    inspect eval beampipe/zmumu --solver beampipe/scripted --model none

inspect_ai finds this module by its entry point, `REGISTERED`. The solver has the model work with the tools of an
instance; the host's assessment grades the answer, and the scorer hands on the grade. Logs hold the prompt, the calls
and their results, and the score with the share of each check. Seeds, references and pulls stay in the memory of the
host: samples are named by number, and scores of secret instances are rounded to two decimals.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import anyio.from_thread
import anyio.to_thread

from beampipe.analysisops.a2a.documents import parse_object
from beampipe.analysisops.agents.agent import Agent
from beampipe.analysisops.agents.analysis import NopAgent
from beampipe.analysisops.assessment import Answer, Ask, ask_here, assess
from beampipe.analysisops.contract import Level, TaskRequest, ToolRefusedError
from beampipe.analysisops.instances import InstanceStore
from beampipe.analysisops.registry import make_agent
from beampipe.analysisops.runs.engine import Seed, Seeds
from beampipe.analysisops.tasks.load import all_tasks, shipped_task
from beampipe.analysisops.tools.session import Session
from beampipe.analysisops.tools.session import tools as all_tools
from beampipe.errors import ConfigError, InputError

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.scorer import Score, Target
    from inspect_ai.solver import Generate, Solver, TaskState
    from inspect_ai.tool import Tool

VERSION: Final = 2
"""Version of the tasks in logs; it changes with data or grades."""

_seeds: Final[dict[tuple[str, int, str], Seed]] = {}
"""Task, level and name of a sample -> its seed."""

_grades: Final[dict[str, Mapping[str, Any]]] = {}
"""Sample in progress -> its grade."""

_folder: Final = tempfile.TemporaryDirectory(prefix="beampipe-inspect-")
"""Instances and ledgers of this process, which no log refers to."""


def _make_task(name: str, seeds: str, level: int, secret_file: str) -> Task:
    from inspect_ai import Task
    from inspect_ai.dataset import MemoryDataset, Sample

    try:
        numbers = tuple(int(number) for number in str(seeds).split("+"))
    except ValueError as error:
        raise ConfigError(f"seeds: got {str(seeds)[:60]!r}, expected numbers such as 1+2+3") from error
    spec = shipped_task(name).spec
    if level not in spec.levels:
        raise ConfigError(f"level: got {level}, expected one of {', '.join(map(str, spec.levels))}")
    chosen = Seeds(numbers, Path(secret_file) if secret_file else None).of(name, cast("Level", level))
    _seeds.update({(name, level, seed.label): seed for seed in chosen})
    samples = [
        Sample(spec.description, id=seed.label, metadata={"task": name, "instance": seed.label, "level": level})
        for seed in chosen
    ]
    return Task(
        dataset=MemoryDataset(samples, name=name),
        solver=registered()["analyst"](),
        scorer=registered()["grade"](),
        message_limit=2 * spec.max_tool_calls + 10,
        time_limit=int(spec.time_limit),
        version=VERSION,
        metadata={"family": spec.family, "level": level},
    )


@cache
def registered() -> dict[str, Any]:
    """Tasks, solvers and scorer by name, made known to inspect_ai with the first call."""
    from inspect_ai import task
    from inspect_ai.scorer import mean, scorer, stderr
    from inspect_ai.solver import solver

    def make_for(name: str) -> Callable[..., Task]:
        def make(seeds: str = "1", level: int = 3, secret_file: str = "") -> Task:
            return _make_task(name, seeds, level, secret_file)

        decorated: Callable[..., Task] = task(name=name)(make)
        return decorated

    return {
        **{name: make_for(name) for name in all_tasks()},
        **{made.__name__: solver(made) for made in (analyst, scripted, nop)},
        "grade": scorer(metrics=[mean(), stderr()])(grade),
    }


def __getattr__(name: str) -> Any:
    """The entry point of inspect_ai loads the name `REGISTERED`; without it, this module needs no inspect_ai."""
    if name == "REGISTERED":
        return registered()
    raise AttributeError(name)


async def _assess(state: TaskState, ask: Ask) -> None:
    """Have an agent solve the instance of a sample, and keep the grade for the scorer."""
    name, label = state.metadata["task"], state.metadata["instance"]
    level: Level = state.metadata["level"]
    seed = _seeds[name, level, label]

    def work() -> Mapping[str, Any]:
        prepared = InstanceStore(Path(_folder.name) / "instances").get(shipped_task(name), seed.value)
        with tempfile.TemporaryDirectory(dir=_folder.name) as temporary:
            return assess(prepared, level, seed.value, ask, Path(temporary)).grade

    _grades[state.uuid] = await anyio.to_thread.run_sync(work)


def analyst() -> Solver:
    """The model works with the tools until it answers with the JSON object of the task."""
    from inspect_ai.agent import AgentSubmit, as_solver, react

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        async def converse(request: TaskRequest, session: Session) -> Answer:
            nonlocal state
            state.user_prompt.text = request.prompt
            agent = react(
                tools=[_tool(session, name) for name in session.names()], submit=AgentSubmit(answer_only=True)
            )
            state = await as_solver(agent)(state, generate)
            try:
                return Answer(parse_object(state.output.completion, "answer"))
            except InputError as error:
                return Answer(None, str(error))

        def ask(request: TaskRequest, session: Session) -> Answer:
            return anyio.from_thread.run(converse, request, session)

        await _assess(state, ask)
        return state

    return solve


def _agent_solver(agent: Callable[[], Agent]) -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        await _assess(state, ask_here(agent()))
        return state

    return solve


def scripted() -> Solver:
    """The reference analysis, without a model."""
    return _agent_solver(lambda: make_agent("scripted"))


def nop() -> Solver:
    """Submits nothing."""
    return _agent_solver(NopAgent)


def _tool(session: Session, name: str) -> Tool:
    from inspect_ai.tool import ToolDef, ToolError, ToolParams

    described = all_tools()[name]

    async def call(**arguments: Any) -> str:
        try:
            return json.dumps(await anyio.to_thread.run_sync(partial(session.call, name, **arguments)))
        except ToolRefusedError as error:  # the model reads why, and goes on
            raise ToolError(str(error)) from error

    schema = described.schema
    # inspect_ai wants a description of each argument; describe_tool has them, and prompts stay short without.
    properties = {argument: {"description": argument, **kind} for argument, kind in schema["properties"].items()}
    parameters = ToolParams.model_validate({**schema, "properties": properties})
    return ToolDef(call, name=name, description=described.description, parameters=parameters).as_tool()


def grade() -> Callable[[TaskState, Target], Awaitable[Score]]:
    """The grade of the host; 0 if there is none, as after a limit."""
    from inspect_ai.scorer import Score

    async def score(state: TaskState, target: Target) -> Score:
        graded = _grades.pop(state.uuid, None)
        if graded is None:
            return Score(value=0.0, explanation="no answer within the limits")
        seed = _seeds[tuple(state.metadata[key] for key in ("task", "level", "instance"))]
        digits = 2 if seed.secret else 6
        return Score(
            value=round(graded["final"]["normalized_score"], digits),
            explanation="; ".join(issue["code"] for issue in graded["issues"]) or "graded",
            metadata={
                "status": graded["status"],
                "failed_gates": list(graded["hard_failures"]),
                "checks": {
                    check["id"]: round(check["evidence"]["fraction"], digits)
                    for check in graded["checks"]
                    if "fraction" in check["evidence"]
                },
            },
        )

    return score
