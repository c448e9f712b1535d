"""The steps of which every change of a running fleet consists: drain, wait, stop, replace. No request is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from beampipe.errors import ConfigError, ServiceError, UnknownNameError
from beampipe.fleet.control.managed_server import LocalServer
from beampipe.fleet.control.reconciler import LocalReconciler, ManagedServer, Reconciler
from beampipe.fleet.server import FleetServerSettings
from beampipe.fleet.specification import ServerGroup

_LOOK: Final = 0.05
_DRAINED: Final = 600.0
"""Longest time [s] for requests in progress to finish when a server is drained."""


class GatewaySteps:
    """Drains servers and waits for them, on this machine or elsewhere.

    Args:
        reconciler: the reconciler of the fleet.
    """

    def __init__(self, reconciler: Reconciler) -> None:
        self.reconciler = reconciler

    def server(self, server: str) -> ManagedServer:
        """The server of a name.

        Raises:
            UnknownNameError: there is none.
        """
        servers = self.reconciler.servers
        if server not in servers:
            raise UnknownNameError("server", server, servers)
        return servers[server]

    def empty(self, server: ManagedServer) -> None:
        """Drain a server, and wait until its requests are finished."""
        reconciler, slot = self.reconciler, server.slot
        with reconciler.lock:
            if server.slot_address is None or slot is None:
                return
            if reconciler.canary is not None and reconciler.canary.server == slot:
                reconciler.gateway.end_trial()
            reconciler.gateway.socket.set_state(slot, "drain")
        self.wait(lambda: reconciler.gateway.socket.slots()[slot].idle, _DRAINED, f"{server.name}: requests to finish")

    def wait_for_service(self, servers: Sequence[ManagedServer], after: int | None = None) -> None:
        """Wait until servers take requests.

        Args:
            servers: the servers.
            after: number of starts before a restart, which must happen first; None if no restart is expected.
        """
        limit = self.reconciler.fleet.start_timeout + 10.0
        for server in servers:
            failed = (server.starts if after is None else after) + 1

            def there(server: ManagedServer = server, failed: int = failed) -> bool:
                if server.starts > failed:
                    raise ServiceError(f"{server.name}: does not start; its log is {server.log}")
                return server.slot_address is not None and (after is None or server.starts > after)

            self.wait(there, limit, f"{server.name}: to take requests")

    def wait(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until a condition holds.

        Args:
            holds: evaluates the condition.
            seconds: time limit [s].
            what: name of the condition in the error message.

        Raises:
            ServiceError: the time limit is over, or the fleet stops.
        """
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise ServiceError(f"{what}: got none within {seconds:g} s; see: beampipe fleet status")
            if self.reconciler.ended.is_set():
                raise ServiceError(f"{what}: got the end of the fleet, expected it to go on")
            time.sleep(_LOOK)


class Steps(GatewaySteps):
    """Also stops and replaces servers, for a fleet on this machine.

    Args:
        reconciler: the reconciler of the fleet.
    """

    reconciler: LocalReconciler

    def __init__(self, reconciler: LocalReconciler) -> None:
        super().__init__(reconciler)

    def server(self, server: str) -> LocalServer:
        """The server of a name.

        Raises:
            UnknownNameError: there is none.
        """
        found = super().server(server)
        assert isinstance(found, LocalServer)
        return found

    def free_number(self, group: ServerGroup) -> int | None:
        """The lowest unused server number of a group, None if all its slots are taken."""
        servers = self.reconciler.servers
        return next((number for number in range(group.slots) if group.server_name(number) not in servers), None)

    def end(self, server: LocalServer) -> None:
        """Drain a server, stop it, and wait until it has ended."""
        with self.reconciler.lock:
            server.desired_state = "drain"
        self.empty(server)
        with self.reconciler.lock:
            server.desired_state = "end"
            if server.slot_address is not None:
                self.reconciler.set_slot(server, None)
        server.end()
        self.wait(
            lambda: server.name not in self.reconciler.servers,
            60.0 + self.reconciler.fleet.exit_timeout,
            f"{server.name}: end",
        )

    def replace(self, server: LocalServer, settings: FleetServerSettings | None = None) -> None:
        """Drain a server, stop it, and wait until its successor takes requests.

        If no other server takes requests, a temporary one is started first, in a free slot of the group.

        Args:
            server: the server.
            settings: settings of the successor; None for those of the current specification.
        """
        reconciler = self.reconciler
        helper = self._helper(server)
        try:
            with reconciler.lock:
                server.desired_state = "drain"
            self.empty(server)
            with reconciler.lock:
                if server.slot_address is not None:
                    reconciler.set_slot(server, None)
                if settings is None:
                    reconciler.refresh_settings(server)
                else:
                    server.settings = settings
                server.desired_state = "serve"
                starts = server.starts
            server.end()
            self.wait_for_service([server], starts)
        finally:
            if helper is not None:
                self.end(helper)

    def _helper(self, server: LocalServer) -> LocalServer | None:
        """Start a temporary server if no other takes requests; None if one does."""
        reconciler = self.reconciler
        others = [
            other for other in reconciler.servers.values() if other is not server and other.desired_state == "serve"
        ]
        if any(other.slot_address is not None for other in others) or server.slot_address is None:
            return None
        group = reconciler.fleet.servers[server.settings.group]
        free = self.free_number(group)
        if free is None:
            raise no_slot(server.name, group)
        with reconciler.lock:
            helper = reconciler.add(group, free)
        try:
            self.wait_for_service([helper])
        except ServiceError:
            self.end(helper)
            raise
        return helper


def no_slot(what: str, group: ServerGroup) -> ConfigError:
    """The error if the only server had to be drained and no slot is free for another.

    Args:
        what: server or group that was to be changed.
        group: the group of the server.
    """
    return ConfigError(
        f"{what}: got the only server and no slot for another; set servers.{group.name}.most to"
        f" {group.slots + 1} and do: beampipe fleet up"
    )
