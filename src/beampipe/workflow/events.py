"""What happens in a run, as JSON lines that several processes append to."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["EventLog"]


@dataclass(frozen=True)
class EventLog:
    """A log that any number of processes on a machine may share.

    Each line has ``time`` (seconds since 1970), ``event``, ``stage``, ``key``, ``label``, ``pid`` and what else was
    given. Events of the store are ``start``, ``done``, ``cached`` and ``damaged``; those of a run are ``retry``,
    ``failed`` and ``pool-broken``.

    Args:
        path: the file; made with its folder when the first event comes.
    """

    path: Path

    def write(self, event: str, *, stage: str = "", key: str = "", label: str = "", **more: object) -> None:
        """Append one event."""
        line = {"time": round(time.time(), 3), "event": event, "stage": stage, "key": key, "label": label}
        text = json.dumps({**line, "pid": os.getpid(), **more}, default=str) + "\n"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        try:
            descriptor = os.open(self.path, flags, 0o666)
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, flags, 0o666)
        try:
            # One call: lines of several processes do not mix.
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def read(self) -> Iterator[dict[str, object]]:
        """The events, oldest first; a line that its writer did not live to finish is skipped."""
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            yield event
