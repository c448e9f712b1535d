"""A cache of the digests of large files."""

from __future__ import annotations

import os
import re
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from beampipe.files import append
from beampipe.identity import RACY_SECONDS, FileStamp, content_digest, digest_of
from beampipe.workflow.leases import leased

LARGE: Final = 1 << 26
"""Size [bytes] from which a file is hashed under a lease; for smaller files a lease would take as long as reading."""

_LINE: Final = re.compile("^([0-9a-f]{40}) ([0-9a-f]{32})$", re.MULTILINE)
"""A complete line of the cache."""


@dataclass(frozen=True)
class FileDigests:
    """A cache of file digests. An entry is valid while path, inode, size and times of the file stay the same.

    The cache is a text file to which any number of processes may append, on one machine or on a shared file system.
    A lease ensures that only one process reads a large input file.

    Attributes:
        folder: the folder of the cache; it is created with the first entry.
    """

    folder: Path

    def cached(self, path: Path, stamp: FileStamp) -> str | None:
        """The cached digest of a file with this stamp; None if there is none."""
        return self._memory.find(_key(path, stamp))

    def of(self, path: Path, stamp: FileStamp | None = None) -> str:
        """The digest of a file by `content_digest`; the file is read only if the cache lacks it.

        Args:
            path: the file.
            stamp: stamp of the file when the work was planned; None for the current one.

        Raises:
            BusyError: the file is large, and another process reads it now.
            FileError: the file cannot be read, or it changed.
        """
        stamp = stamp or FileStamp.of(path)
        key = _key(path, stamp)
        digest = self._memory.find(key)
        if digest is not None:
            return digest
        self.folder.mkdir(parents=True, exist_ok=True)
        with leased(self.folder / f"{key}.lease") if stamp.size >= LARGE else nullcontext():
            digest = self._memory.find(key)
            if digest is None:
                now = time.time()
                stamp.require(path)
                digest = content_digest(path)
                stamp.require(path)
                if max(stamp.modified, stamp.changed) < (now - RACY_SECONDS) * 1e9:
                    self._memory.add(key, digest)
        return digest

    @property
    def _memory(self) -> _DigestMemory:
        return _digest_memory(self.folder / "digests.txt")


def _key(path: Path, stamp: FileStamp) -> str:
    return digest_of([os.path.abspath(path), *stamp])


class _DigestMemory:
    """The lines of a cache file that this process has read; lines appended by other processes are read on demand.

    Args:
        path: the file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._read, self._found = path, 0, dict[str, str]()

    def find(self, key: str) -> str | None:
        """The digest of a key; None if no line has it."""
        if key not in self._found:
            self._catch_up()
        return self._found.get(key)

    def add(self, key: str, digest: str) -> None:
        """Append a line. It starts with a line break, as a killed writer may have left an incomplete line."""
        append(self._path, f"\n{key} {digest}\n")

    def _catch_up(self) -> None:
        with suppress(FileNotFoundError), self._path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < self._read:  # the file was replaced
                self._read = 0
            file.seek(self._read)
            new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
            self._found.update(_LINE.findall(whole.decode(errors="replace")))


_digest_memory = lru_cache(maxsize=64)(_DigestMemory)
