"""Digests of settings and of files, which the key of an artifact is made of; those of code are in `code`."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from types import NoneType
from typing import Any, Final, NamedTuple

from beampipe.errors import ConfigError, FileError
from beampipe.files import append
from beampipe.workflow.leases import leased

__all__ = [
    "LARGE",
    "RACY_SECONDS",
    "FileDigests",
    "Looks",
    "canonical",
    "content_digest",
    "digest_of",
    "file_digest",
]

_BLOCK: Final = 1 << 20
"""Bytes that are read at once."""

LARGE: Final = 1 << 26
"""Size [bytes] from which on a file is read by one process alone: a smaller one is read as soon as it is agreed who."""

_LINE: Final = re.compile("^([0-9a-f]{40}) ([0-9a-f]{32})$", re.MULTILINE)
"""A remembered digest that was written whole."""

RACY_SECONDS: Final = 2.0
"""A file that changed within this time [s] before it was hashed may change again within the same tick of its clock."""


def canonical(value: object) -> bytes:
    """The one JSON text that stands for a value: keys sorted, no spaces, floats by `repr`.

    Args:
        value: anything made of None, bool, int, finite float, str, lists, tuples, mappings, dataclasses (as the mapping
            of their fields; the name of the class does not count) and paths (as text). Keys of mappings are written as
            text.

    Raises:
        ConfigError: the value holds something else, or a NaN or infinity.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"settings cannot be digested: {error}; got {value!r:.200}") from error
    return text.encode()


def _plain(value: object) -> object:
    """Dataclasses, mappings and paths as types that JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return _settled(value) or {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, PurePath):
        return str(value)
    raise ConfigError(
        f"settings cannot be digested: got {value!r:.80} of type {type(value).__name__}, "
        "expected numbers, text, lists, mappings, dataclasses or paths"
    )


_SETTLED: Final[dict[int, tuple[object, dict[str, object]]]] = {}
"""Dataclasses that can never change, by their identity, and the types that JSON knows in their place."""

_PLAIN: Final = frozenset((str, int, float, bool, NoneType))
"""Types that JSON knows, and that cannot change."""

_MOST_SETTLED: Final = 256
"""Number of dataclasses after which those known are forgotten."""


def _settled(value: Any) -> dict[str, object] | None:
    """A dataclass as types that JSON knows, all of it at once, and once only; None if something in it may change.

    The same settings are in the keys of thousands of chunks.
    """
    try:
        return _frozen_fields(value)
    except TypeError:
        return None


def _frozen_fields(value: Any) -> dict[str, object]:
    """The fields of a dataclass as types that JSON knows.

    Raises:
        TypeError: something in it can change, or is of a type that is not known here.
    """
    known = _SETTLED.get(id(value))
    if known is not None and known[0] is value:
        return known[1]
    if not type(value).__dataclass_params__.frozen:
        raise TypeError
    found = {field.name: _frozen(getattr(value, field.name)) for field in fields(value)}
    if len(_SETTLED) >= _MOST_SETTLED:
        _SETTLED.clear()
    _SETTLED[id(value)] = value, found
    return found


def _frozen(value: Any) -> Any:
    """What cannot change, as types that JSON knows; see `_frozen_fields`."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, tuple):
        return [one if type(one) in _PLAIN else _frozen(one) for one in value]
    if isinstance(value, PurePath):
        return str(value)
    if is_dataclass(value):
        return _frozen_fields(value)
    raise TypeError


def digest_of(value: object) -> str:
    """The digest of a value: the first 40 hexadecimal digits of the SHA-256 of its `canonical` text."""
    return hashlib.sha256(canonical(value)).hexdigest()[:40]


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's contents, 64 hexadecimal digits.

    Raises:
        FileError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})", path=path) from error


