"""Settings from TOML files: nested tables become frozen dataclasses; unknown keys and wrong types are errors.

The dataclass is the schema. Its fields are read by their annotations, resolved with `typing.get_type_hints`:

==============================  ====================================================================================
annotation                      value in the file
==============================  ====================================================================================
``int``, ``bool``, ``str``      the same type; true is not a number
``float``                       a finite number; 5 is read as 5.0
``Path``                        text, relative to the folder of the file
``Literal["a", "b"]``           one of these texts
``X | None``                    as X, or null in JSON
``tuple[X, ...]``               an array; a single text is read as an array of one
a dataclass                     a table
``Mapping[str, dataclass]``     tables [key.NAME]
``tuple[dataclass, ...]``       tables [key.NAME] in their order if the dataclass has a field `name`, else an array of
                                tables
==============================  ====================================================================================

In a dataclass that is read from tables [key.NAME], the field `name` is NAME; the table itself must not contain it.

Why no library: three libraries that read dataclasses were tried with a misspelt key, ``"3"`` and true for an int, NaN,
and a list for a tuple (msgspec 0.22, cattrs 26, pydantic 2.14). msgspec ignores the misspelt key of a dataclass. cattrs
converts ``"3"`` and true to int, and so does pydantic, whose strict mode refuses every table instead. All accept NaN as
a float; none suggests the nearest key, fills names from tables [key.NAME] or takes a single text for an array. These
rules and the translation of errors would need about as many lines as this module, and one more dependency.
"""

from __future__ import annotations

import copyreg
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from beampipe.errors import ConfigError, FileError, UnknownNameError, nearest

_T = TypeVar("_T")
_NAME: Final = "name"


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The nested tables of a TOML file.

    Args:
        path: the file.
        what: description of the expected file for the message, e.g. ``"the TOML file of a calibration"``.

    Raises:
        FileError: the file cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); expected {what}") from error
    except ValueError as error:  # not TOML, or not text
        raise FileError(f"{path}: is not TOML ({error})") from error


