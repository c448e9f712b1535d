"""What went wrong in a worker, said as what it is: memory, permission, the disk, a package, or the file itself.

Readers of ROOT files turn most faults into one error about a damaged file. Its cause says whether that is true.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from beampipe.errors import BeampipeError, FileError, TooLargeError

__all__ = ["explained", "run_explained"]

_DEVICE: Final = frozenset(
    getattr(errno, name)
    for name in ("EIO", "ESTALE", "EREMOTEIO", "ETIMEDOUT", "ENOTCONN", "ECONNRESET", "EHOSTDOWN", "EMFILE", "ENFILE")
    if hasattr(errno, name)
)
"""What the system says where a disk, a network or a table of open files fails: trying again may help."""


def run_explained(label: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a worker, its errors `explained`."""
    with explained(label):
        return function(*arguments)


@contextmanager
def explained(label: str) -> Iterator[None]:
    """Errors of the block as what they are.

    Args:
        label: what is worked on, for a reader.

    Raises:
        TooLargeError: there was not enough memory.
        FileError: a file may not be read or written, a package is missing that reads it, or it is damaged.
        OSError: a disk or a network failed.
    """
    try:
        yield
    except Exception as error:
        found = _explanation(label, error)
        if found is None:
            raise
        raise found from error


def _explanation(label: str, error: Exception) -> Exception | None:
    """The error to raise in place of one that says less; None if it says enough."""
    told = isinstance(error, BeampipeError)
    path = error.path if isinstance(error, FileError) else getattr(error, "filename", None)
    what = f"{label}: {path}" if path is not None and str(path) != label else label
    for cause in _causes(error):
        number = cause.errno if isinstance(cause, OSError) else None
        if isinstance(cause, MemoryError) or number == errno.ENOMEM:
            return TooLargeError(
                f"{what}: got no more memory ({_line(cause)}), expected room for one chunk of events; set a smaller"
                " chunk_events, take fewer workers, or give them more memory (--memory)"
            )
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return FileError(
                f"{what}: got no permission ({_line(cause)}); grant it, or choose another place", path=path
            )
        if number in _DEVICE and told:
            text = f"{what}: the disk or the network failed, the file may be fine ({_line(cause)}); run again"
            return OSError(number, text)
        if isinstance(cause, ImportError) and told and isinstance(error, FileError):
            name = cause.name or "a package"
            return FileError(f"{what}: cannot be read without {name} ({_line(cause)}); install it", path=path)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if not isinstance(found, BeampipeError):
            yield found
        found = found.__cause__ or found.__context__


def _line(error: BaseException) -> str:
    first = str(error).strip().splitlines()[:1]
    return f"{type(error).__name__}: {first[0]}" if first else type(error).__name__
