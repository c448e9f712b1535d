"""Attempts at instances: an agent gets a task and tools, its submission is graded, and all is kept in a record.

instance = open_instance("zmumu", level=3)
with instance.attempt() as attempt:
    submission = my_agent(attempt.request.prompt, attempt.session)
    record = attempt.finish(Answer(submission))
grade_log(record.log(), instance)  # the same grade, at any later time
"""

from __future__ import annotations

import atexit
import json
import logging
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops.a2a.client import send_document
from beampipe.analysisops.agents.agent import Agent, Answer
from beampipe.analysisops.contract import Level, Reference, RunningSystem, TaskRequest
from beampipe.analysisops.grading.grade import CheckError, Gradable, grade
from beampipe.analysisops.grading.judge import Judge
from beampipe.analysisops.grading.result import FAILED, ungraded
from beampipe.analysisops.grading.rubric import Rubric, read_rubric
from beampipe.analysisops.grading.submission import Evidence, number_of
from beampipe.analysisops.instances import (
    InstanceStore,
    PreparedInstance,
    evidence_of,
    literals_of,
    request_of,
    with_truth,
)
from beampipe.analysisops.ledger import Entry, Ledger, entry_from_json, read_ledger
from beampipe.analysisops.runs.engine import Record
from beampipe.analysisops.seeds import Seed, Seeds
from beampipe.analysisops.tasks.load import CHECKS, SYSTEM, Task, load_checks, load_start, read_yaml, shipped_task
from beampipe.analysisops.tools.mcp import LOOPBACK, serving_tools
from beampipe.analysisops.tools.session import LocalTools, Session, SessionLimits
from beampipe.errors import BeampipeError, ConfigError, InputError
from beampipe.files import make_folder
from beampipe.workflow import file_digest

_SECONDS: Final = 1800.0


_log = logging.getLogger(__name__)


def ask_agent(url: str, request: TaskRequest) -> dict[str, Any]:
    """Send a request to an agent over A2A 1.0 or 0.3; returns its submission, an unchecked JSON object.

    Args:
        url: address of the agent.
        request: the request; its ``time_limit_sec`` limits the wait.

    Raises:
        ServiceUnavailableError: no server listens there.
        DeadlineError: it took too long.
        ServiceError: it failed, sent too much, or its answer is not one JSON object.
    """
    seconds = request.constraints.get("time_limit_sec", _SECONDS)
    good = isinstance(seconds, int | float) and seconds > 0
    return send_document(url, request.to_json(), float(seconds) if good else _SECONDS)


Ask = Callable[[TaskRequest, Session], Answer]
"""Has an agent solve a task with the tools of a session. If the agent fails, the answer holds the error."""


def ask_here(agent: Agent) -> Ask:
    """Run a trusted agent in this process."""

    def ask(request: TaskRequest, session: Session) -> Answer:
        try:
            return _answer(agent.solve(request, LocalTools(session)))
        except (Exception, SystemExit) as error:  # an agent may raise anything
            return Answer(None, f"{type(error).__name__} in the agent: {error}")

    return ask


def ask_over_a2a(url: str, tools_host: str = LOOPBACK) -> Ask:
    """Run an agent at an address; its tools are served over MCP for this assessment only.

    Args:
        url: address of the agent.
        tools_host: name or address of this machine at which the agent reaches the tools.
    """

    def ask(request: TaskRequest, session: Session) -> Answer:
        with serving_tools(session, tools_host) as tools_url:
            try:
                return _answer(ask_agent(url, replace(request, tools_url=tools_url)))
            except BeampipeError as error:
                return Answer(None, str(error))
            except Exception as error:  # whatever an answer causes is the agent's failure
                return Answer(None, f"{type(error).__name__} while the answer was read")

    return ask


_MOST: Final = 10**15
"""Larger numbers of tokens or dollars are implausible and count as unknown."""


def _answer(submission: Any) -> Answer:
    """The answer for a submission, with the tokens and the cost that it states; implausible ones count as unknown."""
    usage = submission.get("usage") if isinstance(submission, Mapping) else None
    if not isinstance(usage, Mapping):
        return Answer(submission)
    tokens = {
        kind: usage[name]
        for kind, name in (("input", "prompt_tokens"), ("output", "answer_tokens"))
        if type(usage.get(name)) is int and 0 <= usage[name] < _MOST
    }
    cost = number_of(usage.get("cost"))
    return Answer(submission, "", tokens, cost if cost is not None and 0 <= cost < _MOST else None)


