"""The host as an A2A server: it offers assessments, reads requests for them, and returns their results.

A request has the form of the public platform, ``{"participants": {ROLE: URL}, "config": {...}}``. It cannot name a file
or a reference. If it names no seeds, the host uses its own, which are secret. A request that cannot be read is
rejected. An accepted request always ends as completed, even if agents fail: the public platform ignores tasks that end
in any other way, and a failed agent scores 0.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast
from urllib.parse import urlsplit

from a2a.helpers import get_text_parts, new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.tasks import TaskUpdater

from beampipe import settings
from beampipe.analysisops.a2a.documents import dump_object, parse_object
from beampipe.analysisops.a2a.server import agent_card, in_thread, read_document, serve_a2a, serving_a2a, updates
from beampipe.analysisops.contract import Level
from beampipe.analysisops.evaluation import Conditions, attempts_in, host_assess, load_tasks
from beampipe.analysisops.grading.result import ungraded
from beampipe.analysisops.registry import judge_choice
from beampipe.analysisops.seeds import Seeds
from beampipe.analysisops.tools.mcp import LOOPBACK
from beampipe.errors import (
    BeampipeError,
    ConfigError,
    DeadlineError,
    InputError,
    ServiceError,
    ServiceUnavailableError,
    UnknownNameError,
)

# Requests: agents by role, and the tasks that they shall solve.


_WHERE: Final = "request of an assessment"

_LARGEST: Final = 256 * 1024

_KEYS: Final = ("participants", "config")

_NOT_USED: Final = ("data_dir",)
"""Keys of public configurations that are ignored: host and agent share no data folder."""


_MOST: Final = 500
"""Maximum number of assessments in one request."""


@dataclass(frozen=True)
class HostSettings:
    """Settings of a host.

    Attributes:
        tasks: names of its tasks.
        seeds: instances to use if a request names none; they are never sent.
        seconds: time limit of one assessment [s].
        levels: task -> level of its prompt if a request names none; 1 for others.
        attempts: maximum number of attempts at each secret instance, by all agents together; then the host needs a new
            secret.
    """

    tasks: tuple[str, ...]
    seeds: Seeds = field(default_factory=lambda: Seeds.first(1))
    seconds: float = 3600.0
    levels: Mapping[str, Level] = field(default_factory=dict)
    attempts: int = 100


@dataclass(frozen=True)
class _Config:
    """The configuration in a request.

    Attributes:
        tasks: names of tasks; all if there are none.
        task_dirs: tasks by their folders, as in the public benchmark.
        levels: levels of the prompts; the highest of each task, which tells least, if there are none.
        seeds: numbers of development instances; the host's own instances if there are none.
        data_dir: accepted and ignored.
    """

    tasks: tuple[str, ...] = ()
    task_dirs: tuple[str, ...] = ()
    levels: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    data_dir: str = ""


@dataclass(frozen=True)
class RequestedAssessment:
    """One task for one agent.

    Attributes:
        role: role of the agent in the request.
        url: address of the agent.
        task_id: name of the task.
        level: level of its prompt.
        seeds: seed of the instance, a single one.
        number: index of the instance among those of the request, from 1 on.
        secret: whether the instance is the host's own and must not be shown.
    """

    role: str
    url: str
    task_id: str
    level: Level
    seeds: Seeds
    number: int
    secret: bool


@dataclass(frozen=True)
class EvalRequest:
    """A validated request.

    Attributes:
        participants: address of each agent by its role.
        assessments: assessments to do, in this order.
        notes: parts of the request that are ignored.
    """

    participants: Mapping[str, str]
    assessments: tuple[RequestedAssessment, ...]
    notes: tuple[str, ...] = ()


def parse_request(text: str, host: HostSettings) -> EvalRequest:
    """Parse the request in a message.

    Args:
        text: JSON.
        host: settings of the host.

    Raises:
        InputError: it is not a JSON object of that form, names no agent, or requests too many assessments.
        ConfigError: its configuration has an unknown key or a value of another type.
        UnknownNameError: there is no such task.
    """
    document = parse_object(text, _WHERE, largest=_LARGEST)
    unknown = [key for key in document if key not in _KEYS]
    if unknown or "participants" not in document:
        raise InputError(
            f"{_WHERE}: got the keys {sorted(document)}, expected participants, an object of addresses by role,"
            " and config, an object"
        )
    participants = document["participants"]
    if not isinstance(participants, dict) or not participants:
        shown = str(participants)[:80]
        raise InputError(f"{_WHERE}: participants: got {shown}, expected at least one address by its role")
    for role, url in participants.items():
        if not _is_address(url):
            raise InputError(
                f"{_WHERE}: participants: {role}: got {str(url)[:80]!r}, expected an address such as http://agent:9019/"
            )
    config = settings.build(_Config, document.get("config") or {}, f"{_WHERE}: config")
    assessments = tuple(_plan(participants, config, host))
    if len(assessments) > _MOST:
        raise InputError(
            f"{_WHERE}: got {len(assessments)} assessments, expected at most {_MOST}; ask for fewer tasks or seeds"
        )
    notes = tuple(f"{key} is not used: data belong to the host" for key in _NOT_USED if getattr(config, key))
    return EvalRequest(participants, assessments, notes)


def _is_address(url: Any) -> bool:
    """Whether a value is the address of a server, without user and password."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        return good and parts.port != 0
    except ValueError:
        return False


