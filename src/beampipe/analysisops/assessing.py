"""One assessment from end to end: data are made, the oracle finds the reference, an agent is asked and graded."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops.agents.agent import Agent
from beampipe.analysisops.agents.oracle import OracleAgent
from beampipe.analysisops.contract import HistogramReference, Level, Quantity, Reference, TaskRequest
from beampipe.analysisops.grading.checks.answers.tracks import double_majority
from beampipe.analysisops.grading.evidence import Evidence
from beampipe.analysisops.grading.grade import grade
from beampipe.analysisops.grading.judging.judge import Judge
from beampipe.analysisops.grading.rubric import Rubric, read_rubric
from beampipe.analysisops.grading.submission import read_submission
from beampipe.analysisops.ledger import Entry, Ledger, read_ledger
from beampipe.analysisops.opendata.catalogue import Catalogue, atlas_catalogue
from beampipe.analysisops.runs.record import Record, error_result
from beampipe.analysisops.samples.hidden import Hidden
from beampipe.analysisops.samples.prepare import prepare
from beampipe.analysisops.tasks.load import Task, render_prompt
from beampipe.analysisops.tasks.yaml_file import read_yaml
from beampipe.analysisops.tools.client import LocalTools
from beampipe.analysisops.tools.contents import Artifact, Content, Histogram, TrackLabels
from beampipe.analysisops.tools.folder import DataFolder
from beampipe.analysisops.tools.server import LOOPBACK, ToolServer
from beampipe.analysisops.tools.session import Session, SessionLimits
from beampipe.errors import BeampipeError, ConfigError, UnknownNameError

__all__ = [
    "Answer",
    "Ask",
    "Prepared",
    "ask_here",
    "ask_over_a2a",
    "assess",
    "evidence_of",
    "prepare_instance",
    "prepare_open_instance",
    "regrade",
    "request_of",
]

_ORACLE_CALLS: Final = 400
_EFFICIENCY: Final = "efficiency"
"""Name under which the check of tracks looks for the efficiency of the best analysis."""


@dataclass(frozen=True)
class Prepared:
    """An instance that can be given to agents.

    Attributes:
        task: the task.
        data: folder with the files and their manifest; nothing hidden stands in it.
        hidden: the hidden side.
        reference: what the oracle found, with the truth.
        facts: what anybody may know of the data as a whole.
    """

    task: Task
    data: Path
    hidden: Hidden
    reference: Reference
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What an agent gave.

    Attributes:
        submission: its answer as it came; None if there is none.
        error: why there is none; empty if there is one.
        tokens: tokens by kind, if they are known.
        cost: what it cost [USD]; None if it is not known.
    """

    submission: Any
    error: str = ""
    tokens: Mapping[str, int] = field(default_factory=dict)
    cost: float | None = None


Ask = Callable[[TaskRequest, Session], Answer]
"""Has an agent solve a task with the tools of a session. What the agent does wrong is an answer with an error."""


def ask_here(agent: Agent) -> Ask:
    """An agent in this process, which is trusted."""

    def ask(request: TaskRequest, session: Session) -> Answer:
        try:
            return _answer(agent.solve(request, LocalTools(session)))
        except Exception as error:  # the agent's, whatever it is
            return Answer(None, f"{type(error).__name__} in the agent: {error}")

    return ask


def ask_over_a2a(url: str, tools_host: str = LOOPBACK) -> Ask:
    """An agent at an address; its tools are served to it over MCP, for this assessment alone.

    Args:
        url: address of the agent.
        tools_host: name or address of this machine at which the agent reaches the tools.
    """

    def ask(request: TaskRequest, session: Session) -> Answer:
        from beampipe.analysisops.host.asking import ask_agent

        with ToolServer(session, tools_host) as server:
            try:
                return _answer(ask_agent(url, replace(request, tools_url=server.url)))
            except BeampipeError as error:
                return Answer(None, str(error))

    return ask


def _answer(submission: Any) -> Answer:
    """What an agent gave, with what it says that it used."""
    usage = submission.get("usage") if isinstance(submission, Mapping) else None
    if not isinstance(usage, Mapping):
        return Answer(submission)
    tokens = {
        kind: int(usage[name])
        for kind, name in (("input", "prompt_tokens"), ("output", "answer_tokens"))
        if type(usage.get(name)) is int
    }
    cost = usage.get("cost")
    return Answer(submission, "", tokens, float(cost) if isinstance(cost, int | float) else None)


