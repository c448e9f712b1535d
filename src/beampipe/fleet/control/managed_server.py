"""One server of a fleet as its reconciler sees it: a process of this machine, or one that the registry reports."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from beampipe import processes
from beampipe.fleet.gateway.plan import Address
from beampipe.fleet.registry import SILENCE, Record, remove_record
from beampipe.fleet.server import FleetServerSettings, write_server_settings
from beampipe.processes import ManagedProcess
from beampipe.triton.backoff import RestartPause

_LOG_LINES: Final = 40
"""Number of lines at the end of a server's log among which its error message is."""

DesiredState = Literal["serve", "drain", "end"]
"""Whether a server should take requests, take none but go on running, or end."""


@dataclass
class LocalServer:
    """One server that this process starts and restarts.

    Attributes:
        settings: its settings from the next start on.
        file: where it reads them.
        environ: variables of its environment beside those of this process.
        desired_state: whether it should serve, be drained, or end.
        slot_address: where the gateway sends its requests; None if it gets none.
        unresponsive_since: since when it has not answered [s, monotonic]; None while it does.
        stopping_since: when it was asked to end [s, monotonic]; None if it was not.
        starts: how often it was started.
    """

    settings: FleetServerSettings
    file: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    desired_state: DesiredState = "serve"
    slot_address: Address | None = None
    unresponsive_since: float | None = None
    stopping_since: float | None = None
    starts: int = 0
    _pause: RestartPause = field(default_factory=RestartPause)
    _not_before: float = 0.0

    def __post_init__(self) -> None:
        self._process = ManagedProcess(self.settings.log)

    @property
    def name(self) -> str:
        """Name of the server."""
        return self.settings.server

    @property
    def slot(self) -> str:
        """Name of its slot in the gateway: its own."""
        return self.settings.server

    @property
    def group(self) -> str:
        """Group that it belongs to."""
        return self.settings.group

    @property
    def digest(self) -> str:
        """Digest of the repository that it gets at its next start."""
        return self.settings.digest

    @property
    def log(self) -> Path:
        """File of its log."""
        return self.settings.log

    @property
    def pid(self) -> int | None:
        """Process id of the server's supervisor, None if it does not run."""
        return self._process.pid

    @property
    def may_start(self) -> bool:
        """Whether its pause is over, if it has ended repeatedly."""
        return time.monotonic() >= self._not_before

    def adopt(self, record: Record) -> bool:
        """Adopt a process that an earlier process of the fleet has started.

        Returns:
            Whether it is alive.
        """
        ours = any("beampipe" in argument for argument in processes.arguments(record.pid))
        if not ours or not record.lives() or not self._process.adopt(record.pid):
            return False
        self.starts = 1
        return True

    def start(self) -> None:
        """Start it."""
        remove_record(self.settings.registry, self.name)
        write_server_settings(self.file, self.settings)
        command = [sys.executable, "-m", "beampipe", "fleet", "member", str(self.file)]
        self._process.start(command, {**os.environ, **self.environ})
        now = time.monotonic()
        if self.starts:
            self._not_before = now + self._pause.before_next(now)
        self._pause.started(now)
        self.starts += 1
        self.unresponsive_since = self.stopping_since = None

    def end(self) -> None:
        """Ask it to finish requests in progress, and to end."""
        self.stopping_since = time.monotonic()
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its supervisor; nothing happens if it has ended."""
        self._process.signal(number)

    def reason(self) -> str:
        """Why it has ended, in parentheses, by the last error message in its log; nothing if there is none."""
        errors = [line for line in self._process.last_lines(_LOG_LINES) if line.startswith("beampipe: ")]
        return f" ({errors[-1].removeprefix('beampipe: ')})" if errors else ""

    def describes(self, record: Record | None) -> bool:
        """Whether a record is of the process that runs now."""
        return record is not None and record.pid == self.pid and record.lives()


@dataclass
class RegisteredServer:
    """One server that is in the registry, or was.

    Clocks of machines differ: a server is alive while its record changes, by the clock of this machine.

    Attributes:
        record: its last record.
        log: file of its log.
        desired_state: whether it should serve or be drained.
        slot: name of its slot in the gateway; None while it has none.
        slot_address: where the gateway sends its requests; None if it gets none.
        changed: when its record has changed last [s, monotonic]; None if it has not since it was first seen.
        seen: when it was first seen [s, monotonic].
        rejected: whether it was reported already that there is no slot for it.
    """

    record: Record
    log: Path
    seen: float
    desired_state: DesiredState = "serve"
    slot: str | None = None
    slot_address: Address | None = None
    changed: float | None = None
    rejected: bool = False

    @property
    def name(self) -> str:
        """Name of the server."""
        return self.record.server

    @property
    def group(self) -> str:
        """Group that it belongs to."""
        return self.record.group

    @property
    def digest(self) -> str:
        """Digest of the repository that it serves."""
        return self.record.repository

    @property
    def pid(self) -> int | None:
        """Process id of its supervisor on its own machine; None while it does not report."""
        return self.record.pid if self.is_reporting() else None

    @property
    def starts(self) -> int:
        """Always 1: one that is started again has another name, or the same record goes on."""
        return 1

    @property
    def address(self) -> Address:
        """Its address, by its record."""
        return Address(self.record.host, self.record.http, self.record.grpc)

    def update(self, record: Record | None, now: float) -> None:
        """Note its current record.

        Args:
            record: the record; None if there is none.
            now: the time [s, monotonic].
        """
        if record is not None and record != self.record:
            self.record, self.changed = record, now

    def is_reporting(self, now: float | None = None) -> bool:
        """Whether its record has changed lately.

        Args:
            now: the time [s, monotonic], None for the present.
        """
        return self.changed is not None and self.silent_for(now) < SILENCE

    def silent_for(self, now: float | None = None) -> float:
        """For how long its record has not changed [s], or has not been there.

        Args:
            now: the time [s, monotonic], None for the present.
        """
        return (time.monotonic() if now is None else now) - (self.seen if self.changed is None else self.changed)

    def describes(self, record: Record | None) -> bool:
        """Whether a record is of a server that reports."""
        return record is not None and self.is_reporting()