def _plan(participants: Mapping[str, str], config: _Config, host: HostSettings) -> Sequence[RequestedAssessment]:
    tasks = (*config.tasks, *(PurePosixPath(folder).name for folder in config.task_dirs)) or host.tasks
    for name in tasks:
        if name not in host.tasks:
            raise UnknownNameError("task", name, host.tasks)
    for level in config.levels:
        if level not in (1, 2, 3):
            raise ConfigError(f"{_WHERE}: config: levels: got {level}, expected 1, 2 or 3")
    seeds = Seeds(tuple(dict.fromkeys(config.seeds))) if config.seeds else host.seeds
    planned = [
        RequestedAssessment(role, url, task, cast("Level", level), one, number, secret=not config.seeds)
        for role, url in participants.items()
        for task in dict.fromkeys(tasks)
        for level in dict.fromkeys(config.levels or (host.levels.get(task, 1),))
        for number, one in enumerate((replace(seeds, indices=(index,)) for index in seeds.indices), 1)
    ]
    return sorted(planned, key=lambda one: -one.level)  # prompts of lower levels help at higher ones


_SECRET_KEYS: Final = ("evidence", "provenance", "signals", "meta")
"""Keys whose values may reveal a secret instance, such as its reference."""


def shown(result: Mapping[str, Any], assessment: RequestedAssessment, attempt: int = 1) -> dict[str, Any]:
    """A result as it is sent: with the role of the agent and the number of the attempt at this instance.

    For a secret instance it has no seed and no evidence, and shares of points have two decimals: results are published,
    the same instances are used again, and many exact scores would locate the reference.
    """
    sent = {**result, "participant": assessment.role, "instance": assessment.number, "attempt": attempt}
    if not assessment.secret:
        return sent
    return {**{key: _without_secrets(key, value) for key, value in sent.items()}, "seed": None}


_SCORES: Final = {"total_score": "max_score", "score": "max", "points": "max_points"}
"""Key of a score in a result -> key of its maximum beside it."""


