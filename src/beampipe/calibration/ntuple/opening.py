"""ROOT files, opened: here or by a protocol of fsspec. Every fault of a file becomes a `FileError` that names it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from beampipe.calibration.layout.addresses import address, is_remote
from beampipe.calibration.trees.plain import PlainFile
from beampipe.errors import BeampipeError, FileError

__all__ = ["faults", "opened", "remote_digest"]


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A file by uproot, or by what stands in for it where it is plain, open while the block runs.

    Raises:
        FileError: the file is not there, cannot be reached, or is no ROOT file.
    """
    # Nothing is read twice: caches would only hold on to memory.
    options: dict[str, Any] = {"object_cache": None, "array_cache": None}
    if is_remote(path):
        with _reached(path):
            import uproot

            _require_package(address(path))
            # By name: uproot would choose by what is installed.
            options["handler"] = uproot.source.fsspec.FSSpecSource
            with uproot.open(address(path), **options) as file:
                yield file
        return
    if not path.is_file():
        raise FileError(f"{path}: is not there; expected a ROOT file", path=path)
    with faults(path, "header"), ExitStack() as stack:

        @cache
        def by_uproot() -> Any:
            import uproot

            return stack.enter_context(uproot.open(path, handler=uproot.source.file.MemmapSource, **options))

        yield _plainly(path, by_uproot) or by_uproot()


def _plainly(path: Path, by_uproot: Callable[[], Any]) -> PlainFile | None:
    """A file whose plain trees are read without uproot; None if that must be asked what it is."""
    try:
        return PlainFile(path, by_uproot)
    except MemoryError:
        raise
    except Exception:
        return None


def remote_digest(path: Path) -> str:
    """What tells a file elsewhere from others: its address, its size, and the number that ROOT gave it.

    Raises:
        FileError: as by `opened`.
    """
    with opened(path) as file:
        return f"{address(path)} {file.file.fEND} {file.file.uuid}"


@contextmanager
def _reached(path: Path) -> Iterator[None]:
    """Faults of a file elsewhere: not there, no package for the protocol, or damaged."""
    try:
        with faults(path, "header"):
            yield
    except FileError as error:
        cause = error.__cause__
        if isinstance(cause, ImportError):
            protocol = address(path).partition(":")[0]
            raise FileError(
                f"{address(path)}: no package for the protocol {protocol} is there ({cause}); pip install"
                f" 'beampipe[{'xrootd' if protocol == 'root' else 'remote'}]'",
                path=path,
            ) from error
        if isinstance(cause, FileNotFoundError) or "[3011]" in str(cause):  # XRootD's number for it
            raise FileError(f"{address(path)}: is not there; expected a ROOT file", path=path) from error
        # Of ranges that are asked for together, fsspec gives errors in place of bytes, which uproot then cuts into.
        broken = re.match(r"'(\w+)' object is not subscriptable", str(cause))
        if isinstance(cause, OSError | TimeoutError) or "client" in type(cause).__module__ or broken:
            what = broken[1] if broken else f"{type(cause).__name__}: {_first_line(cause)}"
            raise FileError(f"{address(path)}: cannot be reached ({what}); try again later", path=path) from error
        raise


def _require_package(url: str) -> None:
    """The package that reads files by a protocol, or an error that says which is missing."""
    for module in _PACKAGES[url.partition(":")[0]]:
        importlib.import_module(module)


_PACKAGES: Final = {
    "http": ("fsspec", "aiohttp"),
    "https": ("fsspec", "aiohttp"),
    "root": ("fsspec", "fsspec_xrootd", "XRootD.client"),
    "s3": ("fsspec", "s3fs"),
}
"""Protocol -> modules that reading by it needs."""


@contextmanager
def faults(path: Path, what: str) -> Iterator[None]:
    """Whatever uproot raises on a damaged file, as one error that names it."""
    try:
        yield
    except (BeampipeError, MemoryError):
        raise
    except Exception as error:
        # uproot meets a damaged file in many ways: IndexError, struct.error, ValueError, errors of each codec.
        raise FileError(
            f"{address(path)}: {what!r} cannot be read ({type(error).__name__}: {_first_line(error)});"
            " the file is truncated or damaged: copy or make it again",
            path=path,
            name=what,
        ) from error


def _first_line(error: BaseException | None) -> str:
    """The first line of what an error says."""
    return next(iter(str(error).strip().splitlines()), "")
