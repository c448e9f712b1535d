"""Atomic writing: a file appears complete or not at all, even if its writer is killed.

A file is written under a temporary name, that of a *part*, and renamed when it is complete. The name of a part
identifies its writer (``BOOT.NAMESPACE-PID-START-NUMBER``). Two writers never share a part, and `sweep` removes the
parts of killed writers without touching those of running ones.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
import struct
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType
from typing import Final

from beampipe import processes
from beampipe.errors import FileError

_STALE: Final = 7 * 24 * 3600.0
"""Age [s] after which a part of a writer on another machine is considered abandoned."""

WRITER: Final = r"(?P<place>[0-9a-f]{8}\.\d+)-(?P<pid>\d+)-(?P<started>\d+)-\d+"
"""Pattern of `writer_name`."""

_PART: Final = re.compile(rf"(?:\..*\.)?{WRITER}(?:\..*)?")
"""Name of a part: optional hidden name of the file, writer, optional suffix."""

_SHOWN: Final = 48
"""Number of characters of a file's name that are repeated in that of its part: names are limited to 255 bytes."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""System errors when no more can be written: no space, quota, maximum file size."""

WITHOUT_KERNELS: Final = "without.kernels"
"""End of the version of a package that was built without its compiled kernels."""

HOW_TO_BUILD: Final = "install a C++ compiler, and then beampipe again"
"""How such a package gets them."""

MARK: Final = "written by beampipe"
"""What files of ours contain near their begin or end where their format permits it, see `require_ours`."""

_WITH_MARK: Final = 1 << 16
"""Length [bytes] of the begin and of the end of a file in which the mark is searched."""

_numbers = itertools.count()


def append(path: Path, text: str) -> None:
    """Append to a file in one call, so that lines of several processes do not mix; file and folder are created."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    with explained_if_full(path):
        try:
            descriptor = os.open(path, flags, 0o666)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, flags, 0o666)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


@contextmanager
def explained_if_full(path: Path, part: Path | None = None) -> Iterator[None]:
    """Turn a full disk into a `FileError` with the file, its folder, the free and the needed space, and what to do.

    Args:
        path: the file that is written.
        part: its unfinished file, whose size counts as needed; None for none.

    Raises:
        FileError: the disk is full, or a quota or the largest size of a file is reached.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        folder = next((each for each in path.parents if each.is_dir()), path.parent)
        free, block = shutil.disk_usage(folder).free, os.statvfs(folder).f_frsize
        size = part.stat().st_size if part is not None and part.is_file() else 0
        raise FileError(
            f"{path}: cannot be written whole ({os.strerror(error.errno)}): {free / 1e6:.1f} MB are free in {folder},"
            f" and it needs at least {size_text(size + free + block)}; free space or choose another folder, and run the"
            " same command again. What was there before is unchanged",
            path=path,
        ) from error


def size_text(size: int) -> str:
    """A number of bytes for a message, such as ``4.1 kB`` or ``12.3 MB``."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def is_full(error: FileError) -> bool:
    """Whether an error is one of `explained_if_full`."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL


LOG_SIZE: Final = 32 << 20
"""Size of a log [bytes] at which it begins anew."""


def shorten_log(log: Path) -> None:
    """Let a log that has become large begin anew; what it held moves to a file whose name ends in ``.1``.

    Programs that append to it go on. What they write in the moment of the change is lost; so is the earlier part if it
    cannot be copied, such as on a full disk.
    """
    with suppress(OSError):
        if log.stat().st_size > LOG_SIZE:
            with suppress(OSError, FileError), replacing(log.with_name(f"{log.name}.1")) as part:
                shutil.copyfile(log, part)
            os.truncate(log, 0)