def summary(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For each agent the sum of its normalised scores, their number, and how many are errors."""
    participants: dict[str, dict[str, Any]] = {}
    for result in results:
        totals = participants.setdefault(
            result["participant"], {"score_total": 0.0, "score_max": 0, "errors": 0, "tasks": {}}
        )
        score = float(result["final"]["normalized_score"])
        totals["score_total"] += score
        totals["score_max"] += 1
        totals["errors"] += result["status"] == "error"
        totals["tasks"].setdefault(result["task_id"], []).append(score)
    for totals in participants.values():
        totals["tasks"] = {task: sum(scores) / len(scores) for task, scores in totals["tasks"].items()}
    return {
        "score_total": sum(totals["score_total"] for totals in participants.values()),
        "score_max": len(results),
        "participants": participants,
    }


def _without_secrets(key: str, value: Any) -> Any:
    if key in _SECRET_KEYS:
        return {}
    if isinstance(value, Mapping):
        kept = {name: _without_secrets(name, inner) for name, inner in value.items() if name not in _SECRET_KEYS}
        for score, best in _SCORES.items():
            if kept.get(score) and kept.get(best):
                kept[score] = round(round(kept[score] / kept[best], 2) * kept[best], 6)
        return kept | {name: round(kept[name], 2) for name in ("normalized_score",) if name in kept}
    if isinstance(value, list):
        return [_without_secrets("", inner) for inner in value]
    return value


Assess = Callable[[str, str, Level, Seeds], dict[str, Any]]
"""Has an agent solve one instance: (address, task, level, seeds with one index) -> result."""

_log = logging.getLogger(__name__)

_SHOWN: Final = 500


class _AttemptsUsedError(BeampipeError):
    """A secret instance was attempted as often as the host permits."""


class AssessmentExecutor(AgentExecutor):
    """Answers requests of assessments.

    Args:
        assess: has an agent solve one instance and grades it; runs in a thread.
        host: settings of the host.
        attempts: earlier attempts by instance, see `beampipe.analysisops.evaluation.attempts_in`.
    """

    def __init__(
        self, assess: Assess, host: HostSettings, attempts: Mapping[tuple[str, ...], int] | None = None
    ) -> None:
        self._assess, self._host = assess, host
        self._running = False
        self._attempts = Counter(attempts or {})

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        updater = await updates(context, event_queue)
        try:
            text = "".join(get_text_parts(context.message.parts)) if context.message is not None else ""
            if not text.strip():
                text = dump_object(_with_integers(read_document(context.message)))
            request = parse_request(text, self._host)
        except BeampipeError as error:
            await updater.reject(new_text_message(str(error)))
            return
        if self._running:  # else an agent could request its own assessment during one, to learn its score
            await updater.reject(new_text_message("got a request while others are worked on; try again later"))
            return
        self._running = True
        try:
            await self._run(request, updater)
        finally:
            self._running = False

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()

    async def _run(self, request: EvalRequest, updater: TaskUpdater) -> None:
        """Do all assessments of a request, one after the other."""
        for note in request.notes:
            await updater.start_work(new_text_message(note))
        results = []
        for number, assessment in enumerate(request.assessments, 1):
            what = f"{assessment.task_id}, level {assessment.level}, instance {assessment.number}"
            await updater.start_work(
                new_text_message(f"{number} of {len(request.assessments)}: {what}: {assessment.role} is asked")
            )
            result = await self._one(assessment)
            results.append(result)
            await self._send(updater, f"Result-{assessment.task_id}", result)
        await self._send(updater, "Summary", summary(results))
        await updater.complete(new_text_message(f"{len(results)} assessments done"))

    async def _send(self, updater: TaskUpdater, name: str, document: dict[str, Any]) -> None:
        """Send one artifact, as text: data would make floats of integers, and public platforms would count both."""
        await updater.add_artifact([new_text_part(dump_object(document), media_type="application/json")], name=name)

    async def _one(self, assessment: RequestedAssessment) -> dict[str, Any]:
        """The result of one assessment as it may be sent; errors become results."""
        attempt, label = 1, ""
        try:
            (seed,) = assessment.seeds.of(assessment.task_id, assessment.level)
            label, instance = seed.label, (assessment.task_id, str(assessment.level), seed.label, seed.secret)
            self._attempts[instance] += 1
            attempt = self._attempts[instance]
            if assessment.secret and attempt > self._host.attempts:
                raise _AttemptsUsedError(
                    f"attempts: got {attempt} at this secret instance, expected at most {self._host.attempts}; its"
                    " host needs a new secret"
                )
            work = in_thread(self._assess, assessment.url, assessment.task_id, assessment.level, assessment.seeds)
            result = shown(await asyncio.wait_for(work, self._host.seconds), assessment, attempt)
            dump_object(result)
            float(result["final"]["normalized_score"])
        except Exception as error:
            # The messages of other errors could reveal hidden information.
            code, message = "host_error", f"the host failed with {type(error).__name__}"
            if isinstance(error, TimeoutError):
                code, message = "assessment_timeout", f"the assessment took longer than {self._host.seconds:g} s"
            if codes := [name for kind, name in _CODES if isinstance(error, kind)]:
                code, message = codes[0], str(error)
            if code == "host_error":
                _log.exception("assessment of %s failed", assessment.task_id)
            error_result = ungraded(
                message[:_SHOWN],
                task_id=assessment.task_id,
                type="",
                level=assessment.level,
                seed=label,
                max_score=1.0,
                failure=code,
                code=code,
                judged=0.0,
            )
            return shown(error_result, assessment, attempt)
        return result


def _with_integers(value: Any) -> Any:
    """Restore integers, which A2A data parts turn into floats."""
    if isinstance(value, dict):
        return {key: _with_integers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_integers(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


_CODES: Final = (
    (_AttemptsUsedError, "attempts_used"),
    (DeadlineError, "agent_timeout"),
    (ServiceUnavailableError, "agent_unavailable"),
    (ServiceError, "agent_error"),
    (InputError, "submission_error"),
)
"""Errors whose messages may be sent, and their codes."""


_CARD: Final = partial(
    agent_card,
    "beampipe-analysisops",
    "Gives analysis tasks of particle physics to agents and grades what they find.",
    skill="assess agents",
    tags=("particle physics", "benchmark", "assessment"),
)
"""The card of a host; it reveals none of its settings."""


def serving_host(assess: Assess, host: HostSettings) -> AbstractContextManager[str]:
    """A host on loopback while a block runs; the block gets its address.

    Args:
        assess: has an agent solve one instance and grades it.
        host: settings of the host.
    """
    return serving_a2a(AssessmentExecutor(assess, host), _CARD)


def serve_host(
    host: str,
    port: int,
    tasks: Sequence[str],
    instances: int,
    secret: Path | None,
    folder: Path,
    *,
    card_url: str = "",
    judge: str = "offline",
    tools_host: str = LOOPBACK,
    attempts: int = 100,
) -> None:
    """Serve a host until the process is stopped.

    Args:
        host: address to listen at.
        port: port to listen at; 0 takes a free one.
        tasks: names or folders of tasks; all that are shipped if there are none.
        instances: number of instances of each task if a request names none.
        secret: file of the secret from which their seeds are derived; None for development seeds.
        folder: folder of instances and records; agents must not be able to read it.
        card_url: address under which clients reach the server, if it differs.
        judge: scores free-text answers: ``offline``, ``none``, or the TOML file of a model.
        tools_host: name or address of this machine at which agents elsewhere reach their tools.
        attempts: maximum number of attempts at each secret instance, those of earlier runs in the folder included.

    Raises:
        UnknownNameError: there is no such task or judge.
        FileError: the secret or the folder cannot be used.
    """
    loaded = load_tasks(tasks)
    names, levels = tuple(task.id for task in loaded), {task.id: max(task.levels) for task in loaded}
    seeds = Seeds.first(instances, secret)
    seeds.of(names[0], 3)  # a secret that cannot be used is an error now, not in each assessment
    conditions = Conditions(folder / "instances", judge_choice(judge), tools_host)
    assess = host_assess(tasks, folder / "records", conditions=conditions)
    limits = HostSettings(names, seeds, levels=levels, attempts=attempts)
    executor = AssessmentExecutor(assess, limits, attempts_in(folder / "records"))
    serve_a2a(executor, _CARD, host, port, card_url=card_url)
