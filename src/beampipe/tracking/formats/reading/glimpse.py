"""What a file is seen to be at first sight: from its first bytes and its header, footer or keys."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from beampipe.errors import FileError
from beampipe.tracking.formats.tables.arrow import arrow
from beampipe.tracking.formats.tables.csv import header_of
from beampipe.tracking.formats.tables.rows import open_parquet

__all__ = ["Glimpse", "open_root", "read_json", "take_glimpse"]

_PARQUET: Final = b"PAR1"
_ROOT: Final = b"root"
_GZIP: Final = b"\x1f\x8b"
_SHOWN: Final = 12


@dataclass(frozen=True)
class Glimpse:
    """What one file is seen to be.

    Attributes:
        path: path of the file.
        kind: ``parquet``, ``root``, ``json``, ``csv`` (with a header), ``numbers`` (without) or ``unknown``.
        names: columns of a table, keys of a JSON object, or names of the trees of a ROOT file.
        lists: names of the columns that hold lists.
    """

    path: Path
    kind: str
    names: tuple[str, ...] = ()
    lists: frozenset[str] = frozenset()

    def has(self, *names: str) -> bool:
        """Whether it has all these columns, keys or trees."""
        return set(names) <= set(self.names)

    def __str__(self) -> str:
        titles = {
            "parquet": "Parquet with the columns",
            "root": "ROOT with the trees",
            "json": "JSON with the keys",
            "csv": "CSV with the columns",
        }
        if self.kind not in titles:
            return {"numbers": "numbers between commas"}.get(self.kind, "neither Parquet, ROOT, JSON nor CSV")
        shown = ", ".join(repr(name) for name in self.names[:_SHOWN])
        return f"{titles[self.kind]} {shown or 'none'}{', ...' if len(self.names) > _SHOWN else ''}"


def take_glimpse(path: Path) -> Glimpse:
    """Look at a file, whatever it is called.

    Raises:
        FileError: it cannot be read, is cut short, or is an empty CSV file.
        MissingExtraError: a package that reads such files is not installed.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(64)
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})", path=path) from error
    if start.startswith(_PARQUET):
        return _parquet(path)
    if start.startswith(_ROOT):
        return _root(path)
    if start.lstrip()[:1] == b"{":
        return _json(path)
    return _text(path, start)


def open_root(path: Path) -> Any:
    """The ROOT file, opened by uproot.

    Raises:
        FileError: it is no ROOT file or is cut short.
        MissingExtraError: uproot is not installed.
    """
    import uproot

    try:
        return uproot.open(path)
    except Exception as error:  # uproot meets a damaged file with whatever its bytes lead to
        raise FileError(
            f"{path}: not a whole ROOT file, so of no known kind ({error}); copy or write it again", path=path
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        FileError: it is no JSON object or is cut short.
    """
    try:
        body = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: not a whole JSON file ({error}); copy or write it again", path=path) from error
    if not isinstance(body, dict):
        raise FileError(f"{path}: got a JSON {type(body).__name__}, expected an object", path=path)
    return body


def _json(path: Path) -> Glimpse:
    try:
        return Glimpse(path, "json", tuple(read_json(path)))
    except FileError as error:
        # One object a line, as tracks may be written, is no event that was cut short.
        if isinstance(error.__cause__, json.JSONDecodeError) and error.__cause__.msg == "Extra data":
            return Glimpse(path, "unknown")
        raise


def _parquet(path: Path) -> Glimpse:
    pa, _ = arrow("parquet")
    with open_parquet(path) as file:
        schema = file.schema_arrow
    lists = (field.name for field in schema if pa.types.is_list(field.type) or pa.types.is_large_list(field.type))
    return Glimpse(path, "parquet", tuple(schema.names), frozenset(lists))


def _root(path: Path) -> Glimpse:
    with open_root(path) as file:
        return Glimpse(path, "root", tuple(file.keys(cycle=False)))


def _text(path: Path, start: bytes) -> Glimpse:
    is_named_csv = ".csv" in path.suffixes[-2:]
    if b"\0" in start and not start.startswith(_GZIP):
        return Glimpse(path, "unknown")
    try:
        fields = header_of(path)
    except FileError:
        if is_named_csv:
            raise
        return Glimpse(path, "unknown")
    if all(map(_is_number, fields)):
        return Glimpse(path, "numbers") if is_named_csv or len(fields) > 1 else Glimpse(path, "unknown")
    if is_named_csv or (len(fields) > 1 and all(field.isprintable() for field in fields)):
        return Glimpse(path, "csv", tuple(fields))
    return Glimpse(path, "unknown")


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
