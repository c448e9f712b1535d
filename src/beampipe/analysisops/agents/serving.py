"""Serve an agent over A2A: it receives the request of a task and returns a submission."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from beampipe.analysisops.agents.agent import Agent, NoTools, failed
from beampipe.analysisops.contract import TaskRequest
from beampipe.errors import BeampipeError

if TYPE_CHECKING:
    from beampipe.analysisops.a2a.server import Card, JsonExecutor

_log = logging.getLogger(__name__)


def solve(agent: Agent, request: TaskRequest) -> dict[str, Any]:
    """The submission of an agent; any failure becomes a submission with status "error"."""
    from beampipe.analysisops.tools.mcp import McpTools

    try:
        with McpTools(request.tools_url) if request.tools_url else nullcontext(NoTools()) as tools:
            return agent.solve(request, tools)
    except BeampipeError as error:
        return failed(request.task_id, str(error))
    except Exception as error:
        _log.exception("agent failed on task %s", request.task_id)
        return failed(request.task_id, f"{type(error).__name__} in the agent: {error}")


def serve_agent(agent: Agent, host: str = "127.0.0.1", port: int = 9019, *, card_url: str = "") -> None:
    """Serve an agent until the process is stopped.

    Args:
        agent: solves the tasks of requests.
        host: address to listen at.
        port: port to listen at; 0 takes a free one.
        card_url: address under which clients reach the server, if it differs.
    """
    from beampipe.analysisops.a2a.server import serve_a2a

    executor, card = _served(agent)
    serve_a2a(executor, card, host, port, card_url=card_url)


def serving_agent(agent: Agent) -> AbstractContextManager[str]:
    """An agent as a server on loopback while a block runs; the block gets its address."""
    from beampipe.analysisops.a2a.server import serving_a2a

    return serving_a2a(*_served(agent))


def _served(agent: Agent) -> tuple[JsonExecutor, Card]:
    """The executor that answers task requests with submissions of an agent, and the card of the server."""
    from beampipe.analysisops.a2a.server import JsonExecutor, agent_card

    card = partial(
        agent_card,
        type(agent).__name__,
        "Solves analysis tasks of particle physics with the tools that a request names.",
        skill="solve a task",
        tags=("particle physics", "analysis"),
    )
    return JsonExecutor(lambda document: solve(agent, TaskRequest.from_json(document))), card
