"""The follower of a fleet: servers that appear in the registry get a place in the gateway, and lose it when they go.

A server that is silent is not dead for sure: the file system that all machines share may be slow. It keeps its place
for as long as it answers the gateway, which asks it twice a second.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from typing import Final

from beampipe.errors import FileError
from beampipe.files import replacing
from beampipe.fleet.following.servers import FollowedServer
from beampipe.fleet.registry import remove_record
from beampipe.fleet.running.folder import RunFolder
from beampipe.fleet.running.overseer import Overseer
from beampipe.fleet.specification import Fleet
from beampipe.triton.server.preflight import check_repository

__all__ = ["Follower"]

_FORGOTTEN: Final = 60.0
"""Time [s] after which the record of a server that is silent and has no place is removed."""


class Follower(Overseer):
    """Keeps a gateway before servers that others run.

    Args:
        fleet: the fleet.
        folder: its run folder, with the folder that all machines share.
    """

    def __init__(self, fleet: Fleet, folder: RunFolder) -> None:
        self._servers: dict[str, FollowedServer] = {}
        super().__init__(fleet, folder, check_repository(fleet.repository, fleet.models))

    @property
    def servers(self) -> Mapping[str, FollowedServer]:
        """The servers that have a place or speak, by name."""
        return {
            name: server for name, server in list(self._servers.items()) if server.placed is not None or server.speaks()
        }

    def begin(self) -> None:
        """Say where the gateway is, for clients on other machines."""
        gateway = self.fleet.gateway
        said = {"machine": socket.gethostname(), "host": gateway.host, "port": gateway.port}
        with replacing(self.folder.address) as part:
            part.write_text(json.dumps({**said, "tls": gateway.tls is not None}) + "\n", encoding="utf-8")

    def finish(self) -> None:
        """Leave the servers as they are: they serve the next gateway."""
        self.folder.address.unlink(missing_ok=True)

    def look_at_servers(self) -> None:
        """Give places to servers that are ready, and take them from those that are not.

        Raises:
            FileError: the registry is not to be seen; everything stays as it is.
        """
        if not self.folder.registry.is_dir():
            raise FileError(f"{self.folder.registry}: got no folder, expected the registry; its servers keep places")
        now = time.monotonic()
        for name, record in self.records.items():
            if name not in self._servers:
                self._servers[name] = FollowedServer(record, self.folder.logs_of_servers / f"{name}.log", now)
        for server in list(self._servers.values()):
            server.hear(self.records.get(server.name), now)
            if server.placed is None:
                self._look_at_guest(server, now)
            else:
                self._look_at_placed(server, now)

    def _look_at_guest(self, server: FollowedServer, now: float) -> None:
        """A server without a place gets one, or is forgotten."""
        if server.name not in self.records:
            del self._servers[server.name]
        elif server.speaks(now):
            if server.record.state == "ready" and server.wish == "serve":
                self._find_place(server)
        elif server.silence(now) > _FORGOTTEN:
            self.note(f"{server.name}: is silent for {_FORGOTTEN:g} s; forgotten")
            remove_record(self.folder.registry, server.name)

    def _find_place(self, server: FollowedServer) -> None:
        group = self.fleet.servers.get(server.group)
        taken = {other.place for other in self._servers.values()}
        places = [] if group is None else map(group.server_name, range(group.places))
        server.place = next((place for place in places if place not in taken), None)
        if server.place is not None:
            self.put(server, server.address)
            self.note(f"{server.name}: takes requests, at place {server.place}")
        elif not server.told:
            server.told = True
            why = "of no group that the specification has" if group is None else f"more than servers.{group.name}.most"
            self.note(f"{server.name}: got a server {why}; it gets no requests")

    def _look_at_placed(self, server: FollowedServer, now: float) -> None:
        """A server that ends is emptied; one that hangs, or neither speaks nor answers, loses its place."""
        there = server.name in self.records
        if there and server.speaks(now):
            if server.record.state == "ending":
                self._empty(server)
            elif server.record.state != "ready":
                self._displace(server, f"says that it is {server.record.state}")
            elif server.address != server.placed:
                self._displace(server, "is elsewhere now")
        elif not self.answers_gateway(server.place):
            self._displace(server, "is silent and does not answer" if there else "has ended")

    def _empty(self, server: FollowedServer) -> None:
        if server.wish != "end" and server.place is not None:
            server.wish = "end"
            self.gateway.socket.set_state(server.place, "drain")
            self.note(f"{server.name}: ends; it finishes what it has")

    def _displace(self, server: FollowedServer, why: str) -> None:
        self.put(server, None)
        server.place, server.told = None, False
        self.note(f"{server.name}: {why}; takes no requests")
