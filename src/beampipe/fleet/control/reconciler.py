"""The reconciler: ten times a second it compares a fleet with its specification, and corrects deviations.

A crashed server is restarted. An unresponsive one gets no more requests, and is killed if it does not recover. A
crashed gateway is restarted with the same slots, whose addresses are in its configuration file.

Servers on other machines are listed in the registry. A record that is out of date does not prove that its server is
dead, since the shared file system may be slow: the server keeps its slot while it passes the gateway's health checks,
which run twice a second.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from beampipe import processes
from beampipe.errors import BeampipeError, FileError, ServiceError
from beampipe.files import replacing
from beampipe.fleet.control.managed_server import DesiredState, LocalServer, RegisteredServer
from beampipe.fleet.gateway.haproxy import CredentialReloader, Gateway, SlotState, gateway_pids
from beampipe.fleet.gateway.plan import Address, CanaryShare, GatewayPlan, slots_of
from beampipe.fleet.monitoring.prometheus import Monitoring
from beampipe.fleet.registry import Record, read_records, remove_record
from beampipe.fleet.run_folder import RunFolder, make_snapshot, remove_other_snapshots
from beampipe.fleet.server import FleetServerSettings
from beampipe.fleet.specification import Fleet, ServerGroup
from beampipe.triton.backoff import RestartPause
from beampipe.triton.server.launch import check_repository, free_port

INTERVAL: Final = 0.1
"""Time [s] between two cycles."""

_GATEWAY_EXIT: Final = 15.0
"""Time limit [s] for the end of a gateway that an earlier process has left running."""

_UP: Final = ("UP", "DRAIN")
"""HAProxy's states of slots whose server passes health checks."""

_LUA: Final = Path(__file__).parent.parent / "gateway" / "least_hits.lua"


@runtime_checkable
class ManagedServer(Protocol):
    """A server behind the gateway, started by this process or elsewhere.

    Attributes:
        desired_state: whether it should serve, be drained, or end.
        slot_address: address to which the gateway sends its requests; None if it gets none.
    """

    desired_state: DesiredState
    slot_address: Address | None

    @property
    def name(self) -> str:
        """Name of the server."""

    @property
    def slot(self) -> str | None:
        """Name of its slot in the gateway, None if it has none."""

    @property
    def group(self) -> str:
        """Group that it belongs to."""

    @property
    def digest(self) -> str:
        """Digest of the repository that it serves."""

    @property
    def log(self) -> Path:
        """File of its log."""

    @property
    def pid(self) -> int | None:
        """Process id of its supervisor, None if it does not run."""

    @property
    def starts(self) -> int:
        """Number of starts."""

    def describes(self, record: Record | None) -> bool:
        """Whether a record is of the process that runs now."""


