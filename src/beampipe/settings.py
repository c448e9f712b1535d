"""Settings from TOML files: nested tables become frozen dataclasses, and whatever does not fit is refused.

The dataclass is the schema. Its fields are read by their annotations, resolved with `typing.get_type_hints`:

==============================  ====================================================================================
annotation                      what stands for it in the file
==============================  ====================================================================================
``int``, ``bool``, ``str``      just that; true is no number
``float``                       a finite number; 5 stands for 5.0
``Path``                        text, relative to the folder of the file
``Literal["a", "b"]``           one of these texts
``X | None``                    an X; or null, in JSON
``tuple[X, ...]``               an array; one text alone stands for an array of one
a dataclass                     a table
``Mapping[str, dataclass]``     tables [key.NAME]
``tuple[dataclass, ...]``       tables [key.NAME], in their order; the dataclass must have a field `name`
==============================  ====================================================================================

A field `name` of a dataclass that is read from tables [key.NAME] holds NAME, and must not stand in the table itself.

Why no library: three of them read dataclasses, and were tried on a misspelt key, ``"3"`` and true for an int, NaN and a
list for a tuple (msgspec 0.22, cattrs 26, pydantic 2.14). msgspec ignores the misspelt key of a dataclass. cattrs makes
an int of ``"3"`` and of true; so does pydantic, whose strict mode refuses every table instead. All take NaN for a
float, none suggests the nearest key, fills names from tables [key.NAME] or takes one text for an array of one. All
that, and the translation of their errors into our words, would be about as many lines as are here, and the core would
get one more package.
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

__all__ = ["build", "read_toml"]

_T = TypeVar("_T")
_NAME: Final = "name"


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The nested tables of a TOML file.

    Args:
        path: the file.
        what: what it should be, for the message, e.g. ``"the TOML file of a calibration"``.

    Raises:
        FileError: the file cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); expected {what}") from error
    except ValueError as error:  # no TOML, or no text
        raise FileError(f"{path}: got no TOML ({error})") from error


def build(kind: type[_T], table: Any, where: str, folder: Path = Path()) -> _T:
    """A dataclass from a table, its keys and values checked against the fields.

    Args:
        kind: the dataclass.
        table: from names of fields to values, as TOML and JSON have them. Values that are already of the right kind
            (a path, a tuple) are taken, too.
        where: the file, for messages.
        folder: what paths are relative to.

    Raises:
        ConfigError: a key is unknown or missing, or a value is of another type. What the dataclass itself raises in
            ``__post_init__`` gets `where` put before it.
        UnknownNameError: a text is none of the choices.
        TypeError: `kind` has an annotation that is not known here; a fault in the program, whatever the table holds.
    """
    found: _T = _table(kind, table, _Place(where, folder))
    return found


@dataclass(frozen=True)
class _Place:
    """Where a value stands in a file.

    Attributes:
        file: the name of the file.
        folder: what paths are relative to.
        keys: those that lead to the value.
    """

    file: str
    folder: Path
    keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ": ".join((self.file, *self.keys))

    def key(self, key: str) -> _Place:
        """The place of one key of this table."""
        return _Place(self.file, self.folder, (*self.keys, key))

    def named(self, name: str) -> _Place:
        """The place of the table [key.NAME]."""
        return _Place(self.file, self.folder, (*self.keys[:-1], f"{self.keys[-1]}.{name}"))

    def refuse(self, value: object, expected: str) -> ConfigError:
        """What to raise for a value that is not the expected one."""
        return ConfigError(f"{self}: got {value!r}, expected {expected}")


_Reader = Callable[[Any, _Place], Any]


@cache
def _readers(kind: Any) -> Mapping[str, tuple[Field[Any], _Reader]]:
    """For each key of a dataclass its field, and what reads its value."""
    hints = get_type_hints(kind)
    found = {}
    for field in fields(kind):
        hint = hints[field.name]
        try:
            reader = _reader(hint, field.type if isinstance(field.type, str) else _text(hint))
        except TypeError as error:
            raise TypeError(f"{kind.__qualname__}.{field.name}: {error}") from None
        if field.init:
            found[field.name] = (field, reader)
    return MappingProxyType(found)


def _table(kind: Any, table: Any, place: _Place) -> Any:
    """The dataclass `kind` from a table at some place."""
    known = _readers(kind)
    if not isinstance(table, Mapping):
        raise place.refuse(table, "a table")
    for key in table:
        if key not in known:
            raise ConfigError(
                f"{place}: unknown key {key!r}, expected some of {', '.join(sorted(known))}{nearest(key, known)}"
            )
    missing = [
        name
        for name, (field, _) in known.items()
        if name not in table and field.default is MISSING and field.default_factory is MISSING
    ]
    if missing:
        raise ConfigError(f"{place}: got no {', '.join(missing)}, expected it")
    values = {key: known[key][1](value, place.key(key)) for key, value in table.items()}
    try:
        return kind(**values)
    except (ConfigError, UnknownNameError) as error:
        error.args = (f"{place.file}: {error}",)
        raise


def _reader(hint: Any, text: str) -> _Reader:
    """What reads a value of a type; `text` is the type in words for people.

    Raises:
        TypeError: no type that is known here.
    """
    origin, inside = get_origin(hint), get_args(hint)
    if hint is float:
        return _finite
    if hint in (int, bool, str):
        return _plain(hint, text)
    if hint is Path:
        return _path
    if _is_dataclass(hint):
        _readers(hint)  # refuses what is not known at once, though no file may ever have such a table
        return lambda value, place: _table(hint, value, place)
    if origin is Literal and all(isinstance(choice, str) for choice in inside):
        return _choice(inside, text)
    if origin in (Union, UnionType) and len(inside) == 2 and NoneType in inside:
        reader = _reader(next(one for one in inside if one is not NoneType), text)
        return lambda value, place: None if value is None else reader(value, place)
    if origin is tuple and len(inside) == 2 and inside[1] is Ellipsis:
        if not _is_dataclass(inside[0]):
            return _array(_reader(inside[0], _text(inside[0])), inside[0] in (str, Path), text)
        if _NAME in _readers(inside[0]):
            named = _named(inside[0])
            return lambda value, place: tuple(named(value, place).values())
    if origin is Mapping and inside[0] is str and _is_dataclass(inside[1]):
        return _named(inside[1])
    raise TypeError(f"got the annotation {text}, expected one that beampipe.settings knows; see there")


def _finite(value: Any, place: _Place) -> float:
    if type(value) not in (int, float):
        raise place.refuse(value, "float")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not isfinite(number):
        raise ConfigError(f"{place}: got {value}, expected a finite number")
    return number


def _plain(kind: type, text: str) -> _Reader:
    def read(value: Any, place: _Place) -> Any:
        if type(value) is not kind:
            raise place.refuse(value, text)
        return value

    return read


def _path(value: Any, place: _Place) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str):
        raise place.refuse(value, "a path")
    return Path(os.path.normpath(place.folder / value))


def _choice(choices: tuple[str, ...], text: str) -> _Reader:
    def read(value: Any, place: _Place) -> str:
        if not isinstance(value, str):
            raise place.refuse(value, f"{text}, one of {', '.join(choices)}")
        if value not in choices:
            raise UnknownNameError(f"{place.keys[-1]} ({place})", value, choices)
        return value

    return read


def _array(reader: _Reader, one_alone: bool, text: str) -> _Reader:
    def read(value: Any, place: _Place) -> tuple[Any, ...]:
        if one_alone and isinstance(value, str):
            value = (value,)
        if not isinstance(value, list | tuple):
            raise place.refuse(value, text)
        return tuple(reader(item, place) for item in value)

    return read


def _named(kind: Any) -> _Reader:
    """What reads tables [key.NAME] of a dataclass, as a mapping by NAME."""
    has_name = _NAME in _readers(kind)

    def read(value: Any, place: _Place) -> Mapping[str, Any]:
        if not isinstance(value, Mapping) or not all(isinstance(part, Mapping) for part in value.values()):
            key = place.keys[-1]
            raise ConfigError(f"{_parent(place)}: got {key} = {value!r}, expected tables [{key}.NAME]")
        found: dict[str, Any] = {}
        for name, part in value.items():
            at = place.named(name)
            if has_name and _NAME in part:
                raise ConfigError(f"{at}: got {_NAME} = {part[_NAME]!r}, expected none: it is {name!r}")
            found[name] = _table(kind, {_NAME: name, **part} if has_name else part, at)
        return MappingProxyType(found)

    return read


def _parent(place: _Place) -> _Place:
    return _Place(place.file, place.folder, place.keys[:-1])


def _is_dataclass(hint: Any) -> bool:
    return isinstance(hint, type) and is_dataclass(hint)


def _text(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint)


def _read_only(table: dict[Any, Any]) -> Mapping[Any, Any]:
    return MappingProxyType(table)


# Settings travel between processes, and so do their tables.
copyreg.pickle(MappingProxyType, lambda table: (_read_only, (dict(table),)))
