"""Runs what a request asks for, reports as it goes, and always ends with results.

A request that cannot be read is rejected. One that was accepted ends as completed, whatever the agents do: the public
platform counts nothing of a task that ended in any other way, and an agent that breaks has earned its zero.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from a2a.helpers import get_text_parts, new_data_part, new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.tasks import TaskUpdater

from beampipe.analysisops.agents.wire.documents import dump_object
from beampipe.analysisops.agents.wire.server import in_thread, read_document, updates
from beampipe.analysisops.contract import Level
from beampipe.analysisops.host.messages import Assessment, EvalRequest, HostSettings, parse_request
from beampipe.analysisops.host.results import error_result, shown, summary
from beampipe.errors import BeampipeError, DeadlineError, InputError, ServiceError, ServiceUnavailableError

__all__ = ["Assess", "AssessmentExecutor"]

Assess = Callable[[str, str, Level, int], dict[str, Any]]
"""Has an agent solve one instance: its address, the task, the level and the seed give the result."""

_log = logging.getLogger(__name__)
_SHOWN: Final = 500


class AssessmentExecutor(AgentExecutor):
    """Answers requests of assessments.

    Args:
        assess: has an agent solve one instance and grades it; runs in a thread.
        host: what is offered.
    """

    def __init__(self, assess: Assess, host: HostSettings) -> None:
        self._assess, self._host = assess, host
        self._running = 0

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        updater = await updates(context, event_queue)
        try:
            request = parse_request(_text(context), self._host)
        except BeampipeError as error:
            await updater.reject(new_text_message(str(error)))
            return
        if self._running >= self._host.at_once:
            await updater.reject(new_text_message("got a request while others are worked on; try again later"))
            return
        self._running += 1
        try:
            await self._run(request, updater)
        finally:
            self._running -= 1

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()

    async def _run(self, request: EvalRequest, updater: TaskUpdater) -> None:
        """All assessments of a request, one after the other."""
        for note in request.notes:
            await updater.start_work(new_text_message(note))
        results = []
        for place, assessment in enumerate(request.assessments, 1):
            what = f"{assessment.task_id}, level {assessment.level}, instance {assessment.number}"
            await updater.start_work(
                new_text_message(f"{place} of {len(request.assessments)}: {what}: {assessment.role} is asked")
            )
            result = await self._one(assessment)
            results.append(result)
            await self._send(updater, f"Result-{assessment.task_id}", result)
        await self._send(updater, "Summary", summary(results))
        await updater.complete(new_text_message(f"{len(results)} assessments done"))

    async def _send(self, updater: TaskUpdater, name: str, document: dict[str, Any]) -> None:
        """One artifact."""
        parts = []
        if self._host.results != "data":
            parts.append(new_text_part(dump_object(document), media_type="application/json"))
        if self._host.results != "text":
            parts.append(new_data_part(document))
        await updater.add_artifact(parts, name=name)

    async def _one(self, assessment: Assessment) -> dict[str, Any]:
        """The result of one assessment as it may be sent; never an error that is raised."""
        try:
            work = in_thread(self._assess, assessment.url, assessment.task_id, assessment.level, assessment.seed)
            result = shown(await asyncio.wait_for(work, self._host.seconds), assessment)
            dump_object(result)
            float(result["final"]["normalized_score"])
        except Exception as error:
            code, message = _kind(error, self._host)
            if code == "host_error":
                _log.exception("assessment of %s failed", assessment.task_id)
            return shown(error_result(assessment, code, message[:_SHOWN]), assessment)
        return result


def _text(context: RequestContext) -> str:
    text = "".join(get_text_parts(context.message.parts)) if context.message is not None else ""
    return text if text.strip() else dump_object(_whole(read_document(context.message)))


def _whole(found: Any) -> Any:
    """Numbers without a fraction as integers again, which they were before they travelled as data."""
    if isinstance(found, dict):
        return {key: _whole(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_whole(value) for value in found]
    return int(found) if isinstance(found, float) and found.is_integer() else found


def _kind(error: Exception, host: HostSettings) -> tuple[str, str]:
    """Code and message of what went wrong."""
    if isinstance(error, DeadlineError):
        return "agent_timeout", str(error)
    if isinstance(error, TimeoutError):
        return "assessment_timeout", f"the assessment took longer than {host.seconds:g} s"
    if isinstance(error, ServiceUnavailableError):
        return "agent_unavailable", str(error)
    if isinstance(error, ServiceError):
        return "agent_error", str(error)
    if isinstance(error, InputError):
        return "submission_error", str(error)
    # The words of other errors could hold what the host alone knows.
    return "host_error", f"the host failed with {type(error).__name__}"
