"""Every shipped task as a task of inspect_ai, with our tools and our grades.

    inspect eval beampipe/practice --model openai/MODEL -T instances=3
    inspect eval beampipe/zmumu --model openai/MODEL -T instances=2 -T level=3
    inspect eval beampipe/zmumu --solver beampipe/agent -S name=scripted --model none
    inspect score LOG --scorer beampipe/grade

inspect_ai finds this module by its entry point. A solver has an agent work with the tools of an instance. The store of
the sample keeps what `beampipe.analysisops.assessment.Record.log` holds, and the scorer grades that, so a log can be
scored again without agent or model. Logs hold the prompt, the calls and their results, and the score with the share of
each check. Seeds, references and pulls are not in them: samples are named by number, and scores of secret instances are
rounded to two decimals.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, cast

import anyio.to_thread
from inspect_ai import Task, task
from inspect_ai.agent import AgentState, react
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import get_model
from inspect_ai.scorer import Score, Scorer, Target, grouped, mean, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.tool import bash, python
from inspect_ai.util import LimitExceededError, apply_limits, sandbox, time_limit

from beampipe.analysisops.a2a.documents import parse_object
from beampipe.analysisops.agents.agent import Answer
from beampipe.analysisops.agents.model import converse
from beampipe.analysisops.assessment import (
    Attempt,
    TaskInstance,
    ask_here,
    ask_over_a2a,
    grade_log,
    open_instance,
)
from beampipe.analysisops.contract import Level
from beampipe.analysisops.inspect_sandbox import ConfinedEnvironment as ConfinedEnvironment  # registers it
from beampipe.analysisops.instances import oracle_of
from beampipe.analysisops.own_code import ANSWER, LARGEST, answer_form, submission_from
from beampipe.analysisops.registry import ORACLE, make_agent
from beampipe.analysisops.runs.engine import files_digest
from beampipe.analysisops.tasks.load import all_tasks, shipped_task, shipped_tasks
from beampipe.analysisops.tools.data_folder import MANIFEST, DataFolder
from beampipe.analysisops.tools.session import LocalTools
from beampipe.errors import ConfigError
from beampipe.workflow import digest_of

LOG: Final = "beampipe_log"
"""Key of the store of a sample with the JSON text of `Record.log`."""


Solve = Callable[[Attempt, TaskState], Awaitable[Answer]]
"""Has an agent work on an attempt."""


def _tasks(names: list[str], instances: int, level: int, secret_file: str) -> Task:
    """A task of inspect_ai with the first instances of some of our tasks."""
    if level not in (1, 2, 3):
        raise ConfigError(f"level: got {level}, expected 1, 2 or 3")
    specs = [shipped_task(name).spec for name in names]
    kind = "eval" if secret_file else "dev"
    samples = [
        Sample(
            spec.description,
            id=f"{kind}-{index}" if len(specs) == 1 else f"{spec.id}-{kind}-{index}",
            metadata={"task": spec.id, "level": level, "index": index, "secret_file": secret_file},
        )
        for index in range(1, instances + 1)
        for spec in specs
        if level in spec.levels
    ]
    return Task(
        dataset=MemoryDataset(samples),
        solver=analyst(),
        scorer=grade(),
        version=digest_of([files_digest(all_tasks()[name]) for name in names])[:12],
        metadata={"level": level},
    )


@task
def practice(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """All tasks on files."""
    return _tasks(list(shipped_tasks()), instances, level, secret_file)


@task
def zmumu(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """The mass of a resonance that decays to two muons."""
    return _tasks(["zmumu"], instances, level, secret_file)


@task
def width(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """The natural width of a broad resonance."""
    return _tasks(["width"], instances, level, secret_file)


@task
def hyy(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """A peak of photon pairs: existence, mass and yield."""
    return _tasks(["hyy"], instances, level, secret_file)


@task
def hmumu(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """A small peak of muon pairs: mass and yield."""
    return _tasks(["hmumu"], instances, level, secret_file)


@task
def hbb(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """A peak of two b jets with missing momentum: mass and yield."""
    return _tasks(["hbb"], instances, level, secret_file)


@task
def hzz4l(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """A peak of four leptons: mass and yield."""
    return _tasks(["hzz4l"], instances, level, secret_file)


@task
def ttbar(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """The mass of the top quark with one lepton and jets."""
    return _tasks(["ttbar"], instances, level, secret_file)


@task
def wz3l(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """The cross section of W Z with three leptons."""
    return _tasks(["wz3l"], instances, level, secret_file)


@task
def zz2mu2nu(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """The cross section of Z Z with two muons."""
    return _tasks(["zz2mu2nu"], instances, level, secret_file)


@task
def counting(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """An upper limit on a signal strength, with an uncertain background."""
    return _tasks(["counting"], instances, level, secret_file)


@task
def tagprobe(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """The efficiency of a muon identification."""
    return _tasks(["tagprobe"], instances, level, secret_file)


@task
def search(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """Photon pairs without a peak: recognise this, and set a limit."""
    return _tasks(["search"], instances, level, secret_file)


@task
def tracks(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """The tracks of a small event."""
    return _tasks(["tracks"], instances, level, secret_file)


@task
def jets(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """Scale factors of a quark/gluon tagger."""
    return _tasks(["jets"], instances, level, secret_file)


@task
def gluon_fraction(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """The share of gluon jets, in files of the chain."""
    return _tasks(["gluon_fraction"], instances, level, secret_file)


@task
def operations(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """Which server of a service failed, why and when."""
    return _tasks(["operations"], instances, level, secret_file)


@task
def fleet(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """Why the latency of a running fleet rose; repair it. Needs an engine: `beampipe serving engine install`."""
    return _tasks(["fleet"], instances, level, secret_file)


@task
def composed(instances: int = 1, level: int = 3, secret_file: str = "") -> Task:
    """A question about a resonance that is composed anew for each instance; no recipe solves it."""
    return _tasks(["composed"], instances, level, secret_file)


@solver
def analyst() -> Solver:
    """The model works with the tools until it submits."""

    async def solve(attempt: Attempt, state: TaskState) -> Answer:
        state.messages.clear()
        return await converse(get_model(), attempt.request, LocalTools(attempt.session), state.messages)

    return attempting(solve)


_CODE: Final = """

