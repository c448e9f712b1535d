"""One exception tree.

Every error that beampipe raises on purpose derives from `BeampipeError`, and says what it got, what it
expected and what to do next::

    BeampipeError
    ├── InputError            the data handed in cannot be used              (also a ValueError)
    │   ├── ShapeError        wrong rank, length or number of columns
    │   ├── DtypeError        wrong element type                             (also a TypeError)
    │   ├── NotFiniteError    NaN or infinity among the coordinates
    │   └── TooLargeError     more than the stated limit; names the memory it would need
    ├── FileError             a file is missing, truncated or of another kind; carries its path (also an OSError)
    │   └── ColumnError       a file lacks a column; lists the nearest names
    ├── UnknownNameError      no pipeline, device, scale or setting of that name (also a KeyError)
    ├── ConfigError           a configuration is refused: unknown key, impossible value
    ├── ServiceError          a service gave no usable answer
    │   ├── ServiceUnavailableError  it is down or out of reach; try again later  (also a ConnectionError)
    │   └── DeadlineError     it did not answer in time                      (also a TimeoutError)
    ├── WorkflowError         some tasks of a run failed; the others are done and kept
    └── MissingExtraError     an optional dependency is not installed; names the extra (also an ImportError)
"""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

__all__ = [
    "BeampipeError",
    "ColumnError",
    "ConfigError",
    "DeadlineError",
    "DtypeError",
    "FileError",
    "InputError",
    "MissingExtraError",
    "NotFiniteError",
    "ServiceError",
    "ServiceUnavailableError",
    "ShapeError",
    "TooLargeError",
    "UnknownNameError",
    "WorkflowError",
    "nearest",
]


class BeampipeError(Exception):
    """Root of every error raised on purpose."""

    def __str__(self) -> str:
        # KeyError quotes its argument; a message is meant to be read.
        return str(self.args[0]) if self.args else ""

    # Errors travel between processes. Pickle would call __init__ with the finished message as its only argument.
    def __reduce__(self) -> tuple[Callable[..., "BeampipeError"], tuple[Any, ...]]:
        return _revived, (type(self), self.args, dict(self.__dict__))


def _revived(error_type: type[BeampipeError], args: tuple[Any, ...], state: dict[str, Any]) -> BeampipeError:
    """An error as it was when it was pickled."""
    error = error_type.__new__(error_type, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InputError(BeampipeError, ValueError):
    """The data handed in cannot be used."""


class ShapeError(InputError):
    """Wrong rank, length or number of columns."""


class DtypeError(InputError, TypeError):
    """Wrong element type."""


class NotFiniteError(InputError):
    """NaN or infinity among the coordinates."""


class TooLargeError(InputError):
    """More than the stated limit."""


class FileError(BeampipeError, OSError):
    """A file is missing, truncated or of another kind.

    Args:
        message: what was got, what was expected, and what to do next.
        path: the file or folder, None if it is not known.
        name: name of the object in it, e.g. a column or the key of an artifact; None if it is about the whole file.
    """

    def __init__(self, message: str = "", *, path: str | Path | None = None, name: str | None = None) -> None:
        super().__init__(message)
        self.path = None if path is None else Path(path)
        self.name = name


class ColumnError(FileError):
    """A file lacks a column that is needed."""


class UnknownNameError(BeampipeError, KeyError):
    """Nothing goes by that name.

    Args:
        kind: what was looked up, e.g. ``"pipeline"``.
        name: the name that was given.
        known: the names there are.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        super().__init__(f"unknown {kind}: got {name!r}, expected one of {', '.join(known)}{nearest(name, known)}")
        self.kind = kind
        self.name = name
        self.known = tuple(known)


class ConfigError(BeampipeError, ValueError):
    """A configuration is refused."""


class ServiceError(BeampipeError):
    """A service gave no usable answer; the data may be fine."""


class ServiceUnavailableError(ServiceError, ConnectionError):
    """The service is down, stopping or out of reach; the same request may succeed later or elsewhere."""


class DeadlineError(ServiceError, TimeoutError):
    """The service did not answer in time."""


class WorkflowError(BeampipeError):
    """Some tasks of a run failed; the others are done, and what they made is kept.

    Args:
        message: what failed, and what to do.
        errors: label and error of each task that failed.
    """

    def __init__(self, message: str, errors: Iterable[tuple[str, Exception]] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)


class MissingExtraError(BeampipeError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: the import name that is missing.
        extra: the extra of beampipe that brings it.
        purpose: what it is needed for.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'beampipe[{extra}]'")
        self.package = package
        self.extra = extra


def nearest(name: str, known: Iterable[str]) -> str:
    """The tail of a message that suggests the nearest valid name, or nothing.

    >>> nearest("modul_map", ["module_map", "exatrkx"])
    "; did you mean 'module_map'?"
    """
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
