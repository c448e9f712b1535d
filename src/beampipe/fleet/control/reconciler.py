"""The reconciler: ten times a second it compares a fleet with its specification, and corrects deviations.

Each cycle observes processes, records of servers and the gateway, lists the differences (`differences`) and acts on
each of them. An action that fails is logged; its difference is still there in the next cycle.

Servers on other machines are listed in the registry. A record that is out of date does not prove that its server is
dead, since the shared file system may be slow: the server keeps its slot while it passes the gateway's health checks,
which run twice a second.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from beampipe import processes
from beampipe.errors import BeampipeError, ConfigError
from beampipe.fleet.control.differences import (
    EXIT_GRACE,
    Action,
    Actual,
    Desired,
    DesiredState,
    ServerState,
    desired_slots,
    differences,
)
from beampipe.fleet.control.intent import Intent, left_over, read_intent
from beampipe.fleet.control.managed_server import LocalServer, ManagedServer, RegisteredServer
from beampipe.fleet.gateway.access_log import AccessLog
from beampipe.fleet.gateway.credentials import Credentials
from beampipe.fleet.gateway.haproxy import LEAST_HITS, Gateway, GatewayState, SlotState
from beampipe.fleet.gateway.plan import CanaryShare, GatewayPlan, Slot, SlotMode, slots_of
from beampipe.fleet.monitoring.alertmanager import Alertmanager
from beampipe.fleet.monitoring.page import PageServer
from beampipe.fleet.monitoring.prometheus import Prometheus
from beampipe.fleet.registry import Record, read_records, remove_record
from beampipe.fleet.run_folder import RunFolder, lacks_space, make_snapshot, remove_other_snapshots
from beampipe.fleet.security import fetch_jwks
from beampipe.fleet.server import FleetServerSettings, fleet_server_settings, write_settings
from beampipe.fleet.specification import Fleet, ServerGroup
from beampipe.terminal import log
from beampipe.triton.backoff import RestartPause
from beampipe.triton.server.haproxy import PROBE_PERIOD
from beampipe.triton.server.launch import check_repository, free_port
from beampipe.triton.supervision.stubs import SHARED_MEMORY

INTERVAL: Final = 0.1
"""Time [s] between two cycles."""

_UPKEEP: Final = 1.0
"""Time [s] between two scans of folders and processes."""

_LEFT: Final = 3.0
"""Time [s] from the first sight of a process that nothing manages to SIGTERM, and from there to SIGKILL."""

_RELOAD_AGAIN: Final = 1.0
"""Time [s] from a failed reload of the gateway to the next one."""


class Reconciler(ABC):
    """Keeps gateway, credentials and monitoring of a fleet as specified; subclasses do the same for its servers.

    Commands change the desired state, that is `intent`, `fleet`, the servers' `desired_state` and `outdated`, `canary`,
    and wait until `actual` agrees.

    Args:
        fleet: the fleet.
        folder: its run folder.
        models: names of the models that a server must have to get requests.
        intent: what the operator has asked for.

    Attributes:
        intent: what the operator has asked for, as it is in the run folder.
        fleet: the current specification.
        records: records of the registry, by name of the server.
        actual: the actual state, as of the last cycle.
        incidents: incidents so far: time [s since 1970] and text.
        ended: set when the fleet should stop.
        lock: guards the desired state; held for every change of it, by threads of commands too.
        gateway: the gateway.
        credentials: its credential files.
        status_port: port of the gateway's metrics, on loopback.
        page: the page of the fleet.
        prometheus: Prometheus, beside it.
        alertmanager: Alertmanager, which sends what Prometheus finds.
        canary: the server on trial, with its share of the requests; None if there is none.
        traffic: counts of the requests of clients, by the access log.
    """

    def __init__(self, fleet: Fleet, folder: RunFolder, models: tuple[str, ...], intent: Intent) -> None:
        self.fleet = fleet
        self.intent = intent
        self.folder = folder
        self.records: dict[str, Record] = {}
        self.actual = Actual(GatewayState("ended"), {})
        self.incidents: list[tuple[float, str]] = []
        self.ended = processes.SignalEvent()
        self.lock = threading.RLock()
        self.canary: CanaryShare | None = None
        self._models = models
        self._gateway_pause = RestartPause()
        self._reload_after = 0.0
        self._refused = ("", "")
        self._keys_due = 0.0
        self._left_over: dict[int, float] = {}
        self._full: set[Path] = set()
        self._fetch_keys(fleet)
        self.status_port = fleet.gateway.status_port or free_port()
        self.credentials = Credentials(fleet, folder.path)
        self.gateway = Gateway(self._plan(self.credentials.served, models), folder.path)
        self._access_log = AccessLog(folder.access_socket, folder.access_log, fleet.name)
        self._access_log.writes, self._access_log.spans.telemetry = fleet.gateway.access_log, fleet.telemetry
        self.traffic = self._access_log.traffic
        self.page = PageServer(
            fleet,
            folder.registry,
            lambda: self.prometheus.url,
            expected=self._expected,
            states=self._states,
            metrics=lambda: (*self.credentials.metrics(), *self._access_log.traffic.metrics()),
        )
        self.alertmanager = Alertmanager(fleet, folder.prometheus, self.note)
        self.prometheus = Prometheus(
            fleet,
            folder.prometheus,
            status_port=self.status_port,
            page_port=self.page.port,
            alertmanager_port=self.alertmanager.port,
            note=self.note,
        )

    @property
    @abstractmethod
    def servers(self) -> Mapping[str, ManagedServer]:
        """The servers, by name."""

    @abstractmethod
    def start_servers(self) -> None:
        """Prepare the servers, before the gateway starts."""

    @abstractmethod
    def observe_servers(self, records: Mapping[str, Record], now: float) -> Mapping[str, ServerState]:
        """The state of each server, from its process and its record."""

    @abstractmethod
    def act_on_server(self, action: Action) -> None:
        """Start, stop, kill or forget a server."""

    @abstractmethod
    def slot_incident(self, slot: Slot, server: ServerState) -> str:
        """Text of the incident when a server's slot was set; empty if there is none."""

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
        self._write_process()
        self.intend(lambda intent: intent)
        self.start_servers()
        self._access_log.start()
        self.gateway.start()
        if self.gateway.observe().configuration == self.gateway.desired_configuration:  # not on a full disk
            self.credentials.remove_others()
        self.page.start()
        watchers = [
            threading.Thread(target=self._repeat_until_end, args=arguments, name=f"fleet-{name}", daemon=True)
            for name, *arguments in (
                ("reconciler", self.reconcile, INTERVAL),
                ("prometheus", lambda: self.prometheus.update(self.records), INTERVAL),
                ("alertmanager", self.alertmanager.update, INTERVAL),
                ("probe", self.gateway.probe, PROBE_PERIOD),
                ("keys", self._renew_keys, INTERVAL),
                ("upkeep", self._keep_up, _UPKEEP),
            )
        ]
        spans = self._access_log.spans.send_until
        watchers.append(threading.Thread(target=spans, args=(self.ended,), name="fleet-spans", daemon=True))
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
            self._access_log.stop()
            self.page.stop()
            self.prometheus.stop()
            self.alertmanager.stop()
            for path in (self.folder.gateway_socket, self.folder.process):
                path.unlink(missing_ok=True)

    def intend(self, change: Callable[[Intent], Intent]) -> None:
        """Change what the operator has asked for, on the disk first.

        Raises:
            FileError: it cannot be written; nothing is changed.
        """
        with self.lock:
            intent = change(self.intent)
            intent.write(self.folder)
            self.intent = intent

    def _write_process(self) -> None:
        """Write which process runs the fleet, unless the file says so."""
        own = os.getpid()
        record = {"pid": own, "started": processes.start_time(own)}
        with suppress(OSError, ValueError):
            if json.loads(self.folder.process.read_text(encoding="utf-8")) == record:
                return
        write_settings(self.folder.process, record)

    def left_over(self) -> dict[int, str]:
        """The processes that this fleet has started and that nothing manages any more, see `left_over`."""
        pids = [
            self.gateway.pid,
            self.prometheus.pid,
            self.alertmanager.pid,
            *(server.pid for server in list(self.servers.values())),
        ]
        left = left_over(self.folder, {os.getpid(), *filter(None, pids)})
        return {pid: text for pid, text in left.items() if pid != os.getppid()}  # the parent restarts this process

    def _keep_up(self) -> None:
        """Note folders that get full, end processes that nothing manages, and restore the file of the intent."""
        for folder in filter(Path.is_dir, {self.folder.path, Path(tempfile.gettempdir()), SHARED_MEMORY}):
            if (text := lacks_space(folder)) and folder not in self._full:
                self._full.add(folder)
                self.note(text)
            elif not text:
                self._full.discard(folder)
        now, left = time.monotonic(), self.left_over()
        self._left_over = {pid: self._left_over.get(pid, now) for pid in left}
        for pid, since in self._left_over.items():  # not at once: the process itself or its watchdog may be ending it
            if now - since > _LEFT:
                self.note(f"left over: {left[pid]}; ending it")
                kills = now - since > 2 * _LEFT or processes.is_stopped(pid)
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL if kills else signal.SIGTERM)
        with self.lock:
            intact = self.ended.is_set()
            with suppress(BeampipeError):
                intact = intact or read_intent(self.folder) == self.intent
            if not intact:
                self.note(f"{self.folder.intent}: was changed or removed; writing it again")
                self.intent.write(self.folder)
            if not self.ended.is_set():
                self._write_process()

    def reconcile(self) -> None:
        """Compare the fleet with its specification once, and correct deviations."""
        records, gateway = read_records(self.folder.registry), self.gateway.observe()
        with self.lock:
            now = time.monotonic()
            actual = Actual(
                gateway,
                self.observe_servers(records, now),
                gateway_may_start=gateway.condition == "ended" and self._gateway_pause.due(now),
                gateway_may_reload=now >= self._reload_after,
            )
            slots = desired_slots(self.gateway.plan.slots, actual)
            self.gateway.plan = replace(self.gateway.plan, slots=slots)
            desired = Desired(self.fleet, self.gateway.desired_configuration, slots)
            actions = differences(desired, actual, now)
            for action in actions:
                try:
                    self._act(action, actual)
                except (BeampipeError, OSError) as error:  # a full disk, for example; the next cycle tries again
                    self.note(f"reconciler: {error}")
            if any(action.kind == "set slots" for action in actions):
                actual = replace(actual, gateway=self.gateway.observe())
            self.records, self.actual = records, actual
            if gateway.condition == "running":
                for text in self.credentials.update(self.gateway):
                    self.note(text)

    def _act(self, action: Action, actual: Actual) -> None:
        match action.kind:
            case "start gateway":
                alerts = [line for line in self.gateway.last_lines() if "[ALERT]" in line]
                self.note(f"gateway: HAProxy has ended{f' ({alerts[-1]})' if alerts else ''}; starting another")
                self.gateway.launch()
            case "kill gateway":
                self.note(f"gateway: HAProxy hangs; killing process {self.gateway.pid}")
                self.gateway.kill()
            case "reload gateway":
                self._reload_after = time.monotonic() + _RELOAD_AGAIN
                try:
                    self.gateway.reload()
                except ConfigError as error:
                    self._refused = (self.gateway.desired_configuration, str(error))
                    raise
                self._reload_after = 0.0
            case "set slots":
                self.gateway.apply(action.slots)
                servers = {server.slot: server for server in actual.servers.values()}
                for slot in action.slots:
                    if slot.server in servers and (text := self.slot_incident(slot, servers[slot.server])):
                        self.note(f"{servers[slot.server].name}: {text}")
            case _:
                self.act_on_server(action)

    def slot_state(self, server: ManagedServer) -> SlotState | None:
        """State of a server's slot in the gateway, as of the last cycle; None if it has none, or nothing is known."""
        return None if server.slot is None else self.actual.gateway.slots.get(server.slot)

    def is_drained(self, server: ManagedServer) -> bool:
        """Whether a server gets no requests from the gateway, and has finished them, as of the last cycle."""
        slots = {slot.server: slot for slot in self.gateway.plan.slots}
        return self.actual.is_drained(slots.get(server.slot or ""))

    def in_service(self, server: ManagedServer, mode: SlotMode = "ready") -> bool:
        """Whether the gateway sends requests to a server, or keeps it drained at its present address."""
        slot, state = self.slot_state(server), self.actual.servers.get(server.name)
        return slot is not None and state is not None and slot.mode == mode and slot.address == state.address

    def slot_status(self, server: ManagedServer) -> dict[str, Any]:
        """State and traffic of a server in the gateway, as data."""
        slot = self.slot_state(server) or SlotState("-", mode="maint")
        return {
            "gateway": slot.status,
            "address": None if slot.mode == "maint" else list(slot.address or ()),
            "running": slot.running,
            "waiting": slot.waiting,
            "answered": slot.answered,
            **self._access_log.traffic.recent(server.slot or ""),
        }

    def gateway_status(self) -> dict[str, Any]:
        """State and traffic of the gateway, as data; times are of the last minute."""
        traffic, state = self._access_log.traffic, self.actual.gateway
        silent_for = self.gateway.silent_for
        return {
            "pid": self.gateway.pid,
            "state": state.condition,
            "silent_s": None if silent_for is None else round(silent_for, 1),
            "connections": state.connections,
            "waiting": state.waiting,
            "requests": dict(traffic.outcomes),
            "refused": dict(traffic.refused),
            "failed": dict(traffic.models["failed"]),
            **traffic.recent(),
        }

    def note(self, text: str) -> None:
        """Record and log an incident, unless it repeats the last one."""
        if not self.incidents or self.incidents[-1][1] != text:
            self.incidents.append((time.time(), text))
            log(text)

    def _repeat_until_end(self, work: Callable[[], None], interval: float) -> None:
        while not self.ended.wait(interval):
            try:
                work()
            except Exception as error:  # an unforeseen error must not end the supervision
                self.note(f"reconciler: {type(error).__name__}: {error}")

    def _expected(self) -> Iterator[Record]:
        for server in list(self.servers.values()):
            yield Record(server.name, server.group, "", 0, 0, 0, 0, "starting", beat=time.time())

    def _states(self) -> dict[str, str]:
        slots = {server.name: self.slot_state(server) for server in list(self.servers.values())}
        states = {name: slot.status for name, slot in slots.items() if slot is not None}
        return {"gateway": self.actual.gateway.condition, **states}

    def change_gateway(self, fleet: Fleet, models: tuple[str, ...] | None = None) -> None:
        """Set the desired configuration of the gateway; slots keep their servers.

        Args:
            fleet: the specification.
            models: names of the models that a server must have to get requests; None for those as before.

        Raises:
            FileError: a credential file cannot be used, and there is no earlier copy of it; nothing is changed.
            ServiceError: HAProxy refuses the configuration; nothing is changed.
        """
        models = self._models if models is None else models
        self._fetch_keys(fleet)
        credentials = Credentials(fleet, self.folder.path)
        plan = self._plan(credentials.served, models)
        self.gateway.check(plan)
        self._refused = ("", "")
        with self.lock:
            before = {slot.server: slot for slot in self.gateway.plan.slots}
            slots = (replace(before.get(slot.server, slot), weight=slot.weight) for slot in plan.slots)
            self.fleet, self._models, self.credentials = fleet, models, credentials
            self._access_log.writes, self._access_log.spans.telemetry = fleet.gateway.access_log, fleet.telemetry
            self.gateway.change(replace(plan, slots=tuple(slots)))

    def gateway_is_configured(self) -> bool:
        """Whether the gateway runs with the desired configuration, as of the last cycle.

        Raises:
            ConfigError: HAProxy cannot load it.
        """
        if self._refused[0] == self.gateway.desired_configuration:
            raise ConfigError(self._refused[1])
        return self.actual.gateway.configuration == self.gateway.desired_configuration

    def _fetch_keys(self, fleet: Fleet) -> None:
        """Fetch the public keys of the issuer of tokens, if they have an address; old ones stay if that fails."""
        jwt = fleet.gateway.jwt
        if jwt is None or jwt.url is None:
            return
        self._keys_due = time.monotonic() + jwt.refresh
        file = jwt.file(self.folder.path)
        try:
            fetch_jwks(jwt.url, file)
        except BeampipeError as error:
            if not file.exists():
                raise
            self.note(f"gateway: {error}; it goes on with the keys that it had")

    def _renew_keys(self) -> None:
        if time.monotonic() >= self._keys_due:
            self._fetch_keys(self.fleet)

    def _plan(self, fleet: Fleet, models: tuple[str, ...]) -> GatewayPlan:
        folder = self.folder
        return GatewayPlan(
            fleet,
            slots_of(fleet),
            folder.gateway_socket,
            self.status_port,
            models,
            folder.secret.read_text(encoding="ascii").strip(),
            jwt_folder=folder.path,
            canary=self.canary,
            hits=LEAST_HITS if fleet.gateway.balancing == "least_hits" else None,
            access_log=folder.access_socket,
            probed=True,
        )