class Attempt:
    """One attempt at an instance: tools while it lasts, and a graded record at its end.

    Use it in a ``with`` block: it starts the system of a task that has one, and ends it.

    Args:
        prepared: the instance.
        level: level of the prompt.
        folder: folder of the ledger; agents cannot read it.
        seed: seed of the instance, from which the fence around a submission in a judge's prompt is derived.
        label: the seed in results; by default its number.

    Attributes:
        prepared: the instance.
        request: the request for the agent.
        session: the tools.
    """

    session: Session

    def __init__(
        self, prepared: PreparedInstance, level: Level, folder: Path, *, seed: int = 0, label: str | int | None = None
    ) -> None:
        self.prepared, self._level, self._seed = prepared, level, seed
        self._label = seed if label is None else label
        self._ledger, self._key = folder / "ledger.jsonl", secrets.token_bytes(32)
        self._folder, self._running = folder, ExitStack()
        self.request = request_of(prepared, level)

    def __enter__(self) -> Attempt:
        """Begin.

        Raises:
            ConfigError: the reference lacks a value that the rubric needs.
            BeampipeError: the system of the task does not start.
        """
        prepared, task = self.prepared, self.prepared.task
        with ExitStack() as begun:
            self._system = begun.enter_context(_running(prepared, self._folder))
            limits = SessionLimits(task.spec.max_tool_calls)
            data = prepared.data if self._system is None else self._system.data
            literals = literals_of(task, self.request)
            ledger = Ledger(self._ledger, self._key)
            self.session = Session(data, ledger, limits, literals, self._level, self._system)
            nothing = evidence_of(None, self.session, prepared.hidden)
            # Raises if the reference lacks something, before the agent begins.
            grade(task, {}, prepared.reference, (), evidence=nothing, level=self._level)
            self._running = begun.pop_all()
        self._start = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        self._running.close()

    def finish(self, answer: Answer, judge: Judge | None = None) -> Record:
        """Grade an answer. Whatever it causes is the agent's result: if it cannot be graded, it scores 0 with a reason.

        Args:
            answer: the answer of the agent.
            judge: scores free-text answers; None leaves them unscored.
        """
        prepared, task = self.prepared, self.prepared.task
        seconds = time.monotonic() - self._start
        entries: tuple[Entry, ...] = ()
        evidence = evidence_of(None, self.session, prepared.hidden)
        try:
            # What is graded is what the record keeps: JSON, with texts in place of NaN and of other objects.
            plain = json.loads(json.dumps(answer.submission, default=repr), parse_constant=str)
            answer = replace(answer, submission=plain)
            entries = read_ledger(self._ledger, self._key, self.session.ledger.last)
            if not answer.error:
                evidence = evidence_of(answer.submission, self.session, prepared.hidden)
                if self._system is not None:
                    evidence = replace(evidence, system=self._system.measured())
                graded = grade(
                    task,
                    answer.submission,
                    prepared.reference,
                    entries,
                    evidence=evidence,
                    judge=judge,
                    level=self._level,
                    seed=self._seed,
                    prompt=self.request.prompt,
                ).to_json()
        except Exception as error:
            _log.exception("a submission for %s could not be graded", task.id)
            what = str(error) if isinstance(error, CheckError) else type(error).__name__
            answer = replace(answer, error=f"{what} while the submission was graded", code=FAILED)
        if answer.error:
            graded = _ungraded(task, self._level, answer.error, answer.code)
        return Record(
            request=self.request,
            submission=answer.submission,
            grade={**graded, "seed": self._label},
            reference={**task.eval_ref, "instance": prepared.reference.to_json()},
            rubric=read_yaml(task.spec.rubric_path, "a rubric"),
            checks=own_checks(task.folder / CHECKS),
            ledger=entries,
            contents=evidence.to_json(),
            judge=graded["llm"],
            tokens=answer.tokens,
            cost=answer.cost,
            seconds=seconds,
            error=answer.error,
            code=answer.code if answer.error else "",
        )


def _ungraded(task: Gradable, level: Level, error: str, code: str) -> dict[str, Any]:
    """The result of an agent without a submission."""
    most = task.rubric.max_points
    return ungraded(error, task_id=task.id, type=task.type, level=level, seed="", max_score=most, code=code)


def assess(
    prepared: PreparedInstance, level: Level, seed: int, ask: Ask, folder: Path, *, judge: Judge | None = None
) -> Record:
    """Have an agent solve an instance, and grade its submission; see `Attempt`.

    Args:
        prepared: the instance.
        level: level of the prompt.
        seed: seed of the instance.
        ask: runs the agent, such as `ask_here` or `ask_over_a2a`.
        folder: folder of the ledger; agents cannot read it.
        judge: scores free-text answers; None leaves them unscored.

    Raises:
        ConfigError: the reference lacks a value that the rubric needs.
        BeampipeError: the system of the task does not start.
    """
    with Attempt(prepared, level, folder, seed=seed) as attempt:
        return attempt.finish(ask(attempt.request, attempt.session), judge)


@dataclass(frozen=True)
class TaskInstance:
    """An instance of a task at a level, open to attempts.

    Attributes:
        prepared: data, hidden truth and reference.
        level: level of the prompt.
        seed: seed of the instance.
    """

    prepared: PreparedInstance
    level: Level
    seed: Seed

    @property
    def request(self) -> TaskRequest:
        """The request for an agent; it reveals nothing hidden."""
        return request_of(self.prepared, self.level)

    @contextmanager
    def attempt(self) -> Iterator[Attempt]:
        """An attempt while a block runs.

        Raises:
            BeampipeError: the system of the task does not start.
        """
        with tempfile.TemporaryDirectory(prefix="beampipe-attempt-") as folder:
            begun = Attempt(self.prepared, self.level, Path(folder), seed=self.seed.value, label=self.seed.label)
            with begun as attempt:
                yield attempt


