"""Plan a run, do it, and grade it again.

A plan is tasks x levels x seeds x agents x epochs. Level 3 comes first.

The folder of a run has its plan, its results, a log, and a record of each assessment: one JSON file that holds all
that is needed to grade the assessment again and to show it.

A run skips completed assessments. A failure does not stop the others, and a kill loses only those in progress. Grading
again needs only the records: it calls no agent or judge and makes no data.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from beampipe.analysisops.contract import Level, TaskRequest
from beampipe.analysisops.grading.result import ungraded
from beampipe.analysisops.ledger import Entry, entries_to_json
from beampipe.analysisops.seeds import Seed, Seeds
from beampipe.errors import BusyError, ConfigError, FileError, InputError, WorkflowError
from beampipe.files import make_folder, write_whole
from beampipe.workflow import EventLog, Recipe, Store, digest_of, file_digest, leased

ALL_LEVELS: Final[tuple[Level, ...]] = (1, 2, 3)
"""Every level that a task can have."""

STAGE: Final = "assessment"
"""Name of the workflow stage of assessments."""

_FOR_GRADING: Final = frozenset({"rubric.yaml", "checks.py", "eval_ref.yaml", "judge_prompt.md"})
"""Files of a task that do not affect agents: when they change, records are graded again, but no agent runs."""


def files_digest(folder: Path, without: Collection[str] = ()) -> str:
    """Digest of the files of a task, without bytecode and files of some names.

    Raises:
        FileError: a file cannot be read.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    kept = [path for path in files if path.name not in without]
    return digest_of([(path.relative_to(folder).as_posix(), file_digest(path)) for path in kept])


@dataclass(frozen=True)
class TaskChoice:
    """A task of a run.

    Attributes:
        task_id: name of the task.
        family: kind of analysis, such as ``"zmumu"``.
        digest: digest of the prompts and of the code that makes the data; if it changes, agents run again.
        levels: levels of the task.
        folder: folder of the task's files; keys do not depend on it.
    """

    task_id: str
    family: str
    digest: str
    levels: tuple[Level, ...] = ALL_LEVELS
    folder: Path | None = field(default=None, compare=False)

    @classmethod
    def from_folder(cls, folder: Path, task_id: str, family: str, levels: tuple[Level, ...] = ALL_LEVELS) -> TaskChoice:
        """A task by its folder. Its digest covers all files except bytecode and those used only for grading.

        Raises:
            FileError: a file cannot be read.
        """
        digest = files_digest(folder, without=_FOR_GRADING)
        return cls(task_id, family, digest, levels, folder)


@dataclass(frozen=True)
class AgentChoice:
    """An agent of a run.

    Attributes:
        name: name in results.
        settings: JSON types on which its answers depend, such as the name of a model and the version of the agent. They
            are written to the records: no secret belongs here.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Assessment:
    """One agent working once on one instance of a task.

    Attributes:
        task: the task.
        level: level of the prompt.
        seed: seed of the instance.
        agent: the agent.
        epoch: number of the repetition, from 1 on.
        code: digest of the code that runs agents and makes the data.
    """

    task: TaskChoice
    level: Level
    seed: Seed
    agent: AgentChoice
    epoch: int
    code: str = ""

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe that determines the assessment. Its parameters hold no secret."""
        return recipe_of(self.to_json())

    @property
    def key(self) -> str:
        """Digest of the recipe; an assessment with a stored record of this key is not repeated."""
        return self.recipe.key

    @property
    def label(self) -> str:
        """The assessment in words."""
        return f"{self.task.task_id} level {self.level}, {self.seed.label}, {self.agent.name}, epoch {self.epoch}"

    def to_json(self) -> dict[str, Any]:
        """As JSON types, without the value of the seed."""
        return {
            "task_id": self.task.task_id,
            "family": self.task.family,
            "task": self.task.digest,
            "level": self.level,
            "seed": self.seed.label,
            "secret": self.seed.secret,
            "agent": self.agent.name,
            "settings": dict(self.agent.settings),
            "epoch": self.epoch,
            "code": self.code,
        }