class Looks(NamedTuple):
    """What changes when a file does, as far as can be told without reading it.

    Attributes:
        inode: number of its inode.
        size: its size [bytes].
        modified: time at which its contents last changed [ns since 1970].
        changed: time at which its inode last changed [ns since 1970].
    """

    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> Looks:
        """How a file looks now.

        Raises:
            FileError: the file cannot be read.
        """
        try:
            stat = path.stat()
        except OSError as error:
            raise FileError(f"{path}: cannot be read ({error.strerror})", path=path) from error
        return cls(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def require(self, path: Path) -> None:
        """Refuse a file that has changed since it looked so, on whatever machine: by its size and its time.

        Raises:
            FileError: the file has changed, or cannot be read.
        """
        now = Looks.of(path)
        if (now.size, now.modified) != (self.size, self.modified):
            raise FileError(
                f"{path}: it changed while this run read it (got {now.size} bytes, expected the {self.size} bytes that"
                " were there at the start); wait until it is complete, and run again",
                path=path,
            )


def content_digest(path: Path) -> str:
    """The 128-bit XXH3 of a file's contents, 32 hexadecimal digits: for inputs, as fast as they can be read.

    Raises:
        FileError: the file cannot be read.
        MissingExtraError: xxhash is not installed.
    """
    from xxhash import xxh3_128

    digest, block = xxh3_128(), bytearray(_BLOCK)
    view = memoryview(block)
    try:
        with path.open("rb", buffering=0) as stream:
            while n := stream.readinto(block):
                digest.update(view[:n])
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})", path=path) from error
    return digest.hexdigest()


@dataclass(frozen=True)
class FileDigests:
    """Digests of files, remembered for as long as the files look untouched: same path, inode, size and times.

    They are lines of one file, to which any number of processes may append, on one machine or on a shared file system.
    A large file is read by one of them.

    Attributes:
        folder: the folder of remembered digests; it is made when there is one to remember.
    """

    folder: Path

    def known(self, path: Path, looks: Looks) -> str | None:
        """The digest of a file that looks so, if it is remembered."""
        return self._memory.find(_key(path, looks))

    def of(self, path: Path, looks: Looks | None = None) -> str:
        """The digest of a file, which is read only if its digest is not remembered; see `content_digest`.

        Args:
            path: the file.
            looks: how it looked before, when it was planned what to do with it; None for now.

        Raises:
            BusyError: the file is large, and another process reads it now.
            FileError: the file cannot be read, or it changed.
        """
        looks = looks or Looks.of(path)
        key = _key(path, looks)
        digest = self._memory.find(key)
        if digest is not None:
            return digest
        self.folder.mkdir(parents=True, exist_ok=True)
        with leased(self.folder / f"{key}.lease") if looks.size >= LARGE else nullcontext():
            digest = self._memory.find(key)
            if digest is None:
                now = time.time()
                looks.require(path)
                digest = content_digest(path)
                looks.require(path)
                if max(looks.modified, looks.changed) < (now - RACY_SECONDS) * 1e9:
                    self._memory.add(key, digest)
        return digest

    @property
    def _memory(self) -> _Memory:
        return _memory(self.folder / "digests.txt")


def _key(path: Path, looks: Looks) -> str:
    return digest_of([os.path.abspath(path), *looks])


class _Memory:
    """Lines of keys and digests, as far as this process has read them. What others append is read when it is needed.

    Args:
        path: the file; there may be none yet.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._read, self._found = path, 0, dict[str, str]()

    def find(self, key: str) -> str | None:
        """The digest of a key; None if no line has it."""
        if key not in self._found:
            self._catch_up()
        return self._found.get(key)

    def add(self, key: str, digest: str) -> None:
        """Append a line. It begins a new one in any case: a killed writer may have left half of one."""
        append(self._path, f"\n{key} {digest}\n")

    def _catch_up(self) -> None:
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < self._read:  # another file by now
                self._read = 0
            file.seek(self._read)
            new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
            self._found.update(_LINE.findall(whole.decode(errors="replace")))


@lru_cache(maxsize=64)
def _memory(path: Path) -> _Memory:
    return _Memory(path)