def read_lines(path: Path, what: str) -> tuple[str, ...]:
    """The lines of a text file without the empty ones; arguments and errors as of `read_toml`."""
    try:
        return tuple(filter(str.strip, path.read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); expected {what}") from error
    except ValueError as error:
        raise FileError(f"{path}: is not text ({error})") from error


def build(kind: type[_T], table: Any, where: str, folder: Path = Path()) -> _T:
    """Make a dataclass from a table whose keys and values are checked against the fields.

    Args:
        kind: the dataclass.
        table: values by the names of fields, as read from TOML or JSON. Values that have the final type already (a
            path, a tuple) are accepted, too.
        where: name of the file, for messages.
        folder: folder that paths are relative to.

    Raises:
        ConfigError: a key is unknown or missing, or a value has another type. Messages of errors from the dataclass's
            own ``__post_init__`` are prefixed with `where`.
        UnknownNameError: a text is not one of the choices.
        TypeError: `kind` has an annotation that this module does not support: a bug, independent of the table.
    """
    settings: _T = _table(kind, table, _Location(where, folder))
    return settings


@dataclass(frozen=True)
class _Location:
    """Position of a value in a file, for messages.

    Attributes:
        file: name of the file.
        folder: folder that paths are relative to.
        keys: keys that lead to the value.
    """

    file: str
    folder: Path
    keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ": ".join((self.file, *self.keys))

    def key(self, key: str) -> _Location:
        """Position of a key of this table."""
        return _Location(self.file, self.folder, (*self.keys, key))

    def named(self, name: str) -> _Location:
        """Position of the table [key.NAME]."""
        return _Location(self.file, self.folder, (*self.keys[:-1], f"{self.keys[-1]}.{name}"))

    def refuse(self, value: object, expected: str) -> ConfigError:
        """The error for a value that is not as expected."""
        return ConfigError(f"{self}: got {value!r}, expected {expected}")


_Reader = Callable[[Any, _Location], Any]


@cache
def _readers(kind: Any) -> Mapping[str, tuple[Field[Any], _Reader]]:
    """Field and reader of each key of a dataclass."""
    hints = get_type_hints(kind)
    readers = {}
    for field in fields(kind):
        hint = hints[field.name]
        try:
            reader = _reader(hint, field.type if isinstance(field.type, str) else _text(hint))
        except TypeError as error:
            raise TypeError(f"{kind.__qualname__}.{field.name}: {error}") from None
        if field.init:
            readers[field.name] = (field, reader)
    return MappingProxyType(readers)


def _table(kind: Any, table: Any, location: _Location) -> Any:
    """Make the dataclass `kind` from a table."""
    readers = _readers(kind)
    if not isinstance(table, Mapping):
        raise location.refuse(table, "a table")
    for key in table:
        if key not in readers:
            raise ConfigError(
                f"{location}: unknown key {key!r}, expected some of {', '.join(sorted(readers))}{nearest(key, readers)}"
            )
    missing = [
        name
        for name, (field, _) in readers.items()
        if name not in table and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise ConfigError(f"{location}: missing {', '.join(missing)}")
    values = {key: readers[key][1](value, location.key(key)) for key, value in table.items()}
    try:
        return kind(**values)
    except (ConfigError, UnknownNameError) as error:
        error.args = (f"{location.file}: {error}",)
        raise


def _reader(hint: Any, text: str) -> _Reader:
    """The reader of values of a type; `text` describes the type in messages. TypeError: it is not supported."""
    origin, inside = get_origin(hint), get_args(hint)
    if hint is float:
        return _finite
    if hint in (int, bool, str):
        return _plain(hint, text)
    if hint is Path:
        return _path
    if _is_dataclass(hint):
        _readers(hint)  # raises at once for annotations that are not supported
        return lambda value, location: _table(hint, value, location)
    if origin is Literal and all(isinstance(choice, str) for choice in inside):
        return _choice(inside, text)
    if origin in (Union, UnionType) and len(inside) == 2 and NoneType in inside:
        reader = _reader(next(each for each in inside if each is not NoneType), text)
        return lambda value, location: None if value is None else reader(value, location)
    if origin is tuple and len(inside) == 2 and inside[1] is Ellipsis:
        if not _is_dataclass(inside[0]) or _NAME not in _readers(inside[0]):
            return _array(_reader(inside[0], _text(inside[0])), inside[0] in (str, Path), text)
        named = _named(inside[0])
        return lambda value, location: tuple(named(value, location).values())
    if origin is Mapping and inside[0] is str and _is_dataclass(inside[1]):
        return _named(inside[1])
    raise TypeError(f"got the annotation {text}, expected one that beampipe.settings supports")


def _finite(value: Any, location: _Location) -> float:
    if type(value) not in (int, float):
        raise location.refuse(value, "float")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not isfinite(number):
        raise ConfigError(f"{location}: got {value}, expected a finite number")
    return number


def _plain(kind: type, text: str) -> _Reader:
    def read(value: Any, location: _Location) -> Any:
        if type(value) is not kind:
            raise location.refuse(value, text)
        return value

    return read


def _path(value: Any, location: _Location) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise location.refuse(value, "a path")
    return Path(os.path.normpath(location.folder / value))


def _choice(choices: tuple[str, ...], text: str) -> _Reader:
    def read(value: Any, location: _Location) -> str:
        if not isinstance(value, str):
            raise location.refuse(value, f"{text}, one of {', '.join(choices)}")
        if value not in choices:
            raise UnknownNameError(f"{location.keys[-1]} ({location})", value, choices)
        return value

    return read


def _array(reader: _Reader, one_alone: bool, text: str) -> _Reader:
    def read(value: Any, location: _Location) -> tuple[Any, ...]:
        if one_alone and isinstance(value, str):
            value = (value,)
        if not isinstance(value, list | tuple):
            raise location.refuse(value, text)
        return tuple(reader(item, location) for item in value)

    return read


def _named(kind: Any) -> _Reader:
    """The reader of tables [key.NAME] of a dataclass: a mapping by NAME."""
    has_name = _NAME in _readers(kind)

    def read(value: Any, location: _Location) -> Mapping[str, Any]:
        if not isinstance(value, Mapping) or not all(isinstance(part, Mapping) for part in value.values()):
            parent, key = _Location(location.file, location.folder, location.keys[:-1]), location.keys[-1]
            raise ConfigError(f"{parent}: got {key} = {value!r}, expected tables [{key}.NAME]")
        tables: dict[str, Any] = {}
        for name, part in value.items():
            at = location.named(name)
            if has_name and _NAME in part:
                raise ConfigError(f"{at}: got {_NAME} = {part[_NAME]!r}, expected none: it is {name!r}")
            tables[name] = _table(kind, {_NAME: name, **part} if has_name else part, at)
        return MappingProxyType(tables)

    return read


def _is_dataclass(hint: Any) -> bool:
    return isinstance(hint, type) and is_dataclass(hint)


def _text(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint)


def _read_only(table: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(table)


# Settings travel between processes, and so do their tables.
copyreg.pickle(MappingProxyType, lambda table: (_read_only, (dict(table),)))