class Reconciler(ABC):
    """Keeps gateway, credentials and monitoring of a fleet as specified; subclasses do the same for its servers.

    Args:
        fleet: the fleet.
        folder: its run folder.
        models: names of the models that a server must have to get requests.

    Attributes:
        fleet: the current specification.
        records: records of the registry, by name of the server.
        incidents: incidents so far: time [s since 1970] and text.
        ended: set when the fleet should stop.
        lock: guards servers, slots and specification; held for every change of them, by threads of commands too.
        gateway: the gateway.
        status_port: port of the gateway's metrics, on loopback.
        monitoring: Prometheus and the page.
        canary: the server on trial, with its share of the requests; None if there is none.
    """

    def __init__(self, fleet: Fleet, folder: RunFolder, models: tuple[str, ...]) -> None:
        self.fleet = fleet
        self.folder = folder
        self.records: dict[str, Record] = {}
        self.incidents: list[tuple[float, str]] = []
        self.ended = threading.Event()
        self.lock = threading.RLock()
        self.canary: CanaryShare | None = None
        self._pause = RestartPause()
        self._gateway_from = 0.0
        self._states: Mapping[str, SlotState] = {}
        self._states_from = float("-inf")
        self.status_port = fleet.gateway.status_port or free_port()
        self.gateway = Gateway(self._plan(models), folder.path)
        self._credentials = CredentialReloader(self.gateway)
        self.monitoring = Monitoring(fleet, folder, self.status_port, self.note)

    @property
    @abstractmethod
    def servers(self) -> Mapping[str, ManagedServer]:
        """The servers, by name."""

    @abstractmethod
    def start_servers(self) -> None:
        """Prepare the servers, before the gateway starts."""

    @abstractmethod
    def reconcile_servers(self) -> None:
        """Compare each server with its desired state once, and correct deviations."""

    @abstractmethod
    def stop_servers(self) -> None:
        """Stop the servers that this process runs, before the gateway ends."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Context in which the fleet runs: starts everything and reconciles it in threads; stops everything at its end.

        Order: servers are prepared, the gateway and then the page start; at the end servers finish their requests
        before the gateway stops.

        Raises:
            BeampipeError: the gateway does not start.
        """
        self._write_process_file()
        self.start_servers()
        self._stop_earlier_gateway()
        self.gateway.start()
        self.monitoring.start()
        watchers = [
            threading.Thread(target=self._repeat_until_end, args=(reconcile,), name=f"fleet-{name}", daemon=True)
            for name, reconcile in (
                ("keeper", self.reconcile),
                ("watch", lambda: self.monitoring.update(self.records)),
            )
        ]
        for watcher in watchers:
            watcher.start()
        try:
            yield
        finally:
            self.ended.set()
            for watcher in watchers:
                watcher.join()
            self.stop_servers()
            self.gateway.stop()
            self.monitoring.stop()
            for path in (self.folder.gateway_socket, self.folder.process):
                path.unlink(missing_ok=True)

    def reconcile(self) -> None:
        """Compare the fleet with its specification once, and correct deviations."""
        with self.lock:
            self.records = read_records(self.folder.registry)
            self._restart_gateway()
            for text in self._credentials.reload_changed():
                self.note(text)
            self.reconcile_servers()

    def note(self, text: str) -> None:
        """Record and log an incident, unless it repeats the last one."""
        if not self.incidents or self.incidents[-1][1] != text:
            self.incidents.append((time.time(), text))
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)

    def _repeat_until_end(self, reconcile: Callable[[], None]) -> None:
        while not self.ended.wait(INTERVAL):
            try:
                reconcile()
            except (BeampipeError, OSError) as error:  # a full disk, for example: keep serving
                self.note(f"reconciler: {error}")

    def _write_process_file(self) -> None:
        with replacing(self.folder.process) as part:
            text = json.dumps({"pid": os.getpid(), "started": processes.start_time(os.getpid())})
            part.write_text(text, encoding="utf-8")

    def set_slot(self, server: ManagedServer, address: Address | None) -> None:
        """Set the address to which the gateway sends a server's requests; None for no requests."""
        assert server.slot is not None
        server.slot_address = address
        self.gateway.set_slot(server.slot, address)

    def passes_health_check(self, slot: str | None) -> bool:
        """Whether the server in a slot passes the gateway's health checks.

        One query reads all slots and is used for a whole cycle: if a file system fails, all servers are silent.
        """
        now = time.monotonic()
        if now - self._states_from >= INTERVAL:
            self._states, self._states_from = self.gateway.socket.slots(), now
        state = self._states.get(slot or "")
        return state is not None and state.status in _UP

    def update_gateway_plan(self, models: tuple[str, ...]) -> None:
        """Reload the gateway with the current specification; slots keep their addresses.

        Args:
            models: names of the models that a server must have to get requests.
        """
        known = {slot.server: slot.address for slot in self.gateway.plan.slots}
        plan = self._plan(models)
        slots = tuple(replace(slot, address=known.get(slot.server)) for slot in plan.slots)
        self.gateway.reload(replace(plan, slots=slots))
        self._restore_drained()

    def _plan(self, models: tuple[str, ...]) -> GatewayPlan:
        fleet, folder = self.fleet, self.folder
        return GatewayPlan(
            fleet,
            slots_of(fleet),
            folder.gateway_socket,
            self.status_port,
            models,
            folder.secret.read_text(encoding="ascii").strip(),
            tokens=fleet.gateway.tokens,
            canary=self.canary,
            hits=_LUA if fleet.gateway.balancing == "least_hits" else None,
        )

    def _restart_gateway(self) -> None:
        now = time.monotonic()
        if self.gateway.pid is not None or now < self._gateway_from:
            return
        self.note("gateway: HAProxy has ended; starting another")
        self._gateway_from = now + self._pause.before_next(now)
        self.gateway.start()
        self._pause.started(time.monotonic())
        self._restore_drained()

    def _restore_drained(self) -> None:
        """Drain servers again in a new gateway: its configuration file holds addresses, not states."""
        for server in self.servers.values():
            if server.desired_state != "serve" and server.slot_address is not None and server.slot is not None:
                self.gateway.socket.set_state(server.slot, "drain")

    def _stop_earlier_gateway(self) -> None:
        """Stop a gateway that an earlier process has left running."""
        if not self.gateway.answers():
            return
        for pid in gateway_pids(self.folder.path):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _GATEWAY_EXIT
        while self.gateway.answers():
            if time.monotonic() > deadline:
                raise ServiceError(f"{self.folder.gateway_socket}: got a gateway of another fleet, expected none")
            time.sleep(INTERVAL)


