"""The tools of a session as an MCP server: in this process, over stdio, or over HTTP."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import anyio.to_thread
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool as McpTool
from mcp.server.transport_security import TransportSecuritySettings

from beampipe.analysisops.tools.catalogue import INSTRUCTIONS, Tool, tools
from beampipe.analysisops.tools.refusal import ToolRefusedError
from beampipe.analysisops.tools.session import Session
from beampipe.errors import ConfigError, ServiceError

__all__ = ["LOOPBACK", "ToolServer", "make_server", "serve_stdio"]

LOOPBACK: Final = "127.0.0.1"

_START: Final = 30.0
"""So long may a server take to begin to listen [s]."""

_STOP: Final = 10.0
"""So long may a server take to end [s]."""


class _SessionTool(McpTool):
    """A tool that a session checks the arguments of itself, so that refused calls are in its ledger too."""

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:
        try:
            result = await anyio.to_thread.run_sync(partial(self.fn, **arguments))
        except ToolRefusedError as error:
            raise ToolError(str(error)) from error
        return self.fn_metadata.convert_result(result) if convert_result else result


def make_server(session: Session) -> MCPServer[Any]:
    """An MCP server with the tools of a session."""
    # Its log would tell the address, which is a secret, with each request.
    return MCPServer(
        "beampipe-analysis",
        instructions=INSTRUCTIONS,
        log_level="WARNING",
        tools=[_served(session, one) for one in tools().values()],
    )


def serve_stdio(session: Session) -> None:
    """Serve a session over standard input and output, until the input ends."""
    make_server(session).run("stdio")


class ToolServer:
    """Serves a session over HTTP while a block runs, at an address that nobody can guess.

    The address is all that protects it: whoever can read the network on the way can use the tools.

    Args:
        session: whose tools.
        host: name or address of this machine: where it listens, and where agents are told to ask.

    Raises:
        ConfigError: the block begins, and the host is none of this machine.
    """

    def __init__(self, session: Session, host: str = LOOPBACK) -> None:
        self._session = session
        self._host = host
        self._path = f"/{secrets.token_urlsafe(24)}"
        self._url = ""
        self._server: Any = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Address of the server; known from the beginning of the block."""
        return self._url

    def __enter__(self) -> ToolServer:
        import uvicorn

        app = make_server(self._session).streamable_http_app(
            streamable_http_path=self._path,
            transport_security=TransportSecuritySettings(allowed_hosts=[f"{self._host}:*"]),
        )
        listening = socket.socket()
        try:
            _bind(listening, self._host)
            settings = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2, lifespan="on")
            self._server = uvicorn.Server(settings)
            self._thread = threading.Thread(target=_serving(self._server, listening), name="tools", daemon=True)
            self._thread.start()
            self._wait_for_start()
        except BaseException:
            self._end()
            listening.close()
            raise
        self._url = f"http://{self._host}:{listening.getsockname()[1]}{self._path}"
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def _wait_for_start(self) -> None:
        waited = threading.Event()
        for _ in range(int(_START / 0.01)):
            if self._server.started:
                return
            if self._thread is None or not self._thread.is_alive():
                break
            waited.wait(0.01)
        raise ServiceError(f"tools: their server did not begin to listen at {self._host}; look at its log")

    def _end(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP)
            if self._thread.is_alive():
                self._server.force_exit = True
                self._thread.join(_STOP)


def _bind(listening: socket.socket, host: str) -> None:
    try:
        listening.bind((host, 0))
    except OSError as error:
        raise ConfigError(
            f"tools: got host {host!r} ({error}), expected a name or an IPv4 address of this machine"
        ) from error


def _serving(server: Any, listening: socket.socket) -> Callable[[], None]:
    def serve() -> None:
        with listening:
            server.run(sockets=[listening])

    return serve


def _served(session: Session, tool: Tool) -> McpTool:
    def call(**arguments: Any) -> dict[str, Any]:
        return session.call(tool.name, **arguments)

    def shape() -> dict[str, Any]:
        """Only the type of what it returns counts."""
        return {}

    described = _SessionTool.from_function(shape, name=tool.name, description=tool.description)
    return described.model_copy(update={"fn": call, "parameters": tool.schema})
