"""HAProxy while it runs: its runtime API, and requests through its public ports that show whether it hangs."""

from __future__ import annotations

import csv
import io
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from beampipe.errors import ServiceUnavailableError
from beampipe.triton.client.endpoint import LOOPBACK

SLOW_BODIES: Final = Path(__file__).with_name("slow_bodies.lua")
"""HAProxy's filter ``lua.slow_bodies``, which ends requests whose large body arrives too slowly."""

HEADERS: Final = 7168
"""Largest headers of a request [bytes]. Triton closes a connection with a longer line over HTTP, and over gRPC refuses
some requests with more than 8 kB, each name counted with 32 bytes more."""

MALFORMED: Final = """'{"error":"failed to parse the request JSON' '{"error":"Unable to parse'"""
"""Beginnings of Triton's answers to requests over HTTP that it cannot read, as patterns of HAProxy."""

PROBE_PERIOD: Final = 0.5
"""Time [s] between two probes of an HAProxy that answers."""
_PROBE_TIMEOUT: Final = 1.0
"""Time limit [s] of the answer to a probe; it comes from HAProxy itself, usually within a millisecond."""
_FAILURES: Final = 2
"""Number of failed probes in a row by which an HAProxy counts as hanging."""
_BUSY: Final = 0.05
"""Processor time [s] between two failed probes from which on an HAProxy is busy rather than hanging."""
_BUSY_ROUNDS: Final = 10
"""Number of times in a row for which it may be busy; each takes two failed probes."""
_TIMEOUT: Final = 5.0
_BLOCK: Final = 1 << 16

_HELLO: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a client of HTTP/2 begins: preface and empty settings. A server answers with its own settings."""


class RuntimeApi:
    """HAProxy's runtime API, by which a running HAProxy tells its state and is changed without a reload.

    Args:
        path: the socket.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(self, command: str, timeout: float = _TIMEOUT) -> str:
        """Execute a command and return its answer.

        Args:
            command: a command of HAProxy's runtime API, or several, separated by semicolons.
            timeout: longest wait for a part of the answer [s].

        Raises:
            ServiceUnavailableError: no HAProxy answers on the socket.
        """
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(timeout)
                connection.connect(str(self.path))
                connection.sendall(command.encode() + b"\n")
                connection.shutdown(socket.SHUT_WR)  # the master keeps a connection open otherwise
                parts = []
                while part := connection.recv(_BLOCK):
                    parts.append(part)
        except OSError as error:
            raise ServiceUnavailableError(f"{self.path}: got {error}, expected an HAProxy that runs") from error
        return b"".join(parts).decode(errors="replace").strip()

    def answers(self, command: str = "show version", timeout: float = _TIMEOUT) -> bool:
        """Whether it answers a command."""
        try:
            return bool(self.ask(command, timeout))
        except ServiceUnavailableError:
            return False

    def statistics(self, timeout: float = _TIMEOUT) -> list[dict[str, str]]:
        """A row for each frontend, each backend and each server of a backend.

        Raises:
            ServiceUnavailableError: no HAProxy answers on the socket.
        """
        return table_of(self.ask("show stat", timeout))


def table_of(text: str, separator: str = ",") -> list[dict[str, str]]:
    """The rows of a table of HAProxy, whose first line is ``# `` and the names of the columns."""
    return list(csv.DictReader(io.StringIO(text.removeprefix("# ")), delimiter=separator))


@dataclass(frozen=True)
class PublicPort:
    """A public port of an HAProxy, and the request by which it is probed.

    Any answer counts, a refusal too, also one of the TLS handshake. Over gRPC only the beginning of HTTP/2 is asked.

    Attributes:
        host: address on which HAProxy listens, possibly a wildcard.
        port: the port.
        grpc: whether to ask by HTTP/2, as clients of gRPC do; else by HTTP/1.1.
        tls: whether connections are encrypted; the certificate is not checked.
        path: path of the request by HTTP/1.1.
        headers: headers of that request.
    """

    host: str
    port: int
    grpc: bool
    tls: bool
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def answers(self, timeout: float = _PROBE_TIMEOUT) -> bool:
        """Whether a request gets an answer within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        host = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(self.host, self.host)
        try:
            with socket.create_connection((host, self.port), timeout) as plain:
                if not self.tls:
                    return self._is_answered(plain, deadline)
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                context.set_alpn_protocols(["h2" if self.grpc else "http/1.1"])
                with context.wrap_socket(plain) as encrypted:
                    return self._is_answered(encrypted, deadline)
        except ssl.SSLEOFError:
            return False
        except ssl.SSLError:  # it refuses the handshake, since we have no certificate
            return True
        except OSError:
            return False

    def _is_answered(self, connection: socket.socket, deadline: float) -> bool:
        """Send the request; whether an answer to it begins before the deadline."""
        headers = {"Host": f"{self.host}:{self.port}", "Connection": "close", **self.headers}
        lines = [f"GET {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        connection.sendall(_HELLO if self.grpc else "\r\n".join([*lines, "", ""]).encode("ascii"))
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        return bool(connection.recv(1))


def _has_descriptors() -> bool:
    """Whether this process can open a further file."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True


class HangProbe:
    """Finds out whether an HAProxy hangs: whether two requests in a row through its public ports got no answer.

    Args:
        ports: gives its public ports.
        is_full: whether it has as many connections as it may have: then it accepts no further one, and does not hang.
        spent: gives the processor time of its workers [s]: one that computes is overloaded, and does not hang yet.
        master: the runtime API of its master process, which has to answer, too; None if it has none.

    Attributes:
        answered: time of the last probe that was answered [s, monotonic]; None if none was.
    """

    def __init__(
        self,
        ports: Callable[[], Iterable[PublicPort]],
        is_full: Callable[[], bool],
        spent: Callable[[], float],
        master: RuntimeApi | None = None,
    ) -> None:
        self.answered: float | None = None
        self._ports = ports
        self._is_full = is_full
        self._spent = spent
        self._master = master
        self._busy = 0

    def hangs(self) -> bool:
        """Whether HAProxy hangs; takes 2 to 3 s if it does, a millisecond if it answers.

        A process that cannot open a connection, since it has no file descriptors left, cannot tell.
        """
        before = self._spent()
        for _ in range(_FAILURES):
            begin = time.monotonic()
            if self._answers():
                self.answered, self._busy = time.monotonic(), 0
                return False
            if not _has_descriptors():
                return False
            # It may refuse connections for a moment, such as its master during a reload.
            time.sleep(max(0.0, begin + _PROBE_TIMEOUT - time.monotonic()))
        self._busy += 1
        busy = self._has_master() and self._spent() - before > _BUSY and self._busy <= _BUSY_ROUNDS
        return not busy and not self._is_full()

    def _answers(self) -> bool:
        return self._has_master() and all(port.answers() for port in self._ports())

    def _has_master(self) -> bool:
        return self._master is None or self._master.answers("show proc", _PROBE_TIMEOUT)
