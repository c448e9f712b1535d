"""One assessment: an agent gets a task and tools, its submission is graded, and everything is kept in a record."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops.a2a.client import send_document
from beampipe.analysisops.agents.agent import Agent
from beampipe.analysisops.contract import Level, Reference, RunningSystem, TaskRequest
from beampipe.analysisops.grading.grade import CheckError, grade
from beampipe.analysisops.grading.judge import Judge
from beampipe.analysisops.grading.result import ungraded
from beampipe.analysisops.grading.rubric import Rubric, read_rubric
from beampipe.analysisops.grading.submission import Evidence, number_of
from beampipe.analysisops.instances import PreparedInstance, evidence_of, literals_of, request_of
from beampipe.analysisops.ledger import Entry, Ledger, entry_from_json, read_ledger
from beampipe.analysisops.runs.engine import Record
from beampipe.analysisops.tasks.load import CHECKS, SYSTEM, load_checks, load_start, read_yaml
from beampipe.analysisops.tools.mcp import LOOPBACK, serving_tools
from beampipe.analysisops.tools.session import LocalTools, Session, SessionLimits
from beampipe.errors import BeampipeError
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


@dataclass(frozen=True)
class Answer:
    """The answer of an agent.

    Attributes:
        submission: the submission, of any type; None if there is none.
        error: why there is no submission; empty if there is one.
        tokens: number of tokens by kind, if the agent reports it.
        cost: cost [USD]; None if the agent does not report it.
    """

    submission: Any
    error: str = ""
    tokens: Mapping[str, int] = field(default_factory=dict)
    cost: float | None = None


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


def assess(
    prepared: PreparedInstance, level: Level, seed: int, ask: Ask, folder: Path, *, judge: Judge | None = None
) -> Record:
    """Have an agent solve an instance, and grade its submission.

    Whatever happens after the request has left is the agent's result: if its answer cannot be read or graded, it scores
    0 with a reason. What the host lacks, such as a value of the reference, is found before.

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
    task, key = prepared.task, secrets.token_bytes(32)
    request = request_of(prepared, level)
    ledger = folder / "ledger.jsonl"
    with _running(prepared, folder) as system:
        limits = SessionLimits(task.spec.max_tool_calls)
        data = prepared.data if system is None else system.data
        session = Session(data, Ledger(ledger, key), limits, literals_of(task, request), level, system)
        nothing = evidence_of(None, session, prepared.hidden)
        # Raises if the reference lacks something, before the agent begins.
        grade(task, {}, prepared.reference, (), evidence=nothing, level=level)
        start = time.monotonic()
        answer = ask(request, session)
        seconds = time.monotonic() - start
        entries: tuple[Entry, ...] = ()
        evidence = nothing
        try:
            # What is graded is what the record keeps: JSON, with texts in place of NaN and of other objects.
            plain = json.loads(json.dumps(answer.submission, default=repr), parse_constant=str)
            answer = replace(answer, submission=plain)
            entries = read_ledger(ledger, key, session.ledger.last)
            if not answer.error:
                evidence = evidence_of(answer.submission, session, prepared.hidden)
                if system is not None:
                    evidence = replace(evidence, system=system.measured())
                graded = grade(
                    task,
                    answer.submission,
                    prepared.reference,
                    entries,
                    evidence=evidence,
                    judge=judge,
                    level=level,
                    seed=seed,
                    prompt=request.prompt,
                ).to_json()
        except Exception as error:
            _log.exception("a submission for %s could not be graded", task.id)
            what = str(error) if isinstance(error, CheckError) else type(error).__name__
            answer = replace(answer, error=f"{what} while the submission was graded")
    if answer.error:
        graded = ungraded(
            answer.error, task_id=task.id, type=task.type, level=level, seed=str(seed), max_score=task.rubric.max_points
        )
    return Record(
        request=request,
        submission=answer.submission,
        grade=graded,
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
    )


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
    request = TaskRequest.from_json(record["request"])
    eval_ref = dict(record["reference"])
    reference = Reference.from_json(eval_ref.pop("instance"))
    checks = record.get("checks") or {}
    own = load_checks(Path(checks["file"])) if checks else {}
    rubric = read_rubric(record["rubric"], "rubric of the record", own)
    task = _RecordedTask(request.task_id, request.task_type, rubric, eval_ref)
    entries = list(map(entry_from_json, record["ledger"]))
    again = grade(
        task,
        record["submission"],
        reference,
        entries,
        evidence=Evidence.from_json(record["contents"]),
        level=request.level,
        prompt=request.prompt,
    ).to_json()
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
