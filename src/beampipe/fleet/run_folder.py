"""The run folder of a fleet: paths of its files while it runs, and snapshots of its models.

A snapshot is named by a digest of its contents, so a restarted server gets the models that it had, not newer ones.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError, FileError
from beampipe.fleet.specification import Fleet

_LONGEST_SOCKET: Final = 100
"""Longest path of a socket [bytes]; Linux allows 107."""


@dataclass(frozen=True)
class RunFolder:
    """The paths of a running fleet.

    Attributes:
        path: the folder.
        shared: folder of registry and secret that all machines of the fleet see; None for `path`.
    """

    path: Path
    shared: Path | None = None

    def __post_init__(self) -> None:
        if len(os.fsencode(self.gateway_socket)) > _LONGEST_SOCKET:
            raise ConfigError(
                f"{self.path}: got a path that is too long for a socket in it, expected a shorter one; set --folder"
            )

    @property
    def specification(self) -> Path:
        """Copy of the current specification, with its path in the first line."""
        return self.path / "fleet.toml"

    @property
    def process(self) -> Path:
        """Process id and start time of the process that runs the fleet."""
        return self.path / "process.json"

    @property
    def socket(self) -> Path:
        """Socket for commands."""
        return self.path / "orders.sock"

    @property
    def gateway_socket(self) -> Path:
        """Socket of HAProxy."""
        return self.path / "haproxy.sock"

    @property
    def registry(self) -> Path:
        """Records of the servers."""
        return self._seen_by_all / "registry"

    @property
    def members(self) -> Path:
        """Settings of the servers."""
        return self.path / "members"

    @property
    def repositories(self) -> Path:
        """Copies of the models, one folder per digest."""
        return self.path / "repositories"

    @property
    def logs(self) -> Path:
        """Logs of everything."""
        return self.path / "logs"

    @property
    def prometheus(self) -> Path:
        """Settings and data of Prometheus."""
        return self.path / "prometheus"

    @property
    def events(self) -> Path:
        """Displays of events, for the page of `beampipe fleet watch`."""
        return self.path / "events"

    @property
    def secret(self) -> Path:
        """The secret of the fleet's servers."""
        return self._seen_by_all / "secret"

    @property
    def address(self) -> Path:
        """Address of the gateway, for machines that see the shared folder."""
        return self._seen_by_all / "gateway.json"

    @property
    def logs_of_servers(self) -> Path:
        """Logs of the servers."""
        return self._seen_by_all / "logs"

    @property
    def _seen_by_all(self) -> Path:
        return self.path if self.shared is None else self.shared

    def make(self) -> None:
        """Make the folder, accessible to its user only, and the secret.

        Raises:
            ConfigError: it belongs to another user, or other users can write to the shared one.
        """
        for path in {self.path, self._seen_by_all}:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if path.stat().st_uid != os.getuid():
                raise ConfigError(f"{path}: got a folder of another user, expected one of yours; choose another")
        if self.shared is not None and self.shared.stat().st_mode & 0o022:
            raise ConfigError(f"{self.shared}: got a folder that others may write to; do: chmod go-w {self.shared}")
        self.path.chmod(0o700)
        for folder in (self.registry, self.members, self.repositories, self.logs, self.prometheus, self.events):
            folder.mkdir(exist_ok=True)
        if not self.secret.exists():
            self.secret.touch(mode=0o600)
            self.secret.write_text(secrets.token_hex(32), encoding="ascii")


def run_folder_of(name: str, folder: Path | None = None, shared: Path | None = None) -> RunFolder:
    """The run folder of a fleet.

    Args:
        name: name of the fleet.
        folder: path of the folder; None for one in the user's state folder.
        shared: folder of registry and secret that all machines of the fleet see; None for the run folder.
    """
    path = state_folder() / "fleet" / name if folder is None else folder.absolute()
    return RunFolder(path, None if shared is None else shared.absolute())


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
        FileError: there are no models.
        ConfigError: they change while they are copied.
    """
    digest = repository_digest(repository)
    kept = folder / digest
    if not kept.is_dir():
        part = folder / f".{digest}"
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(repository, part)
        if repository_digest(part) != digest:
            shutil.rmtree(part)
            raise ConfigError(f"{repository}: got models that change while they are copied; try again")
        part.replace(kept)
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