def built(package: str, name: str) -> Path | None:
    """Path of a compiled file of a package; None if it was not built.

    An editable install keeps such files outside of the source tree.

    Args:
        package: name of the package, such as ``"beampipe.triton.server"``.
        name: path of the file in the package.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    folders = [Path(folder) for folder in import_module(package).__path__]
    with suppress(PackageNotFoundError):  # not installed
        installed = distribution(__name__.partition(".")[0]).locate_file(package.replace(".", "/"))
        folders.append(Path(str(installed)))
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def compiled(package: str, without: str = "") -> ModuleType | None:
    """The compiled module ``_native`` of a package; None, with a warning, where there is none for this Python.

    Args:
        package: name of the package.
        without: what runs in its place, for the warning; if nothing does, that there is none is an error.

    Raises:
        FileError: it is there, but cannot be loaded; or it is not there, and nothing runs in its place.
    """
    folders = [Path(folder) for folder in import_module(package).__path__]
    for library in (path for folder in folders for path in folder.glob("*.so")):
        with library.open("rb") as file:
            header = file.read(64).ljust(64, b"\0")
        # The table at the end of an ELF file: its start, the size of a row, rows. The loader would crash without it.
        (start,), (size, rows) = struct.unpack_from("<Q", header, 40), struct.unpack_from("<HH", header, 58)
        if library.stat().st_size < max(64, start + size * rows):
            raise FileError(f"{library}: it is truncated; install beampipe again", path=library)
    try:
        return import_module(f"{package}._native")
    except ModuleNotFoundError as error:
        others = ", ".join(path.name for folder in folders for path in folder.glob("_native.*.so"))
        reason = f"built for another Python: {others}" if others else str(error)
    except ImportError as error:
        raise FileError(f"{error}: the compiled kernels are damaged or incomplete; install beampipe again") from error
    missing = f"beampipe has no compiled kernels in {package} ({reason})"
    if not without:
        raise FileError(f"{missing}: {HOW_TO_BUILD}")
    warnings.warn(f"{missing}; {without}: {HOW_TO_BUILD}", RuntimeWarning, stacklevel=3)
    return None


def cache_folder() -> Path:
    """Folder for cached files: ``$XDG_CACHE_HOME/beampipe``, by default ``~/.cache/beampipe``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "beampipe"


def check_output(path: str | Path, *, inputs: Iterable[Path] = (), parents: bool = False) -> None:
    """Refuse an output that cannot be written, or that is one of the inputs, before any work is done.

    Args:
        path: file to be written or replaced.
        inputs: files that will be read.
        parents: missing folders will be created.

    Raises:
        FileError: the output is one of the inputs (links are followed) or a folder, its name is too long, or its folder
            is missing or not writable.
    """
    path = Path(path)
    try:
        there = path.stat() if path.exists() else None
    except OSError as error:  # e.g. the name is too long, or permission is denied
        raise FileError(f"{path}: cannot be written ({error.strerror})", path=path) from error
    for read in inputs:
        if path.resolve() == read.resolve() or _is(there, read):
            raise FileError(f"{path}: got an output that is the input {read}, expected another file", path=path)
    folder = path.parent
    while parents and not folder.exists() and folder != folder.parent:
        folder = folder.parent
    _check_place(path, folder)
    try:
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:  # e.g. /proc, or a read-only file system
        raise FileError(
            f"{path}: cannot be written in {folder} ({os.strerror(error.errno or 0)})", path=path
        ) from error


def check_command_output(
    path: str | Path,
    *,
    inputs: Iterable[Path] = (),
    parents: bool = False,
    force: bool = False,
    marks: Iterable[str] = (),
) -> None:
    """What every command checks of a file before it does any work: `check_output`, then `require_ours`.

    Raises:
        FileError: any of these two.
    """
    check_output(path, inputs=inputs, parents=parents)
    require_ours(path, force=force, marks=marks)


def check_folder_outputs(
    folder: Path,
    names: Iterable[str],
    *,
    inputs: Iterable[Path] = (),
    force: bool = False,
    marks: Iterable[str] = (),
) -> None:
    """`check_command_output` of each file that a command will write into a folder, which it creates.

    Raises:
        FileError: one of the files cannot be written, or beampipe did not write it.
    """
    inputs, marks = list(inputs), list(marks)
    for name in names:
        check_command_output(folder / name, inputs=inputs, parents=True, force=force, marks=marks)