def recipe_of(assessment: Mapping[str, Any]) -> Recipe:
    """The recipe of an assessment from its JSON; it needs no secret."""
    label = "{task_id} level {level}, {seed}, {agent}, epoch {epoch}".format_map(assessment)
    return Recipe(STAGE, str(assessment["code"]), dict(assessment), label=label)


@dataclass(frozen=True)
class RunPlan:
    """The assessments of a run: every task at each of its levels, with every seed, for every agent, in every epoch.

    Attributes:
        tasks: the tasks.
        agents: the agents.
        seeds: the instances of each task.
        levels: the levels.
        epochs: number of repetitions of each assessment.

    Raises:
        ConfigError: there is no task or no agent, two have the same name, or no task has a requested level.
    """

    tasks: tuple[TaskChoice, ...]
    agents: tuple[AgentChoice, ...]
    seeds: Seeds
    levels: tuple[Level, ...] = ALL_LEVELS
    epochs: int = 1

    def __post_init__(self) -> None:
        for what, names in (
            ("tasks", [task.task_id for task in self.tasks]),
            ("agents", [agent.name for agent in self.agents]),
            ("levels", [str(level) for level in self.levels]),
        ):
            if not names or len(set(names)) < len(names):
                raise ConfigError(f"plan: got {what} {names}, expected at least one and none twice")
        if self.epochs < 1:
            raise ConfigError(f"plan: got {self.epochs} epochs, expected at least 1")
        if not any(level in task.levels for task in self.tasks for level in self.levels):
            there = sorted({level for task in self.tasks for level in task.levels})
            raise ConfigError(f"plan: got levels {list(self.levels)}, expected some of {there}, which the tasks have")

    def assessments(self, code: str = "") -> tuple[Assessment, ...]:
        """All assessments, level 3 first, and of each level the first epoch: a run that is stopped covers all tasks.

        Args:
            code: digest of the code that runs agents and makes data.

        Raises:
            FileError: the file of the secret cannot be used.
        """
        levels = sorted(self.levels, reverse=True)
        seeds = {(task.task_id, level): self.seeds.of(task.task_id, level) for task in self.tasks for level in levels}
        return tuple(
            Assessment(task, level, seeds[task.task_id, level][index], agent, epoch, code)
            for level in levels
            for epoch in range(1, self.epochs + 1)
            for index in range(len(self.seeds.indices))
            for task in self.tasks
            if level in task.levels
            for agent in self.agents
        )


_TRUE_PARTICLES: Final = ("particle_id", "reconstructable")
"""Parts of the contents of a record that are hidden truth."""


