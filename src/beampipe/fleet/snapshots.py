"""Copies of a repository of models, by their contents: a server that starts again gets what it had, not what is new."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from beampipe.errors import ConfigError, FileError

__all__ = ["digest_of", "forget_others", "keep_snapshot"]


def digest_of(repository: Path) -> str:
    """The first 16 digits of the SHA-256 of names and contents of all files.

    Raises:
        FileError: there is no such folder, or nothing in it.
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


def keep_snapshot(repository: Path, folder: Path) -> tuple[str, Path]:
    """Copy a repository, unless that has been done.

    Args:
        repository: the models.
        folder: where the copies are.

    Returns:
        The digest, and the copy.

    Raises:
        FileError: there are no models.
        ConfigError: they change while they are copied.
    """
    digest = digest_of(repository)
    kept = folder / digest
    if not kept.is_dir():
        part = folder / f".{digest}"
        shutil.rmtree(part, ignore_errors=True)
        shutil.copytree(repository, part)
        if digest_of(part) != digest:
            shutil.rmtree(part)
            raise ConfigError(f"{repository}: got models that change while they are copied; try again")
        part.replace(kept)
    return digest, kept


def forget_others(folder: Path, wanted: Iterable[str]) -> None:
    """Remove the copies that nobody serves any more.

    Args:
        folder: where the copies are.
        wanted: digests of those to keep.
    """
    kept = set(wanted)
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)
