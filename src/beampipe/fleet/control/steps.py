"""The steps of which every change of a running fleet consists: drain, wait, stop, replace. No request is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from beampipe.errors import ConfigError, ServiceError, UnknownNameError
from beampipe.fleet.control.managed_server import LocalServer, ManagedServer
from beampipe.fleet.control.reconciler import LocalReconciler, Reconciler
from beampipe.fleet.server import FleetServerSettings
from beampipe.fleet.specification import Fleet, ServerGroup

_LOOK: Final = 0.05
_DRAINED: Final = 600.0
"""Longest time [s] for requests in progress to finish when a server is drained."""
_CONFIGURED: Final = 30.0
"""Longest time [s] until the gateway runs with another configuration; 0.2 s is typical."""


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

    def drain(self, server: ManagedServer) -> None:
        """Drain a server, and wait until its requests are finished."""
        reconciler = self.reconciler
        with reconciler.lock:
            server.desired_state = "drain"

        self.wait(lambda: reconciler.is_drained(server), _DRAINED, f"{server.name}: requests to finish")

    def serve(self, servers: Sequence[ManagedServer], after: int | None = None) -> None:
        """Let servers take requests, and wait until they do.

        Args:
            servers: the servers.
            after: number of starts before the present process was started; None if it may be any number.
        """
        limit = self.reconciler.fleet.start_timeout + 10.0
        with self.reconciler.lock:
            for server in servers:
                server.desired_state = "serve"
        for server in servers:
            failed = (server.starts if after is None else after) + 1

            def serves(server: ManagedServer = server, failed: int = failed) -> bool:
                if server.starts > failed:
                    raise ServiceError(f"{server.name}: does not start; its log is {server.log}")
                return self.reconciler.in_service(server)

            self.wait(serves, limit, f"{server.name}: to take requests")

    def configure_gateway(self, fleet: Fleet, models: tuple[str, ...] | None = None) -> None:
        """Change the configuration of the gateway, and wait until it is in force.

        Args:
            fleet: the specification.
            models: names of the models that a server must have to get requests; None for those as before.

        Raises:
            ConfigError: HAProxy does not load it; the old one is wanted again.
            ServiceError: HAProxy does not answer; the old one is wanted again.
        """
        reconciler = self.reconciler
        before = reconciler.fleet, reconciler.gateway.plan.models
        reconciler.change_gateway(fleet, models)
        try:
            self.wait(reconciler.gateway_is_configured, _CONFIGURED, "gateway: another configuration")
        except (ConfigError, ServiceError):
            if not reconciler.ended.is_set():
                reconciler.change_gateway(*before)
            raise

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

    def server(self, server: str) -> LocalServer:
        """The server of a name.

        Raises:
            UnknownNameError: there is none.
        """
        result = super().server(server)
        assert isinstance(result, LocalServer)
        return result

    def free_number(self, group: ServerGroup) -> int | None:
        """The lowest unused server number of a group, None if all its slots are taken."""
        servers = self.reconciler.servers
        return next((number for number in range(group.slots) if group.server_name(number) not in servers), None)

    def end(self, server: LocalServer) -> None:
        """Drain a server, stop it, and wait until it has ended."""
        with self.reconciler.lock:
            server.desired_state = "end"
        limit = _DRAINED + 60.0 + self.reconciler.fleet.exit_timeout
        self.wait(lambda: server.name not in self.reconciler.servers, limit, f"{server.name}: end")

    def replace(self, server: LocalServer, settings: FleetServerSettings | None = None) -> None:
        """Drain a server, stop it, and wait until its successor takes requests.

        If no other server takes requests, a temporary one is started first, in a free slot of the group.

        Args:
            server: the server.
            settings: settings of the successor; None for those of the current specification.
        """
        helper = self._helper(server)
        try:
            self.serve([server], after=self.renew(server, settings))
        finally:
            if helper is not None:
                self.end(helper)

    def renew(self, server: LocalServer, settings: FleetServerSettings | None) -> int:
        """Have a server drained and its process replaced, and wait until the next one was started.

        Args:
            server: the server.
            settings: settings of the successor; None for those of the current specification.

        Returns:
            Number of its starts before.
        """
        with self.reconciler.lock:
            server.settings = self.reconciler.current_settings(server) if settings is None else settings
            server.outdated = True
            starts = server.starts
        limit = _DRAINED + 60.0 + self.reconciler.fleet.exit_timeout
        self.wait(lambda: server.starts > starts, limit, f"{server.name}: another process")
        return starts

    def _helper(self, server: LocalServer) -> LocalServer | None:
        """Start a temporary server if no other takes requests; None if one does."""
        reconciler = self.reconciler
        others = [
            other for other in reconciler.servers.values() if other is not server and other.desired_state == "serve"
        ]
        if any(map(reconciler.in_service, others)) or not reconciler.in_service(server):
            return None
        group = reconciler.fleet.servers[server.settings.group]
        free = self.free_number(group)
        if free is None:
            raise no_slot(server.name, group)
        with reconciler.lock:
            helper = reconciler.add(group, free)
        try:
            self.serve([helper])
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
