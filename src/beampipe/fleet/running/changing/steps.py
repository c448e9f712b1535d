"""The steps of which each change of a running fleet is made. None of them loses a request."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from beampipe.errors import ConfigError, ServiceError, UnknownNameError
from beampipe.fleet.members.settings import MemberSettings
from beampipe.fleet.running.keeper import FleetKeeper
from beampipe.fleet.running.seats import Seat

__all__ = ["Steps"]

_LOOK: Final = 0.05
_DRAINED: Final = 600.0
"""Longest time [s] that requests in progress may take, when a server is taken out."""


class Steps:
    """Takes servers out, ends them and replaces them, and waits until that is done.

    Args:
        keeper: the keeper of the fleet.
    """

    def __init__(self, keeper: FleetKeeper) -> None:
        self.keeper = keeper

    def seat(self, server: str) -> Seat:
        """The server of a name.

        Raises:
            UnknownNameError: there is none.
        """
        if server not in self.keeper.seats:
            raise UnknownNameError("server", server, self.keeper.seats)
        return self.keeper.seats[server]

    def empty(self, seat: Seat) -> None:
        """Let a server finish what it has."""
        keeper = self.keeper
        with keeper.lock:
            if seat.placed is None:
                return
            if keeper.canary is not None and keeper.canary.server == seat.name:
                keeper.gateway.end_trial()
            keeper.gateway.socket.set_state(seat.name, "drain")
        self.wait(lambda: keeper.gateway.socket.places()[seat.name].idle, _DRAINED, f"{seat.name}: requests to finish")

    def end(self, seat: Seat) -> None:
        """Empty a server, end it, and wait until it has ended."""
        with self.keeper.lock:
            seat.wish = "drain"
        self.empty(seat)
        with self.keeper.lock:
            seat.wish = "end"
            if seat.placed is not None:
                self.keeper.place(seat, None)
        seat.end()
        self.wait(
            lambda: seat.name not in self.keeper.seats, 60.0 + self.keeper.fleet.exit_timeout, f"{seat.name}: end"
        )

    def replace(self, seat: Seat, settings: MemberSettings | None = None) -> None:
        """Empty a server, end it, and wait until the next one in its place takes requests.

        Args:
            seat: the server.
            settings: what it is started with; None for what the fleet wants now.
        """
        keeper = self.keeper
        helper = self._helper(seat)
        try:
            with keeper.lock:
                seat.wish = "drain"
            self.empty(seat)
            with keeper.lock:
                if seat.placed is not None:
                    keeper.place(seat, None)
                if settings is None:
                    keeper.renew(seat)
                else:
                    seat.settings = settings
                seat.wish = "serve"
                starts = seat.starts
            seat.end()
            self.wait_for_service([seat], starts)
        finally:
            if helper is not None:
                self.end(helper)

    def _helper(self, seat: Seat) -> Seat | None:
        """A server that serves meanwhile, where no other does and there is a place for it."""
        keeper = self.keeper
        others = [other for other in keeper.seats.values() if other is not seat and other.wish == "serve"]
        if any(other.placed is not None for other in others) or seat.placed is None:
            return None
        group = keeper.fleet.servers[seat.settings.group]
        free = [number for number in range(group.places) if group.server_name(number) not in keeper.seats]
        if not free:
            raise ConfigError(
                f"{seat.name}: got the only server and no place for another; set servers.{group.name}.most to"
                f" {group.places + 1} and do: beampipe fleet up"
            )
        with keeper.lock:
            helper = keeper.add(group, free[0])
        try:
            self.wait_for_service([helper])
        except ServiceError:
            self.end(helper)
            raise
        return helper

    def wait_for_service(self, seats: Sequence[Seat], after: int | None = None) -> None:
        """Wait until servers take requests.

        Args:
            seats: the servers.
            after: number of starts of which there must be one more; None if a server need not start again.
        """
        limit = self.keeper.fleet.start_timeout + 10.0
        for seat in seats:
            failed = (seat.starts if after is None else after) + 1

            def there(seat: Seat = seat, failed: int = failed) -> bool:
                if seat.starts > failed:
                    raise ServiceError(f"{seat.name}: does not start; its log is {seat.settings.log}")
                return seat.placed is not None and (after is None or seat.starts > after)

            self.wait(there, limit, f"{seat.name}: to take requests")

    def wait(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until something holds.

        Args:
            holds: says whether it does.
            seconds: longest time that it may take [s].
            what: what is waited for, for the message.

        Raises:
            ServiceError: it took longer, or the fleet ends.
        """
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise ServiceError(f"{what}: got none within {seconds:g} s; see: beampipe fleet status")
            if self.keeper.ended.is_set():
                raise ServiceError(f"{what}: got the end of the fleet, expected it to go on")
            time.sleep(_LOOK)
