"""What stands before the servers of a fleet, kept as it is wanted: gateway, certificates, Prometheus, page.

Where the servers come from is another matter: the keeper starts them on this machine, a follower finds them in the
registry.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from beampipe import processes
from beampipe.errors import BeampipeError, ServiceError
from beampipe.files import replacing
from beampipe.fleet.gateway.asking import PlaceState
from beampipe.fleet.gateway.papers import Papers
from beampipe.fleet.gateway.plan import Address, CanaryShare, GatewayPlan, places_of
from beampipe.fleet.gateway.process import Gateway, gateway_pids
from beampipe.fleet.registry import Record, read_records
from beampipe.fleet.running.folder import RunFolder
from beampipe.fleet.running.seats import Wish
from beampipe.fleet.running.watch import Watch
from beampipe.fleet.specification import Fleet
from beampipe.triton.pausing import RestartPause
from beampipe.triton.server.launch import free_port

__all__ = ["LOOK", "Overseer", "Server"]

LOOK: Final = 0.1
"""Time [s] between two looks."""
_GONE: Final = 15.0
"""Time [s] that the gateway of an earlier overseer gets to end."""
_UP: Final = ("UP", "DRAIN")
"""What HAProxy calls a place whose server answers."""
_LUA: Final = Path(__file__).parent.parent / "gateway" / "least_hits.lua"


@runtime_checkable
class Server(Protocol):
    """A server as the gateway needs to know it.

    Attributes:
        wish: what is to become of it.
        placed: where the gateway sends requests for it; None if it sends none.
    """

    wish: Wish
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


class Overseer(ABC):
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
        self._states: Mapping[str, PlaceState] = {}
        self._states_from = float("-inf")
        self.status_port = fleet.gateway.status_port or free_port()
        self.gateway = Gateway(self._plan(models), folder.path)
        self._papers = Papers(self.gateway)
        self.watch = Watch(fleet, folder, self.status_port, self.note)

    # Whose servers they are

    @property
    @abstractmethod
    def servers(self) -> Mapping[str, Server]:
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
        while not self.ended.wait(LOOK):
            try:
                look()
            except (BeampipeError, OSError) as error:  # a full disk, say: what is there goes on
                self.note(f"keeper: {error}")

    def _say_who(self) -> None:
        with replacing(self.folder.process) as part:
            text = json.dumps({"pid": os.getpid(), "started": processes.start_time(os.getpid())})
            part.write_text(text, encoding="utf-8")

    # Gateway

    def put(self, server: Server, address: Address | None) -> None:
        """Have the gateway send requests to a server that has a place, or none."""
        assert server.place is not None
        server.placed = address
        self.gateway.place(server.place, address)

    def answers_gateway(self, place: str | None) -> bool:
        """Whether the server in a place answers the gateway, which asks it all the time.

        The gateway is asked about all places at once: where a file system stumbles, all servers are silent.
        """
        now = time.monotonic()
        if now - self._states_from >= LOOK:
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
            places_of(fleet),
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
        deadline = time.monotonic() + _GONE
        while self.gateway.answers():
            if time.monotonic() > deadline:
                raise ServiceError(f"{self.folder.gateway_socket}: got a gateway of another fleet, expected none")
            time.sleep(LOOK)
