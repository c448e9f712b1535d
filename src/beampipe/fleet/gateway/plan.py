"""What a gateway is told: the places for servers, and files that only this run knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from beampipe.fleet.specification import Fleet

__all__ = ["Address", "GatewayPlan", "Place", "places_of"]


class Address(NamedTuple):
    """Where a server is.

    Attributes:
        host: host name or address.
        http: port for HTTP.
        grpc: port for gRPC.
    """

    host: str
    http: int
    grpc: int


@dataclass(frozen=True)
class Place:
    """A place for one server in the gateway; HAProxy can check the health of places only, so all are made at the start.

    Attributes:
        server: name of the server.
        weight: its share of the requests beside others.
        address: where it is; None if nobody takes the place.
    """

    server: str
    weight: int
    address: Address | None = None


@dataclass(frozen=True)
class GatewayPlan:
    """A gateway with what stands behind it.

    Attributes:
        fleet: the fleet.
        places: places for servers.
        socket: the socket through which HAProxy is asked.
        status_port: port on loopback for metrics.
        models: names of the models that a server must have to be asked.
        secret: the servers' secret.
        tokens: map of tokens; None if none is asked for.
        hits: program that finds the server with the fewest hits, in Lua; None if another rule is used.
    """

    fleet: Fleet
    places: tuple[Place, ...]
    socket: Path
    status_port: int
    models: tuple[str, ...]
    secret: str = field(repr=False)
    tokens: Path | None = None
    hits: Path | None = None


def places_of(fleet: Fleet) -> tuple[Place, ...]:
    """The places of a fleet, all free."""
    return tuple(
        Place(group.server_name(number), group.weight)
        for group in fleet.servers.values()
        for number in range(group.places)
    )
