"""Base of all formats of events: how files are recognised and read, and with which options."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import BeampipeError, FileError
from beampipe.events import Event, Events
from beampipe.lazy import import_name
from beampipe.tracking.formats.read_options import ReadOptions
from beampipe.tracking.formats.tables import arrow, header_of, open_parquet


@dataclass(frozen=True)
class EventFormat:
    """One format of events.

    Attributes:
        name: name of the format on the command line.
        recognises: whether a file holds one or several events of this format.
        read: the events of such a file, one in memory at a time.
        takes: names of the attributes of `ReadOptions` that the format uses.
        yields_to: names of formats that are read instead where a folder holds both.
        readable: whether a file that is not recognised can be read all the same, if the user names the format.
        count: number of events of a file, without reading them; None where they must be read.
        read_from: the events of a file from that row on, without reading those before; None where they must be read.
        note: what a user should know of how a file is read, empty if nothing; None if there is never anything.
        unique_hit_ids: whether a hit id that repeats in an event is an error.
    """

    name: str
    recognises: Callable[[FileProbe], bool]
    read: Callable[[Path, ReadOptions], Iterator[Event]]
    takes: frozenset[str] = frozenset()
    yields_to: frozenset[str] = frozenset()
    readable: Callable[[FileProbe], bool] = lambda file: False
    count: Callable[[Path], int] | None = None
    read_from: Callable[[Path, ReadOptions, int], Iterator[Event]] | None = None
    note: Callable[[FileProbe, ReadOptions], str] | None = None
    unique_hit_ids: bool = True

    def accepts(self, file: FileProbe) -> bool:
        """Whether a file can be read if the user names the format."""
        return self.recognises(file) or self.readable(file)

    def events(self, source: Path, files: Sequence[Path], options: ReadOptions) -> Events:
        """The events of one or more files, read when they are used.

        Args:
            source: file or folder that the user named.
            files: files, in order.
            options: options of the reader.
        """
        note = "" if self.note is None else self.note(probe_file(files[0]), options)
        size = None if self.count is None else partial(self._number, files)
        return Events(source.name, partial(self._checked, source, files, options), size, note=note)

    def __reduce__(self) -> tuple[Callable[[str], EventFormat], tuple[str]]:
        return import_name("beampipe.tracking.formats.registry:event_format"), (self.name,)

    def _number(self, files: Sequence[Path]) -> int:
        return sum(map(self.count, files)) if self.count is not None else 0

    def _checked(self, source: Path, files: Sequence[Path], options: ReadOptions, first: int) -> Iterator[Event]:
        for event in self._read_all(files, options, first):
            if self.unique_hit_ids:
                require_unique_hit_ids(source, event)
            yield event

    def _read_all(self, files: Sequence[Path], options: ReadOptions, first: int) -> Iterator[Event]:
        for file in files:
            if first and self.count is not None and first >= (n := self.count(file)):
                first -= n
                continue
            if self.read_from is not None:
                yield from self.read_from(file, options, first)
                first = 0
                continue
            for event in self.read(file, options):
                if first:
                    first -= 1
                else:
                    yield event


def require_unique_hit_ids(path: Path, event: Event) -> None:
    """Refuse an event in which two hits have one number.

    Raises:
        FileError: there are such hits.
    """
    ids = None if event.source is None else event.source.hit_id
    if ids is None or (ids[1:] > ids[:-1]).all():  # in order, as nearly always
        return
    numbers, counts = np.unique(ids, return_counts=True)
    if len(numbers) < len(ids):
        raise FileError(
            f"{path}: event {event.event_id}: got the hit id {numbers[counts > 1][0]} {counts.max()} times, and"
            f" {len(ids) - len(numbers)} hits too many, expected each once; were hits written twice, or several events"
            " as one?",
            path=path,
        )


TABLE_KINDS: Final = {"parquet": "Parquet", "csv": "CSV", "feather": "Feather", "hdf5": "HDF5", "tree": "ROOT"}
"""Kind of a file that is a table with named columns -> what it is called; ``tree`` is a ROOT file with one tree."""

_TREES: Final = ("TTree", "ROOT::RNTuple")

_MAX_SHOWN_NAMES: Final = 12


@dataclass(frozen=True)
class FileProbe:
    """Properties of a file that its first bytes, and its header, footer or keys, show.

    Attributes:
        path: path of the file.
        kind: one of `TABLE_KINDS`, ``root`` (podio, or several trees), ``json``, ``numbers`` (CSV without a header),
            ``memory`` (no file) or ``unknown``.
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
            "memory": "the columns",
            "root": "ROOT with the trees",
            "json": "JSON with the keys",
            **{kind: f"{title} with the columns" for kind, title in TABLE_KINDS.items()},
        }
        if self.kind not in titles:
            unknown = f"neither {', '.join(TABLE_KINDS.values())} nor JSON"
            return {"numbers": "numbers between commas"}.get(self.kind, unknown)
        shown = ", ".join(repr(name) for name in self.names[:_MAX_SHOWN_NAMES])
        return f"{titles[self.kind]} {shown or 'none'}{', ...' if len(self.names) > _MAX_SHOWN_NAMES else ''}"


