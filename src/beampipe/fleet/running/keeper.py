"""The keeper of a fleet: it looks ten times a second whether everything is as it is wanted, and mends what is not.

A server that has died is started again. One that does not answer takes no more requests, and is killed if that lasts.
A gateway that has died is started again where it was: places and addresses stand in its file.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from beampipe import processes
from beampipe.errors import BeampipeError, ServiceError
from beampipe.files import replacing
from beampipe.fleet.gateway.papers import Papers
from beampipe.fleet.gateway.plan import Address, CanaryShare, GatewayPlan, places_of
from beampipe.fleet.gateway.process import Gateway
from beampipe.fleet.members.settings import MemberSettings
from beampipe.fleet.registry import Record, read_records, remove_record
from beampipe.fleet.running.folder import RunFolder
from beampipe.fleet.running.seats import Seat
from beampipe.fleet.running.snapshots import forget_others, keep_snapshot
from beampipe.fleet.running.watch import Watch
from beampipe.fleet.specification import Fleet, ServerGroup
from beampipe.triton.pausing import RestartPause
from beampipe.triton.server.launch import free_port
from beampipe.triton.server.preflight import check_repository

__all__ = ["FleetKeeper"]

_LOOK: Final = 0.1
_GONE: Final = 15.0
"""Time [s] that a server gets to end, beyond what work in progress may take."""
_LUA: Final = Path(__file__).parent.parent / "gateway" / "least_hits.lua"


class FleetKeeper:
    """Keeps a fleet on this machine.

    Args:
        fleet: the fleet.
        folder: its run folder.

    Attributes:
        fleet: the fleet as it is wanted now.
        models: digest and folder of the copy of the models that servers get which start from now on.
        seats: the servers that are wanted, by name.
        canary: the server that is on trial with its share of the requests; None if there is none.
        incidents: what has happened so far: time [s since 1970] and text.
    """

    def __init__(self, fleet: Fleet, folder: RunFolder) -> None:
        self.fleet = fleet
        self.folder = folder
        self.seats: dict[str, Seat] = {}
        self.records: dict[str, Record] = {}
        self.incidents: list[tuple[float, str]] = []
        self.ended = threading.Event()
        self.lock = threading.RLock()
        self.models = keep_snapshot(fleet.repository, folder.repositories)
        self.canary: CanaryShare | None = None
        self._pause = RestartPause()
        self._gateway_from = 0.0
        self.status_port = fleet.gateway.status_port or free_port()
        self.gateway = Gateway(self._plan(), folder.path)
        self._papers = Papers(self.gateway)
        self.watch = Watch(fleet, folder, self.status_port, self.note)

    # Life

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start everything, and look after it in a thread until the end, which ends everything.

        Raises:
            BeampipeError: the gateway does not start.
        """
        self._say_who()
        for group in self.fleet.servers.values():
            for number in range(group.count):
                self.add(group, number)
        self._end_strangers()
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
            self._stop()

    def _look_until_end(self, look: Callable[[], None]) -> None:
        while not self.ended.wait(_LOOK):
            try:
                look()
            except (BeampipeError, OSError) as error:  # a full disk, say: what is there goes on
                self.note(f"keeper: {error}")

    def _stop(self) -> None:
        with suppress(BeampipeError):
            for seat in self.seats.values():
                self.gateway.socket.set_state(seat.name, "drain")
        for seat in self.seats.values():
            seat.end()
        deadline = time.monotonic() + self.fleet.exit_timeout + _GONE
        while time.monotonic() < deadline and any(seat.pid is not None for seat in self.seats.values()):
            time.sleep(_LOOK / 2)
        for seat in self.seats.values():
            seat.signal(signal.SIGKILL)
            remove_record(self.folder.registry, seat.name)
        self.gateway.stop()
        self.watch.stop()
        for path in (self.folder.gateway_socket, self.folder.process):
            path.unlink(missing_ok=True)

    def note(self, text: str) -> None:
        """Keep an incident, and write it into the log of the keeper; the same one again and again only once."""
        if not self.incidents or self.incidents[-1][1] != text:
            self.incidents.append((time.time(), text))
            print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)

    # Servers

    def add(self, group: ServerGroup, number: int) -> Seat:
        """Want one more server; it is started at the next look, unless an earlier keeper has left it running."""
        name = group.server_name(number)
        gpu = {"CUDA_VISIBLE_DEVICES": str(number)} if group.device == "gpu" else {}
        seat = Seat(self._member(group, number), self.folder.members / f"{name}.json", gpu)
        record = read_records(self.folder.registry).get(name)
        if record is not None and seat.adopt(record):
            self.note(f"{name}: goes on, process {record.pid}")
            seat.settings = replace(seat.settings, digest=record.repository)
        self.seats[name] = seat
        return seat

    def renew(self, seat: Seat) -> None:
        """Have a server take the settings and models of now at its next start."""
        group = self.fleet.servers[seat.settings.group]
        seat.settings = self._member(group, int(seat.name.rsplit("-", 1)[1]))

    def copy_models(self) -> tuple[str, Path]:
        """Copy the models as they are now, and say where the copy is: digest and folder."""
        return keep_snapshot(self.fleet.repository, self.folder.repositories)

    def take_models(self) -> None:
        """Copy the models as they are now, for servers that start from now on."""
        self.models = self.copy_models()

    def forget_models(self) -> None:
        """Remove copies of models that nobody serves."""
        forget_others(
            self.folder.repositories, [self.models[0], *(seat.settings.digest for seat in self.seats.values())]
        )

    def _member(self, group: ServerGroup, number: int) -> MemberSettings:
        fleet, folder, name = self.fleet, self.folder, group.server_name(number)
        return MemberSettings(
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

    def look(self) -> None:
        """Look at everything once, and do what is due."""
        with self.lock:
            self.records = read_records(self.folder.registry)
            self._look_at_gateway()
            for said in self._papers.look():
                self.note(said)
            for seat in list(self.seats.values()):
                self._look_at(seat)

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
        for seat in self.seats.values():
            if seat.wish == "drain" and seat.placed is not None:
                self.gateway.socket.set_state(seat.name, "drain")

    def _look_at(self, seat: Seat) -> None:
        if seat.pid is None:
            self._look_at_dead(seat)
            return
        if seat.ending is not None:
            if time.monotonic() - seat.ending > self.fleet.exit_timeout + _GONE:
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
                self.place(seat, Address(record.host, record.http, record.grpc))
                self.note(f"{seat.name}: takes requests, process {seat.pid}")
        elif answers is False:
            self._look_at_silent(seat, now)

    def _look_at_dead(self, seat: Seat) -> None:
        if seat.placed is not None:
            self.place(seat, None)
        if seat.wish == "end":
            del self.seats[seat.name]
            remove_record(self.folder.registry, seat.name)
        elif seat.may_start:
            self.note(
                f"{seat.name}: {f'has ended{seat.last_words()}; starting another' if seat.starts else 'starting'}"
            )
            seat.start()

    def _look_at_silent(self, seat: Seat, now: float) -> None:
        """A server that says that it hangs mends itself; one that is silent, or hangs for long, is killed."""
        if seat.trouble is None:
            seat.trouble = now
        if seat.placed is not None:
            self.place(seat, None)
            self.note(f"{seat.name}: does not answer; takes no requests")
        record = self.records.get(seat.name)
        silent = record is None or not record.lives()
        patience = 0.0 if silent else 4 * self.fleet.patience + self.fleet.start_timeout
        if now - seat.trouble > patience:
            self.note(f"{seat.name}: {'is silent' if silent else 'hangs for too long'}; killing process {seat.pid}")
            seat.signal(signal.SIGKILL)

    def place(self, seat: Seat, address: Address | None) -> None:
        """Have the gateway send requests to a server, or none."""
        seat.placed = address
        self.gateway.place(seat.name, address)

    # The rest

    def _plan(self) -> GatewayPlan:
        fleet, folder = self.fleet, self.folder
        return GatewayPlan(
            fleet,
            places_of(fleet),
            folder.gateway_socket,
            self.status_port,
            check_repository(self.models[1], fleet.models),
            folder.secret.read_text(encoding="ascii").strip(),
            tokens=fleet.gateway.tokens,
            canary=self.canary,
            hits=_LUA if fleet.gateway.balancing == "least_hits" else None,
        )

    def renew_gateway(self) -> None:
        """Have the gateway go on as the fleet is wanted now, with the servers that it has."""
        known = {place.server: place.address for place in self.gateway.plan.places}
        plan = self._plan()
        places = tuple(replace(place, address=known.get(place.server)) for place in plan.places)
        self.gateway.reload(replace(plan, places=places))
        self._drain_again()

    def _say_who(self) -> None:
        with replacing(self.folder.process) as part:
            text = json.dumps({"pid": os.getpid(), "started": processes.start_time(os.getpid())})
            part.write_text(text, encoding="utf-8")

    def _end_strangers(self) -> None:
        """End what an earlier keeper has left: servers that nobody wants now, and its gateway."""
        for name, record in read_records(self.folder.registry).items():
            if name not in self.seats and record.lives():
                with suppress(ProcessLookupError):
                    os.kill(record.pid, signal.SIGTERM)
        if not self.gateway.answers():
            return
        for pid, arguments in processes.command_lines():
            if str(self.folder.path / "haproxy.cfg") in arguments:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _GONE
        while self.gateway.answers():
            if time.monotonic() > deadline:
                raise ServiceError(f"{self.folder.gateway_socket}: got a gateway of another fleet, expected none")
            time.sleep(_LOOK)