@dataclass(frozen=True)
class Record:
    """All that is needed to grade an assessment again and to show it.

    Attributes:
        request: the request to the agent; the address of its tools is left out when it is written.
        submission: the answer as JSON without NaN; None if there was none that could be read.
        grade: the result.
        reference: content of the task's ``eval_ref.yaml`` with the reference of the instance under ``instance``. Agents
            must not see it, so they must not read a folder of records.
        rubric: the rubric that it was graded by.
        ledger: every call of a tool.
        contents: histograms and artifacts that the submission names, by handle, taken from the host.
        judge: the replies of the judge as received, so that grading again needs no judge.
        tokens: tokens by kind, such as ``input`` and ``output``; empty if unknown.
        cost: cost of the agent [USD]; None if unknown.
        seconds: time from the request to the submission [s].
        error: why there is no submission; empty if there is one.
        checks: ``file`` with the task's own checks, and its ``sha256``; empty if the task has none.
        code: kind of the error; empty if there is none.
        scores: scores of a program on two instances; empty for other agents.
    """

    request: TaskRequest
    submission: Any
    grade: Mapping[str, Any]
    reference: Mapping[str, Any] = field(default_factory=dict)
    rubric: Mapping[str, Any] = field(default_factory=dict)
    ledger: Sequence[Entry] = ()
    contents: Mapping[str, Any] = field(default_factory=dict)
    judge: Any = None
    tokens: Mapping[str, int] = field(default_factory=dict)
    cost: float | None = None
    seconds: float = 0.0
    error: str = ""
    checks: Mapping[str, str] = field(default_factory=dict)
    code: str = ""
    scores: Sequence[float] = ()

    def log(self) -> dict[str, Any]:
        """What `beampipe.analysisops.grade_log` needs beside the instance, as JSON types; it holds nothing hidden."""
        plain = self.to_json()
        contents = {name: value for name, value in plain["contents"].items() if name not in _TRUE_PARTICLES}
        kept = {key: value for key, value in plain.items() if key not in ("grade", "reference", "rubric", "checks")}
        return {**kept, "seed": self.grade["seed"], "contents": contents}

    def to_json(self) -> dict[str, Any]:
        """As JSON types, with the number of tool calls."""
        plain = asdict(replace(self, request=replace(self.request, tools_url=None), ledger=()))
        return {
            **plain,
            "request": replace(self.request, tools_url=None).to_json(),
            "ledger": entries_to_json(self.ledger),
            "tool_calls": len(self.ledger),
        }


def dump(value: object, *, sort_keys: bool = True) -> str:
    """A value as JSON text in ASCII, canonical if keys are sorted: equal values give equal texts."""
    return json.dumps(value, sort_keys=sort_keys, separators=(",", ":"), allow_nan=False)


_OPTIONAL: Final = {"checks", "code", "scores"}
_FIELDS: Final = {item.name for item in fields(Record)} - _OPTIONAL | {"assessment", "tool_calls"}
"""Fields that the file of a record must have."""


def read_record(path: Path) -> dict[str, Any]:
    """A record from its file.

    Raises:
        FileError: it cannot be read, or is not a record.
    """
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}), expected a record", path=path) from error
    except ValueError as error:
        raise FileError(f"{path}: got {error}, expected the JSON of a record", path=path) from error
    lacking = _FIELDS - record.keys() if isinstance(record, dict) else _FIELDS
    if lacking:
        raise FileError(
            f"{path}: got a record without {', '.join(sorted(lacking))}, expected one of this version of beampipe",
            path=path,
        )
    return dict(record)


_VERSION: Final = 2
"""Version of the folder of a run; in the folders of version 1 the store has other digests of records."""

_MEASURED: Final = ("seconds", "tokens", "cost", "tool_calls", "error")
"""Fields of a record that are copied to its line of the results."""


RUN_FILES: Final = ("plan.json", "results.jsonl")
"""Names of the files of a run that are replaced."""

RUN_MARKS: Final = ('{"assessments":[', '{"assessment":{')
"""How these files begin, for `beampipe.files.require_ours`."""


