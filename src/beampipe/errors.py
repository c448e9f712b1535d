"""One exception tree.

Every error that beampipe raises on purpose derives from `BeampipeError`, and says what it got, what it
expected and what to do next::

    BeampipeError
    ├── InputError            the data handed in cannot be used              (also a ValueError)
    │   ├── ShapeError        wrong rank, length or number of columns
    │   ├── DtypeError        wrong element type                             (also a TypeError)
    │   ├── NotFiniteError    NaN or infinity among the coordinates
    │   └── TooLargeError     more than the stated limit; names the memory it would need
    ├── FileError             a file is missing, truncated or of another kind (also an OSError)
    │   └── ColumnError       a file lacks a column; lists the nearest names
    ├── UnknownNameError      no pipeline, device, scale or setting of that name (also a KeyError)
    ├── ConfigError           a configuration is refused: unknown key, impossible value
    ├── ServiceError          a service gave no usable answer
    │   ├── ServiceUnavailableError  it is down or out of reach; try again later  (also a ConnectionError)
    │   └── DeadlineError     it did not answer in time                      (also a TimeoutError)
    └── MissingExtraError     an optional dependency is not installed; names the extra (also an ImportError)
"""

from collections.abc import Iterable
from difflib import get_close_matches

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
    "nearest",
]


class BeampipeError(Exception):
    """Root of every error raised on purpose."""

    def __str__(self) -> str:
        # KeyError quotes its argument; a message is meant to be read.
        return str(self.args[0]) if self.args else ""


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
    """A file is missing, truncated or of another kind."""


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


class ConfigError(BeampipeError, ValueError):
    """A configuration is refused."""


class ServiceError(BeampipeError):
    """A service gave no usable answer; the data may be fine."""


class ServiceUnavailableError(ServiceError, ConnectionError):
    """The service is down, stopping or out of reach; the same request may succeed later or elsewhere."""


class DeadlineError(ServiceError, TimeoutError):
    """The service did not answer in time."""


class MissingExtraError(BeampipeError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: the import name that is missing.
        extra: the extra of beampipe that brings it.
        purpose: what it is needed for.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'beampipe[{extra}]'")


def nearest(name: str, known: Iterable[str]) -> str:
    """The tail of a message that suggests the nearest valid name, or nothing.

    >>> nearest("modul_map", ["module_map", "exatrkx"])
    "; did you mean 'module_map'?"
    """
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
