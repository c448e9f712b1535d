"""The secret and the inner ports of a server on this machine, in a file that only its user's programs can read."""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from beampipe import processes
from beampipe.errors import ConfigError, FileError
from beampipe.files import replacing

__all__ = [
    "HEADER",
    "KEY",
    "SECRET_VARIABLE",
    "ConnectionInfo",
    "find_connection",
    "new_connection",
    "remove_connection",
    "remove_dead_connections",
    "use_secret_file",
    "write_connection",
]

KEY: Final = "beampipe"
"""Name of the secret among the restricted protocols of gRPC."""

HEADER: Final = f"triton-grpc-protocol-{KEY}"
"""Name of the header with the secret: what gRPC makes of `KEY`, and the same over HTTP."""

SECRET_VARIABLE: Final = "BEAMPIPE_SECRET_FILE"
"""Name of the environment variable that names one more file with the door of a server."""

_BYTES: Final = 32
_SUFFIX: Final = ".json"


@dataclass(frozen=True)
class ConnectionInfo:
    """How to be let into one server.

    Attributes:
        host: address on which the server is for everybody.
        http: port for HTTP for everybody.
        grpc: port for gRPC for everybody.
        inner_http: port of this machine for HTTP that asks for the secret, with no shield before it.
        inner_grpc: port of this machine for gRPC, with no shield before it.
        secret: what is sent as `HEADER`.
        owner: process id of the server's owner.
        started: start time of the owner [clock ticks since boot].
    """

    host: str
    http: int
    grpc: int
    inner_http: int
    inner_grpc: int
    secret: str = field(repr=False)
    owner: int
    started: int

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The header to send, over HTTP or gRPC."""
        return ((HEADER, self.secret),)

    @property
    def ports(self) -> tuple[int, ...]:
        """All ports at which the secret is asked for."""
        return tuple(dict.fromkeys((self.http, self.grpc, self.inner_http, self.inner_grpc)))

    @property
    def alive(self) -> bool:
        """Whether the server's owner is still there."""
        return processes.is_same(self.owner, self.started)


def new_connection(
    host: str, http: int, grpc: int, inner_http: int, inner_grpc: int, secret: str | None = None
) -> ConnectionInfo:
    """A door of this process, with a secret of its own if none is given."""
    own = os.getpid()
    started = processes.start_time(own) or 0
    return ConnectionInfo(host, http, grpc, inner_http, inner_grpc, secret or secrets.token_hex(_BYTES), own, started)


def write_connection(door: ConnectionInfo, extra: Path | None = None) -> None:
    """Put the door where programs of this user find it.

    Args:
        door: the door of a server.
        extra: one more file for it.

    Raises:
        ConfigError: there is no folder that is safe.
        FileError: the extra file cannot be written.
    """
    folder = _folder_to_write()
    text = json.dumps(asdict(door))
    for path in [folder / f"{port}{_SUFFIX}" for port in door.ports] + ([extra] if extra else []):
        with replacing(path) as part:
            part.touch(mode=0o600)
            part.write_text(text)


def remove_connection(door: ConnectionInfo, extra: Path | None = None) -> None:
    """Remove the files of a door, unless another server has taken its ports since."""
    paths = [folder / f"{port}{_SUFFIX}" for folder in _folders() for port in door.ports]
    for path in paths + ([extra] if extra else []):
        if _read(path) == door:
            path.unlink(missing_ok=True)


def remove_dead_connections() -> None:
    """Remove the files of servers whose owner is gone."""
    for folder in _folders():
        for path in folder.glob(f"*{_SUFFIX}"):
            door = _read(path)
            if door is not None and not door.alive:
                path.unlink(missing_ok=True)


def find_connection(host: str, port: int, *, local: bool) -> ConnectionInfo | None:
    """The door of the server at an address, None if this user has no secret for it, or its owner is gone.

    The owner of a door in a named file may be in a container or on another machine, and is not looked at.

    Args:
        host: name or address of the machine.
        port: port of the server.
        local: whether the address is of this machine's loopback.
    """
    named = os.environ.get(SECRET_VARIABLE)
    if named and (door := _read(Path(named))) is not None and port in door.ports:
        return door
    for folder in _folders():
        door = _read(folder / f"{port}{_SUFFIX}")
        if door is not None and (local or door.host == host) and door.alive:
            return door
    return None


def use_secret_file(path: Path | None) -> None:
    """Have this process, and what it starts, find a door in one more file.

    Args:
        path: the file; None for whatever the environment says.

    Raises:
        FileError: there is no door in the file, or others can read it.
    """
    if path is None:
        return
    if _read(path) is None:
        message = f"{path}: got no secret, expected the file of a server, of this user and with mode 0600"
        raise FileError(message, path=path)
    os.environ[SECRET_VARIABLE] = str(path)


def _folders() -> Iterator[Path]:
    """The folders of this user in which doors are looked for, whether they are there or not."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        yield Path(runtime) / "beampipe"
    yield Path("/tmp") / f"beampipe-{os.getuid()}"  # not $TMPDIR: a server and its user's shell may differ in it


def _folder_to_write() -> Path:
    for folder in _folders():
        with suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
                return folder
    tried = ", ".join(map(str, _folders()))
    raise ConfigError(f"{tried}: got no folder of this user with mode 0700, expected one, for the secret of the server")


def _read(path: Path) -> ConnectionInfo | None:
    """The door in a file; None if there is none, or one that others might have written."""
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return _parsed(path, found.st_ino, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _parsed(path: Path, inode: int, changed: int) -> ConnectionInfo | None:
    """What a file holds, read again only if it is another one: clients look at each new connection."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, encoding="utf-8") as stream:
            found = os.fstat(descriptor)
            if found.st_uid != os.getuid() or found.st_mode & 0o077:
                return None
            return ConnectionInfo(**json.load(stream))
    except (OSError, ValueError, TypeError):
        return None