@dataclass(frozen=True)
class RunFolder:
    """A folder of a run. It holds hidden references, so only its owner may read it.

    ``plan.json`` lists the assessments of the last plan, or of several if it was extended; ``store`` has a record of
    each that is done, and of those of earlier plans; ``results.jsonl`` has a line for each that is done, made from the
    records alone; ``events.jsonl`` is the log, which is only appended to.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def store(self) -> Store:
        """The records."""
        return Store(self.path / "store", log=self.log)

    @property
    def log(self) -> EventLog:
        """The log of the run."""
        return EventLog(self.path / "events.jsonl")

    @property
    def results(self) -> Path:
        """The file of results."""
        return self.path / "results.jsonl"

    @property
    def logs(self) -> Path:
        """Folder of the logs of inspect_ai."""
        return self.path / "logs"

    @property
    def work(self) -> Path:
        """Folder for files of assessments in progress."""
        return self.path / "work"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this process until the block or the process ends.

        Raises:
            FileError: another process works in it.
        """
        make_folder(self.path)
        self.path.chmod(0o700)
        with ExitStack() as held:
            try:
                held.enter_context(leased(self.path / "lock"))
            except BusyError as error:
                raise FileError(
                    f"{self.path}: got a folder that another run works in, expected a free one; wait for its end",
                    path=self.path,
                ) from error
            yield

    def write_plan(self, assessments: Sequence[Assessment], *, extend: bool = False) -> None:
        """Write the plan; if it is extended, after the assessments of the earlier plan."""
        before = self.read_plan() if extend and (self.path / "plan.json").exists() else []
        known_keys = {recipe_of(assessment).key for assessment in before}
        more = [assessment.to_json() for assessment in assessments if assessment.key not in known_keys]
        text = dump({"version": _VERSION, "assessments": [*before, *more]})
        write_whole(self.path / "plan.json", lambda part: part.write_text(text + "\n", encoding="ascii"))

    def read_plan(self) -> list[dict[str, Any]]:
        """The assessments of the plan, as JSON.

        Raises:
            FileError: there is no plan.
        """
        path = self.path / "plan.json"
        try:
            plan = json.loads(path.read_bytes())
            assessments = list(plan["assessments"]) if plan["version"] == _VERSION else None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FileError(f"{path}: got {error!r:.80}, expected the plan of a run", path=path) from error
        if assessments is None:
            raise FileError(
                f"{path}: got a run of version {plan['version']}, expected {_VERSION}; use the beampipe that made it,"
                " or another folder",
                path=path,
            )
        return assessments

    def records(self) -> Iterator[dict[str, Any]]:
        """The records of the plan's assessments that are done, in the plan's order, one at a time."""
        store = self.store
        for assessment in self.read_plan():
            path = store.load(recipe_of(assessment))
            if path is not None:
                yield read_record(path)

    def write_results(self, lines: Sequence[Mapping[str, Any]]) -> Path:
        """Write the results; equal lines give equal bytes."""
        text = "".join(f"{dump(line)}\n" for line in lines)
        return write_whole(self.results, lambda part: part.write_text(text, encoding="ascii"))

    def read_results(self) -> list[dict[str, Any]]:
        """The lines of the results: ``key``, ``assessment``, ``result`` and what was measured.

        Raises:
            FileError: there are none, or the file is truncated.
        """
        try:
            lines: list[dict[str, Any]] = [json.loads(line) for line in self.results.read_bytes().splitlines()]
            if all({"key", "assessment", "result"} <= line.keys() for line in lines):
                return lines
            fault = "a line without a key, an assessment or a result"
        except OSError as error:
            raise FileError(
                f"{self.results}: cannot be read ({error.strerror}), expected the results of a run", path=self.results
            ) from error
        except (ValueError, AttributeError) as error:
            fault = str(error)
        raise FileError(
            f"{self.results}: got {fault}, expected results of a run; `rescore` writes them again", path=self.results
        )

    def missing(self) -> list[dict[str, Any]]:
        """The assessments that are not done, as JSON: those of the plan, and those that only other agents have in it.

        With them as 0, all agents are compared on the same instances.
        """
        store, plan = self.store, self.read_plan()
        not_done = [assessment for assessment in plan if store.find(recipe_of(assessment)) is None]
        cells = {_cell(assessment): assessment for assessment in plan}
        planned = {(assessment["agent"], _cell(assessment)) for assessment in plan}
        return not_done + [
            {**assessment, "agent": agent}
            for agent in dict.fromkeys(assessment["agent"] for assessment in plan)
            for cell, assessment in cells.items()
            if (agent, cell) not in planned
        ]


def _cell(assessment: Mapping[str, Any]) -> tuple[Any, ...]:
    """What agents have to have in common to be compared: an instance, a prompt and a repetition."""
    return tuple(assessment[name] for name in ("task_id", "level", "seed", "secret", "epoch"))


