"""The loop that compares ten times a second what a fleet should be with what it is, and removes the differences.

A crashed server is started again. One that does not answer gets no more requests, and is killed if that lasts. A
crashed gateway is started again with the same slots: its file holds their addresses.

Servers of other machines appear in the registry. Silence is no proof that such a server is dead, since the shared file
system may be slow: it keeps its slot as long as it answers the gateway's health checks, twice a second.
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
"""Time [s] between two looks."""

_GATEWAY_EXIT: Final = 15.0
"""Time [s] that the gateway of an earlier overseer gets to end."""

_UP: Final = ("UP", "DRAIN")
"""What HAProxy calls a place whose server answers."""

_LUA: Final = Path(__file__).parent.parent / "gateway" / "least_hits.lua"


@runtime_checkable
class ManagedServer(Protocol):
    """A server as the gateway needs to know it.

    Attributes:
        wish: what is to become of it.
        placed: where the gateway sends requests for it; None if it sends none.
    """

    wish: DesiredState
    placed: Address | None

    @property
    def name(self) -> str:
        """Name of the server."""

    @property
    def place(self) -> str | None:
        """Name of its place in the gateway, None if it has none."""

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
        """How often it was started."""

    def describes(self, record: Record | None) -> bool:
        """Whether a record is of the process that runs now."""


class Reconciler(ABC):
    """Looks after what stands before the servers of a fleet.

    Args:
        fleet: the fleet.
        folder: its run folder.
        models: names of the models that a server must have to be asked.

    Attributes:
        fleet: the fleet as it is wanted now.
        records: what the servers say of themselves, by name.
        incidents: what has happened so far: time [s since 1970] and text.
        ended: set when everything is to end.
        lock: held while something is changed.
        gateway: the gateway.
        status_port: port on loopback of its metrics.
        watch: Prometheus and the page.
        canary: the server that is on trial with its share of the requests; None if there is none.
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
        self._papers = CredentialReloader(self.gateway)
        self.watch = Monitoring(fleet, folder, self.status_port, self.note)

    # Whose servers they are

    @property
    @abstractmethod
    def servers(self) -> Mapping[str, ManagedServer]:
        """The servers that are wanted, by name."""

    @abstractmethod
    def begin(self) -> None:
        """Do what is due before the gateway starts."""

    @abstractmethod
    def look_at_servers(self) -> None:
        """Look at the servers once, and do what is due."""

    @abstractmethod
    def finish(self) -> None:
        """Do with the servers what is due before the gateway ends."""

    # Life

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start everything, and look after it in a thread until the end, which ends everything.

        Raises:
            BeampipeError: the gateway does not start.
        """
        self._say_who()
        self.begin()
        self._end_earlier_gateway()
        self.gateway.start()
        self.watch.start()
        watchers = [
            threading.Thread(target=self._look_until_end, args=(look,), name=f"fleet-{name}", daemon=True)
            for name, look in (("keeper", self.look), ("watch", lambda: self.watch.look(self.records)))
        ]
        for watcher in watchers:
            watcher.start()
        try:
            yield
        finally:
            self.ended.set()
            for watcher in watchers:
                watcher.join()
            self.finish()
            self.gateway.stop()
            self.watch.stop()
            for path in (self.folder.gateway_socket, self.folder.process):
                path.unlink(missing_ok=True)

    def look(self) -> None:
        """Look at everything once, and do what is due."""
        with self.lock:
            self.records = read_records(self.folder.registry)
            self._look_at_gateway()
            for said in self._papers.look():
                self.note(said)
            self.look_at_servers()

    def note(self, text: str) -> None:
        """Keep an incident, and write it into the log of the keeper; the same one again and again only once."""
        if not self.incidents or self.incidents[-1][1] != text:
            self.incidents.append((time.time(), text))
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)

    def _look_until_end(self, look: Callable[[], None]) -> None:
        while not self.ended.wait(INTERVAL):
            try:
                look()
            except (BeampipeError, OSError) as error:  # a full disk, say: what is there goes on
                self.note(f"keeper: {error}")

    def _say_who(self) -> None:
        with replacing(self.folder.process) as part:
            text = json.dumps({"pid": os.getpid(), "started": processes.start_time(os.getpid())})
            part.write_text(text, encoding="utf-8")

    # Gateway

    def put(self, server: ManagedServer, address: Address | None) -> None:
        """Have the gateway send requests to a server that has a place, or none."""
        assert server.place is not None
        server.placed = address
        self.gateway.place(server.place, address)

    def answers_gateway(self, place: str | None) -> bool:
        """Whether the server in a place answers the gateway, which asks it all the time.

        The gateway is asked about all places at once: where a file system stumbles, all servers are silent.
        """
        now = time.monotonic()
        if now - self._states_from >= INTERVAL:
            self._states, self._states_from = self.gateway.socket.places(), now
        state = self._states.get(place or "")
        return state is not None and state.status in _UP

    def go_on(self, models: tuple[str, ...]) -> None:
        """Have the gateway go on as the fleet is wanted now, with the servers that it has.

        Args:
            models: names of the models that a server must have to be asked.
        """
        known = {place.server: place.address for place in self.gateway.plan.places}
        plan = self._plan(models)
        places = tuple(replace(place, address=known.get(place.server)) for place in plan.places)
        self.gateway.reload(replace(plan, places=places))
        self._drain_again()

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

    def _look_at_gateway(self) -> None:
        now = time.monotonic()
        if self.gateway.pid is not None or now < self._gateway_from:
            return
        self.note("gateway: HAProxy has ended; starting another")
        self._gateway_from = now + self._pause.before_next(now)
        self.gateway.start()
        self._pause.started(time.monotonic())
        self._drain_again()

    def _drain_again(self) -> None:
        """Tell a gateway which servers are to get no requests: its file knows only where they are."""
        for server in self.servers.values():
            if server.wish != "serve" and server.placed is not None and server.place is not None:
                self.gateway.socket.set_state(server.place, "drain")

    def _end_earlier_gateway(self) -> None:
        """End the gateway that an earlier overseer has left."""
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
"""Time [s] that a server gets to end, beyond what work in progress may take."""


class LocalReconciler(Reconciler):
    """Keeps a fleet on this machine.

    Args:
        fleet: the fleet.
        folder: its run folder.

    Attributes:
        models: digest and folder of the copy of the models that servers get which start from now on.
        seats: the servers that are wanted, by name.
    """

    def __init__(self, fleet: Fleet, folder: RunFolder) -> None:
        self.seats: dict[str, LocalServer] = {}
        self.models = make_snapshot(fleet.repository, folder.repositories)
        super().__init__(fleet, folder, check_repository(self.models[1], fleet.models))

    @property
    def servers(self) -> Mapping[str, LocalServer]:
        """The servers that are wanted, by name."""
        return self.seats

    # Life

    def begin(self) -> None:
        """Want the servers of the specification, and end those that an earlier keeper has left and nobody wants."""
        for group in self.fleet.servers.values():
            for number in range(group.count):
                self.add(group, number)
        for name, record in read_records(self.folder.registry).items():
            if name not in self.seats and record.lives():
                with suppress(ProcessLookupError):
                    os.kill(record.pid, signal.SIGTERM)

    def finish(self) -> None:
        """End all servers, once they have finished what they have."""
        with suppress(BeampipeError):
            for seat in self.seats.values():
                self.gateway.socket.set_state(seat.name, "drain")
        for seat in self.seats.values():
            seat.end()
        deadline = time.monotonic() + self.fleet.exit_timeout + _EXIT_GRACE
        while time.monotonic() < deadline and any(seat.pid is not None for seat in self.seats.values()):
            time.sleep(INTERVAL / 2)
        for seat in self.seats.values():
            seat.signal(signal.SIGKILL)
            remove_record(self.folder.registry, seat.name)

    # Servers

    def add(self, group: ServerGroup, number: int) -> LocalServer:
        """Want one more server; it is started at the next look, unless an earlier keeper has left it running."""
        name = group.server_name(number)
        gpu = {"CUDA_VISIBLE_DEVICES": str(number)} if group.device == "gpu" else {}
        seat = LocalServer(self._member(group, number), self.folder.members / f"{name}.json", gpu)
        record = read_records(self.folder.registry).get(name)
        if record is not None and seat.adopt(record):
            self.note(f"{name}: goes on, process {record.pid}")
            seat.settings = replace(seat.settings, digest=record.repository)
        self.seats[name] = seat
        return seat

    def renew(self, seat: LocalServer) -> None:
        """Have a server take the settings and models of now at its next start."""
        group = self.fleet.servers[seat.settings.group]
        seat.settings = self._member(group, int(seat.name.rsplit("-", 1)[1]))

    def copy_models(self) -> tuple[str, Path]:
        """Copy the models as they are now, and say where the copy is: digest and folder."""
        return make_snapshot(self.fleet.repository, self.folder.repositories)

    def take_models(self) -> None:
        """Copy the models as they are now, for servers that start from now on."""
        self.models = self.copy_models()

    def forget_models(self) -> None:
        """Remove copies of models that nobody serves."""
        remove_other_snapshots(
            self.folder.repositories, [self.models[0], *(seat.settings.digest for seat in self.seats.values())]
        )

    def _member(self, group: ServerGroup, number: int) -> FleetServerSettings:
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

    # Looking

    def look_at_servers(self) -> None:
        """Look at each server, and mend what is not as it is wanted."""
        for seat in list(self.seats.values()):
            self._look_at(seat)

    def _look_at(self, seat: LocalServer) -> None:
        if seat.pid is None:
            self._look_at_dead(seat)
            return
        if seat.ending is not None:
            if time.monotonic() - seat.ending > self.fleet.exit_timeout + _EXIT_GRACE:
                seat.signal(signal.SIGKILL)
            return
        record = self.records.get(seat.name)
        now = time.monotonic()
        if record is None or not seat.describes(record):
            answers = None if seat.trouble is None and seat.placed is None else False
        else:
            answers = {"ready": True, "starting": None}.get(record.state, False)
        if answers:
            assert record is not None
            seat.trouble = None
            if seat.wish == "serve" and seat.placed is None:
                self.put(seat, Address(record.host, record.http, record.grpc))
                self.note(f"{seat.name}: takes requests, process {seat.pid}")
        elif answers is False:
            self._look_at_silent(seat, now)

    def _look_at_dead(self, seat: LocalServer) -> None:
        if seat.placed is not None:
            self.put(seat, None)
        if seat.wish == "end":
            del self.seats[seat.name]
            remove_record(self.folder.registry, seat.name)
        elif seat.may_start:
            self.note(f"{seat.name}: {f'has ended{seat.reason()}; starting another' if seat.starts else 'starting'}")
            seat.start()

    def _look_at_silent(self, seat: LocalServer, now: float) -> None:
        """A server that says that it hangs mends itself; one that is silent, or hangs for long, is killed.

        One that is silent while the gateway finds that it answers could not write its record, on a full disk say.
        """
        record = self.records.get(seat.name)
        silent = record is None or not record.lives()
        if silent and seat.placed is not None and self.answers_gateway(seat.name):
            return
        if seat.trouble is None:
            seat.trouble = now
        if seat.placed is not None:
            self.put(seat, None)
            self.note(f"{seat.name}: does not answer; takes no requests")
        patience = 0.0 if silent else 4 * self.fleet.patience + self.fleet.start_timeout
        if now - seat.trouble > patience:
            self.note(f"{seat.name}: {'is silent' if silent else 'hangs for too long'}; killing process {seat.pid}")
            seat.signal(signal.SIGKILL)

    def renew_gateway(self) -> None:
        """Have the gateway go on as the fleet is wanted now, with the servers that it has."""
        self.go_on(check_repository(self.models[1], self.fleet.models))


_FORGOTTEN: Final = 60.0
"""Time [s] after which the record of a server that is silent and has no place is removed."""


class RegistryReconciler(Reconciler):
    """Keeps a gateway before servers that others run.

    Args:
        fleet: the fleet.
        folder: its run folder, with the folder that all machines share.
    """

    def __init__(self, fleet: Fleet, folder: RunFolder) -> None:
        self._servers: dict[str, RegisteredServer] = {}
        super().__init__(fleet, folder, check_repository(fleet.repository, fleet.models))

    @property
    def servers(self) -> Mapping[str, RegisteredServer]:
        """The servers that have a place or speak, by name."""
        return {
            name: server for name, server in list(self._servers.items()) if server.placed is not None or server.speaks()
        }

    def begin(self) -> None:
        """Say where the gateway is, for clients on other machines."""
        gateway = self.fleet.gateway
        said = {"machine": socket.gethostname(), "host": gateway.host, "port": gateway.port}
        with replacing(self.folder.address) as part:
            part.write_text(json.dumps({**said, "tls": gateway.tls is not None}) + "\n", encoding="utf-8")

    def finish(self) -> None:
        """Leave the servers as they are: they serve the next gateway."""
        self.folder.address.unlink(missing_ok=True)

    def look_at_servers(self) -> None:
        """Give places to servers that are ready, and take them from those that are not.

        Raises:
            FileError: the registry is not to be seen; everything stays as it is.
        """
        if not self.folder.registry.is_dir():
            raise FileError(f"{self.folder.registry}: got no folder, expected the registry; its servers keep places")
        now = time.monotonic()
        for name, record in self.records.items():
            if name not in self._servers:
                self._servers[name] = RegisteredServer(record, self.folder.logs_of_servers / f"{name}.log", now)
        for server in list(self._servers.values()):
            server.hear(self.records.get(server.name), now)
            if server.placed is None:
                self._look_at_guest(server, now)
            else:
                self._look_at_placed(server, now)

    def _look_at_guest(self, server: RegisteredServer, now: float) -> None:
        """A server without a place gets one, or is forgotten."""
        if server.name not in self.records:
            del self._servers[server.name]
        elif server.speaks(now):
            if server.record.state == "ready" and server.wish == "serve":
                self._find_place(server)
        elif server.silence(now) > _FORGOTTEN:
            self.note(f"{server.name}: is silent for {_FORGOTTEN:g} s; forgotten")
            remove_record(self.folder.registry, server.name)

    def _find_place(self, server: RegisteredServer) -> None:
        group = self.fleet.servers.get(server.group)
        taken = {other.place for other in self._servers.values()}
        places = [] if group is None else map(group.server_name, range(group.places))
        server.place = next((place for place in places if place not in taken), None)
        if server.place is not None:
            self.put(server, server.address)
            self.note(f"{server.name}: takes requests, at place {server.place}")
        elif not server.told:
            server.told = True
            why = "of no group that the specification has" if group is None else f"more than servers.{group.name}.most"
            self.note(f"{server.name}: got a server {why}; it gets no requests")

    def _look_at_placed(self, server: RegisteredServer, now: float) -> None:
        """A server that ends is emptied; one that hangs, or neither speaks nor answers, loses its place."""
        there = server.name in self.records
        if there and server.speaks(now):
            if server.record.state == "ending":
                self._empty(server)
            elif server.record.state != "ready":
                self._displace(server, f"says that it is {server.record.state}")
            elif server.address != server.placed:
                self._displace(server, "is elsewhere now")
        elif not self.answers_gateway(server.place):
            self._displace(server, "is silent and does not answer" if there else "has ended")

    def _empty(self, server: RegisteredServer) -> None:
        if server.wish != "end" and server.place is not None:
            server.wish = "end"
            self.gateway.socket.set_state(server.place, "drain")
            self.note(f"{server.name}: ends; it finishes what it has")

    def _displace(self, server: RegisteredServer, why: str) -> None:
        self.put(server, None)
        server.place, server.told = None, False
        self.note(f"{server.name}: {why}; takes no requests")