_EXIT_GRACE: Final = 15.0
"""Time [s] after `Fleet.exit_timeout`, which is for work in progress, until a server is killed."""


class LocalReconciler(Reconciler):
    """Reconciles a fleet whose servers are processes of this machine.

    Args:
        fleet: the fleet.
        folder: its run folder.

    Attributes:
        models: digest and folder of the snapshot of the models for servers that start from now on.
        servers: the servers, by name.
    """

    def __init__(self, fleet: Fleet, folder: RunFolder) -> None:
        self._servers: dict[str, LocalServer] = {}
        self.models = make_snapshot(fleet.repository, folder.repositories)
        super().__init__(fleet, folder, check_repository(self.models[1], fleet.models))

    @property
    def servers(self) -> Mapping[str, LocalServer]:
        """The servers, by name."""
        return self._servers

    def start_servers(self) -> None:
        """Add the servers of the specification, and stop any others that an earlier process has left running."""
        for group in self.fleet.servers.values():
            for number in range(group.count):
                self.add(group, number)
        for name, record in read_records(self.folder.registry).items():
            if name not in self._servers and record.lives():
                with suppress(ProcessLookupError):
                    os.kill(record.pid, signal.SIGTERM)

    def stop_servers(self) -> None:
        """Stop all servers once they have finished requests in progress."""
        with suppress(BeampipeError):
            for server in self._servers.values():
                self.gateway.socket.set_state(server.name, "drain")
        for server in self._servers.values():
            server.end()
        deadline = time.monotonic() + self.fleet.exit_timeout + _EXIT_GRACE
        while time.monotonic() < deadline and any(server.pid is not None for server in self._servers.values()):
            time.sleep(INTERVAL / 2)
        for server in self._servers.values():
            server.signal(signal.SIGKILL)
            remove_record(self.folder.registry, server.name)

    def add(self, group: ServerGroup, number: int) -> LocalServer:
        """Add a server; the next cycle starts it, unless an earlier process has left it running."""
        name = group.server_name(number)
        gpu = {"CUDA_VISIBLE_DEVICES": str(number)} if group.device == "gpu" else {}
        server = LocalServer(self._server_settings(group, number), self.folder.members / f"{name}.json", gpu)
        record = read_records(self.folder.registry).get(name)
        if record is not None and server.adopt(record):
            self.note(f"{name}: goes on, process {record.pid}")
            server.settings = replace(server.settings, digest=record.repository)
        self._servers[name] = server
        return server

    def refresh_settings(self, server: LocalServer) -> None:
        """Set the current settings and models for a server's next start."""
        group = self.fleet.servers[server.settings.group]
        server.settings = self._server_settings(group, int(server.name.rsplit("-", 1)[1]))

    def make_snapshot_now(self) -> tuple[str, Path]:
        """Copy the models as they are now; returns digest and folder of the copy."""
        return make_snapshot(self.fleet.repository, self.folder.repositories)

    def take_snapshot(self) -> None:
        """Copy the models as they are now, for servers that start from now on."""
        self.models = self.make_snapshot_now()

    def remove_unused_snapshots(self) -> None:
        """Remove snapshots that no server uses."""
        remove_other_snapshots(
            self.folder.repositories, [self.models[0], *(server.settings.digest for server in self._servers.values())]
        )

    def _server_settings(self, group: ServerGroup, number: int) -> FleetServerSettings:
        fleet, folder, name = self.fleet, self.folder, group.server_name(number)
        return FleetServerSettings(
            name,
            group.name,
            folder.registry,
            self.models[1],
            folder.secret,
            folder.logs / f"{name}.log",
            models=fleet.models,
            digest=self.models[0],
            threads=group.threads,
            start_timeout=fleet.start_timeout,
            exit_timeout=fleet.exit_timeout,
            patience=fleet.patience,
        )

    def reconcile_servers(self) -> None:
        """Restart or stop servers that deviate from the specification."""
        for server in list(self._servers.values()):
            self._reconcile_server(server)

    def _reconcile_server(self, server: LocalServer) -> None:
        if server.pid is None:
            self._restart_stopped(server)
            return
        if server.stopping_since is not None:
            if time.monotonic() - server.stopping_since > self.fleet.exit_timeout + _EXIT_GRACE:
                server.signal(signal.SIGKILL)
            return
        record = self.records.get(server.name)
        now = time.monotonic()
        if record is None or not server.describes(record):
            answers = None if server.unresponsive_since is None and server.slot_address is None else False
        else:
            answers = {"ready": True, "starting": None}.get(record.state, False)
        if answers:
            assert record is not None
            server.unresponsive_since = None
            if server.desired_state == "serve" and server.slot_address is None:
                self.set_slot(server, Address(record.host, record.http, record.grpc))
                self.note(f"{server.name}: takes requests, process {server.pid}")
        elif answers is False:
            self._handle_unresponsive(server, now)

    def _restart_stopped(self, server: LocalServer) -> None:
        if server.slot_address is not None:
            self.set_slot(server, None)
        if server.desired_state == "end":
            del self._servers[server.name]
            remove_record(self.folder.registry, server.name)
        elif server.may_start:
            self.note(
                f"{server.name}: {f'has ended{server.reason()}; starting another' if server.starts else 'starting'}"
            )
            server.start()

    def _handle_unresponsive(self, server: LocalServer, now: float) -> None:
        """Take requests from an unresponsive server; kill it if it is silent or hangs for too long.

        A server that reports a hang restarts its Triton itself. A silent one that passes health checks is left alone:
        it could not write its record, for example because the disk is full.
        """
        record = self.records.get(server.name)
        silent = record is None or not record.lives()
        if silent and server.slot_address is not None and self.passes_health_check(server.name):
            return
        if server.unresponsive_since is None:
            server.unresponsive_since = now
        if server.slot_address is not None:
            self.set_slot(server, None)
            self.note(f"{server.name}: does not answer; takes no requests")
        patience = 0.0 if silent else 4 * self.fleet.patience + self.fleet.start_timeout
        if now - server.unresponsive_since > patience:
            self.note(f"{server.name}: {'is silent' if silent else 'hangs for too long'}; killing process {server.pid}")
            server.signal(signal.SIGKILL)

    def update_gateway(self) -> None:
        """Reload the gateway with the current specification and models."""
        self.update_gateway_plan(check_repository(self.models[1], self.fleet.models))


