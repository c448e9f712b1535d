"""The keeper of a fleet: it looks ten times a second whether everything is as it is wanted, and mends what is not.

A server that has died is started again. One that does not answer takes no more requests, and is killed if that lasts.
A gateway that has died is started again where it was: places and addresses stand in its file.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from beampipe.errors import BeampipeError
from beampipe.fleet.gateway.plan import Address
from beampipe.fleet.members.settings import MemberSettings
from beampipe.fleet.registry import read_records, remove_record
from beampipe.fleet.running.folder import RunFolder
from beampipe.fleet.running.overseer import LOOK, Overseer
from beampipe.fleet.running.seats import Seat
from beampipe.fleet.snapshots import forget_others, keep_snapshot
from beampipe.fleet.specification import Fleet, ServerGroup
from beampipe.triton.server.preflight import check_repository

__all__ = ["FleetKeeper"]

_GONE: Final = 15.0
"""Time [s] that a server gets to end, beyond what work in progress may take."""


class FleetKeeper(Overseer):
    """Keeps a fleet on this machine.

    Args:
        fleet: the fleet.
        folder: its run folder.

    Attributes:
        models: digest and folder of the copy of the models that servers get which start from now on.
        seats: the servers that are wanted, by name.
    """

    def __init__(self, fleet: Fleet, folder: RunFolder) -> None:
        self.seats: dict[str, Seat] = {}
        self.models = keep_snapshot(fleet.repository, folder.repositories)
        super().__init__(fleet, folder, check_repository(self.models[1], fleet.models))

    @property
    def servers(self) -> Mapping[str, Seat]:
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
        deadline = time.monotonic() + self.fleet.exit_timeout + _GONE
        while time.monotonic() < deadline and any(seat.pid is not None for seat in self.seats.values()):
            time.sleep(LOOK / 2)
        for seat in self.seats.values():
            seat.signal(signal.SIGKILL)
            remove_record(self.folder.registry, seat.name)

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

    def look_at_servers(self) -> None:
        """Look at each server, and mend what is not as it is wanted."""
        for seat in list(self.seats.values()):
            self._look_at(seat)

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
                self.put(seat, Address(record.host, record.http, record.grpc))
                self.note(f"{seat.name}: takes requests, process {seat.pid}")
        elif answers is False:
            self._look_at_silent(seat, now)

    def _look_at_dead(self, seat: Seat) -> None:
        if seat.placed is not None:
            self.put(seat, None)
        if seat.wish == "end":
            del self.seats[seat.name]
            remove_record(self.folder.registry, seat.name)
        elif seat.may_start:
            self.note(
                f"{seat.name}: {f'has ended{seat.last_words()}; starting another' if seat.starts else 'starting'}"
            )
            seat.start()

    def _look_at_silent(self, seat: Seat, now: float) -> None:
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
