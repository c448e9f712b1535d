"""One exception tree.

Every error that beampipe raises on purpose derives from `BeampipeError`. Its message says what was received, what was
expected and what to do next::

    BeampipeError
    ├── InputError            the input data cannot be used                  (also a ValueError)
    │   ├── ShapeError        wrong rank, length or number of columns
    │   ├── DtypeError        wrong element type                             (also a TypeError)
    │   ├── NotFiniteError    NaN or infinity among the coordinates
    │   ├── TooLargeError     more than the stated limit; says how much memory it would need, or an alternative
    │   └── LayoutError       hits of another detector, or in other units; says which would fit
    ├── FileError             a file is missing, truncated or of another kind; carries its path (also an OSError)
    │   └── ColumnError       a file lacks a column; lists the nearest names
    ├── UnknownNameError      no pipeline, device, scale or setting of that name (also a KeyError)
    ├── ConfigError           a configuration is refused: unknown key, impossible value
    ├── ServiceError          a service gave no usable answer; has the URL and the model
    │   ├── ServiceUnavailableError  it is down or unreachable; try again later   (also a ConnectionError)
    │   │   └── RegionLostError      the server has no such shared memory region (any more)
    │   ├── RegionRefusedError the server cannot map our shared memory
    │   ├── DeadlineError     it did not answer in time                    (also a TimeoutError)
    │   └── UnknownModelError the server has no such model
    ├── ModelError            a served model broke its contract with its server
    ├── CancelledError        the work was stopped because its client has left
    ├── BusyError             locked by another process; retry later
    ├── MismatchError         a worker or a server runs other code, weights or packages
    ├── WorkflowError         some tasks of a run failed; results of the others are kept
    └── MissingExtraError     an optional package is missing; names the extra (also a ModuleNotFoundError)

If only part of the hits fit the detector, tracks are found, and one `LayoutWarning` is issued.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar

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
    "from_wire",
    "look_up",
    "nearest",
    "to_wire",
]


class BeampipeError(Exception):
    """Root of every error raised on purpose."""

    def __str__(self) -> str:
        # str(KeyError) would quote the message.
        return str(self.args[0]) if self.args else ""

    # Errors travel between processes. Pickle would call __init__ with the finished message as its only argument.
    def __reduce__(self) -> tuple[Callable[..., "BeampipeError"], tuple[Any, ...]]:
        return _restore_error, (type(self), self.args, dict(self.__dict__))


def _restore_error(error_type: type[BeampipeError], args: tuple[Any, ...], state: dict[str, Any]) -> BeampipeError:
    """Recreate an error without calling its __init__."""
    error = error_type.__new__(error_type, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InputError(BeampipeError, ValueError):
    """The input data cannot be used."""


class ShapeError(InputError):
    """Wrong rank, length or number of columns."""


class DtypeError(InputError, TypeError):
    """Wrong element type."""


class NotFiniteError(InputError):
    """NaN or infinity among the coordinates."""


class TooLargeError(InputError):
    """More than the stated limit."""


class LayoutError(InputError):
    """Most hits lie on no layer of the detector that the pipeline was trained for, or are in other units.

    Args:
        message: received, expected, and what would fit.
        hits: number of hits of the event; None if unknown.
        outside: number of hits that lie on no layer; None if unknown.
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
    """Only part of the hits of a run fit the detector, or far fewer of them are on tracks than usual."""


_FIELDS: Final = ' {"error": '
"""Separator between the message of an `InputError` and its type and fields, for protocols that transmit only text."""


def to_wire(error: BeampipeError) -> str:
    """The message of an error; for an `InputError`, followed by its type and fields as JSON.

    A served model can answer with text only. `InputError::wire_text` in C++ writes the same.

    >>> to_wire(TooLargeError("hits: got 500000, expected at most 400000"))
    'hits: got 500000, expected at most 400000 {"error": "TooLargeError"}'
    """
    if not isinstance(error, InputError) or type(error) is InputError:
        return str(error)
    return f"{error} {json.dumps({'error': type(error).__name__, **vars(error)})}"


