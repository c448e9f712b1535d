"""The run folder of a fleet: paths of its files while it runs, and snapshots of its models.

A snapshot is named by a digest of its contents, so a restarted server gets the models that it had, not newer ones.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError, FileError
from beampipe.files import explained_if_full, replacing, size_text
from beampipe.fleet.specification import Fleet

_LONGEST_SOCKET: Final = 100
"""Longest path of a socket [bytes]; Linux allows 107."""


class RunFolder:
    """The paths of a running fleet.

    Args:
        path: the folder.
        shared: folder of registry and secret that all machines of the fleet see; None for `path`.

    Attributes:
        path: the folder.
        shared: the folder that all machines see, None for `path`.
        intent: what the operator has asked for.
        lock: locked by the process that runs the fleet.
        process: process id and start time of the process that runs the fleet.
        socket: socket for commands.
        gateway_socket: socket of HAProxy.
        access_socket: socket to which HAProxy sends a line for each request.
        access_log: the access log.
        members: settings of the servers.
        repositories: copies of the models, one folder per digest.
        logs: logs of everything.
        prometheus: settings and data of Prometheus.
        registry: records of the servers.
        secret: the secret of the fleet's servers.
        address: address of the gateway, for machines that see the shared folder.
        logs_of_servers: logs of the servers.

    Raises:
        ConfigError: the path is too long for a socket.
    """

    def __init__(self, path: Path, shared: Path | None = None) -> None:
        self.path, self.shared = path, shared
        self._seen_by_all = path if shared is None else shared
        self.intent = path / "intent.json"
        self.lock = path / "lock"
        self.process = path / "process.json"
        self.socket = path / "orders.sock"
        self.gateway_socket = path / "haproxy.sock"
        self.access_socket = path / "access.sock"
        self.members = path / "members"
        self.repositories = path / "repositories"
        self.logs = path / "logs"
        self.access_log = self.logs / "access.jsonl"
        self.prometheus = path / "prometheus"
        self.registry = self._seen_by_all / "registry"
        self.secret = self._seen_by_all / "secret"
        self.address = self._seen_by_all / "gateway.json"
        self.logs_of_servers = self._seen_by_all / "logs"
        if len(os.fsencode(self.gateway_socket)) > _LONGEST_SOCKET:
            raise ConfigError(
                f"{path}: got a path that is too long for a socket in it, expected a shorter one; set --folder"
            )

    def make(self) -> None:
        """Make the folder, accessible to its user only, and the secret.

        Raises:
            ConfigError: it belongs to another user, has files of something else, or other users can write to the
                shared one.
            FileError: it cannot be made.
        """
        for path in {self.path, self._seen_by_all}:
            try:
                path.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise FileError(
                    f"{path}: cannot be made ({error.strerror}), expected a folder for the state of the fleet; set"
                    " --folder or XDG_STATE_HOME",
                    path=path,
                ) from error
            if path.stat().st_uid != os.getuid():
                raise ConfigError(f"{path}: got a folder of another user, expected one of yours; choose another")
        if self.shared is not None and self.shared.stat().st_mode & 0o022:
            raise ConfigError(f"{self.shared}: got a folder that others may write to; do: chmod go-w {self.shared}")
        if not self.members.exists() and any(self.path.iterdir()):
            raise ConfigError(f"{self.path}: got a folder with files of something else, expected none or an empty one")
        self.path.chmod(0o700)
        with explained_if_full(self.secret):
            for folder in (self.registry, self.members, self.repositories, self.logs, self.prometheus):
                folder.mkdir(exist_ok=True)
            if not self.secret.exists():
                with replacing(self.secret) as part:
                    part.touch(mode=0o600)
                    part.write_text(secrets.token_hex(32), encoding="ascii")


def run_folder_of(name: str, folder: Path | None = None, shared: Path | None = None) -> RunFolder:
    """The run folder of a fleet.

    Args:
        name: name of the fleet.
        folder: path of the folder; None for one in the user's state folder.
        shared: folder of registry and secret that all machines of the fleet see; None for the run folder.
    """
    path = state_folder() / "fleet" / name if folder is None else folder.absolute()
    return RunFolder(path, None if shared is None else shared.absolute())


_LOW: Final = 256 << 20
"""Free space [bytes] below which a folder counts as full, if that is less than a twentieth of its file system."""


def lacks_space(folder: Path) -> str:
    """A sentence on a folder that is almost full; empty if it is not.

    Args:
        folder: an existing folder.
    """
    usage = shutil.disk_usage(folder)
    least = min(_LOW, usage.total // 20)
    if usage.free >= least:
        return ""
    return f"{folder}: got {size_text(usage.free)} free, expected {size_text(least)} or more; free space there"


def shared_folder(fleet: Fleet) -> Path:
    """The folder that all machines of a fleet on Slurm see."""
    return fleet.slurm.folder or state_folder() / "slurm" / fleet.name


def state_folder() -> Path:
    """The folder for persistent state of beampipe, in the user's home folder."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "beampipe"


def repository_digest(repository: Path) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of names and contents of all files.

    Raises:
        FileError: there is no such folder, or it has no files.
    """
    files = sorted(path for path in repository.rglob("*") if path.is_file())
    if not files:
        raise FileError(f"{repository}: got no files, expected models; do: beampipe serving export -o {repository}")
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            whole.update(
                f"{path.relative_to(repository)}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode()
            )
    return whole.hexdigest()[:16]


def make_snapshot(repository: Path, folder: Path) -> tuple[str, Path]:
    """Copy a repository, unless there is a copy with the same digest.

    Args:
        repository: the models.
        folder: folder of the copies.

    Returns:
        The digest, and the copy.

    Raises:
        FileError: there are no models, or they cannot be copied, such as on a full disk.
        ConfigError: they change while they are copied.
    """
    digest = repository_digest(repository)
    kept = folder / digest
    if not kept.is_dir():
        part = folder / f".{digest}"
        shutil.rmtree(part, ignore_errors=True)
        need, free = sum(path.stat().st_size for path in repository.rglob("*")), shutil.disk_usage(folder).free
        try:
            shutil.copytree(repository, part)
            if repository_digest(part) != digest:
                raise ConfigError(f"{repository}: got models that change while they are copied; try again")
            part.replace(kept)
        except OSError as error:
            reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error
            raise FileError(
                f"{repository}: cannot be copied to {folder} ({reason}): {size_text(free)} are free there, and the"
                f" copy needs {size_text(need)}; free space, and run the same command again",
                path=folder,
            ) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return digest, kept


def remove_other_snapshots(folder: Path, wanted: Iterable[str]) -> None:
    """Remove the copies that no server uses any more.

    Args:
        folder: folder of the copies.
        wanted: digests of the copies to keep.
    """
    kept = set(wanted)
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)