_FORGOTTEN: Final = 60.0
"""Time [s] after which the record of a silent server without a slot is removed."""


class RegistryReconciler(Reconciler):
    """Reconciles a gateway with servers that are started elsewhere and report to a registry.

    Args:
        fleet: the fleet.
        folder: its run folder, with the folder that all machines share.
    """

    def __init__(self, fleet: Fleet, folder: RunFolder) -> None:
        self._servers: dict[str, RegisteredServer] = {}
        super().__init__(fleet, folder, check_repository(fleet.repository, fleet.models))

    @property
    def servers(self) -> Mapping[str, RegisteredServer]:
        """The servers that have a slot or report, by name."""
        return {
            name: server
            for name, server in list(self._servers.items())
            if server.slot_address is not None or server.is_reporting()
        }

    def start_servers(self) -> None:
        """Publish the address of the gateway in the shared folder, for clients on other machines."""
        gateway = self.fleet.gateway
        address = {"machine": socket.gethostname(), "host": gateway.host, "port": gateway.port}
        with replacing(self.folder.address) as part:
            part.write_text(json.dumps({**address, "tls": gateway.tls is not None}) + "\n", encoding="utf-8")

    def stop_servers(self) -> None:
        """Withdraw the published address; the servers keep running for the next gateway."""
        self.folder.address.unlink(missing_ok=True)

    def reconcile_servers(self) -> None:
        """Assign slots to servers that are ready, and free those of servers that are not.

        Raises:
            FileError: the registry cannot be read; all servers keep their slots.
        """
        if not self.folder.registry.is_dir():
            raise FileError(f"{self.folder.registry}: got no folder, expected the registry; its servers keep places")
        now = time.monotonic()
        for name, record in self.records.items():
            if name not in self._servers:
                self._servers[name] = RegisteredServer(record, self.folder.logs_of_servers / f"{name}.log", now)
        for server in list(self._servers.values()):
            server.update(self.records.get(server.name), now)
            if server.slot_address is None:
                self._handle_unplaced(server, now)
            else:
                self._handle_placed(server, now)

    def _handle_unplaced(self, server: RegisteredServer, now: float) -> None:
        """Assign a slot to a ready server without one; forget a server without record, or silent for long."""
        if server.name not in self.records:
            del self._servers[server.name]
        elif server.is_reporting(now):
            if server.record.state == "ready" and server.desired_state == "serve":
                self._assign_slot(server)
        elif server.silent_for(now) > _FORGOTTEN:
            self.note(f"{server.name}: is silent for {_FORGOTTEN:g} s; forgotten")
            remove_record(self.folder.registry, server.name)

    def _assign_slot(self, server: RegisteredServer) -> None:
        group = self.fleet.servers.get(server.group)
        taken = {other.slot for other in self._servers.values()}
        slots = [] if group is None else map(group.server_name, range(group.slots))
        server.slot = next((slot for slot in slots if slot not in taken), None)
        if server.slot is not None:
            self.set_slot(server, server.address)
            self.note(f"{server.name}: takes requests, at place {server.slot}")
        elif not server.rejected:
            server.rejected = True
            why = "of no group that the specification has" if group is None else f"more than servers.{group.name}.most"
            self.note(f"{server.name}: got a server {why}; it gets no requests")

    def _handle_placed(self, server: RegisteredServer, now: float) -> None:
        """Drain a server that is ending; free the slot of one that hangs, has moved, or neither reports nor answers."""
        there = server.name in self.records
        if there and server.is_reporting(now):
            if server.record.state == "ending":
                self._drain(server)
            elif server.record.state != "ready":
                self._take_slot_away(server, f"says that it is {server.record.state}")
            elif server.address != server.slot_address:
                self._take_slot_away(server, "is elsewhere now")
        elif not self.passes_health_check(server.slot):
            self._take_slot_away(server, "is silent and does not answer" if there else "has ended")

    def _drain(self, server: RegisteredServer) -> None:
        if server.desired_state != "end" and server.slot is not None:
            server.desired_state = "end"
            self.gateway.socket.set_state(server.slot, "drain")
            self.note(f"{server.name}: ends; it finishes what it has")

    def _take_slot_away(self, server: RegisteredServer, why: str) -> None:
        self.set_slot(server, None)
        server.slot, server.rejected = None, False
        self.note(f"{server.name}: {why}; takes no requests")
