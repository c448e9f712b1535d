"""Several files at once into a folder, with the manifest that the tools read."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops.opendata.catalogue import OpenFile
from beampipe.analysisops.opendata.checksums import digests_of
from beampipe.analysisops.opendata.transfer import Transfer, TransferLimits
from beampipe.analysisops.tools.folder import MANIFEST, DataFolder
from beampipe.errors import CancelledError, FileError, InputError
from beampipe.files import make_folder, write_whole
from beampipe.workflow import leased

__all__ = ["begin_folder", "bring_files"]

_LOCK: Final = ".lock"


def begin_folder(folder: Path, public: Mapping[str, Any]) -> None:
    """Make a folder of data with an empty manifest, unless there is one with a manifest.

    Args:
        folder: where the data shall be.
        public: what anybody may know of all data together.

    Raises:
        FileError: it cannot be made, or its manifest cannot be understood.
    """
    make_folder(folder)
    with _locked(folder):
        if not (folder / MANIFEST).exists():
            _write(folder, [], public)
    DataFolder(folder)


def bring_files(
    files: Sequence[OpenFile],
    folder: Path,
    *,
    workers: int = 4,
    limits: TransferLimits | None = None,
    reuse: bool = True,
    progress: Callable[[int], object] | None = None,
) -> tuple[str, ...]:
    """Bring files into a folder of data; what is there, as its manifest says, is not brought again.

    One process at a time works on a folder; others wait, and find the files there.

    Args:
        files: the files, each with a name of its own.
        folder: where they shall be; `begin_folder` made it.
        workers: so many are brought at once.
        limits: how they are asked for.
        reuse: files that are there are taken; else they are brought again, and must be what they were.
        progress: is called with the number of bytes that came.

    Returns:
        The names of the files, in their order.

    Raises:
        InputError: two files have one name.
        FileError: a file is not what its server, the catalogue or the manifest says of it, or there is no room.
        ServiceError: a server gave no usable answer. What has come is kept for another call.
    """
    names = [file.name for file in files]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InputError(f"open data: got several files named {', '.join(twice)}, expected names that differ")
    with _locked(folder):
        manifest = _Manifest(folder)
        missing = [file for file in files if not (reuse and manifest.holds(file))]
        with Transfer(limits, progress) as transfer:
            _bring_all(missing, folder, manifest, transfer, max(1, workers))
    return tuple(names)


class _Manifest:
    """The manifest of a folder, while files are brought into it by several threads."""

    def __init__(self, folder: Path) -> None:
        public = DataFolder(folder).public
        found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        self._folder, self._public = folder, public
        self._entries: dict[str, dict[str, Any]] = {facts["name"]: dict(facts) for facts in found["files"]}
        self._lock = threading.Lock()

    def recorded(self, file: OpenFile) -> str:
        """The SHA-256 that a file had when it was first brought; empty if it never was."""
        return str(self._entries.get(file.name, {}).get("sha256", ""))

    def holds(self, file: OpenFile) -> bool:
        """Whether a file is there as it was brought.

        Raises:
            FileError: another file goes by its name.
        """
        entry = self._entries.get(file.name)
        if entry is None:
            return False
        if entry.get("url", file.url) != file.url:
            raise FileError(
                f"{self._folder / file.name}: got a file from {entry['url']}, expected one from {file.url}; take"
                " another folder",
                path=self._folder / file.name,
            )
        try:
            status = (self._folder / file.name).stat()
        except OSError:
            return False
        there = status.st_size == entry.get("bytes")
        return there and _sha256(self._folder / file.name, status.st_size, status.st_mtime_ns) == entry.get("sha256")

    def add(self, file: OpenFile, sha256: str) -> None:
        """Write down that a file has come."""
        size = (self._folder / file.name).stat().st_size
        with self._lock:
            self._entries[file.name] = {
                **file.facts,
                "name": file.name,
                "bytes": size,
                "sha256": sha256,
                "url": file.url,
            }
            _write(self._folder, [self._entries[name] for name in sorted(self._entries)], self._public)


def _bring_all(files: Sequence[OpenFile], folder: Path, manifest: _Manifest, transfer: Transfer, workers: int) -> None:
    def bring(file: OpenFile) -> None:
        manifest.add(file, transfer.get(file, folder, manifest.recorded(file)))

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(bring, file) for file in files]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            if any(not future.done() or future.exception() for future in futures):
                transfer.stop()
                pool.shutdown(cancel_futures=True)
    errors = [future.exception() for future in futures if not future.cancelled()]
    found = [error for error in errors if error is not None]
    if found:
        raise next((error for error in found if not isinstance(error, CancelledError)), found[0])


@lru_cache(maxsize=1024)
def _sha256(path: Path, size: int, changed: int) -> str:
    """The SHA-256 of a file of that size and time of change."""
    return digests_of(path, "sha256")["sha256"]


def _write(folder: Path, files: Sequence[Mapping[str, Any]], public: Mapping[str, Any]) -> None:
    text = json.dumps({"files": list(files), "public": dict(public)}, indent=1, sort_keys=True, allow_nan=False)
    write_whole(folder / MANIFEST, lambda part: part.write_text(text + "\n", encoding="utf-8"))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """No other process that asks in the same way works on the folder during the block."""
    with ExitStack() as held:
        try:
            held.enter_context(leased(folder / _LOCK, wait=True))
        except OSError as error:
            raise FileError(
                f"{folder}: cannot be written to ({error.strerror}), expected a folder", path=folder
            ) from error
        yield
