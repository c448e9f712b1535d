"""One exception tree.

Every error that beampipe raises on purpose derives from `BeampipeError`, and says what it got, what it
expected and what to do next::

    BeampipeError
    ├── InputError            the data handed in cannot be used              (also a ValueError)
    │   ├── ShapeError        wrong rank, length or number of columns
    │   ├── DtypeError        wrong element type                             (also a TypeError)
    │   ├── NotFiniteError    NaN or infinity among the coordinates
    │   ├── TooLargeError     more than the stated limit; names the memory it would need, or what to use instead
    │   └── LayoutError       hits of another detector, or in other units; says what would fit
    ├── FileError             a file is missing, truncated or of another kind; carries its path (also an OSError)
    │   └── ColumnError       a file lacks a column; lists the nearest names
    ├── UnknownNameError      no pipeline, device, scale or setting of that name (also a KeyError)
    ├── ConfigError           a configuration is refused: unknown key, impossible value
    ├── ServiceError          a service gave no usable answer; carries the URL and the model that were asked
    │   ├── ServiceUnavailableError  it is down or out of reach; try again later  (also a ConnectionError)
    │   │   └── RegionLostError      it does not know our shared memory (any more)
    │   ├── RegionRefusedError it cannot or will not map our shared memory
    │   ├── DeadlineError     it did not answer in time                      (also a TimeoutError)
    │   ├── UnknownModelError it has no such model
    │   └── WrongLabelsError  it gave other labels than the pipeline gives when run directly
    ├── ModelError            a served model broke its contract with its server
    ├── CancelledError        the work was ended because nobody waits for its result any more
    ├── BusyError             another process does this work now
    ├── MismatchError         a worker has another version of the code or of a package
    ├── WorkflowError         some tasks of a run failed; the others are done and kept
    └── MissingExtraError     an optional dependency is not installed; names the extra (also a ModuleNotFoundError)

Where hits fit only in part, tracks are found, and one `LayoutWarning` says so.
"""

import re
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

__all__ = [
    "BeampipeError",
    "BusyError",
    "CancelledError",
    "ColumnError",
    "ConfigError",
    "DeadlineError",
    "DtypeError",
    "FileError",
    "InputError",
    "LayoutError",
    "LayoutWarning",
    "MismatchError",
    "MissingExtraError",
    "ModelError",
    "NotFiniteError",
    "RegionLostError",
    "RegionRefusedError",
    "ServiceError",
    "ServiceUnavailableError",
    "ShapeError",
    "TooLargeError",
    "UnknownModelError",
    "UnknownNameError",
    "WorkflowError",
    "WrongLabelsError",
    "input_error",
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


class LayoutError(InputError):
    """Most hits lie on no layer of the detector that the pipeline was made for, or they are in other units.

    Args:
        message: what was got, what was expected, and what would fit.
        hits: number of hits of the event; None if it is not known.
        outside: number of hits that lie on no layer; None if it is not known.
        hint: what would fit, or what to do next.
    """

    def __init__(
        self, message: str = "", *, hits: int | None = None, outside: int | None = None, hint: str = ""
    ) -> None:
        super().__init__(message)
        self.hits = hits
        self.outside = outside
        self.hint = hint


class LayoutWarning(UserWarning):
    """The hits of a run fit the detector only in part, or far fewer of them are on tracks than usual."""


_SAYS_LAYOUT: Final = re.compile(r"layout: got .*?(\d+) of (\d+) hits.*?; (.*)", re.DOTALL)
"""What the message of a `LayoutError` reads like: hits outside, all hits, hint."""


_SAYS_TOO_LARGE: Final = re.compile(
    r"[\w. ]+: got \d+( hits)?( in event \d+ of \d+)?,( which would need [\d.]+ GB,)? expected at most \d.*", re.DOTALL
)
"""What the message of a `TooLargeError` about one event reads like."""


def input_error(message: str) -> InputError:
    """The error of that message, as a served model raised it: only words cross the wire.

    >>> input_error("layout: got 9 of 9 hits (100 %) on no layer of generic, expected most of them on its layers; ...")
    LayoutError('layout: got 9 of 9 hits (100 %) on no layer of generic, expected most of them on its layers; ...')
    """
    said = _SAYS_LAYOUT.fullmatch(message)
    if said is None:
        return TooLargeError(message) if _SAYS_TOO_LARGE.fullmatch(message) else InputError(message)
    return LayoutError(message, outside=int(said[1]), hits=int(said[2]), hint=said[3])


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
    """A service gave no usable answer; the data may be fine.

    Args:
        message: what was got, what was expected, and what to do next.
        url: address of the server that was asked, None if it is not known.
        model: name of the model that was asked, None if it is not known or no model was asked.
    """

    def __init__(self, message: str = "", *, url: str | None = None, model: str | None = None) -> None:
        super().__init__(message)
        self.url = url
        self.model = model


class ServiceUnavailableError(ServiceError, ConnectionError):
    """The service is down, stopping or out of reach; the same request may succeed later or elsewhere."""


class RegionLostError(ServiceUnavailableError):
    """The server does not know our shared memory region (any more): it is another one, or has been restarted."""


class RegionRefusedError(ServiceError):
    """The server cannot or will not map our shared memory; the data can be sent instead."""


class DeadlineError(ServiceError, TimeoutError):
    """The service did not answer in time."""


class UnknownModelError(ServiceError):
    """The server has no such model."""


class WrongLabelsError(ServiceError):
    """A server gave other labels than the pipeline gives when run directly, or none.

    Args:
        fault: what the server gave.
    """

    def __init__(self, fault: str) -> None:
        super().__init__(f"load: got {fault}, expected the labels that the pipeline gives when run directly")
        self.fault = fault


class ModelError(BeampipeError):
    """A served model broke its contract with its server, e.g. gave too few answers, or arrays of another type."""


class CancelledError(BeampipeError):
    """The work was ended because nobody waits for its result any more."""


class BusyError(BeampipeError):
    """Another process does this work now; its result can be waited for."""


class MismatchError(BeampipeError):
    """A worker computes with another version of the code or of a package than the process that gives it work."""


class WorkflowError(BeampipeError):
    """Some tasks of a run failed; the others are done, and what they made is kept.

    Args:
        message: what failed, and what to do.
        errors: label and error of each task that failed.
    """

    def __init__(self, message: str, errors: Iterable[tuple[str, Exception]] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)


class MissingExtraError(BeampipeError, ModuleNotFoundError):
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