def result_line(record: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the results: a record without request and submission."""
    key = recipe_of(record["assessment"]).key
    measured = {name: record[name] for name in _MEASURED}
    return {"key": key, "assessment": record["assessment"], "result": result, **measured}


Assess = Callable[[Assessment, Path], Record]
"""``assess(assessment, folder)`` lets an agent work and grades its answer. The folder is empty, and removed afterwards.
Failures of the agent are part of the record; an exception is a failure of the host."""


Failures = list[tuple[str, Exception]]
"""Label and error of each assessment in which the host failed."""

Work = Callable[[Assessment], dict[str, Any]]
"""Does an assessment; returns its record as `read_record` does."""

Execute = Callable[[Sequence[Assessment], Work], Failures]
"""``execute(assessments, work)`` calls ``work(assessment)`` for each of them."""


def in_turn(assessments: Sequence[Assessment], work: Work) -> Failures:
    """Do assessments one after the other in this process."""
    failures: Failures = []
    for assessment in assessments:
        try:
            work(assessment)
        except Exception as error:
            failures.append((assessment.label, error))
    return failures


def run(
    plan: RunPlan,
    assess: Assess,
    folder: Path,
    *,
    execute: Execute = in_turn,
    progress: Callable[[str], object] | None = None,
    code: str = "",
    extend: bool = False,
) -> list[dict[str, Any]]:
    """Do each assessment of a plan that is not done yet, and write the results.

    It may be killed at any time: completed assessments are in the folder, and a run of the same plan continues with the
    rest.

    Args:
        plan: the plan.
        assess: does one assessment.
        folder: folder of the run; it is created, and only its owner may read it.
        execute: calls a function for each assessment, such as `beampipe.analysisops.runs.samples.as_samples`.
        progress: called with the label of each assessment that is done.
        code: digest of the code that runs agents and makes the data; work of other code is done again.
        extend: keep the assessments of the folder's earlier plan in the run, its results and its page.

    Returns:
        The record of each assessment, in the plan's order.

    Raises:
        WorkflowError: the host failed in some assessments; the others are done and in the results.
        FileError: another run works in the folder, or the secret of the seeds cannot be used.
    """
    run_folder = RunFolder(folder)
    assessments = plan.assessments(code)
    report = progress or (lambda _: None)

    def work(assessment: Assessment) -> dict[str, Any]:
        def make(part: Path) -> None:
            prefix = f"{assessment.key[:12]}-"
            with TemporaryDirectory(prefix=prefix, dir=run_folder.work, ignore_cleanup_errors=True) as own:
                record = assess(assessment, Path(own))
            part.write_text(_text(assessment, record), encoding="ascii")

        record = read_record(run_folder.store.get(assessment.recipe, ".json", make))
        report(assessment.label)
        return record

    with run_folder.locked():
        shutil.rmtree(run_folder.work, ignore_errors=True)  # of a run that was killed
        run_folder.work.mkdir(exist_ok=True)
        run_folder.write_plan(assessments, extend=extend)
        store = run_folder.store
        store.sweep()
        missing = []
        for assessment in assessments:
            if store.load(assessment.recipe) is None:
                missing.append(assessment)
            else:
                report(assessment.label)
        failed = execute(missing, work)
        records = list(run_folder.records())
        run_folder.write_results([result_line(record, record["grade"]) for record in records])
        shutil.rmtree(run_folder.work, ignore_errors=True)
    if failed:
        reasons = "; ".join(dict.fromkeys(f"{type(error).__name__}: {error}" for _, error in failed))
        what = f"{len(failed)} of {len(missing)} assessments failed, the first is {failed[0][0]}"
        raise WorkflowError(f"{what}: {reasons[:1000]}; run the same again for the rest", failed)
    wanted = {assessment.key for assessment in assessments}
    return [record for record in records if recipe_of(record["assessment"]).key in wanted]


def _text(assessment: Assessment, record: Record) -> str:
    """The text of a record, with keys in the order in which the submission was read, since grading reads only so many.

    A submission that cannot be written and read again is the agent's failure, not the host's.

    Raises:
        InputError: the record holds the value of a secret seed.
    """
    try:
        text = dump({"assessment": assessment.to_json(), **record.to_json()}, sort_keys=False) + "\n"
        json.loads(text)
    except Exception as error:
        kind = "it is nested too deep" if isinstance(error, RecursionError) else type(error).__name__
        reason = f"the submission cannot be recorded: {kind}"
        task, seed = assessment.task, assessment.seed.label
        grade = ungraded(reason, task_id=task.task_id, type=task.family, level=assessment.level, seed=seed)
        record = replace(record, submission=None, contents={}, grade=grade, judge=grade["llm"], error=reason)
        text = dump({"assessment": assessment.to_json(), **record.to_json()}) + "\n"
    if assessment.seed.kind == "evaluation" and str(assessment.seed.value) in text:
        raise InputError(
            f"record of {assessment.label}: got the value of a secret seed in it, expected its label"
            f" {assessment.seed.label!r}; the host must hand out labels only"
        )
    return text


Grade = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""``grade(record)`` returns the result of a record by its submission, ledger, contents, reference, rubric and judge."""

CurrentTask = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""``current(record)`` returns the current versions of parts of a record, such as ``rubric`` and ``reference``."""


@dataclass(frozen=True)
class Difference:
    """A record whose result has changed since it was made.

    Attributes:
        label: label of the assessment.
        before: normalised score when it was made.
        after: normalised score now.
    """

    label: str
    before: float
    after: float


@dataclass(frozen=True)
class Rescored:
    """The outcome of grading a run again.

    Attributes:
        results: the file of results.
        sha256: digest of the file: the same records and rules give the same.
        records: number of records.
        missing: number of assessments of the plan without a record.
        differences: records whose result changed in any way, even if only in its texts.
        changed: parts of tasks that have changed since the agents were graded, e.g. ``"zmumu: rubric"``.
    """

    results: Path
    sha256: str
    records: int
    missing: int
    differences: tuple[Difference, ...]
    changed: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """The outcome in words."""
        yield f"{self.records} records graded again: {len(self.differences)} results changed; sha256 {self.sha256}"
        if self.missing:
            yield f"{self.missing} assessments of the plan have no record and no result; run the same plan again"
        for part in self.changed:
            yield f"changed since the run: {part}"
        for difference in self.differences:
            yield f"{difference.label}: {difference.before:.4f} -> {difference.after:.4f}"


def rescore(folder: Path, grade: Grade, *, current: CurrentTask | None = None) -> Rescored:
    """Grade every record of a run again, and replace its results.

    The records are unchanged, so this can be repeated; the same rules give the same bytes.

    Args:
        folder: folder of the run.
        grade: grades a record.
        current: returns parts that replace those of the record; None to grade by the recorded rubric and reference.

    Raises:
        FileError: the folder holds no run, or another run works in it.
    """
    run_folder = RunFolder(folder)
    planned = len(run_folder.read_plan())  # raises for a folder without a run before anything is created in it
    lines: list[dict[str, Any]] = []
    differences: list[Difference] = []
    changed: dict[str, None] = {}
    with run_folder.locked():
        for record in run_folder.records():
            now = {} if current is None else dict(current(record))
            task = record["assessment"]["task_id"]
            changed |= dict.fromkeys(f"{task}: {name}" for name in now if dump(now[name]) != dump(record.get(name)))
            result = grade({**record, **now})
            if dump(result) != dump(record["grade"]):
                label = recipe_of(record["assessment"]).label
                before, after = (float(graded["final"]["normalized_score"]) for graded in (record["grade"], result))
                differences.append(Difference(label, before, after))
            lines.append(result_line(record, result))
        path = run_folder.write_results(lines)
    run_folder.log.write("rescored", label=f"{len(lines)} records", differences=len(differences), changed=list(changed))
    return Rescored(path, file_digest(path), len(lines), planned - len(lines), tuple(differences), tuple(changed))
