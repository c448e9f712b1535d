"""How a fleet is, as data for whoever asks."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Final

from beampipe.errors import BeampipeError
from beampipe.fleet.gateway.asking import PlaceState
from beampipe.fleet.running.overseer import Overseer

__all__ = ["status_of"]

_LATEST: Final = 20


def status_of(keeper: Overseer) -> dict[str, Any]:
    """How everything is: servers, gateway, and what happened last.

    Args:
        keeper: the keeper of the fleet.
    """
    places: dict[str, PlaceState] = {}
    with suppress(BeampipeError):
        places = keeper.gateway.socket.places()
    gateway = keeper.fleet.gateway
    servers = []
    for server in list(keeper.servers.values()):
        record = keeper.records.get(server.name)
        said = record if server.describes(record) else None
        place = None if server.place is None else places.get(server.place)
        servers.append(
            {
                "server": server.name,
                "group": server.group,
                "wish": server.wish,
                "state": said.state if said is not None else "starting" if server.pid else "dead",
                "gateway": "-" if place is None else place.status,
                "pid": server.pid,
                "address": None if server.placed is None else list(server.placed),
                "metrics": None if said is None else said.metrics,
                "models": [] if said is None else list(said.models),
                "digest": server.digest,
                "starts": server.starts,
                "running": 0 if place is None else place.running,
                "waiting": 0 if place is None else place.waiting,
                "answered": 0 if place is None else place.answered,
                "log": str(server.log),
            }
        )
    return {
        "name": keeper.fleet.name,
        "folder": str(keeper.folder.path),
        "time": time.time(),
        "gateway": {
            "pid": keeper.gateway.pid,
            "host": gateway.host,
            "port": gateway.port,
            "tls": gateway.tls is not None,
            "tokens": gateway.tokens is not None,
            "balancing": gateway.balancing,
            "status_port": keeper.status_port,
        },
        "page": keeper.watch.page_url,
        "prometheus": {"pid": keeper.watch.prometheus_pid, "url": keeper.watch.prometheus_url},
        "servers": servers,
        "ready": bool(servers) and all(row["address"] is not None or row["wish"] != "serve" for row in servers),
        "incidents": [list(incident) for incident in keeper.incidents[-_LATEST:]],
    }
