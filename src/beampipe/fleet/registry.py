"""The registry of a fleet: a folder in which each server writes its address and state.

It is the only interface between servers and gateway. On one machine it is in the run folder, with Slurm on a file
system that all nodes see. Each server writes one file, `NAME.json`, atomically. If the file has not changed for
`SILENCE`, the server or its node is down, or the file system is slow.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from beampipe.errors import BeampipeError
from beampipe.files import replacing
from beampipe.settings import build

__all__ = ["BEAT", "SILENCE", "Record", "State", "read_records", "remove_record", "write_record"]

BEAT: Final = 0.5
"""Time [s] between two writes of a server's record."""
SILENCE: Final = 5.0
"""Time [s] without a write after which a server counts as silent."""

State = Literal["starting", "ready", "hangs", "ending"]
"""State of a server as it reports itself: loading models, answering, not answering, or taking no more requests."""


@dataclass(frozen=True)
class Record:
    """The record of a server, written by itself.

    Attributes:
        server: name of the server.
        group: group that it belongs to.
        host: host name or address at which the gateway reaches it.
        http: port for HTTP.
        grpc: port for gRPC.
        metrics: port of its metrics.
        pid: process id of its supervisor, on `host`.
        state: its state.
        models: names of the models that it serves.
        repository: digest of the repository that it serves.
        beat: time of writing [s since 1970].
        text: the last incident, for humans.
    """

    server: str
    group: str
    host: str
    http: int
    grpc: int
    metrics: int
    pid: int
    state: State
    models: tuple[str, ...] = ()
    repository: str = ""
    beat: float = 0.0
    text: str = ""

    def lives(self, now: float | None = None) -> bool:
        """Whether it was written within `SILENCE`.

        Args:
            now: the time [s since 1970], None for the present.
        """
        return (time.time() if now is None else now) - self.beat < SILENCE


def write_record(registry: Path, record: Record) -> None:
    """Write a server's record atomically, with the current time.

    Raises:
        FileError: it cannot be written.
    """
    with replacing(registry / f"{record.server}.json", parents=True) as path:
        path.write_text(json.dumps({**asdict(record), "beat": time.time()}), encoding="utf-8")


def read_records(registry: Path) -> dict[str, Record]:
    """The records of all servers, by name, including those of dead servers."""
    records = {}
    for path in sorted(registry.glob("[a-z]*.json")):
        # Skip a record that was removed meanwhile, or written by another version.
        with suppress(OSError, ValueError, BeampipeError):
            record = build(Record, json.loads(path.read_text(encoding="utf-8")), str(path))
            records[record.server] = record
    return records


def remove_record(registry: Path, server: str) -> None:
    """Remove the record of a server, if there is one."""
    (registry / f"{server}.json").unlink(missing_ok=True)
