"""How an agent calls tools: the same face for a server of MCP and for a session in this process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final, TypeVar

from beampipe.analysisops.tools.refusal import ToolRefusedError
from beampipe.errors import BeampipeError, DeadlineError, ServiceUnavailableError

__all__ = ["LocalTools", "McpTools"]

_CONNECT: Final = 30.0
"""So long may a server take to answer at first [s]."""

_CALL: Final = 600.0
"""So long may a call take [s]; a server ends its calls long before."""

_T = TypeVar("_T")


class LocalTools:
    """The tools of a session in this process.

    Args:
        session: whose tools; anything with `names` and `call`.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    def names(self) -> tuple[str, ...]:
        """Names of the tools."""
        return tuple(self._session.names())

    def schemas(self) -> list[dict[str, Any]]:
        """For each tool its name, description and the JSON schema of its arguments."""
        from beampipe.analysisops.tools.catalogue import tools

        return [
            {"name": one.name, "description": one.description, "parameters": one.schema} for one in tools().values()
        ]

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """What a tool gives for these arguments; `ToolRefusedError` says why it does not."""
        return dict(self._session.call(tool, **arguments))


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
