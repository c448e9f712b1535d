"""HAProxy's own interface on a socket, which changes a running gateway without a reload."""

from __future__ import annotations

import csv
import io
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from beampipe.errors import ServiceError, ServiceUnavailableError
from beampipe.fleet.gateway.configuration import GRPC, HTTP, OPEN, TRIAL
from beampipe.fleet.gateway.plan import Address

__all__ = ["GatewaySocket", "PlaceState", "Replies"]

_TIMEOUT: Final = 5.0
_BLOCK: Final = 1 << 16
_REPLIES: Final = re.compile(r"key=(\S+) .*\bgpc0=(\d+) gpc1=(\d+)")


@dataclass(frozen=True)
class PlaceState:
    """What the gateway says of one place.

    Attributes:
        status: ``"UP"``, ``"DOWN"``, ``"MAINT"``, ``"DRAIN"`` or what else HAProxy calls it.
        running: number of requests at the server.
        waiting: number of requests that wait for it.
        answered: number of requests that it has had.
        failed: number of requests that got no answer from it.
    """

    status: str
    running: int
    waiting: int
    answered: int
    failed: int

    @property
    def idle(self) -> bool:
        """Whether nothing is at the server or waits for it."""
        return self.running == 0 and self.waiting == 0


@dataclass(frozen=True)
class Replies:
    """What servers replied to requests of clients.

    Attributes:
        given: number of replies.
        failed: number of those that say that the request failed: a status of HTTP from 400 on, or one of gRPC that is
            not 0.
    """

    given: int = 0
    failed: int = 0

    @property
    def rate(self) -> float:
        """Share of replies that say so; 0 if there was none."""
        return self.failed / self.given if self.given else 0.0

    def since(self, before: Replies) -> Replies:
        """What came after an earlier look; all of it if a gateway has begun to count anew meanwhile."""
        anew = self.given < before.given
        return self if anew else Replies(self.given - before.given, self.failed - before.failed)


class GatewaySocket:
    """Asks a running gateway.

    Args:
        path: the socket.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(self, command: str, timeout: float = _TIMEOUT) -> str:
        """The answer to one command.

        Args:
            command: a line of HAProxy's language for sockets.
            timeout: longest silence [s].

        Raises:
            ServiceUnavailableError: no gateway listens there.
        """
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(timeout)
                connection.connect(str(self.path))
                connection.sendall(command.encode() + b"\n")
                parts = []
                while part := connection.recv(_BLOCK):
                    parts.append(part)
        except OSError as error:
            raise ServiceUnavailableError(f"{self.path}: got {error}, expected a gateway that runs") from error
        return b"".join(parts).decode(errors="replace").strip()

    def tell(self, command: str) -> None:
        """Give a command that is answered with nothing.

        Raises:
            ServiceError: HAProxy refuses it; the message has its reason.
        """
        if (said := self.ask(command)) and "changed" not in said and "no need to change" not in said:
            raise ServiceError(f"gateway: got {said!r} for {command.splitlines()[0]!r}, expected no answer")

    def open_place(self, server: str, address: Address) -> None:
        """Give a place to a server, and requests to it as soon as it answers.

        Raises:
            ServiceError: there is no such place.
        """
        for backend, port in ((HTTP, address.http), (GRPC, address.grpc)):
            self.tell(f"set server {backend}/{server} addr {address.host} port {port}")
        self.set_state(server, "ready")

    def set_state(self, server: str, state: Literal["ready", "drain", "maint"]) -> None:
        """Let a place take requests, finish those it has, or take none.

        Raises:
            ServiceError: there is no such place.
        """
        # The place for HTTP first, whose health the other follows.
        for backend in (HTTP, GRPC):
            self.tell(f"set server {backend}/{server} state {state}")

    def worker(self) -> int:
        """Process id of the worker that takes requests now.

        Raises:
            ServiceUnavailableError: no gateway listens there.
        """
        lines = dict(line.partition(": ")[::2] for line in self.ask("show info").splitlines())
        try:
            return int(lines["Pid"])
        except (KeyError, ValueError):
            raise ServiceUnavailableError(f"{self.path}: got {lines!r}, expected what HAProxy says of itself") from None

    def end_trial(self) -> None:
        """Send no more requests to the server on trial.

        Raises:
            ServiceError: none is on trial.
        """
        self.tell(f"set server {TRIAL}/{OPEN} state maint")

    def replies(self) -> dict[str, Replies]:
        """What each server has replied since one came on trial; empty if none is."""
        rows = map(_REPLIES.search, self.ask(f"show table {TRIAL}").splitlines())
        return {row[1]: Replies(int(row[2]), int(row[3])) for row in rows if row is not None}

    def places(self) -> dict[str, PlaceState]:
        """What the gateway says of each place, gRPC and HTTP together."""
        found: dict[str, PlaceState] = {}
        for row in self._rows():
            name = row["svname"]
            if name == "BACKEND":
                continue
            before = found.get(name, PlaceState("", 0, 0, 0, 0))
            found[name] = PlaceState(
                row["status"].split()[0] if row["pxname"] == HTTP else before.status or row["status"].split()[0],
                before.running + int(row["scur"] or 0),
                before.waiting + int(row["qcur"] or 0),
                before.answered + int(row["stot"] or 0),
                before.failed + int(row["econ"] or 0) + int(row["eresp"] or 0),
            )
        return found

    def waiting(self) -> int:
        """Number of requests that wait, gRPC and HTTP together; most of them for whichever server is free first."""
        return sum(int(row["qcur"] or 0) for row in self._rows())

    def _rows(self) -> Iterator[dict[str, str]]:
        """HAProxy's numbers of each place, and of what no place has: a row each."""
        rows = csv.DictReader(io.StringIO(self.ask("show stat").removeprefix("# ")))
        return (row for row in rows if row["pxname"] in (GRPC, HTTP))