class LocalReconciler(Reconciler):
    """Reconciles a fleet whose servers are processes of this machine.

    Args:
        fleet: the fleet.
        folder: its run folder.

    Attributes:
        models: digest and folder of the snapshot of the models for servers that start from now on.
        servers: the servers, by name.
    """

    def __init__(self, fleet: Fleet, folder: RunFolder, intent: Intent) -> None:
        self._servers: dict[str, LocalServer] = {}
        kept = folder.repositories / intent.models
        if intent.models and kept.is_dir():
            self.models = intent.models, kept
        else:
            self.models = make_snapshot(fleet.repository, folder.repositories)
        intent = replace(intent, models=self.models[0])
        super().__init__(fleet, folder, check_repository(self.models[1], fleet.models), intent)

    @property
    def servers(self) -> Mapping[str, LocalServer]:
        """The servers, by name."""
        return self._servers

    def start_servers(self) -> None:
        """Add the servers that there should be; end others, and remove models, that an earlier process has left."""
        for group in self.fleet.servers.values():
            wanted = self.intent.count(self.fleet, group.name)
            for number in range(group.slots):
                name = group.server_name(number)
                if number < wanted or processes.with_argument(str(self._file(name))):
                    server = self.add(group, number)
                    if number >= wanted:
                        server.desired_state = "end"
                    elif self.intent.find("drain", name):
                        server.desired_state = "drain"
        self.remove_unused_snapshots()

    def stop_servers(self) -> None:
        """Stop all servers once they have finished requests in progress."""
        with suppress(BeampipeError):
            self.gateway.apply(replace(slot, drained=True) for slot in self.gateway.plan.slots)
        for server in self._servers.values():
            server.stop()
        deadline = time.monotonic() + self.fleet.exit_timeout + EXIT_GRACE
        while time.monotonic() < deadline and any(server.pid is not None for server in self._servers.values()):
            time.sleep(INTERVAL / 2)
        for server in self._servers.values():
            server.signal(signal.SIGKILL)
            remove_record(self.folder.registry, server.name)

    def add(self, group: ServerGroup, number: int) -> LocalServer:
        """Add a server; the next cycle starts it, unless an earlier process has left it running."""
        name = group.server_name(number)
        gpu = {"CUDA_VISIBLE_DEVICES": str(number)} if group.device == "gpu" else {}
        settings = fleet_server_settings(self.fleet, group, self.folder, self.models, name)
        server = LocalServer(settings, self._file(name), gpu)
        if server.adopt():
            self.note(f"{name}: goes on, process {server.pid}")
        self._servers[name] = server
        return server

    def _file(self, name: str) -> Path:
        """The file of the settings of a server."""
        return self.folder.members / f"{name}.json"

    def current_settings(self, server: LocalServer) -> FleetServerSettings:
        """Settings of a server by the current specification and models."""
        group = self.fleet.servers[server.group]
        return fleet_server_settings(self.fleet, group, self.folder, self.models, server.name)

    def take_snapshot(self) -> tuple[str, Path]:
        """Copy the models as they are now; returns digest and folder of the copy."""
        return make_snapshot(self.fleet.repository, self.folder.repositories)

    def remove_unused_snapshots(self) -> None:
        """Remove snapshots that no server uses, or may use again."""
        used = [server.settings.digest for server in self._servers.values()]
        remove_other_snapshots(
            self.folder.repositories, [self.models[0], *used, *(request.of for request in self.intent.requests)]
        )

    def observe_servers(self, records: Mapping[str, Record], now: float) -> Mapping[str, ServerState]:
        """The state of each server."""
        return {name: server.observe(records.get(name), now) for name, server in self._servers.items()}

    def slot_incident(self, slot: Slot, server: ServerState) -> str:
        """That a server takes requests, or takes none since it does not answer."""
        if slot.mode == "ready":
            return f"takes requests, process {self._servers[server.name].pid}"
        stops = not server.running or server.stopping_since is not None
        unresponsive = slot.mode == "maint" and server.report is not None and not stops
        return "does not answer; takes no requests" if unresponsive else ""

    def act_on_server(self, action: Action) -> None:
        """Start, stop, kill or forget a server."""
        name, server = action.server, self._servers[action.server]
        match action.kind:
            case "start server":
                text = f"has ended{server.reason()}; starting another" if server.starts else "starting"
                self.note(f"{name}: {text}")
                server.start()
            case "stop server":
                server.stop()
            case "kill server":
                self.note(f"{name}: {action.why}; killing process {server.pid}")
                server.signal(signal.SIGKILL)
            case _:
                del self._servers[name]
                remove_record(self.folder.registry, name)


