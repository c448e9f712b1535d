"""The tools of a session as an MCP server, over stdio or HTTP, and a client of such a server."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, Final

import anyio
import anyio.to_thread
from anyio.from_thread import start_blocking_portal
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool as McpTool
from mcp.server.transport_security import TransportSecuritySettings

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.analysisops.http_server import listen, serving
from beampipe.analysisops.references import plain_arguments, referenced
from beampipe.analysisops.tools.session import INSTRUCTIONS, Session, Tool
from beampipe.errors import DeadlineError, ServiceUnavailableError

LOOPBACK: Final = "127.0.0.1"


class _SessionTool(McpTool):
    """A tool whose arguments are checked by the session, so that refused calls are in its ledger too."""

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:
        try:
            result = await anyio.to_thread.run_sync(partial(self.fn, **arguments))
        except ToolRefusedError as error:
            raise ToolError(str(error)) from error
        return self.fn_metadata.convert_result(result) if convert_result else result


def make_server(session: Session) -> MCPServer[Any]:
    """An MCP server with the tools of a session."""
    # Its log would reveal the address, which is a secret, with each request.
    return MCPServer(
        "beampipe-analysis",
        instructions=INSTRUCTIONS,
        log_level="WARNING",
        tools=[_served(session, tool) for tool in session.tools.values()],
    )


def serve_stdio(session: Session) -> None:
    """Serve a session over standard input and output, until the input ends."""
    make_server(session).run("stdio")


@contextmanager
def serving_tools(session: Session, host: str = LOOPBACK) -> Iterator[str]:
    """Serve a session over HTTP while a block runs, at an address that cannot be guessed.

    There is no other protection: anyone who can read the network traffic can use the tools.

    Args:
        session: session with the tools.
        host: name or address of this machine, at which the server listens and agents reach it.

    Yields:
        The address.

    Raises:
        ConfigError: the host is not an address of this machine.
    """
    path = f"/{secrets.token_urlsafe(24)}"
    app = make_server(session).streamable_http_app(
        streamable_http_path=path,
        transport_security=TransportSecuritySettings(allowed_hosts=[f"{host}:*"]),
    )
    listener = listen(host, 0)
    with serving(app, listener, lifespan="on"):
        yield f"http://{host}:{listener.getsockname()[1]}{path}"


def _served(session: Session, tool: Tool) -> McpTool:
    def call(**arguments: Any) -> dict[str, Any]:
        return session.call(tool.name, **arguments)

    def shape() -> dict[str, Any]:
        """A placeholder: only its return type is used."""
        return {}

    described = _SessionTool.from_function(shape, name=tool.name, description=tool.description)
    return described.model_copy(update={"fn": call, "parameters": tool.schema})


_CONNECT_SECONDS: Final = 30.0

_CALL_SECONDS: Final = 900.0
"""Timeout of a call [s], above the wall time that a session allows for one."""


class McpTools:
    """Client of an MCP server's tools; close it, or use it in a ``with`` block.

    A thread with its own event loop holds the connection, so that agents need not be asynchronous.

    Args:
        url: address of the server.

    Raises:
        ServiceUnavailableError: no MCP server answers there.
    """

    def __init__(self, url: str) -> None:
        from mcp import Client

        self._url, self._opened = url, ExitStack()
        try:
            self._portal = self._opened.enter_context(start_blocking_portal(name="mcp"))
            connection = self._portal.wrap_async_context_manager(Client(url, read_timeout_seconds=_CONNECT_SECONDS))
            self._client = self._opened.enter_context(connection)
            self._tools = self._portal.call(self._client.list_tools).tools
        except Exception as error:
            self.close()
            raise ServiceUnavailableError(
                f"tools at {_host(url)}: got no answer ({type(error).__name__}), expected a server of MCP", url=url
            ) from error

    def __enter__(self) -> McpTools:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def names(self) -> tuple[str, ...]:
        """Names of the tools."""
        return tuple(tool.name for tool in self._tools)

    def schemas(self) -> list[dict[str, Any]]:
        """For each tool its name, description and the JSON schema of its arguments."""
        return [
            {"name": tool.name, "description": tool.description or "", "parameters": dict(tool.input_schema)}
            for tool in self._tools
        ]

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The result of a tool; its numbers are `beampipe.analysisops.references.Referenced`.

        Raises:
            ToolRefusedError: the tool refused, or there is none of that name.
            ServiceUnavailableError: the server has stopped.
            DeadlineError: it does not answer.
        """

        async def within_time() -> Any:
            with anyio.fail_after(_CALL_SECONDS):
                return await self._client.call_tool(
                    tool, plain_arguments(tool, arguments), read_timeout_seconds=2 * _CALL_SECONDS
                )

        try:
            answer = self._portal.call(within_time)
        except TimeoutError as error:
            raise DeadlineError(f"tools: {tool} got no answer within {_CALL_SECONDS:g} s", url=self._url) from error
        except Exception as error:
            raise ServiceUnavailableError(
                f"tools: {tool} got no answer ({type(error).__name__}: {error}), expected a result", url=self._url
            ) from error
        if answer.is_error:
            raise ToolRefusedError("\n".join(part.text for part in answer.content if part.type == "text"))
        if isinstance(answer.structured_content, dict):
            return referenced(answer.structured_content)
        return referenced(json.loads("".join(part.text for part in answer.content if part.type == "text")))

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        with suppress(Exception):  # the server may have ended already
            self._opened.close()


def _host(url: str) -> str:
    """An address without its path, which is a secret."""
    return "/".join(url.split("/")[:3])
