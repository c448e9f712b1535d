"""The client of a host: asks for assessments over A2A, and follows them as they are done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from beampipe.errors import ServiceError

__all__ = ["request_assessments"]


def request_assessments(
    url: str,
    participants: Mapping[str, str],
    config: Mapping[str, Any],
    *,
    told: Callable[[str], object] = lambda _: None,
    seconds: float = 3600.0,
) -> list[dict[str, Any]]:
    """Results of assessments, in the order in which they were done.

    Args:
        url: address of the host.
        participants: address of each agent by its role.
        config: tasks, levels and seeds, as the host reads them.
        told: is called with what the host says while it works.
        seconds: longest time without a word from the host [s].

    Raises:
        ServiceError: the host refused the request, or ended without results.
    """
    return asyncio.run(_request(url, {"participants": dict(participants), "config": dict(config)}, told, seconds))


async def _request(
    url: str, request: Mapping[str, Any], told: Callable[[str], object], seconds: float
) -> list[dict[str, Any]]:
    import httpx
    from a2a.client import ClientConfig, create_client
    from a2a.helpers import get_message_text, get_text_parts, new_message, new_text_part
    from a2a.types import Role, SendMessageRequest, TaskState

    results: list[dict[str, Any]] = []
    state, last = TaskState.TASK_STATE_UNSPECIFIED, ""
    async with httpx.AsyncClient(timeout=seconds) as http:
        config = ClientConfig(streaming=True, httpx_client=http)
        async with await create_client(url, config) as client:
            message = new_message([new_text_part(json.dumps(request))], role=Role.ROLE_USER)
            async for event in client.send_message(SendMessageRequest(message=message)):
                kind = event.WhichOneof("payload")
                if kind == "status_update":
                    state = event.status_update.status.state
                    last = get_message_text(event.status_update.status.message)
                    told(last)
                elif kind == "artifact_update" and event.artifact_update.artifact.name.startswith("Result-"):
                    results.append(json.loads("".join(get_text_parts(event.artifact_update.artifact.parts))))
    if state != TaskState.TASK_STATE_COMPLETED:
        raise ServiceError(f"{url}: got state {TaskState.Name(state)}: {last}, expected completed assessments", url=url)
    return results
