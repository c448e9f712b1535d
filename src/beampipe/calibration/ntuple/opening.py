"""ROOT files, opened: here or by a protocol of fsspec. Every fault of a file becomes a `FileError` that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beampipe.calibration.layout.addresses import address, is_remote
from beampipe.errors import BeampipeError, FileError

__all__ = ["faults", "opened", "remote_digest"]


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A file by uproot, open while the block runs.

    Raises:
        FileError: the file is not there, cannot be reached, or is no ROOT file.
    """
    import uproot

    # Nothing is read twice: caches would only hold on to memory.
    options: dict[str, Any] = {"object_cache": None, "array_cache": None}
    if is_remote(path):
        with _reached(path), uproot.open(address(path), **options) as file:
            yield file
        return
    if not path.is_file():
        raise FileError(f"{path}: is not there; expected a ROOT file", path=path)
    with faults(path, "header"), uproot.open(path, handler=uproot.source.file.MemmapSource, **options) as file:
        yield file


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
            package = {"root": "fsspec-xrootd", "s3": "s3fs"}.get(protocol, "aiohttp")
            raise FileError(
                f"{address(path)}: no package for the protocol {protocol} is there ({cause}); pip install {package}",
                path=path,
            ) from error
        if isinstance(cause, FileNotFoundError):
            raise FileError(f"{address(path)}: is not there; expected a ROOT file", path=path) from error
        if isinstance(cause, OSError | TimeoutError) or "client" in type(cause).__module__:
            raise FileError(
                f"{address(path)}: cannot be reached ({type(cause).__name__}: {cause}); try again later", path=path
            ) from error
        raise


@contextmanager
def faults(path: Path, what: str) -> Iterator[None]:
    """Whatever uproot raises on a damaged file, as one error that names it."""
    try:
        yield
    except (BeampipeError, MemoryError):
        raise
    except Exception as error:
        # uproot meets a damaged file in many ways: IndexError, struct.error, ValueError, errors of each codec.
        first = str(error).strip().splitlines()[:1]
        raise FileError(
            f"{path}: {what!r} cannot be read ({type(error).__name__}: {first[0] if first else ''});"
            " the file is truncated or damaged: copy or make it again",
            path=path,
            name=what,
        ) from error