def open_instance(
    task: str | Task, level: Level = 3, index: int = 1, *, secret: Path | None = None, folder: Path | None = None
) -> TaskInstance:
    """Open an instance of a task; its data and reference are made with the first call.

    Args:
        task: name of a shipped task, or a task.
        level: level of the prompt.
        index: number of the instance, from 1 on.
        secret: file of the secret of evaluation seeds; None for development seeds.
        folder: private folder in which instances are kept; None for one that ends with this process.

    Raises:
        UnknownNameError: there is no such task.
        ConfigError: the task does not have this level, or its reference analysis fails.
        FileError: the secret cannot be used.
    """
    loaded = shipped_task(task) if isinstance(task, str) else task
    if level not in loaded.levels:
        levels = ", ".join(map(str, loaded.levels))
        raise ConfigError(f"{loaded.id}: level: got {level}, expected one of {levels}")
    (seed,) = Seeds((index,), secret).of(loaded.id, level)
    return TaskInstance(InstanceStore(folder or _own_folder()).get(loaded, seed.value), level, seed)


@cache
def _own_folder() -> Path:
    """A folder for instances that is removed when this process ends."""
    folder = tempfile.TemporaryDirectory(prefix="beampipe-instances-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def grade_log(log: Mapping[str, Any], instance: TaskInstance | PreparedInstance) -> dict[str, Any]:
    """Grade what `Record.log` wrote, by the current rubric and reference; it needs no agent, and no judge.

    Args:
        log: the log of an attempt, as JSON types.
        instance: the instance that was attempted.

    Returns:
        The result, as `beampipe.analysisops.grading.result.Result.to_json` describes it.

    Raises:
        InputError: the log is of another task.
    """
    prepared = instance.prepared if isinstance(instance, TaskInstance) else instance
    task = prepared.task
    if log["request"]["task_id"] != task.id:
        raise InputError(f"log: got an attempt at {log['request']['task_id']}, expected one at {task.id}")
    evidence = with_truth(Evidence.from_json(log["contents"]), prepared.hidden)
    kept = {"seed": log["seed"], "llm": log["judge"], **({"instances": log["scores"]} if log.get("scores") else {})}
    return {**_grade_again(log, task, prepared.reference, evidence), **kept}


def _grade_again(log: Mapping[str, Any], task: Gradable, reference: Reference, evidence: Evidence) -> dict[str, Any]:
    """The result for a log or a record."""
    request = TaskRequest.from_json(log["request"])
    if log["error"]:
        return _ungraded(task, request.level, log["error"], log["code"])
    entries = list(map(entry_from_json, log["ledger"]))
    graded = grade(
        task,
        log["submission"],
        reference,
        entries,
        evidence=evidence,
        level=request.level,
        prompt=request.prompt,
    )
    return graded.to_json()


@contextmanager
def _running(prepared: PreparedInstance, folder: Path) -> Iterator[RunningSystem | None]:
    """The system of a task for one assessment; None if it has none. Its end never changes the result."""
    if not prepared.task.is_live:
        yield None
        return
    data = folder / "system"
    make_folder(data)
    start, running = load_start(prepared.task.folder / SYSTEM), ExitStack()
    system = running.enter_context(start(prepared.hidden, prepared.facts, data))
    try:
        yield system
    finally:
        try:
            running.close()
        except Exception:
            _log.exception("the system of %s did not end as it should", prepared.task.id)


def own_checks(path: Path) -> dict[str, str]:
    """The file with a task's own checks and its digest, for a record; empty if there is none."""
    return {"file": str(path.resolve()), "sha256": file_digest(path)} if path.exists() else {}


def regrade(record: Mapping[str, Any]) -> dict[str, Any]:
    """Grade a record again from its content alone, and from the task's own checks; the replies of a judge are kept.

    Raises:
        FileError: the file with the task's own checks is not there any more.
    """
    before = record["grade"]
    if record["error"]:
        return dict(before)
    eval_ref, about = dict(record["reference"]), record["request"]
    reference = Reference.from_json(eval_ref.pop("instance"))
    checks = record.get("checks") or {}
    own = load_checks(Path(checks["file"])) if checks else {}
    rubric = read_rubric(record["rubric"], "rubric of the record", own)
    task = _RecordedTask(about["task_id"], about["task_type"], rubric, eval_ref)
    again = _grade_again(record, task, reference, Evidence.from_json(record["contents"]))
    return {**again, **{key: before[key] for key in ("seed", "llm", "instances") if key in before}}


@dataclass(frozen=True)
class _RecordedTask:
    """The parts of a task that grading needs, from a record."""

    id: str
    type: str
    rubric: Rubric
    eval_ref: Mapping[str, Any]
    judge_prompt: str = ""
    prompts: Mapping[Level, str] = field(default_factory=dict)