def require_ours(path: str | Path, *, force: bool = False, marks: Iterable[str] = ()) -> None:
    """Refuse to replace a file that beampipe did not write.

    Args:
        path: file to be written or replaced.
        force: replace any file.
        marks: texts near the begin that identify files of a format which cannot hold `MARK`.

    Raises:
        FileError: there is a file that is not empty and has none of the marks, or it is a device.
    """
    path = Path(path)
    if not path.exists() or path.is_dir():
        return
    if not path.is_file():
        raise FileError(f"{path}: got a device or a pipe, expected a file", path=path)
    size = path.stat().st_size
    if force or size == 0:
        return
    with path.open("rb") as file:
        begin = file.read(_WITH_MARK)
        file.seek(max(0, size - _WITH_MARK))
        end = file.read()
    if MARK.encode() in begin + end or any(mark.encode() in begin for mark in marks):
        return
    raise FileError(
        f"{path}: got a file that beampipe did not write, expected a new name; move it away, or replace it by --force",
        path=path,
    )


def make_folder(path: Path) -> None:
    """Create a folder and its parents, unless it exists.

    Raises:
        FileError: it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{path}: cannot make the folder ({error.strerror})", path=path) from error


def flush_to_disk(path: str | Path) -> None:
    """Wait until a file's contents, or a folder's entries, are on the disk.

    Raises:
        OSError: they cannot be written.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: str | Path, *, parents: bool = False) -> Iterator[Path]:
    """Yield a part beside `path` to write to. It replaces `path` if the block succeeds, and is removed otherwise.

    The name of the part is hidden and ends in ``.part``, so that patterns such as ``*.root`` do not match it. A library
    that chooses the format by the suffix needs the format as an argument.

    Args:
        path: the final path.
        parents: create missing folders.

    Raises:
        FileError: the folder is missing, cannot be created or is not writable; the path is a folder or its name is too
            long; or the disk is full.
    """
    path = Path(path)
    if parents:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"{path}: cannot make the folder {path.parent} ({error.strerror})", path=path) from error
    _check_place(path, path.parent)
    part = path.with_name(f".{path.name[:_SHOWN]}.{writer_name()}.part")
    with _removed_afterwards(part), explained_if_full(path, part):
        try:
            yield part
            part.replace(path)
        except OSError as error:
            is_other = part.name not in f"{error.filename} {error}"  # an error of another file
            if isinstance(error, FileError) or error.errno in _FULL or is_other:
                raise
            reason = os.strerror(error.errno) if error.errno else error
            raise FileError(f"{path}: cannot be written in {path.parent} ({reason})", path=path) from error


def write_whole(path: Path, make: Callable[[Path], object]) -> Path:
    """Write a file atomically, see `replacing`; missing folders are created.

    Args:
        path: the final path.
        make: writes the file to the path that it is called with, whose suffix is ``.part``.

    Returns:
        The given path.
    """
    with replacing(path, parents=True) as part:
        make(part)
    return path


@contextmanager
def unfinished(folder: Path, suffix: str) -> Iterator[Path]:
    """Yield the path of a part that the caller renames itself; it is removed at the end if it still exists.

    Args:
        folder: existing folder of the part.
        suffix: suffix of the part's name, for libraries that choose the format by it.
    """
    with _removed_afterwards(folder / f"{writer_name()}{suffix}") as part:
        yield part


def sweep(folder: Path, *, deep: bool = False) -> int:
    """Remove the parts of killed writers in a folder; parts of running processes stay.

    Writers on other machines or in other containers cannot be checked: their parts are removed when they are older than
    a week. Other files are left alone.

    Args:
        folder: folder to clean; it may be missing.
        deep: include its sub-folders.

    Returns:
        Number of removed files.
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
                pass  # its writer finished, or another process removed it
    return removed


def _is(there: os.stat_result | None, path: Path) -> bool:
    """Whether two paths refer to the same file."""
    try:
        return there is not None and os.path.samestat(there, path.stat())
    except OSError:  # there is no such file
        return False


def _check_place(path: Path, folder: Path) -> None:
    """Refuse a path at which no file can be created, given the folder that it will be in or under."""
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


def writer_name() -> str:
    """A name of this process and of one thing that it writes: ``BOOT.NAMESPACE-PID-START-NUMBER``."""
    pid = os.getpid()
    return f"{processes.pid_scope()}-{pid}-{processes.start_time(pid)}-{next(_numbers)}"


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
    if writer["place"] == processes.pid_scope():
        return not processes.is_same(int(writer["pid"]), int(writer["started"]))
    return time.time() - path.stat().st_mtime > _STALE
