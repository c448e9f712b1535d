"""The steps that every change of a running fleet consists of. None of them loses a request."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from beampipe.errors import ConfigError, ServiceError, UnknownNameError
from beampipe.fleet.control.managed_server import LocalServer
from beampipe.fleet.control.reconciler import LocalReconciler, ManagedServer, Reconciler
from beampipe.fleet.server import FleetServerSettings
from beampipe.fleet.specification import ServerGroup

__all__ = ["GatewaySteps", "Steps", "no_place"]

_LOOK: Final = 0.05
_DRAINED: Final = 600.0
"""Longest time [s] that requests in progress may take, when a server is taken out."""


class GatewaySteps:
    """Takes servers out and waits for them, whoever runs them.

    Args:
        overseer: the overseer of the fleet.
    """

    def __init__(self, overseer: Reconciler) -> None:
        self._overseer = overseer

    def server(self, server: str) -> ManagedServer:
        """The server of a name.

        Raises:
            UnknownNameError: there is none.
        """
        servers = self._overseer.servers
        if server not in servers:
            raise UnknownNameError("server", server, servers)
        return servers[server]

    def empty(self, server: ManagedServer) -> None:
        """Let a server finish what it has."""
        overseer, place = self._overseer, server.place
        with overseer.lock:
            if server.placed is None or place is None:
                return
            if overseer.canary is not None and overseer.canary.server == place:
                overseer.gateway.end_trial()
            overseer.gateway.socket.set_state(place, "drain")
        self.wait(lambda: overseer.gateway.socket.places()[place].idle, _DRAINED, f"{server.name}: requests to finish")

    def wait_for_service(self, servers: Sequence[ManagedServer], after: int | None = None) -> None:
        """Wait until servers take requests.

        Args:
            servers: the servers.
            after: number of starts of which there must be one more; None if a server need not start again.
        """
        limit = self._overseer.fleet.start_timeout + 10.0
        for server in servers:
            failed = (server.starts if after is None else after) + 1

            def there(server: ManagedServer = server, failed: int = failed) -> bool:
                if server.starts > failed:
                    raise ServiceError(f"{server.name}: does not start; its log is {server.log}")
                return server.placed is not None and (after is None or server.starts > after)

            self.wait(there, limit, f"{server.name}: to take requests")

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
            if self._overseer.ended.is_set():
                raise ServiceError(f"{what}: got the end of the fleet, expected it to go on")
            time.sleep(_LOOK)


class Steps(GatewaySteps):
    """Ends and replaces servers of this machine, too.

    Args:
        keeper: the keeper of the fleet.
    """

    def __init__(self, keeper: LocalReconciler) -> None:
        super().__init__(keeper)
        self.keeper = keeper

    def seat(self, server: str) -> LocalServer:
        """The server of a name.

        Raises:
            UnknownNameError: there is none.
        """
        if server not in self.keeper.seats:
            raise UnknownNameError("server", server, self.keeper.seats)
        return self.keeper.seats[server]

    def free_number(self, group: ServerGroup) -> int | None:
        """The first number of a group that no server has, None if there is no place for one more."""
        seats = self.keeper.seats
        return next((number for number in range(group.places) if group.server_name(number) not in seats), None)

    def end(self, seat: LocalServer) -> None:
        """Empty a server, end it, and wait until it has ended."""
        with self.keeper.lock:
            seat.wish = "drain"
        self.empty(seat)
        with self.keeper.lock:
            seat.wish = "end"
            if seat.placed is not None:
                self.keeper.put(seat, None)
        seat.end()
        self.wait(
            lambda: seat.name not in self.keeper.seats, 60.0 + self.keeper.fleet.exit_timeout, f"{seat.name}: end"
        )

    def replace(self, seat: LocalServer, settings: FleetServerSettings | None = None) -> None:
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
                    keeper.put(seat, None)
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

    def _helper(self, seat: LocalServer) -> LocalServer | None:
        """A server that serves meanwhile, where no other does and there is a place for it."""
        keeper = self.keeper
        others = [other for other in keeper.seats.values() if other is not seat and other.wish == "serve"]
        if any(other.placed is not None for other in others) or seat.placed is None:
            return None
        group = keeper.fleet.servers[seat.settings.group]
        free = self.free_number(group)
        if free is None:
            raise no_place(seat.name, group)
        with keeper.lock:
            helper = keeper.add(group, free)
        try:
            self.wait_for_service([helper])
        except ServiceError:
            self.end(helper)
            raise
        return helper


def no_place(what: str, group: ServerGroup) -> ConfigError:
    """What to raise where the only server is to be taken out and none can serve meanwhile.

    Args:
        what: server or group that was to be changed.
        group: the group of the server.
    """
    return ConfigError(
        f"{what}: got the only server and no place for another; set servers.{group.name}.most to"
        f" {group.places + 1} and do: beampipe fleet up"
    )
