"""Agents by name, and the assessments of a run: what the commands do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from beampipe.analysisops.agents.agent import Agent
from beampipe.analysisops.agents.follower import FollowerAgent
from beampipe.analysisops.agents.nop import NopAgent
from beampipe.analysisops.agents.oracle import OracleAgent
from beampipe.analysisops.agents.recall import RecallAgent
from beampipe.analysisops.agents.scripted import ScriptedAgent
from beampipe.analysisops.assessing import Ask, Prepared, ask_here, ask_over_a2a, assess, regrade
from beampipe.analysisops.contract import Level
from beampipe.analysisops.grading.judging.judge import Judge
from beampipe.analysisops.grading.judging.offline import OfflineJudge
from beampipe.analysisops.instances import InstanceStore, work_code
from beampipe.analysisops.programs import ask_program
from beampipe.analysisops.runs import AgentChoice, Assessment, Record, RunPlan, Seeds, TaskChoice
from beampipe.analysisops.runs import rescore as rescore_run
from beampipe.analysisops.runs import run as run_plan
from beampipe.analysisops.runs.rescore import Rescored
from beampipe.analysisops.tasks.load import Task, load_task, shipped_tasks
from beampipe.analysisops.tasks.yaml_file import read_yaml
from beampipe.errors import UnknownNameError
from beampipe.settings import build, read_toml
from beampipe.workflow import digest_of, file_digest

__all__ = [
    "AGENTS",
    "AgentFile",
    "Conditions",
    "agent_choice",
    "assess_in_run",
    "evaluate",
    "host_assess",
    "make_agent",
    "rescore",
    "task_choice",
    "task_folder",
]

AGENTS: Final[Mapping[str, Callable[[], Agent]]] = {
    "scripted": ScriptedAgent,
    "follower": FollowerAgent,
    "nop": NopAgent,
    "recall": RecallAgent,
}
"""Agents that need no model, by name. ``oracle``, which knows what is hidden, is asked by the host alone."""

_ORACLE: Final = "oracle"
_SOURCES: Final = (*AGENTS, _ORACLE)


@dataclass(frozen=True)
class AgentFile:
    """A TOML file that describes an agent with a language model.

    Attributes:
        base_url: address of the model's server, up to and without ``/chat/completions``.
        model: name of the model there.
        kind: one agent, or a team of planner, analyst and reviewer with the same budget.
        mode: how the model calls tools: ``"native"`` by the protocol, ``"json"`` as text.
        api_key_variable: environment variable with the key; empty if none is needed.
        temperature: randomness of answers.
        price_prompt: price of a million tokens read [USD].
        price_answer: price of a million tokens written [USD].
        cache: folder of answers that were given before, to be replayed; empty for none.
    """

    base_url: str
    model: str
    kind: Literal["llm", "team"] = "llm"
    mode: Literal["native", "json"] = "native"
    api_key_variable: str = ""
    temperature: float = 0.0
    price_prompt: float = 0.0
    price_answer: float = 0.0
    cache: str = ""


@dataclass(frozen=True)
class Conditions:
    """What all assessments of a run share.

    Attributes:
        instances: folder of instances, the host's own.
        judged: the offline judge looks at the words.
    """

    instances: Path
    judged: bool = True

    @property
    def judge(self) -> Judge | None:
        """Who judges."""
        return OfflineJudge() if self.judged else None


def task_folder(name: str) -> Path:
    """The folder of a shipped task by its name, or of any other by its path.

    Raises:
        UnknownNameError: there is no such task and no such folder.
    """
    shipped = shipped_tasks()
    if name in shipped:
        return shipped[name]
    if Path(name).is_dir():
        return Path(name)
    raise UnknownNameError("task", name, shipped)


def agent_choice(name: str) -> AgentChoice:
    """An agent by its name, its address (``http://...``), its file (``NAME.toml``) or its program.

    Raises:
        UnknownNameError: there is none.
        ConfigError: the file describes none.
    """
    if name in _SOURCES:
        return AgentChoice(name)
    if name.startswith(("http://", "https://")):
        return AgentChoice(name, {"url": name})
    if name.endswith(".toml"):
        described = build(AgentFile, read_toml(Path(name), "the TOML file of an agent"), name)
        shown = {"base_url": described.base_url, "model": described.model, "kind": described.kind}
        return AgentChoice(Path(name).stem, {"file": name, "digest": digest_of(described), **shown})
    if "/" in name or name.endswith(".py"):
        return AgentChoice(Path(name).stem, {"program": name, "digest": file_digest(Path(name))})
    raise UnknownNameError("agent", name, [*_SOURCES, "http://HOST:PORT/", "FILE.toml", "./PROGRAM"])


def make_agent(name: str) -> Agent:
    """An agent that runs in this process, by its name or its file.

    Raises:
        UnknownNameError: there is none, or only the host can ask it.
    """
    if name in AGENTS:
        return AGENTS[name]()
    if name.endswith(".toml"):
        return _model_agent(Path(name))
    raise UnknownNameError("agent", name, [*AGENTS, "FILE.toml"])


def evaluate(
    tasks: Sequence[str],
    agents: Sequence[str],
    seeds: Seeds,
    folder: Path,
    *,
    levels: Sequence[Level] = (1, 2, 3),
    epochs: int = 1,
    workers: int = 1,
    judged: bool = True,
    progress: Callable[[str], object] | None = None,
) -> list[dict[str, Any]]:
    """Run every task for every agent, and keep what is done; a run that was stopped goes on.

    Args:
        tasks: names of shipped tasks or folders of others; all that are shipped if there are none.
        agents: names, addresses or files of agents.
        seeds: which instances.
        folder: of the run.
        levels: how much agents are told.
        epochs: how often each is asked the same.
        workers: how many assessments at once.
        judged: the offline judge looks at the words, in a column of its own.
        progress: is called with the label of each assessment that is done.

    Returns:
        The record of each assessment.

    Raises:
        WorkflowError: the host failed in some assessments; the others are kept.
        UnknownNameError: there is no such task or agent.
    """
    loaded = [load_task(task_folder(name)) for name in tasks or shipped_tasks()]
    choices = tuple(task_choice(task, judged=judged) for task in loaded)
    plan = RunPlan(choices, tuple(agent_choice(name) for name in agents), seeds, tuple(levels), epochs)
    conditions = Conditions(folder / "instances", judged)
    return run_plan(
        plan,
        partial(assess_in_run, conditions),
        folder,
        workers=workers,
        progress=progress,
        code=work_code(),
    )


def assess_in_run(conditions: Conditions, assessment: Assessment, folder: Path) -> Record:
    """One assessment of a run."""
    assert assessment.task.folder is not None, "a task of a run has a folder"
    task = load_task(assessment.task.folder)
    seed = assessment.seed
    prepared = InstanceStore(conditions.instances).get(task, seed.value)
    with _asking(assessment.agent, prepared) as ask:
        record = assess(prepared, assessment.level, seed.value, ask, folder, judge=conditions.judge)
    return replace(record, grade={**record.grade, "seed": seed.label})


def host_assess(
    tasks: Sequence[str],
    folder: Path,
    *,
    conditions: Conditions,
    choose: Callable[[str], AgentChoice] | None = None,
) -> Callable[[str, str, Level, int], dict[str, Any]]:
    """What a host over A2A does with each agent that it is given: ask it at its address, grade it, keep the record.

    Args:
        tasks: names or folders of the tasks that are offered.
        folder: of the records, as of a run; no agent sees it.
        conditions: what all assessments share.
        choose: what an agent is called in the records, by its address; by default each time another, so that an agent
            that comes again is asked again.
    """
    loaded = [load_task(task_folder(name)) for name in tasks]
    choices = {task.id: task_choice(task, judged=conditions.judged) for task in loaded}
    named = choose or (lambda url: AgentChoice("remote", {"url": url, "asked": time.time_ns()}))

    def work(url: str, task_id: str, level: Level, seed: int) -> dict[str, Any]:
        plan = RunPlan((choices[task_id],), (named(url),), Seeds((seed,)), (level,))
        (record,) = run_plan(plan, partial(assess_in_run, conditions), folder, extend=True, code=work_code())
        return dict(record["grade"])

    return work


def rescore(folder: Path) -> Rescored:
    """Grade a run again from its records."""
    return rescore_run(folder, regrade, today=_today)


@contextmanager
def _asking(agent: AgentChoice, prepared: Prepared) -> Iterator[Ask]:
    if "url" in agent.settings:
        yield ask_over_a2a(str(agent.settings["url"]))
    elif "program" in agent.settings:
        yield ask_program(Path(str(agent.settings["program"])), prepared)
    elif agent.name == _ORACLE:
        yield ask_here(OracleAgent(prepared.hidden))
    elif "file" in agent.settings:
        yield ask_here(_model_agent(Path(str(agent.settings["file"]))))
    else:
        yield ask_here(AGENTS[agent.name]())


def _model_agent(path: Path) -> Agent:
    """The agent that a file describes."""
    from beampipe.analysisops.agents.llm.agent import LlmAgent
    from beampipe.analysisops.agents.llm.cache import ReplayCache
    from beampipe.analysisops.agents.llm.client import ChatClient
    from beampipe.analysisops.agents.llm.settings import Model
    from beampipe.analysisops.agents.team import TeamAgent

    told = build(AgentFile, read_toml(path, "the TOML file of an agent"), str(path))
    model = Model(
        told.base_url,
        told.model,
        told.mode,
        told.api_key_variable,
        told.temperature,
        price_prompt=told.price_prompt,
        price_answer=told.price_answer,
    )
    client = ChatClient(model, ReplayCache(path.parent / told.cache) if told.cache else None)
    return TeamAgent(client) if told.kind == "team" else LlmAgent(client)


def task_choice(task: Task, *, judged: bool = True) -> TaskChoice:
    """A task of a run; whether its words are judged is part of what determines its records."""
    found = TaskChoice.from_folder(task.folder, task.id, task.spec.family, task.levels)
    return found if judged else replace(found, digest=digest_of([found.digest, "no judge"]))


def _today(record: Mapping[str, Any]) -> dict[str, Any]:
    """Rubric and reference of a record as the shipped task has them now; nothing for tasks from elsewhere."""
    folder = shipped_tasks().get(str(record["assessment"]["task_id"]))
    if folder is None:
        return {}
    task = load_task(folder)
    return {
        "rubric": read_yaml(task.spec.rubric_path, "a rubric"),
        "reference": {**task.eval_ref, "instance": record["reference"]["instance"]},
    }
