"""Run HTTP servers of agents, hosts and tools: in the foreground, or in a thread of this process during a block."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from beampipe.errors import ConfigError, ServiceUnavailableError
from beampipe.terminal import say

if TYPE_CHECKING:
    from starlette.applications import Starlette

_READY_SECONDS: Final = 30.0
"""Time in which a server must start [s]."""

_STOP_SECONDS: Final = 10.0
"""Time for a regular stop of a server, after which it is forced [s]."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        ConfigError: the address cannot be taken.
    """
    # asyncio turns off Nagle's algorithm, which delays each answer by 40 ms, only on sockets that state their protocol.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"{host}:{port}: cannot listen ({error.strerror}), expected an address of this machine and a free port"
        ) from error
    return listener


def serve(app: Starlette, listener: socket.socket) -> None:
    """Serve until the process is stopped; the address is printed on standard error, as the port may be chosen here."""
    host, port = listener.getsockname()[:2]
    say(f"answering at http://{host}:{port}/ until Ctrl-C", err=True)
    _server(app, "off").run(sockets=[listener])


@contextmanager
def serving(app: Starlette, listener: socket.socket, *, lifespan: Literal["on", "off"] = "off") -> Iterator[str]:
    """A server in a thread of this process while the block runs.

    Args:
        app: the server.
        listener: its socket; it is closed at the end.
        lifespan: whether the server runs the app's startup and shutdown, as an MCP server needs.

    Yields:
        Its address.

    Raises:
        ServiceUnavailableError: the server does not start.
    """
    server = _server(app, lifespan)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True, name="http server")
    host, port = listener.getsockname()[:2]
    thread.start()
    try:
        until = time.monotonic() + _READY_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > until:
                raise ServiceUnavailableError(f"http://{host}:{port}/: the server does not start")
            time.sleep(0.01)
        yield f"http://{host}:{port}/"
    finally:
        server.should_exit = True
        thread.join(_STOP_SECONDS)
        if thread.is_alive():
            server.force_exit = True
            thread.join(_STOP_SECONDS)
        listener.close()


def _server(app: Starlette, lifespan: Literal["on", "off"]) -> Any:
    import uvicorn

    # No log of requests: the path of a tool server is a secret.
    return uvicorn.Server(
        uvicorn.Config(
            app, lifespan=lifespan, log_level="warning", access_log=False, ws="none", timeout_graceful_shutdown=1
        )
    )
