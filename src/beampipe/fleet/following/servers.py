"""A server that somebody else runs, as its record tells of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from beampipe.fleet.gateway.plan import Address
from beampipe.fleet.registry import SILENCE, Record
from beampipe.fleet.running.seats import Wish

__all__ = ["FollowedServer"]


@dataclass
class FollowedServer:
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
    wish: Wish = "serve"
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