def from_wire(text: str) -> InputError:
    """The error that `to_wire` wrote, or an `InputError` with the whole text.

    >>> from_wire('layout: got 9 of 9 hits {"error": "LayoutError", "hits": 9, "outside": 9, "hint": "in cm"}').outside
    9
    """
    message, separator, fields = text.rpartition(_FIELDS)
    try:
        values = json.loads(_FIELDS + fields) if separator else {}
    except ValueError:
        return InputError(text)
    kinds = {kind.__name__: kind for kind in (ShapeError, DtypeError, NotFiniteError, TooLargeError, LayoutError)}
    kind = kinds.get(values.pop("error", ""))
    if kind is None:
        return InputError(text)
    error = kind(message)
    vars(error).update(values)
    return error


class FileError(BeampipeError, OSError):
    """A file is missing, truncated or of another kind.

    Args:
        message: received, expected, and what to do next.
        path: the file or folder; None if unknown.
        name: name of an object in the file, e.g. a column or the key of an artifact; None for the whole file.
    """

    def __init__(self, message: str = "", *, path: str | Path | None = None, name: str | None = None) -> None:
        super().__init__(message)
        self.path = None if path is None else Path(path)
        self.name = name


class ColumnError(FileError):
    """A file lacks a column that is needed."""


class UnknownNameError(BeampipeError, KeyError):
    """A name is unknown.

    Args:
        kind: kind of the name, e.g. ``"pipeline"``.
        name: the unknown name.
        valid: all valid names.
    """

    def __init__(self, kind: str, name: str, valid: Iterable[str]) -> None:
        valid = sorted(valid)
        expected = f"one of {', '.join(valid)}" if valid else "none"
        super().__init__(f"unknown {kind}: got {name!r}, expected {expected}{nearest(name, valid)}")
        self.kind = kind
        self.name = name
        self.valid = tuple(valid)


class ConfigError(BeampipeError, ValueError):
    """A configuration is refused."""


class ServiceError(BeampipeError):
    """A service gave no usable answer; the data may be fine.

    Args:
        message: received, expected, and what to do next.
        url: address of the server; None if unknown.
        model: name of the model; None if unknown or none.
    """

    def __init__(self, message: str = "", *, url: str | None = None, model: str | None = None) -> None:
        super().__init__(message)
        self.url = url
        self.model = model


class ServiceUnavailableError(ServiceError, ConnectionError):
    """The service is down, stopping or unreachable; the request may succeed later or on another server."""


class RegionLostError(ServiceUnavailableError):
    """The server has no such shared memory region (any more), e.g. because it was restarted."""


class RegionRefusedError(ServiceError):
    """The server cannot map our shared memory; the data can be sent instead."""


class DeadlineError(ServiceError, TimeoutError):
    """The service did not answer in time."""


class UnknownModelError(ServiceError):
    """The server has no such model."""


class ModelError(BeampipeError):
    """A served model broke its contract with its server, e.g. returned too few answers, or arrays of another type."""


class CancelledError(BeampipeError):
    """The work was stopped because its client has left."""


class BusyError(BeampipeError):
    """Locked by another process; retry later."""


class MismatchError(BeampipeError):
    """A worker or a server runs other code, weights or packages than the process that uses it."""


class WorkflowError(BeampipeError):
    """Some tasks of a run failed; results of the others are kept.

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
        package: import name of the missing package.
        extra: extra of beampipe that installs it; empty if it is installed by its own name.
        purpose: part of beampipe that needs it.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        name = f"'beampipe[{extra}]'" if extra else package
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install {name}")
        self.package = package
        self.extra = extra


def expect_type(call: str, value: object, kinds: type | tuple[type, ...], hint: str) -> None:
    """Refuse an argument of another type.

    Args:
        call: name of the function, for the message.
        value: argument.
        kinds: types that the function takes.
        hint: the right call, in words.

    Raises:
        TypeError: the argument is of none of these types.
    """
    if not isinstance(value, kinds):
        names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise TypeError(f"{call}: got {type(value).__name__}, expected {names}; {hint}")


_Value = TypeVar("_Value")


def look_up(kind: str, name: str, table: Mapping[str, _Value]) -> _Value:
    """The entry of a table by its name.

    Args:
        kind: kind of the name, for the message, e.g. ``"pipeline"``.
        name: name of the entry.
        table: entries by their names.

    Raises:
        UnknownNameError: there is no entry of that name.
    """
    if name not in table:
        raise UnknownNameError(kind, name, table)
    return table[name]


def nearest(name: str, valid: Iterable[str]) -> str:
    """End of a message that suggests the nearest valid name; empty if none is near.

    >>> nearest("modul_map", ["module_map", "exatrkx"])
    "; did you mean 'module_map'?"
    """
    close = get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
