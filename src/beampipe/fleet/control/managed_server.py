"""The reconciler's state of one server: a process of this machine, or a server elsewhere known by its record."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Final

from beampipe import processes
from beampipe.errors import BeampipeError
from beampipe.fleet.control.differences import DesiredState, ServerState
from beampipe.fleet.gateway.plan import Address
from beampipe.fleet.registry import SILENCE, Record, remove_record
from beampipe.fleet.server import FleetServerSettings, read_settings, write_settings
from beampipe.processes import ManagedProcess
from beampipe.triton.backoff import RestartPause

_LOG_LINES: Final = 40
"""Number of lines at the end of a server's log that are searched for an error message."""


@dataclass
class LocalServer:
    """A server that this process starts and restarts.

    Attributes:
        settings: its settings from the next start on.
        file: file from which it reads them.
        environ: environment variables added to those of this process.
        desired_state: whether it should serve, be drained, or end.
        outdated: whether its process is to be replaced by one with the present settings.
        starts: number of starts.
        name: its name, and that of its slot in the gateway.
        slot: the same.
        group: group that it belongs to.
        log: file of its log.
    """

    settings: FleetServerSettings
    file: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    desired_state: DesiredState = "serve"
    outdated: bool = False
    starts: int = 0

    def __post_init__(self) -> None:
        self.name = self.slot = self.settings.server
        self.group, self.log = self.settings.group, self.settings.triton.log
        self._process = ManagedProcess(self.log)
        self._pause = RestartPause()
        self._state = ServerState(self.name, self.slot)

    @property
    def digest(self) -> str:
        """Digest of the repository that it serves from its next start on."""
        return self.settings.digest

    @property
    def pid(self) -> int | None:
        """Process id of the server's supervisor, None if it does not run."""
        return self._process.pid

    def observe(self, record: Record | None, now: float) -> ServerState:
        """Its state.

        Args:
            record: its record; None if there is none.
            now: the time [s, monotonic].
        """
        pid, before = self.pid, self._state
        running, frozen = pid is not None, pid is not None and processes.is_stopped(pid)
        ours = record if record is not None and record.pid == self.pid else None
        report = before.report if ours is None else ours.state
        silent = report is not None and not self.describes(record)
        if running and report in (None, "starting"):  # one that never gets ready has not lived, however long it takes
            self._pause.started(now)
        self._state = replace(
            before,
            desired=self.desired_state,
            running=running,
            report=report,
            silent=silent,
            since=before.since if (report, silent) == (before.report, before.silent) else now,
            address=before.address if ours is None else Address(ours.host, ours.http, ours.grpc),
            outdated=self.outdated,
            may_start=not running and self.desired_state != "end" and self._pause.due(now),
            frozen_since=(before.frozen_since or now) if frozen else None,
        )
        return self._state

    def adopt(self) -> bool:
        """Manage a running process that an earlier process of the fleet has started, with the settings that it has.

        Whether and what it reports does not matter: it would be left over if another one took its place.

        Returns:
            Whether there is one.
        """
        running = next((process.pid for process in processes.with_argument(str(self.file))), None)
        if running is None or not self._process.adopt(running):
            return False
        self.starts, self._state = 1, replace(self._state, started=time.monotonic())
        with suppress(BeampipeError):  # of another version, or damaged
            self.settings = read_settings(FleetServerSettings, self.file)
        return True

    def start(self) -> None:
        """Start it."""
        remove_record(self.settings.registry, self.name)
        write_settings(self.file, self.settings)
        command = [sys.executable, "-m", "beampipe", "fleet", "member", str(self.file)]
        self._process.start(command, {**os.environ, **self.environ})
        self.starts += 1
        self.outdated = False
        self._state = ServerState(self.name, self.slot, started=time.monotonic())

    def stop(self) -> None:
        """Send SIGTERM: the server finishes requests in progress, and ends."""
        self._state = replace(self._state, stopping_since=time.monotonic())
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its supervisor; nothing happens if it has ended."""
        self._process.signal(number)

    def reason(self) -> str:
        """The last error message in its log, in parentheses; empty if there is none."""
        errors = [line for line in self._process.last_lines(_LOG_LINES) if line.startswith("beampipe: ")]
        return f" ({errors[-1].removeprefix('beampipe: ')})" if errors else ""

    def describes(self, record: Record | None) -> bool:
        """Whether a record is of the process that runs now."""
        return record is not None and record.pid == self.pid and record.lives()


@dataclass
class RegisteredServer:
    """A server that is started elsewhere, known by its record in the registry.

    Clocks of machines differ, so the time in a record is not used: a server is alive while its record keeps changing,
    as measured by the clock of this machine.

    Attributes:
        record: its last record.
        log: file of its log.
        seen: time at which its record was first read [s, monotonic].
        desired_state: whether it should serve or be drained.
        slot: name of its slot in the gateway; None while it has none.
        changed: time of the last change of its record [s, monotonic]; None if none since it was first read.
        gone: whether its record was removed.
        rejected: whether an incident was noted already that there is no slot for it.
        starts: always 1: a restarted server has a new name, or continues the same record.
        name: its name.
        group: group that it belongs to.
    """

    starts: ClassVar[int] = 1

    record: Record
    log: Path
    seen: float
    desired_state: DesiredState = "serve"
    slot: str | None = None
    changed: float | None = None
    gone: bool = False
    rejected: bool = False

    def __post_init__(self) -> None:
        self.name, self.group = self.record.server, self.record.group

    @property
    def digest(self) -> str:
        """Digest of the repository that it serves."""
        return self.record.repository

    @property
    def pid(self) -> int | None:
        """Process id of its supervisor on its own machine; None while it does not report."""
        return self.record.pid if self.is_reporting() else None

    def observe(self, record: Record | None, now: float) -> ServerState:
        """Store its current record, and return its state.

        Args:
            record: the record; None if there is none.
            now: the time [s, monotonic].
        """
        self.gone = record is None
        if record is not None and record != self.record:
            self.record, self.changed = record, now
        address = Address(self.record.host, self.record.http, self.record.grpc)
        silent = self.gone or not self.is_reporting(now)
        since = now - self.silent_for(now)
        return ServerState(
            self.name,
            self.slot,
            self.desired_state,
            local=False,
            report=self.record.state,
            silent=silent,
            since=since,
            address=address,
        )

    def is_reporting(self, now: float | None = None) -> bool:
        """Whether its record has changed within `SILENCE`.

        Args:
            now: the time [s, monotonic], None for the present.
        """
        return self.changed is not None and self.silent_for(now) < SILENCE

    def silent_for(self, now: float | None = None) -> float:
        """Time [s] since the last change of its record, or since it was first read.

        Args:
            now: the time [s, monotonic], None for the present.
        """
        return (time.monotonic() if now is None else now) - (self.seen if self.changed is None else self.changed)

    def describes(self, record: Record | None) -> bool:
        """Whether a record is of a server that reports."""
        return record is not None and self.is_reporting()


ManagedServer = LocalServer | RegisteredServer
"""A server behind the gateway, started by this process or elsewhere."""
