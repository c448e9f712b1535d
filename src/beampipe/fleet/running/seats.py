"""A server that the fleet wants: its process, its record, and what is to become of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from beampipe import processes
from beampipe.fleet.gateway.plan import Address
from beampipe.fleet.members.settings import MemberSettings, write_member
from beampipe.fleet.registry import Record, remove_record
from beampipe.triton.pausing import RestartPause

__all__ = ["Seat", "Wish"]

_TAIL: Final = 4096

Wish = Literal["serve", "drain", "end"]
"""What is to become of a server: it takes requests, it takes none but lives, or it ends."""


@dataclass
class Seat:
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

    settings: MemberSettings
    file: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    wish: Wish = "serve"
    placed: Address | None = None
    trouble: float | None = None
    ending: float | None = None
    starts: int = 0
    _who: tuple[int, int] | None = None  # process id and start time, set together: other threads ask meanwhile
    _process: subprocess.Popen[bytes] | None = None
    _pause: RestartPause = field(default_factory=RestartPause)
    _not_before: float = 0.0

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
        process, who = self._process, self._who
        if who is None:
            return None
        there = processes.is_same(*who) and processes.is_alive(who[0])
        if process is not None and process.poll() is not None:  # asked last, so that what has ended is waited for
            return None
        return who[0] if there else None

    @property
    def may_start(self) -> bool:
        """Whether its pause is over, if it has died again and again."""
        return time.monotonic() >= self._not_before

    def adopt(self, record: Record) -> bool:
        """Take over a process that an earlier keeper of the fleet has started.

        Returns:
            Whether it lives.
        """
        started = processes.start_time(record.pid)
        ours = b"beampipe" in b" ".join(part.encode() for part in processes.arguments(record.pid))
        if started is None or not record.lives() or not ours:
            return False
        self._who, self.starts = (record.pid, started), 1
        return True

    def start(self) -> None:
        """Start it."""
        remove_record(self.settings.registry, self.name)
        write_member(self.file, self.settings)
        if self._process is not None:
            self._process.wait()  # it has ended; its status may not have been taken yet
        with self.settings.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "beampipe", "fleet", "member", str(self.file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **self.environ},
            )
        self._who = self._process.pid, processes.start_time(self._process.pid) or 0
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
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def last_words(self) -> str:
        """Why it has ended, as it said itself; nothing if it did not."""
        with suppress(OSError), self.settings.log.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _TAIL))
            said = [line for line in log.read().decode(errors="replace").splitlines() if line.startswith("beampipe: ")]
            return f" ({said[-1].removeprefix('beampipe: ')})" if said else ""
        return ""

    def describes(self, record: Record | None) -> bool:
        """Whether a record is of the process that runs now."""
        return record is not None and record.pid == self.pid and record.lives()