## Your own code in place of tools

There are no tools for the analysis, calls or handles here: write code, with the tools bash and python. The data are in
the folder data, where manifest.json describes them; Python has uproot, awkward, numpy, scipy, iminuit and pyhf, and
there is no network. Leave {answer} in the working directory, with plain numbers in place of calls and handles, each
computed from these data, and submit then:

{form}
"""


@solver
def coder(seconds_per_command: int = 300) -> Solver:
    """The model writes code of its own for a copy of the data in a sandbox: start it with ``--sandbox confined``."""

    async def solve(attempt: Attempt, state: TaskState) -> Answer:
        prepared, box = attempt.prepared, sandbox()
        for path in (*(file.path for file in DataFolder(prepared.data).files()), prepared.data / MANIFEST):
            await box.write_file(f"data/{path.name}", path.read_bytes())
        state.user_prompt.text += _CODE.format(answer=ANSWER, form=json.dumps(answer_form(prepared.task.spec)))
        tools = [bash(timeout=seconds_per_command), python(timeout=seconds_per_command)]
        done = await react(tools=tools)(AgentState(messages=state.messages))
        state.messages, state.output = done.messages, done.output
        try:
            text = await box.read_file(ANSWER)
            return Answer(submission_from(parse_object(text, ANSWER, largest=LARGEST), prepared, attempt.session))
        except Exception as error:  # whatever an answer causes is the agent's failure
            return Answer(None, f"{ANSWER}: {type(error).__name__}: {error}"[:300])

    return attempting(solve)


@solver
def agent(name: str = "scripted") -> Solver:
    """A shipped agent by its name, or one at an address over A2A."""

    async def solve(attempt: Attempt, state: TaskState) -> Answer:
        if name.startswith(("http://", "https://")):
            ask = ask_over_a2a(name)
        elif name == ORACLE:
            ask = ask_here(oracle_of(attempt.prepared.task, attempt.prepared.hidden))
        else:
            ask = ask_here(make_agent(name, attempt.prepared.task.folder))
        return await anyio.to_thread.run_sync(ask, attempt.request, attempt.session)

    return attempting(solve)


def attempting(solve: Solve, seconds: float | None = None) -> Solver:
    """A solver that opens an attempt at the instance of a sample, and leaves its log in the store of the sample.

    Args:
        solve: has an agent work on the attempt.
        seconds: time limit [s]; None for that of the task.
    """

    async def execute(state: TaskState, generate: Generate) -> TaskState:
        instance = await anyio.to_thread.run_sync(_instance_of, state)
        running = ExitStack()
        attempt = await anyio.to_thread.run_sync(running.enter_context, instance.attempt())
        limit = time_limit(seconds or instance.prepared.task.spec.time_limit)
        exceeded, answer = None, Answer(None, "no answer")
        try:
            state.user_prompt.text = attempt.request.prompt
            try:
                with apply_limits([limit], catch_errors=True) as scope:
                    answer = await solve(attempt, state)
                reached = scope.limit_error
            except LimitExceededError as error:  # a limit of the sample, which inspect_ai notes
                reached = exceeded = error
            if reached is not None:
                answer = Answer(None, f"{reached.type} limit: {reached.message}", code=f"{reached.type}_limit")
            record = await anyio.to_thread.run_sync(attempt.finish, answer)
            state.store.set(LOG, json.dumps(record.log()))
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(running.close)
        if exceeded is not None:
            raise exceeded
        return state

    return execute


def _instance_of(state: TaskState, secret_file: str = "") -> TaskInstance:
    about = state.metadata
    secret = Path(secret_file or about["secret_file"]) if about["secret_file"] else None
    return open_instance(about["task"], cast("Level", about["level"]), about["index"], secret=secret)


@scorer(metrics=[mean(), stderr(), grouped(mean(), "task", all=False)])
def grade(secret_file: str = "") -> Scorer:
    """The grade of the log in the store; 0 if there is none.

    Args:
        secret_file: file of the secret of the instances; empty for the one that the task named.
    """

    async def score(state: TaskState, target: Target) -> Score:
        text = state.store.get(LOG)
        if text is None:
            return Score(value=0.0, explanation="no answer")
        instance = await anyio.to_thread.run_sync(_instance_of, state, secret_file)
        graded = await anyio.to_thread.run_sync(grade_log, json.loads(text), instance)
        rounded = instance.seed.rounded
        return Score(
            value=rounded(graded["final"]["normalized_score"]),
            explanation="; ".join(issue["code"] for issue in graded["issues"]) or "graded",
            metadata={
                "status": graded["status"],
                "failed_gates": list(graded["hard_failures"]),
                "checks": {
                    check["id"]: rounded(check["evidence"]["fraction"])
                    for check in graded["checks"]
                    if "fraction" in check["evidence"]
                },
            },
        )

    return score
