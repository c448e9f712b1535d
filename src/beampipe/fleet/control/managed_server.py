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
"""What is to become of a server: it takes requests, it takes none but lives, or it ends."""


@dataclass
class LocalServer:
    """One server that the fleet wants.

    Attributes:
        settings: what the server is told when it is started next.
        file: where it finds that.
        environ: variables of its environment beside those of this process.
        wish: what is to become of it.
        placed: where the gateway sends requests for it; None if it sends none.
        trouble: since when it has not answered [s, monotonic]; None while it does.
        ending: since when it has been told to end [s, monotonic]; None if it has not.
        starts: how often it was started.
    """

    settings: FleetServerSettings
    file: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    wish: DesiredState = "serve"
    placed: Address | None = None
    trouble: float | None = None
    ending: float | None = None
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
    def place(self) -> str:
        """Name of its place in the gateway: its own."""
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
        """Whether its pause is over, if it has died again and again."""
        return time.monotonic() >= self._not_before

    def adopt(self, record: Record) -> bool:
        """Take over a process that an earlier keeper of the fleet has started.

        Returns:
            Whether it lives.
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
        self.trouble = self.ending = None

    def end(self) -> None:
        """Tell it to finish what it has, and to end."""
        self.ending = time.monotonic()
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

    Clocks of machines differ. A server lives while its record changes, by the clock of whoever reads it.

    Attributes:
        record: what it said last.
        log: file of its log.
        wish: what is to become of it.
        place: name of its place in the gateway; None while it has none.
        placed: where the gateway sends requests for it; None if it sends none.
        changed: when its record has changed last [s, monotonic]; None if it has not since it was first seen.
        seen: when it was first seen [s, monotonic].
        told: whether it was said already that there is no place for it.
    """

    record: Record
    log: Path
    seen: float
    wish: DesiredState = "serve"
    place: str | None = None
    placed: Address | None = None
    changed: float | None = None
    told: bool = False

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
        """Process id of its supervisor, on its own machine; None while it is silent."""
        return self.record.pid if self.speaks() else None

    @property
    def starts(self) -> int:
        """Always 1: one that is started again has another name, or the same record goes on."""
        return 1

    @property
    def address(self) -> Address:
        """Where it says that it is."""
        return Address(self.record.host, self.record.http, self.record.grpc)

    def hear(self, record: Record | None, now: float) -> None:
        """Take note of its record as it is now.

        Args:
            record: the record; None if there is none.
            now: the time [s, monotonic].
        """
        if record is not None and record != self.record:
            self.record, self.changed = record, now

    def speaks(self, now: float | None = None) -> bool:
        """Whether its record has changed lately.

        Args:
            now: the time [s, monotonic], None for the present.
        """
        return self.changed is not None and self.silence(now) < SILENCE

    def silence(self, now: float | None = None) -> float:
        """For how long its record has not changed [s], or has not been there.

        Args:
            now: the time [s, monotonic], None for the present.
        """
        return (time.monotonic() if now is None else now) - (self.seen if self.changed is None else self.changed)

    def describes(self, record: Record | None) -> bool:
        """Whether a record is of a server that lives."""
        return record is not None and self.speaks()
