"""A log of what happens in a run: JSON lines that several processes append to."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from beampipe.files import append

__all__ = ["EventLog"]


@dataclass(frozen=True)
class EventLog:
    """A log that any number of processes on a machine may share.

    Each line has ``time`` (seconds since 1970), ``event``, ``stage``, ``key``, ``label`` and ``pid``, and what else the
    writer gave. Events of the store are ``start``, ``done``, ``cached`` and ``damaged``; events of a run are ``retry``,
    ``busy`` (another process does it), ``failed`` and ``pool-broken``.

    Attributes:
        path: the file of the log; it is made, with its folder, when the first event is written.
    """

    path: Path

    def write(self, event: str, *, stage: str = "", key: str = "", label: str = "", **more: object) -> None:
        """Append one event.

        Args:
            event: name of the event, e.g. ``"done"``.
            stage: name of the stage that it happened in.
            key: key of the artifact that it is about.
            label: what the artifact or task is to a reader.
            more: what else there is to say; values that JSON does not know are written as text.
        """
        line = {"time": round(time.time(), 3), "event": event, "stage": stage, "key": key, "label": label}
        text = json.dumps({**line, "pid": os.getpid(), **more}, default=str) + "\n"
        append(self.path, text)

    def read(self) -> Iterator[dict[str, object]]:
        """The events of the log, oldest first; lines that their writers did not live to finish are skipped."""
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            yield event