def prepare_instance(task: Task, seed: int, folder: Path) -> Prepared:
    """Make the data of an instance and find its reference.

    Args:
        task: the task, one of a family.
        seed: of the instance.
        folder: a folder of the host's own; agents get no more of it than the tools give.

    Raises:
        ConfigError: the task belongs to no family, or its family asks for what the oracle does not find.
    """
    if not task.spec.family:
        raise ConfigError(f"{task.id}: got a task without a family, expected one with data of its own")
    hidden = prepare(task.spec.family, seed, folder, parameters=_ranges(task))
    data = folder / "data"
    session = Session(data, Ledger(folder / "oracle.jsonl", secrets.token_bytes(32)), SessionLimits(_ORACLE_CALLS))
    listed = session.call("list_local_root_files_tool")
    facts = dict(listed.get("public") or {})
    bare = Prepared(task, data, hidden, Reference(), facts)
    found = OracleAgent(hidden).solve(request_of(bare, 1, seed), LocalTools(session))
    if found["status"] != "ok":
        raise ConfigError(f"{task.id}, instance {seed}: the oracle failed: {found['comments']}")
    quantities = {
        name: Quantity(one["value"], one["uncertainty"], task.spec.answers[name].unit)
        for name, one in found["answers"].items()
        if name in task.spec.answers
    }
    histograms = {}
    for name, handle in found["histograms"].items():
        content = session.content(handle)
        assert isinstance(content, Histogram)
        histograms[name] = HistogramReference(tuple(content.edges.tolist()), tuple(content.values.tolist()))
    evidence = evidence_of(found, session, hidden)
    for labels in evidence.labels.values():
        good, _ = double_majority(labels, evidence.particle_id)
        share = len(good & set(evidence.reconstructable)) / len(evidence.reconstructable)
        quantities[_EFFICIENCY] = Quantity(share, (share * (1 - share) / len(evidence.reconstructable)) ** 0.5)
    reference = Reference(quantities, hidden.truth, histograms, hidden.words)
    missing = [name for name in task.spec.answers if name not in quantities]
    if missing:
        raise ConfigError(f"{task.id}: the oracle found no {', '.join(missing)}, expected all that the task asks for")
    return Prepared(task, data, hidden, reference, facts)


def prepare_open_instance(task: Task, folder: Path, *, catalogue: Catalogue = atlas_catalogue) -> Prepared:
    """Bring the real data of a task that has no family, such as one of the public benchmark; there is one instance.

    Args:
        task: the task; it names release and skim of ATLAS Open Data.
        folder: a folder of the host's own, for this task alone. What has come before is checked and taken.
        catalogue: knows the files.

    Raises:
        ConfigError: the task has data of its own, or needs none.
        BeampipeError: the data cannot be brought; what has come is kept for another try.
    """
    from beampipe.analysisops.opendata.tasks import prepare_open_data

    data = DataFolder(prepare_open_data(task, folder / "data", catalogue=catalogue))
    files: dict[str, tuple[str, ...]] = {}
    for file in data.files():
        role = str(file.facts.get("role", ""))
        files[role] = (*files.get(role, ()), file.name)
    # Nobody knows the truth of real data: the rubric compares with numbers in the task's own eval_ref.yaml.
    return Prepared(task, data.path, Hidden("", 0, "", {}, {}, files=files), Reference(), data.public)


def _ranges(task: Task) -> dict[str, tuple[float, float]]:
    """The task's own ranges of what is hidden.

    Raises:
        ConfigError: one is no pair of numbers.
    """
    ranges = {}
    for name, given in task.parameters.items():
        numbers = [one for one in given if isinstance(one, int | float)]
        if len(given) != 2 or len(numbers) != 2:
            raise ConfigError(f"{task.id}: parameters: {name}: got {list(given)}, expected [lowest, highest]")
        ranges[name] = (float(numbers[0]), float(numbers[1]))
    return ranges


def request_of(prepared: Prepared, level: Level, seed: int) -> TaskRequest:
    """What an agent is asked about an instance."""
    task = prepared.task
    return TaskRequest(
        task.id,
        task.type,
        level,
        render_prompt(task, level, prepared.facts),
        files=tuple(sorted(name for names in prepared.hidden.files.values() for name in names)),
        data={
            **prepared.facts,
            "histograms": {
                name: {"bins": one.bins, "low": one.low, "high": one.high} for name, one in task.spec.histograms.items()
            },
        },
        constraints={
            "time_limit_sec": task.spec.time_limit,
            "max_tool_calls": task.spec.max_tool_calls,
            "allow_network": False,
        },
    )


