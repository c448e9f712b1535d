"""Evaluate agents on tasks, rescore a run, and do the assessments that a host serves."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from beampipe.analysisops.assessment import ask_here, ask_over_a2a, assess, own_checks, regrade
from beampipe.analysisops.contract import Level
from beampipe.analysisops.instances import InstanceStore, oracle_of, program_digest, work_code
from beampipe.analysisops.own_code import ask_program, lower_of, second_seed
from beampipe.analysisops.registry import ORACLE, JudgeChoice, agent_choice, judge_choice, make_agent
from beampipe.analysisops.runs.engine import (
    AgentChoice,
    Assessment,
    Failures,
    Record,
    Rescored,
    RunFolder,
    RunPlan,
    TaskChoice,
    Work,
)
from beampipe.analysisops.runs.engine import rescore as rescore_run
from beampipe.analysisops.runs.engine import run as run_plan
from beampipe.analysisops.runs.samples import as_samples
from beampipe.analysisops.seeds import Seeds
from beampipe.analysisops.tasks.load import Task, all_tasks, load_task, read_yaml, shipped_tasks
from beampipe.analysisops.tools.mcp import LOOPBACK
from beampipe.errors import ConfigError, UnknownNameError
from beampipe.files import make_folder
from beampipe.plugins import load_plugin, plugin_names
from beampipe.processes import worker_pool
from beampipe.workflow import digest_of


@dataclass(frozen=True)
class Conditions:
    """Settings shared by all assessments of a run.

    Attributes:
        instances: private folder of instances of the host.
        judge: scores free-text answers.
        tools_host: name or address of this machine at which agents elsewhere reach its tools.
    """

    instances: Path
    judge: JudgeChoice = field(default_factory=JudgeChoice)
    tools_host: str = LOOPBACK


def task_folder(name: str) -> Path:
    """The folder of a shipped task or of a plug-in of the group ``beampipe.tasks`` by its name, or any by its path.

    Raises:
        UnknownNameError: there is no such task and no such folder.
        ConfigError: a plug-in cannot be imported.
    """
    shipped, plugins = all_tasks(), plugin_names("tasks")
    if name in shipped:
        return shipped[name]
    if name in plugins:
        return Path(load_plugin("tasks", name))
    if Path(name).is_dir():
        return Path(name)
    raise UnknownNameError("task", name, [*shipped, *plugins])


def load_tasks(names: Sequence[str]) -> list[Task]:
    """Tasks that are given together, by name or folder; all shipped tasks on files if there are none.

    Raises:
        ConfigError: two have one id, or one has the id of a shipped task, by whose rubric `rescore` would grade it.
    """
    folders: dict[str, Path] = {}
    tasks = [load_task(task_folder(name)) for name in names or shipped_tasks()]
    for task in tasks:
        folder = all_tasks().get(task.id, task.folder)
        other = folders.setdefault(task.id, task.folder)
        if folder.resolve() != task.folder.resolve() or other is not task.folder:
            other = folder if other is task.folder else other
            raise ConfigError(
                f"{task.folder}: got a task of the id {task.id}, which that in {other} has; choose another id"
            )
    return tasks


def evaluate(
    tasks: Sequence[str],
    agents: Sequence[str],
    seeds: Seeds,
    folder: Path,
    *,
    levels: Sequence[Level] = (1, 2, 3),
    epochs: int = 1,
    workers: int = 1,
    judge: str = "offline",
    tools_host: str = LOOPBACK,
    progress: Callable[[str], object] | None = None,
) -> list[dict[str, Any]]:
    """Run every task for every agent, and keep the records; an interrupted run is resumed.

    Args:
        tasks: names of shipped tasks or folders of others; all shipped tasks on files if empty.
        agents: names, addresses or files of agents.
        seeds: seeds of the instances.
        folder: folder of the run.
        levels: levels of the prompts.
        epochs: number of repetitions of each assessment.
        workers: number of concurrent assessments, and of processes that make data.
        judge: scores free-text answers in a separate column: ``offline``, ``none``, or the TOML file of a model.
        tools_host: name or address of this machine at which agents elsewhere reach its tools.
        progress: is called with the label of each assessment that is done.

    Returns:
        The record of each assessment.

    Raises:
        WorkflowError: the host failed in some assessments; the records of the others are kept.
        UnknownNameError: there is no such task, agent or judge.
        ConfigError: a file describes no agent or judge.
    """
    chosen = judge_choice(judge)
    loaded = load_tasks(tasks)
    choices = tuple(task_choice(task, chosen) for task in loaded)
    chosen_agents = tuple(agent_choice(name) for name in agents)
    programs = [agent.name for agent in chosen_agents if "program" in agent.settings]
    for task in loaded:
        if task.is_live and programs:
            raise ConfigError(
                f"{task.id}: got the program {programs[0]}, expected an agent with tools: it is a running system, and"
                " programs get files"
            )
    plan = RunPlan(choices, chosen_agents, seeds, tuple(levels), epochs)
    conditions = Conditions(folder / "instances", chosen, tools_host)
    do_samples = as_samples(RunFolder(folder).logs, workers)

    def execute(assessments: Sequence[Assessment], work: Work) -> Failures:
        # In several processes, since samples are threads of one.
        wanted = {(one.task.folder, one.seed.value) for one in assessments if one.task.family}
        if min(workers, len(wanted)) > 1:
            with worker_pool(workers) as pool:
                for future in [pool.submit(make_instance, conditions.instances, *one) for one in wanted]:
                    future.result()
        return do_samples(assessments, work)

    assess_one = partial(assess_in_run, conditions)
    return run_plan(plan, assess_one, folder, execute=execute, progress=progress, code=work_code())


def make_instance(instances: Path, folder: Path | None, seed: int) -> None:
    """Make an instance of the task in a folder, if it does not exist."""
    assert folder is not None, "a task of a run has a folder"
    InstanceStore(instances).get(load_task(folder), seed)


def assess_in_run(conditions: Conditions, assessment: Assessment, folder: Path) -> Record:
    """One assessment of a run."""
    assert assessment.task.folder is not None, "a task of a run has a folder"
    task = load_task(assessment.task.folder)
    seed = assessment.seed
    store = InstanceStore(conditions.instances)
    prepared = store.get(task, seed.value)
    agent = assessment.agent
    if "program" in agent.settings:
        program, judge = Path(str(agent.settings["program"])), conditions.judge.judge()
        record = assess(prepared, assessment.level, seed.value, ask_program(program, prepared), folder, judge=judge)
        if task.spec.family:  # there is only one instance of open data
            number, folder_of_second = second_seed(task.id, seed.value), folder / "second"
            make_folder(folder_of_second)
            other = store.get(task, number)
            again = assess(other, assessment.level, number, ask_program(program, other), folder_of_second, judge=judge)
            record = lower_of(record, again)
        return replace(record, grade={**record.grade, "seed": seed.label})
    if "url" in agent.settings:
        ask = ask_over_a2a(str(agent.settings["url"]), conditions.tools_host)
    elif agent.name == ORACLE:
        ask = ask_here(oracle_of(task, prepared.hidden))
    else:
        ask = ask_here(make_agent(str(agent.settings.get("file", agent.name)), task.folder))
    record = assess(prepared, assessment.level, seed.value, ask, folder, judge=conditions.judge.judge())
    return replace(record, grade={**record.grade, "seed": seed.label})


def host_assess(
    tasks: Sequence[str],
    folder: Path,
    *,
    conditions: Conditions,
    choose: Callable[[str], AgentChoice] | None = None,
) -> Callable[[str, str, Level, Seeds], dict[str, Any]]:
    """A function for a host that has an agent at an address solve an instance, stores the record and returns the
    result.

    Args:
        tasks: names or folders of the tasks that are offered.
        folder: folder of the records, like that of a run; agents must not see it.
        conditions: settings shared by all assessments.
        choose: returns the name and settings of an agent in the records for its address; by default different ones each
            time, so that an agent that returns solves its tasks again.
    """
    loaded = load_tasks(tasks)
    choices = {task.id: task_choice(task, conditions.judge) for task in loaded}
    named = choose or (lambda url: AgentChoice("remote", {"url": url, "asked": time.time_ns()}))

    def work(url: str, task_id: str, level: Level, seeds: Seeds) -> dict[str, Any]:
        plan = RunPlan((choices[task_id],), (named(url),), seeds, (level,))
        (record,) = run_plan(plan, partial(assess_in_run, conditions), folder, extend=True, code=work_code())
        return dict(record["grade"])

    return work


def attempts_in(folder: Path) -> Counter[tuple[str, ...]]:
    """Number of attempts in a folder of a host's records, by task, level, label of the seed and mark of its secret."""
    plan = RunFolder(folder).read_plan() if (folder / "plan.json").exists() else []
    return Counter(tuple(str(one[name]) for name in ("task_id", "level", "seed", "secret")) for one in plan)


def rescore(folder: Path) -> Rescored:
    """Grade a run again from its records, with the current rubrics and references of shipped tasks.

    Of other tasks, only their own checks are current.
    """

    def current(record: Mapping[str, Any]) -> dict[str, Any]:
        folder_of_task = all_tasks().get(str(record["assessment"]["task_id"]))
        if folder_of_task is None:
            checks = record.get("checks") or {}
            return {"checks": own_checks(Path(checks["file"])) or checks} if checks else {}
        task = load_task(folder_of_task)
        return {
            "rubric": read_yaml(task.spec.rubric_path, "a rubric"),
            "reference": {**task.eval_ref, "instance": record["reference"]["instance"]},
        }

    return rescore_run(folder, regrade, current=current)


def task_choice(task: Task, judge: JudgeChoice | None = None) -> TaskChoice:
    """A task of a run; its code and the judge are part of the keys of its records."""
    choice = TaskChoice.from_folder(task.folder, task.id, task.spec.family, task.levels)
    return replace(choice, digest=digest_of([choice.digest, program_digest(task), judge.digest if judge else ""]))
