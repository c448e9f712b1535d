"""Any agent as an A2A server: a request of a task comes in, a submission goes out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from beampipe.analysisops.agents.agent import Agent, NoTools, Tools, failed
from beampipe.analysisops.contract import TaskRequest
from beampipe.errors import BeampipeError

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["OpenTools", "agent_app", "open_tools", "serve_agent", "serving_agent", "solve"]

_log = logging.getLogger(__name__)

OpenTools = Callable[[str], AbstractContextManager[Tools]]
"""Opens the tools at an address."""


def open_tools(url: str) -> AbstractContextManager[Tools]:
    """The tools of an MCP server."""
    from beampipe.analysisops.tools.mcp import McpTools

    return McpTools(url)


def solve(agent: Agent, request: TaskRequest, open_tools: OpenTools = open_tools) -> dict[str, Any]:
    """The submission of an agent, whatever happens to it; what fails becomes a submission with status "error".

    Args:
        agent: who solves it.
        request: what is asked.
        open_tools: opens the tools that the request names.
    """
    try:
        tools = open_tools(request.tools_url) if request.tools_url else nullcontext(NoTools())
        with tools as opened:
            return agent.solve(request, opened)
    except BeampipeError as error:
        return failed(request.task_id, str(error))
    except Exception as error:
        _log.exception("agent failed on task %s", request.task_id)
        return failed(request.task_id, f"{type(error).__name__} in the agent: {error}")


def agent_app(agent: Agent, url: str, *, name: str = "", open_tools: OpenTools = open_tools) -> Starlette:
    """The A2A server of an agent.

    Args:
        agent: who solves what comes in.
        url: address under which clients reach it.
        name: of the agent on its card.
        open_tools: opens the tools that a request names.
    """
    from beampipe.analysisops.a2a.server import JsonExecutor, a2a_app, agent_card

    def answer(document: dict[str, Any]) -> dict[str, Any]:
        return solve(agent, TaskRequest.from_json(document), open_tools)

    card = agent_card(
        name or type(agent).__name__,
        "Solves analysis tasks of particle physics with the tools that a request names.",
        url,
        skill="solve a task",
        tags=("particle physics", "analysis"),
    )
    return a2a_app(JsonExecutor(answer), card)


def serve_agent(
    agent: Agent, host: str = "127.0.0.1", port: int = 9019, *, card_url: str = "", open_tools: OpenTools = open_tools
) -> None:
    """Serve an agent until the process is told to stop.

    Args:
        agent: who solves what comes in.
        host: address to listen at.
        port: port to listen at; 0 takes a free one.
        card_url: address under which clients reach it, where that is another one.
        open_tools: opens the tools that a request names.
    """
    from beampipe.analysisops.http_server import listen, serve

    listener = listen(host, port)
    url = card_url or f"http://{host}:{listener.getsockname()[1]}/"
    serve(agent_app(agent, url, open_tools=open_tools), listener)


@contextmanager
def serving_agent(agent: Agent, *, open_tools: OpenTools = open_tools) -> Iterator[str]:
    """An agent as a server on loopback while the block runs.

    Yields:
        Its address.
    """
    from beampipe.analysisops.http_server import listen, serving

    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with serving(agent_app(agent, url, open_tools=open_tools), listener) as url:
        yield url
