"""Files that appear whole or not at all, whatever becomes of their writer.

A file is written under another name, that of a *part*, and renamed when it is complete. The name of a part holds its
writer (``BOOT.NAMESPACE-PID-START-NUMBER``), so two writers never share a part, and the parts of a killed writer can be
told from those of a living one, and removed.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Final

from beampipe import processes
from beampipe.errors import FileError

__all__ = [
    "append",
    "built",
    "cache_folder",
    "check_output",
    "make_folder",
    "replacing",
    "sweep",
    "unfinished",
    "write_whole",
]

_STALE: Final = 7 * 24 * 3600.0
"""After so long [s] without a change, a part of a writer on another machine counts as left behind."""

_PART: Final = re.compile(r"(?:\..*\.)?(?P<place>[0-9a-f]{8}\.\d+)-(?P<pid>\d+)-(?P<started>\d+)-\d+(?:\..*)?")
"""The name of a part: its writer, before it perhaps the hidden name of a file, after it a suffix."""

_SHOWN: Final = 48
"""So many characters of a file's name stand in that of its part: a name must not exceed 255 bytes."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where no more can be written: no space, no quota, a file of the largest size."""

_numbers = itertools.count()


def append(path: Path, text: str) -> None:
    """Append to a file in one call, so that the lines of several processes do not mix; it is made, with its folder."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    try:
        descriptor = os.open(path, flags, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o666)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def built(package: str, name: str) -> Path | None:
    """The path of a file that a build has put into a package, None if it was not built.

    An editable install keeps such files in a folder of their own, apart from the sources.

    Args:
        package: name of the package, such as ``"beampipe.triton.server"``.
        name: path of the file in the package.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    folders = [Path(folder) for folder in import_module(package).__path__]
    with suppress(PackageNotFoundError):  # run from its sources
        installed = distribution(__name__.partition(".")[0]).locate_file(package.replace(".", "/"))
        folders.append(Path(str(installed)))
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def cache_folder() -> Path:
    """Where a user keeps what can be made again: ``$XDG_CACHE_HOME/beampipe``, by default ``~/.cache/beampipe``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "beampipe"


def check_output(path: str | Path, *, inputs: Iterable[Path] = (), parents: bool = False) -> None:
    """Refuse an output that could not be written, or that is an input, before any work is done for it.

    Args:
        path: file that shall be written, new or in place of an old one.
        inputs: files that are read for it.
        parents: its folder will be made, if there is none.

    Raises:
        FileError: it is one of the inputs, by whatever path or link; or it is a folder, its name is too long, or its
            folder is missing or may not be written to.
    """
    path = Path(path)
    try:
        there = path.stat() if path.exists() else None
    except OSError as error:  # a name that is too long, a folder that is closed
        raise FileError(f"{path}: cannot be written ({error.strerror})", path=path) from error
    for read in inputs:
        if path.resolve() == read.resolve() or _is(there, read):
            raise FileError(f"{path}: got an output that is the input {read}, expected another file", path=path)
    folder = path.parent
    while parents and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    _check_place(path, folder)


def make_folder(path: Path) -> None:
    """Make a folder with those that it lies in, unless it is there.

    Raises:
        FileError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{path}: cannot make the folder ({error.strerror})", path=path) from error


@contextmanager
def replacing(path: str | Path, *, parents: bool = False) -> Iterator[Path]:
    """A part beside `path` to write to, which takes the place of `path` if the block ends well and is removed if not.

    The name of the part is hidden and ends in ``.part``: nobody who looks for ``*.root`` finds it, and a library that
    goes by the suffix must be told the format.

    Args:
        path: where the file shall be.
        parents: make the folder of the file, if there is none.

    Raises:
        FileError: the folder is missing, cannot be made or may not be written to; the path is a folder or its name is
            too long; or there is no more space.
    """
    path = Path(path)
    if parents:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"{path}: cannot make the folder {path.parent} ({error.strerror})", path=path) from error
    _check_place(path, path.parent)
    with _removed_afterwards(path.with_name(f".{path.name[:_SHOWN]}.{_writer()}.part")) as part:
        try:
            yield part
            part.replace(path)
        except OSError as error:
            if isinstance(error, FileError) or error.errno not in _FULL:
                raise
            raise FileError(
                f"{path}: cannot be written whole ({os.strerror(error.errno)}); make room or choose another place."
                " What was there before is unchanged",
                path=path,
            ) from error


def write_whole(path: Path, make: Callable[[Path], object]) -> Path:
    """Write a file by `replacing`; its folder is made if there is none.

    Args:
        path: where the file shall be.
        make: writes the file to the path that it is called with, whose suffix is ``.part``.

    Returns:
        The given path.
    """
    with replacing(path, parents=True) as part:
        make(part)
    return path


@contextmanager
def unfinished(folder: Path, suffix: str) -> Iterator[Path]:
    """A part in a folder that holds nothing else, for whoever renames it in a way of his own.

    Args:
        folder: where the part shall be; it must exist.
        suffix: how the name of the part ends, for libraries that go by it.

    Yields:
        The path of the part. Whatever is still there at the end of the block is removed.
    """
    with _removed_afterwards(folder / f"{_writer()}{suffix}") as part:
        yield part


def sweep(folder: Path, *, deep: bool = False) -> int:
    """Remove the parts that dead writers left in a folder; a part that a living process may be writing stays.

    A writer on another machine, or in another container, cannot be asked: its part goes when it was not touched for a
    week. Files whose names are not those of parts are left alone.

    Args:
        folder: where to look; none is an empty one.
        deep: look in its folders, too.

    Returns:
        The number of files that were removed.
    """
    removed = 0
    for parent, folders, names in os.walk(folder):
        if not deep:
            folders.clear()
        for name in names:
            try:
                if _is_left_behind(Path(parent, name)):
                    Path(parent, name).unlink()
                    removed += 1
            except FileNotFoundError:
                pass  # its writer finished, or somebody else sweeps
    return removed


def _is(there: os.stat_result | None, path: Path) -> bool:
    """Whether a path leads to the same file."""
    try:
        return there is not None and os.path.samestat(there, path.stat())
    except OSError:  # it leads nowhere
        return False


def _check_place(path: Path, folder: Path) -> None:
    """Refuse a path that no file can take, as far as can be told before, if it shall be in or under that folder."""
    try:
        if path.is_dir():
            raise FileError(f"{path}: got a folder, expected a file to write", path=path)
        if not folder.is_dir():
            raise FileError(f"{path}: no folder {folder}; make it first", path=path)
        if len(os.fsencode(path.name)) > os.pathconf(folder, "PC_NAME_MAX"):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path}: cannot be written ({error.strerror})", path=path) from error
    if not os.access(folder, os.W_OK):
        raise FileError(f"{path}: may not write in {folder}; choose another place", path=path)


def _writer() -> str:
    pid = os.getpid()
    return f"{processes.place()}-{pid}-{processes.start_time(pid)}-{next(_numbers)}"


@contextmanager
def _removed_afterwards(part: Path) -> Iterator[Path]:
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _is_left_behind(path: Path) -> bool:
    writer = _PART.fullmatch(path.name)
    if writer is None:
        return False
    if writer["place"] == processes.place():
        return not processes.is_same(int(writer["pid"]), int(writer["started"]))
    return time.time() - path.stat().st_mtime > _STALE
