"""One server with new models beside those with the old ones; no request is lost when it comes and when it goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from beampipe.errors import ConfigError, ServiceError
from beampipe.fleet.gateway.plan import CanaryShare
from beampipe.fleet.members.settings import MemberSettings
from beampipe.fleet.registry import Record
from beampipe.fleet.running.changing.steps import Steps, no_place
from beampipe.fleet.running.seats import Seat

__all__ = ["Canary"]


class Canary:
    """A server with new models, in a free place of the gateway or in that of the last of several servers.

    Args:
        steps: the steps by which the fleet is changed.
        models: digest and folder of the copy of the new models.
        share: share of clients' requests that it gets once it is open to them.

    Attributes:
        seat: the server.
        old: the servers of its group with the old models.

    Raises:
        ConfigError: there is no place for it, or a server is drained.
    """

    def __init__(self, steps: Steps, models: tuple[str, Path], share: float) -> None:
        self._steps = steps
        self._keeper = keeper = steps.keeper
        self._before: MemberSettings | None = None
        self._starts = 0
        if drained := [seat.name for seat in keeper.seats.values() if seat.wish != "serve"]:
            raise ConfigError(
                f"{drained[0]}: got a server without requests, expected all to have some; do: beampipe fleet resume"
            )
        group = next(iter(keeper.seats.values())).settings.group
        self.old = [seat for seat in keeper.seats.values() if seat.settings.group == group]
        self.seat = self._take_seat(group, models)
        keeper.canary = CanaryShare(self.seat.name, share)

    def start(self) -> None:
        """Start the server and wait until it answers; clients do not know it yet.

        Raises:
            ServiceError: it does not start.
        """
        keeper, seat = self._keeper, self.seat
        with keeper.lock:
            keeper.renew_gateway()

        def there() -> bool:
            if seat.starts > self._starts + 1:
                raise ServiceError(f"{seat.name}: does not start with the new models{seat.last_words()}")
            return self._record() is not None

        self._steps.wait(there, keeper.fleet.start_timeout + 10.0, f"{seat.name}: an answer")
        self._starts = seat.starts

    def open(self) -> None:
        """Let clients' requests come to the server.

        Raises:
            ServiceError: the gateway does not take it.
        """
        with self._keeper.lock:
            self.seat.wish = "serve"
        self._steps.wait_for_service([self.seat])

    def trouble(self) -> str:
        """What has happened to the server since it was started; nothing if it goes on."""
        if self.seat.starts != self._starts or self.seat.pid is None:
            return f"{self.seat.name}: has ended{self.seat.last_words()}"
        return "" if self.seat.placed is not None else f"{self.seat.name}: does not answer"

    def promote(self) -> None:
        """Give the server requests as any other."""
        self._end_trial()

    def leave(self) -> None:
        """Give its place back, if that was a free one."""
        if self._before is None:
            self._steps.end(self.seat)

    def take_back(self) -> None:
        """Serve the old models alone, as before."""
        if self._before is None:
            self._steps.end(self.seat)
        else:
            self._steps.replace(self.seat, self._before)
        self._end_trial()

    def _end_trial(self) -> None:
        with self._keeper.lock:
            self._keeper.canary = None
            self._keeper.renew_gateway()

    def _record(self) -> Record | None:
        """What the server says of itself once it answers with the new models."""
        record = self._keeper.records.get(self.seat.name)
        there = record is not None and self.seat.describes(record) and record.state == "ready"
        return record if there and record is not None and record.repository == self.seat.settings.digest else None

    def _take_seat(self, name: str, models: tuple[str, Path]) -> Seat:
        keeper = self._keeper
        group = keeper.fleet.servers[name]
        free = self._steps.free_number(group)
        if free is None and len(self.old) == 1:
            raise no_place(name, group)
        if free is not None:
            with keeper.lock:
                seat = keeper.add(group, free)
                seat.wish = "drain"
                seat.settings = replace(seat.settings, digest=models[0], repository=models[1])
            return seat
        seat = self.old.pop()
        self._before = seat.settings
        with keeper.lock:
            seat.wish = "drain"
        self._steps.empty(seat)
        with keeper.lock:
            keeper.put(seat, None)
            seat.settings = replace(seat.settings, digest=models[0], repository=models[1])
            self._starts = seat.starts
        seat.end()
        return seat