def one_event(path: Path) -> int:
    """The number of events of a file of a format with one event per file."""
    return 1


def probe_file(path: Path) -> FileProbe:
    """Read the properties of a file from its content.

    Raises:
        FileError: it cannot be read, is cut short, or is an empty CSV file.
        MissingExtraError: a package that reads such files is not installed.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(64)
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})", path=path) from error
    if start.startswith(b"PAR1"):
        pa, _ = arrow("parquet")
        with open_parquet(path) as file:
            schema = file.schema_arrow
        lists = (field.name for field in schema if pa.types.is_list(field.type) or pa.types.is_large_list(field.type))
        return FileProbe(path, "parquet", tuple(schema.names), frozenset(lists))
    for magic, kind in ((b"ARROW1", "feather"), (b"\x89HDF", "hdf5")):
        if start.startswith(magic):
            return probe_columns(path, kind, read_whole(path, kind))
    if start.startswith(b"root"):
        with open_root(path) as file:
            trees = tuple(file.keys(cycle=False, filter_classname=_TREES))
            branches = file["events"].keys() if "events" in trees else []
            is_podio = any("." in branch for branch in branches)
            if is_podio or len(trees) != 1:
                return FileProbe(path, "root", trees)
        return probe_columns(path, "tree", read_whole(path, "tree", 1))
    if start.lstrip()[:1] == b"{":
        try:
            return FileProbe(path, "json", tuple(read_json(path)))
        except FileError as error:
            # One object per line is a file of tracks, not an event that was cut short.
            if isinstance(error.__cause__, json.JSONDecodeError) and error.__cause__.msg == "Extra data":
                return FileProbe(path, "unknown")
            raise
    return _probe_text(path, start)


def probe_columns(path: Path, kind: str, columns: Mapping[str, Any]) -> FileProbe:
    """The properties of columns in memory; lists are arrays of two dimensions, or of lists."""
    lists = (
        name
        for name, values in columns.items()
        if getattr(values, "ndim", 1) == 2 or np.ndim(next(iter(values), 0)) == 1
    )
    return FileProbe(path, kind, tuple(columns), frozenset(lists))


def read_whole(path: Path, kind: str, rows: int | None = None) -> Mapping[str, Any]:
    """The columns of a file of the kind ``feather``, ``hdf5`` or ``tree``, all of it in memory.

    Of HDF5 these are the datasets of one dimension in all groups, by their own names, or the fields of one table.

    Args:
        path: the file.
        kind: its kind.
        rows: number of entries that are read of a tree; None for all.

    Raises:
        FileError: it is cut short or damaged, or two columns have one name.
        MissingExtraError: a package that reads such files is not installed.
    """
    try:
        if kind == "tree":
            with open_root(path) as file:
                (tree,) = file.keys(cycle=False, filter_classname=_TREES)
                return _plain_columns(file[tree].arrays(entry_stop=rows))
        if kind == "feather":
            import awkward

            return _plain_columns(awkward.from_feather(path))
        return _hdf5_columns(path)
    except BeampipeError:
        raise
    except Exception as error:  # uproot and h5py raise all kinds of exceptions for damaged files
        raise FileError(
            f"{path}: not a whole {TABLE_KINDS[kind]} file ({error}); copy or write it again", path=path
        ) from error


def _plain_columns(records: Any) -> dict[str, Any]:
    """The fields of an array of awkward with a number or a list of numbers for each entry; of records as ``hit.x``."""
    columns: dict[str, Any] = {}
    for name in records.fields:
        values = records[name]
        columns |= {f"{name}.{part}": values[part] for part in values.fields} or {name: values}
    return {name: values for name, values in columns.items() if not values.fields and values.ndim <= 2}


def _hdf5_columns(path: Path) -> dict[str, Any]:
    import h5py

    columns: dict[str, Any] = {}

    def add(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or item.ndim != 1:
            return
        values = item[:]
        fields = values.dtype.names
        new = {name.rpartition("/")[2]: values} if fields is None else {field: values[field] for field in fields}
        if twice := set(new) & set(columns):
            raise FileError(f"{path}: got {twice.pop()!r} in two groups, expected one table; write it alone", path=path)
        columns.update(new)

    with h5py.File(path) as file:
        file.visititems(add)
    return columns


def open_root(path: Path) -> Any:
    """The ROOT file, opened by uproot.

    Raises:
        FileError: it is no ROOT file or is cut short.
        MissingExtraError: uproot is not installed.
    """
    import uproot

    try:
        return uproot.open(path)
    except Exception as error:  # uproot raises all kinds of exceptions for damaged files
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


def _probe_text(path: Path, start: bytes) -> FileProbe:
    is_named_csv = ".csv" in path.suffixes[-2:]
    if b"\0" in start and not start.startswith(b"\x1f\x8b"):
        return FileProbe(path, "unknown")
    try:
        fields = header_of(path)
    except FileError:
        if is_named_csv:
            raise
        return FileProbe(path, "unknown")
    other = next((sign for sign in ";\t|" if sign in fields[0] or sign in fields[-1]), None)
    if is_named_csv and other is not None:
        raise FileError(
            f"{path}: got columns between {other!r}, expected commas between them and points in decimals; convert it,"
            f' e.g. pandas.read_csv(path, sep={other!r}, decimal=",").to_csv(new_path, index=False)',
            path=path,
        )
    if all(map(_is_number, fields)):
        return FileProbe(path, "numbers") if is_named_csv or len(fields) > 1 else FileProbe(path, "unknown")
    if is_named_csv or (len(fields) > 1 and all(field.isprintable() for field in fields)):
        return FileProbe(path, "csv", tuple(fields))
    return FileProbe(path, "unknown")


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


_EVENT_FILE_NAME: Final = re.compile(r"(?P<stem>.*?(?P<number>\d+))-(?P<kind>[a-z_\-]+)\.csv(?:\.gz)?")


@dataclass(frozen=True)
class EventFiles:
    """The files of one event, with one stem: ``event000000012-hits.csv``, ``event000000012-truth.csv``, ...

    Attributes:
        folder: folder that the files lie in.
        stem: beginning of the files' names, e.g. ``event000000012``.
        event_id: number of the event, from the stem.
        kind: which of the files this was made from, e.g. ``hits``.
    """

    folder: Path
    stem: str
    event_id: int
    kind: str

    def path(self, kind: str) -> Path:
        """The file of that kind; the plain one if neither it nor a gzipped one exists."""
        plain = self.folder / f"{self.stem}-{kind}.csv"
        zipped = plain.with_name(plain.name + ".gz")
        return zipped if not plain.is_file() and zipped.is_file() else plain

    @classmethod
    def of(cls, path: Path) -> EventFiles | None:
        """The files of the event of which this is one; None if its name has another form."""
        match = _EVENT_FILE_NAME.fullmatch(path.name)
        return None if match is None else cls(path.parent, match["stem"], int(match["number"]), match["kind"])

    @classmethod
    def beside(cls, path: Path, kind: str) -> EventFiles:
        """The files of the event of which this is the one of that kind.

        Raises:
            FileError: its name has another form.
        """
        files = cls.of(path)
        if files is None:
            raise FileError(f"{path}: expected the name eventNNN-{kind}.csv; rename the files of the event")
        return files


def matching_rows(wanted: ndarray, there: ndarray, path: Path, name: str, where: Path) -> Int64[ndarray, " n_wanted"]:
    """The row in `there` (unique numbers, any order) of each of `wanted`.

    Raises:
        FileError: `there` holds a number twice, or one of `wanted` is not there.
    """
    order = np.argsort(there, kind="stable")
    ranked = there[order]
    twice = np.flatnonzero(ranked[1:] == ranked[:-1])
    if len(twice):
        raise FileError(f"{where}: got {name} {ranked[twice[0]]} twice, expected each once", path=where)
    at = np.searchsorted(ranked, wanted)
    is_there = at < len(ranked)
    is_there[is_there] = ranked[at[is_there]] == wanted[is_there]
    if not is_there.all():
        row = int(np.argmin(is_there))
        raise FileError(f"{path}: got {name} {wanted[row]} at row {row}, which {where} does not have", path=path)
    return order[at].astype(np.int64)