class RegistryReconciler(Reconciler):
    """Reconciles a gateway with servers that are started elsewhere and report to a registry.

    Args:
        fleet: the fleet.
        folder: its run folder, with the folder that all machines share.
    """

    def __init__(self, fleet: Fleet, folder: RunFolder, intent: Intent) -> None:
        self._servers: dict[str, RegisteredServer] = {}
        super().__init__(fleet, folder, check_repository(fleet.repository, fleet.models), intent)

    @property
    def servers(self) -> Mapping[str, RegisteredServer]:
        """The servers that have a slot or report, by name."""
        servers = list(self._servers.items())
        return {name: server for name, server in servers if server.slot is not None or server.is_reporting()}

    def start_servers(self) -> None:
        """Publish the address of the gateway in the shared folder, for clients on other machines."""
        gateway = self.fleet.gateway
        address = {"machine": socket.gethostname(), "host": gateway.host, "port": gateway.port}
        write_settings(self.folder.address, {**address, "tls": gateway.tls is not None})

    def stop_servers(self) -> None:
        """Withdraw the published address; the servers keep running for the next gateway."""
        self.folder.address.unlink(missing_ok=True)

    def observe_servers(self, records: Mapping[str, Record], now: float) -> Mapping[str, ServerState]:
        """The state of each server; those that are ready get a free slot, the slots of others become free."""
        if not self.folder.registry.is_dir():
            self.note(f"{self.folder.registry}: got no folder, expected the registry; its servers keep places")
            return self.actual.servers
        for name, record in records.items():
            if name not in self._servers:
                state: DesiredState = "drain" if self.intent.find("drain", name) else "serve"
                log = self.folder.logs_of_servers / f"{name}.log"
                self._servers[name] = RegisteredServer(record, log, now, state)
        addresses = {slot.server: slot.address for slot in self.gateway.plan.slots}
        states: dict[str, ServerState] = {}
        for name, server in list(self._servers.items()):
            observed = server.observe(records.get(name), now)
            may_serve = observed.report == "ready" and not observed.silent and server.desired_state == "serve"
            if server.slot is not None and addresses.get(server.slot) is None and not may_serve:
                server.slot, server.rejected = None, False
            if server.slot is None and may_serve:
                self._assign_slot(server)
            if server.slot is None and server.gone:
                del self._servers[name]
            else:
                states[name] = replace(observed, slot=server.slot)
        return states

    def act_on_server(self, action: Action) -> None:
        """Remove the record of a silent server."""
        remove_record(self.folder.registry, action.server)
        self.note(f"{action.server}: {action.why}")

    def slot_incident(self, slot: Slot, server: ServerState) -> str:
        """Whether a server takes requests, and why not."""
        if slot.mode == "ready":
            return f"takes requests, at place {slot.server}"
        if slot.mode == "drain":
            return "ends; it finishes what it has" if server.report == "ending" else ""
        if self._servers[server.name].gone:
            return "has ended; takes no requests"
        why = "is silent and does not answer" if server.silent else f"says that it is {server.report}"
        return f"{why}; takes no requests"

    def _assign_slot(self, server: RegisteredServer) -> None:
        group = self.fleet.servers.get(server.group)
        taken = {other.slot for other in self._servers.values()}
        slots = [] if group is None else map(group.server_name, range(group.slots))
        server.slot = next((slot for slot in slots if slot not in taken), None)
        if server.slot is None and not server.rejected:
            server.rejected = True
            why = "of no group that the specification has" if group is None else f"more than servers.{group.name}.most"
            self.note(f"{server.name}: got a server {why}; it gets no requests")