def assess(
    prepared: Prepared, level: Level, seed: int, ask: Ask, folder: Path, *, judge: Judge | None = None
) -> Record:
    """Ask an agent about an instance, and grade what it answers.

    Args:
        prepared: the instance.
        level: how much the prompt tells.
        seed: of the instance.
        ask: asks the agent.
        folder: for the ledger; no agent sees it.
        judge: who judges the words; None leaves them unscored.
    """
    task, key = prepared.task, secrets.token_bytes(32)
    request = request_of(prepared, level, seed)
    book = folder / "ledger.jsonl"
    session = Session(prepared.data, Ledger(book, key), SessionLimits(task.spec.max_tool_calls))
    start = time.monotonic()
    answer = ask(request, session)
    seconds = time.monotonic() - start
    entries = read_ledger(book, key)
    evidence = evidence_of(answer.submission, session, prepared.hidden)
    if answer.error:
        graded = error_result(task.id, task.type, level, str(seed), answer.error, task.rubric.max_points)
    else:
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
    return _record(request, answer, graded, prepared, entries, evidence, seconds)


def regrade(record: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a record, graded again from what stands in it; what a judge said then is kept."""
    before = record["grade"]
    if record["error"]:
        return dict(before)
    request = TaskRequest.from_json(record["request"])
    known = dict(record["reference"])
    reference = Reference.from_json(known.pop("instance"))
    task = _Recorded(request.task_id, request.task_type, read_rubric(record["rubric"], "rubric of the record"), known)
    entries = [Entry(**{**one, "sources": tuple(one["sources"])}) for one in record["ledger"]]
    again = grade(
        task,
        record["submission"],
        reference,
        entries,
        evidence=Evidence.from_json(record["contents"]),
        level=request.level,
        prompt=request.prompt,
    ).to_json()
    return {**again, "seed": before["seed"], "llm": before["llm"]}


@dataclass(frozen=True)
class _Recorded:
    """As much of a task as grading needs, from a record."""

    id: str
    type: str
    rubric: Rubric
    eval_ref: Mapping[str, Any]
    judge_prompt: str = ""
    prompts: Mapping[Level, str] = field(default_factory=dict)


def _record(
    request: TaskRequest,
    answer: Answer,
    graded: Mapping[str, Any],
    prepared: Prepared,
    entries: Sequence[Entry],
    evidence: Evidence,
    seconds: float,
) -> Record:
    task = prepared.task
    return Record(
        request=request,
        submission=answer.submission,
        grade=graded,
        reference={**task.eval_ref, "instance": prepared.reference.to_json()},
        rubric=read_yaml(task.spec.rubric_path, "a rubric"),
        ledger=entries,
        contents=evidence.to_json(),
        judge=graded["llm"],
        tokens=answer.tokens,
        cost=answer.cost,
        seconds=seconds,
        error=answer.error,
    )


def evidence_of(submission: object, session: Session, hidden: Hidden) -> Evidence:
    """What the submission names by handle, as the session holds it."""
    read = read_submission(submission)
    histograms, labels = {}, {}
    for name, handle in read.section("histograms").items():
        content = _content(session, handle)
        if isinstance(content, Histogram):
            histograms[name] = HistogramReference(tuple(content.edges.tolist()), tuple(content.values.tolist()))
    for name, handle in read.section("artifacts").items():
        content = _content(session, handle)
        if isinstance(content, TrackLabels):
            labels[name] = content.track_id.tolist()
    return Evidence(histograms, labels, _particles(hidden), _reconstructable(hidden))


def _content(session: Session, handle: object) -> Content | None:
    """What a handle stands for, exported or not; None if it is none."""
    try:
        content = session.content(handle) if isinstance(handle, str) else None
    except UnknownNameError:
        return None
    return content.content if isinstance(content, Artifact) else content


def _particles(hidden: Hidden) -> tuple[int, ...]:
    """The particle of each hit, -1 for noise."""
    return tuple(label if label > 0 else -1 for label in hidden.labels)


def _reconstructable(hidden: Hidden) -> tuple[int, ...]:
    """Particles that should be found."""
    return tuple(int(particle) for particle in hidden.analysis.get("particles", ()))
