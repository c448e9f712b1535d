"""How closed the door of a server is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError
from beampipe.triton.door.limits import Limits
from beampipe.triton.door.restrictions import check_open
from beampipe.triton.hosts import LOOPBACK, is_loopback

__all__ = ["DoorSettings"]

_SECRET: Final = re.compile("[A-Za-z0-9]{32,128}")


@dataclass(frozen=True)
class DoorSettings:
    """Who is let in to a server, and through what.

    Attributes:
        secret_file: one more file for the secret, beside those in the user's runtime folder.
        opened: interfaces of Triton that need no secret, of ``model-repository``, ``shared-memory``, ``logging`` and
            ``trace``. With the first, any user of the machine may have the server run a program.
        shield: whether HAProxy stands before HTTP; None for wherever it is installed.
        shield_grpc: whether it stands before gRPC too; None for a server that other machines reach.
        open_http: whether other machines reach HTTP as well as gRPC, if they reach the server at all.
        limits: what the shield lets through.
        secret: the secret to ask for, such as the one of all servers of a fleet; None for a random one.
    """

    secret_file: Path | None = None
    opened: tuple[str, ...] = ()
    shield: bool | None = None
    shield_grpc: bool | None = None
    open_http: bool = False
    limits: Limits = field(default_factory=Limits)
    secret: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_open(self.opened)
        if self.secret is not None and not _SECRET.fullmatch(self.secret):
            raise ConfigError("secret: got a weak one, expected 32 to 128 letters and digits")
        if self.shield is False and self.shield_grpc:
            raise ConfigError("--shield-grpc: got it with --no-shield, expected either")

    def http_host(self, host: str) -> str:
        """The address for HTTP of a server that listens on `host`."""
        return host if self.open_http or is_loopback(host) else LOOPBACK

    def shields_grpc(self, host: str) -> bool:
        """Whether the shield stands before gRPC of a server that listens on `host`."""
        return not is_loopback(host) if self.shield_grpc is None else self.shield_grpc
