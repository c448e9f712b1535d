"""Secret and inner ports of a server on this machine, in files that only programs of its user can read.

Each server has a random secret. Triton requires it before it loads models, maps shared memory or changes settings.
There is one file per port, in a folder of that user, in which clients look up the port that they connect to. The secret
becomes invalid when the server ends.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from beampipe import processes
from beampipe.errors import ConfigError, FileError
from beampipe.files import replacing

KEY: Final = "beampipe"
"""Name of the secret among the restricted protocols of gRPC."""

HEADER: Final = f"triton-grpc-protocol-{KEY}"
"""Name of the header with the secret: the one that gRPC derives from `KEY`, and the same over HTTP."""

SECRET_VARIABLE: Final = "BEAMPIPE_SECRET_FILE"
"""Name of the environment variable that names one more file with the connection to a server."""

_BYTES: Final = 32
_SUFFIX: Final = ".json"


@dataclass(frozen=True)
class ConnectionInfo:
    """Ports and secret of one server.

    Attributes:
        host: public address of the server.
        http: public port for HTTP.
        grpc: public port for gRPC.
        inner_http: loopback port for HTTP, behind the reverse proxy; it requires the secret.
        inner_grpc: loopback port for gRPC, behind the reverse proxy.
        secret: value of `HEADER`.
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
        """All ports that require the secret."""
        return tuple(dict.fromkeys((self.http, self.grpc, self.inner_http, self.inner_grpc)))

    @property
    def alive(self) -> bool:
        """Whether the server's owner still runs."""
        return processes.is_same(self.owner, self.started)


def new_connection(
    host: str, http: int, grpc: int, inner_http: int, inner_grpc: int, secret: str | None = None
) -> ConnectionInfo:
    """The connection to a server of this process, with a random secret if none is given."""
    own = os.getpid()
    started = processes.start_time(own) or 0
    return ConnectionInfo(host, http, grpc, inner_http, inner_grpc, secret or secrets.token_hex(_BYTES), own, started)


def write_connection(info: ConnectionInfo, extra: Path | None = None) -> None:
    """Write the files by which programs of this user find a server, one for each of its ports.

    Args:
        info: the connection to a server.
        extra: one more file.

    Raises:
        ConfigError: there is no folder of this user with mode 0700.
        FileError: the extra file cannot be written.
    """
    refusals = []
    for folder in _folders():
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            status = folder.lstat()
        except OSError as error:
            refusals.append(f"{folder}: {error.strerror}")
            continue
        if status.st_uid != os.getuid():
            refusals.append(f"{folder}: belongs to user {status.st_uid}")
        elif not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o077:
            refusals.append(f"{folder}: no folder with mode 0700")
        else:
            break
    else:
        raise ConfigError(
            f"{'; '.join(refusals)}; expected a folder of this user with mode 0700 for the secret of the server; set"
            " XDG_RUNTIME_DIR to one"
        )
    text = json.dumps(asdict(info))
    for path in [folder / f"{port}{_SUFFIX}" for port in info.ports] + ([extra] if extra else []):
        with replacing(path) as part:
            part.touch(mode=0o600)
            part.write_text(text)


def remove_connection(info: ConnectionInfo, extra: Path | None = None) -> None:
    """Remove the files of a server, unless another server has taken its ports since."""
    paths = [folder / f"{port}{_SUFFIX}" for folder in _folders() for port in info.ports]
    for path in paths + ([extra] if extra else []):
        if _read(path) == info:
            path.unlink(missing_ok=True)


def remove_dead_connections() -> None:
    """Remove the files of servers whose owner has ended."""
    for folder in _folders():
        for path in folder.glob(f"*{_SUFFIX}"):
            info = _read(path)
            if info is not None and not info.alive:
                path.unlink(missing_ok=True)


def find_connection(host: str, port: int, *, local: bool) -> ConnectionInfo | None:
    """The connection to the server at an address; None if this user has no secret for it, or its owner has ended.

    The owner of a server in the file of `SECRET_VARIABLE` may be in a container or on another machine, and is not
    checked.

    Args:
        host: name or address of the machine.
        port: port of the server.
        local: whether the address is of this machine's loopback.
    """
    named = os.environ.get(SECRET_VARIABLE)
    if named and (info := _read(Path(named))) is not None and port in info.ports:
        return info
    for folder in _folders():
        info = _read(folder / f"{port}{_SUFFIX}")
        if info is not None and (local or info.host == host) and info.alive:
            return info
    return None


def use_secret_file(path: Path | None) -> None:
    """Set `SECRET_VARIABLE`, for this process and those that it starts.

    Args:
        path: the file; None to leave the environment as it is.

    Raises:
        FileError: no connection is in the file, or others can read it.
    """
    if path is None:
        return
    if _read(path) is None:
        message = f"{path}: got no secret, expected the file of a server, of this user and with mode 0600"
        raise FileError(message, path=path)
    os.environ[SECRET_VARIABLE] = str(path)


def _folders() -> Iterator[Path]:
    """The folders of this user for these files, whether they exist or not; the first usable one is used."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        yield Path(runtime) / "beampipe"
    yield Path("/tmp") / f"beampipe-{os.getuid()}"  # not $TMPDIR: a server and its user's shell may differ in it
    # Another user can create the folder in /tmp first. A home folder may be shared by several machines.
    home = os.environ.get("HOME")
    if home:
        yield Path(home) / f".beampipe-{os.uname().nodename}"


def _read(path: Path) -> ConnectionInfo | None:
    """The connection in a file; None if there is none, or others might have written it."""
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return _parsed(path, status.st_ino, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _parsed(path: Path, inode: int, changed: int) -> ConnectionInfo | None:
    """Content of a file, cached until the file changes: clients read it at each new connection."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, encoding="utf-8") as stream:
            status = os.fstat(descriptor)
            if status.st_uid != os.getuid() or status.st_mode & 0o077:
                return None
            return ConnectionInfo(**json.load(stream))
    except (OSError, ValueError, TypeError):
        return None
