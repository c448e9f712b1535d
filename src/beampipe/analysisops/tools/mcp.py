"""The tools of a session as an MCP server, over stdio or HTTP, and a client of such a server."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from functools import partial
from typing import Any, Final, TypeVar

import anyio.to_thread
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool as McpTool
from mcp.server.transport_security import TransportSecuritySettings

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.analysisops.tools.catalogue import INSTRUCTIONS, Tool, tools
from beampipe.analysisops.tools.session import Session
from beampipe.errors import BeampipeError, ConfigError, DeadlineError, ServiceError, ServiceUnavailableError

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


_CONNECT: Final = 30.0
"""So long may a server take to answer at first [s]."""

_CALL: Final = 600.0
"""So long may a call take [s]; a server ends its calls long before."""

_T = TypeVar("_T")


class McpTools:
    """The tools of an MCP server; to be closed, or used as a block.

    A thread with an event loop of its own holds the connection, so that agents need not be asynchronous.

    Args:
        url: address of the server.

    Raises:
        ServiceUnavailableError: there is no server of MCP.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mcp", daemon=True)
        self._thread.start()
        self._client: Any = None
        self._tools: tuple[dict[str, Any], ...] = ()
        self._closed = False
        self._connected: Future[None] = Future()
        self._ended = self._start(self._hold())
        try:
            self._connected.result(_CONNECT)
            self._tools = self._start(self._list()).result(_CONNECT)
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
        return tuple(one["name"] for one in self._tools)

    def schemas(self) -> list[dict[str, Any]]:
        """For each tool its name, description and the JSON schema of its arguments."""
        return [dict(one) for one in self._tools]

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """What a tool gives for these arguments.

        Raises:
            ToolRefusedError: the tool refused, or there is none of that name.
            ServiceUnavailableError: the server is gone.
            DeadlineError: it does not answer.
        """
        try:
            answer = self._start(self._client.call_tool(tool, arguments)).result(_CALL)
        except FutureTimeoutError as error:
            raise DeadlineError(f"tools: {tool} got no answer within {_CALL:g} s", url=self._url) from error
        except BeampipeError:
            raise
        except Exception as error:
            raise ServiceUnavailableError(
                f"tools: {tool} got no answer ({type(error).__name__}: {error}), expected a result", url=self._url
            ) from error
        if answer.is_error:
            raise ToolRefusedError("\n".join(part.text for part in answer.content if part.type == "text"))
        if isinstance(answer.structured_content, dict):
            return dict(answer.structured_content)
        return dict(json.loads("".join(part.text for part in answer.content if part.type == "text")))

    def close(self) -> None:
        """End the connection; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        self._loop.call_soon_threadsafe(self._ended.cancel)
        self._start(self._cancel_rest()).result(_CONNECT)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CONNECT)
        if not self._loop.is_running():
            self._loop.close()

    def _start(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _hold(self) -> None:
        from mcp import Client

        try:
            async with Client(self._url) as client:
                self._client = client
                self._connected.set_result(None)
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not self._connected.done():
                self._connected.set_exception(error)

    async def _list(self) -> tuple[dict[str, Any], ...]:
        listed = await self._client.list_tools()
        return tuple(
            {"name": one.name, "description": one.description or "", "parameters": dict(one.input_schema)}
            for one in listed.tools
        )

    async def _cancel_rest(self) -> None:
        """Nothing of the loop may be left over when it stops."""
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


def _host(url: str) -> str:
    """An address without its path, which is a secret."""
    return "/".join(url.split("/")[:3])
