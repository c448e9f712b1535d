"""The simulated fleet that a specification describes."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.fleet.planning.simulator import FleetShape
from beampipe.fleet.specification import GatewaySettings, read_fleet

__all__ = ["make_shape"]

_GATEWAY: Final = GatewaySettings()
_SPARE: Final = 2
"""Requests in flight for each instance where nothing is stated: one is worked on, the next one waits beside it."""


def make_shape(
    fleet: Path | None,
    group: str | None,
    servers: int,
    instances: int,
    *,
    cores: int | None = None,
    per_machine: int = 1,
    in_flight: int | None = None,
    queue: int | None = None,
) -> FleetShape:
    """A fleet to simulate: what is said here, else what its specification says, else the default of that.

    Without a specification a server has at least two requests in flight for each instance.

    Args:
        fleet: file of the specification; None for none.
        group: group of servers in it; None for the first.
        servers: number of servers.
        instances: number of instances of the model in each server.
        cores: number of cores of a machine; None for those that a server of the group has, or one for each instance.
        per_machine: number of servers that share a machine.
        in_flight: largest number of requests that one server has at once.
        queue: largest number of requests that wait for a server.

    Raises:
        BeampipeError: the specification cannot be read, or has no such group.

    Warns:
        UserWarning: the gateway gives a server fewer requests than it has instances.
    """
    gateway, stated = replace(_GATEWAY, in_flight=max(_GATEWAY.in_flight, _SPARE * instances)), instances * per_machine
    if fleet is None and group is not None:
        raise ConfigError(f"group: got {group!r} without the specification of a fleet, expected both")
    if fleet is not None:
        found = read_fleet(fleet)
        gateway = found.gateway
        chosen = next(iter(found.servers)) if group is None else group
        if chosen not in found.servers:
            raise UnknownNameError("group of servers", chosen, found.servers)
        stated = found.servers[chosen].cores * per_machine
    shape = FleetShape(
        servers,
        instances=instances,
        cores=stated if cores is None else cores,
        servers_per_machine=per_machine,
        in_flight=gateway.in_flight if in_flight is None else in_flight,
        queue=gateway.queue if queue is None else queue,
        policy=gateway.balancing,
    )
    if shape.in_flight is not None and shape.in_flight < instances:
        warnings.warn(
            f"in flight: got {shape.in_flight} requests for {instances} instances of a server, expected at least as"
            f" many: {instances - shape.in_flight} instances never work",
            stacklevel=2,
        )
    return shape
