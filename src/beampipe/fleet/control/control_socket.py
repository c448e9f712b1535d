"""The control socket of a running fleet: one JSON document with a command to it, one with the answer back."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from beampipe.errors import BeampipeError, DeadlineError, ServiceError, ServiceUnavailableError
from beampipe.fleet.control.intent import fleet_processes, this_asker
from beampipe.fleet.run_folder import RunFolder

__all__ = ["ControlSocket", "send_command"]

_LARGEST: Final = 1 << 20

_STARTING: Final = 20.0
"""Longest time [s] until the process of a fleet that was killed or hung has a successor that takes commands."""

_PAUSE: Final = 0.1
"""Time [s] between two attempts to connect."""

Answer = Mapping[str, Any]


class ControlSocket:
    """Receives commands; each is executed in a separate thread.

    Args:
        path: the socket.
        obey: executes a command and returns its answer; the text of a `BeampipeError` that it raises is sent back.
    """

    def __init__(self, path: Path, obey: Callable[[Mapping[str, Any]], Answer]) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                answer: Answer
                try:
                    answer = {"answer": obey(json.loads(self.rfile.readline(_LARGEST)))}
                except BeampipeError as error:
                    answer = {"error": str(error)}
                except (KeyError, TypeError, ValueError) as error:
                    answer = {"error": f"command: got {error!r}, expected one of this version of beampipe"}
                except OSError as error:
                    answer = {"error": f"command: {error}; it was not done, or in part: see beampipe fleet status"}
                with suppress(OSError):
                    self.wfile.write(json.dumps(answer).encode() + b"\n")

        path.unlink(missing_ok=True)
        self._server = _Server(str(path), Handler)
        path.chmod(0o600)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="fleet-line", daemon=True)

    def __enter__(self) -> ControlSocket:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 32


def send_command(path: Path, order: Mapping[str, Any], timeout: float = 600.0) -> Any:
    """Send a command to a running fleet, and wait for its answer.

    Args:
        path: the socket.
        order: the command: its name under the key ``do``, its arguments under the other keys.
        timeout: longest wait for the answer [s].

    Raises:
        ServiceUnavailableError: no fleet listens on the socket.
        DeadlineError: no answer in time.
        ServiceError: the command failed; the message has the reason.
    """
    try:
        with _connected(path, timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(json.dumps({"by": asdict(this_asker()), **order}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
    except TimeoutError as error:
        raise DeadlineError(
            f"{path.parent}: got no answer within {timeout:g} s; the process of the fleet hangs or is busy, but gateway"
            " and servers go on. One that hangs is restarted within half a minute: try again then"
        ) from error
    except OSError as error:
        raise ServiceUnavailableError(
            f"{path.parent}: got {error}, expected a fleet that runs; do: beampipe fleet up"
        ) from error
    if not line:
        raise ServiceError(
            f"{path.parent}: got no answer: the process of the fleet has ended meanwhile. If it was killed, another one"
            " goes on with the command: see beampipe fleet status"
        )
    answer = json.loads(line)
    if "error" in answer:
        raise ServiceError(answer["error"])
    return answer["answer"]


def _connected(path: Path, timeout: float) -> socket.socket:
    """A connection to the socket, which a process of the fleet that starts opens only after a while."""
    deadline = time.monotonic() + min(timeout, _STARTING)
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(timeout)
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if time.monotonic() > deadline or not fleet_processes(RunFolder(path.parent)):
                raise
            time.sleep(_PAUSE)
        else:
            return connection
