"""How tracks are written: as labels, as lists of hits, with fitted parameters, and what all formats of tracks share."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import FileError, InputError, ShapeError
from beampipe.events import NO_TRACK, Event, FitStatus, Hits, TrackParameters, Tracks, hit_lists
from beampipe.files import replacing
from beampipe.tracking.fitting.helix import pt_of_tracks
from beampipe.tracking.formats.tables import arrow
from beampipe.tracking.truth import distance_squared

if TYPE_CHECKING:
    from awkward import Array


# What a form of written tracks is, and what several forms need: tracks as lists of hits, and the input's hit
# ids.


_ENDINGS: Final = (".parquet", ".csv", ".jsonl", ".json", ".root")

EventsWithTracks = Iterable[tuple[Event, Tracks]]
"""Events and the tracks found in them."""


@dataclass(frozen=True)
class TrackFormat:
    """One way to write tracks.

    Attributes:
        name: name by which a user asks for it.
        endings: endings of its files, the usual one first; an empty one stands for a folder.
        write: writes events and their tracks, taken one at a time, to a path; returns the number of events.
        needs: refuses an event that lacks what the form says of hits, by an `InputError`, before tracks are looked for.
    """

    name: str
    endings: tuple[str, ...]
    write: Callable[[Path, EventsWithTracks], int]
    needs: Callable[[Event], object] = lambda event: None

    def check(self, path: Path) -> None:
        """Refuse a path of another ending.

        Raises:
            FileError: the ending is another.
        """
        # Whatever is no ending of a file may be the name of a folder.
        ending = path.suffix if path.suffix in _ENDINGS or "" not in self.endings else ""
        if ending not in self.endings:
            raise FileError(
                f"{path}: got the ending {path.suffix!r}, expected"
                f" {' or '.join(ending or 'a folder' for ending in self.endings)} for {self.name}",
                path=path,
            )


def check_labels(event: Event, tracks: Tracks) -> None:
    """Refuse labels of another length than the hits.

    Raises:
        ShapeError: they are not as many.
    """
    if len(tracks.track_id) != len(event.hits):
        raise ShapeError(
            f"event {event.event_id}: got {len(tracks.track_id)} labels, expected {len(event.hits)}, one per hit"
        )


def hit_rows_of_tracks(event: Event, tracks: Tracks) -> Sequence[Int64[ndarray, " _"]]:
    """Rows of the hits of each track from the inside out (by r^2 + z^2); if tracks share hits, with the shared ones.

    Raises:
        ShapeError: the labels are not as many as the hits.
    """
    check_labels(event, tracks)
    distance = distance_squared(event.hits)
    if tracks.candidates is not None:
        return [rows[np.argsort(distance[rows], kind="stable")] for rows in tracks.candidates]
    order = np.lexsort((distance, tracks.track_id)).astype(np.int64)
    order = order[np.count_nonzero(tracks.track_id == NO_TRACK) :]
    return np.split(order, np.flatnonzero(np.diff(tracks.track_id[order])) + 1) if len(order) else []


def own_hit_ids(event: Event, form: str, formats: tuple[str, ...]) -> Int64[ndarray, " n_hits"]:
    """The input's own hit ids, for a form that names hits by them.

    Args:
        event: an event.
        form: name of the form, for the message.
        formats: formats of input whose numbers the form means; none for any, and then each may be there once only.

    Raises:
        InputError: the input has no hit ids of its own, repeats one that names a hit, or is of another format.
    """
    source = event.source
    if source is None or source.hit_id is None or (formats and source.format not in formats):
        got = "one without hit ids" if source is None or source.hit_id is None else f"one of {source.format}"
        raise InputError(
            f"event {event.event_id}: got an input that is {got}, expected {' or '.join(formats) or 'hit ids'} to write"
            f" {form}; write labels or lists instead"
        )
    ids, counts = np.unique(source.hit_id, return_counts=True)
    if not formats and len(ids) < len(source.hit_id):
        raise InputError(
            f"event {event.event_id}: got the hit id {ids[counts > 1][0]} {counts.max()} times, expected each once to"
            f" write {form}; write labels instead"
        )
    return source.hit_id.astype(np.int64)


# A table that grows by one event after the other, and appears when it is complete.


class IncrementalWriter:
    """A table to which events are added; the first event with rows says which columns there are.

    Args:
        part: file to write.
        suffix: ``.parquet`` (one row group per event) or ``.csv``.
        types: name -> pyarrow type of the columns that every event has.
    """

    def __init__(self, part: Path, suffix: str, types: Mapping[str, Any]) -> None:
        self._part = part
        self._suffix = suffix
        self._types = dict(types)
        self._schema: Any = None
        self._writer: Any = None
        self._open = ExitStack()

    def add(self, event_id: int, columns: Mapping[str, ndarray | Sequence[Any]]) -> None:
        """Add the rows of one event; what it lacks of the columns of the first event is null.

        Raises:
            FileError: a column that the first event does not have, or values that the file cannot hold.
        """
        pa, _ = arrow("lib")
        n = len(next(iter(columns.values())))
        if n == 0:
            return
        try:
            arrays = {name: pa.array(values, type=self._types.get(name)) for name, values in columns.items()}
            if self._schema is None:
                self._start(pa.schema([(name, values.type) for name, values in arrays.items()]))
            if strange := [name for name in arrays if name not in self._types]:
                raise FileError(
                    f"event {event_id}: got the columns {', '.join(strange)}, which the first event does not have;"
                    " expected the same in each, write such inputs apart"
                )
            whole = [arrays[name] if name in arrays else pa.nulls(n, kind) for name, kind in self._types.items()]
            self._writer.write_table(pa.table(whole, schema=self._schema))
        except pa.ArrowException as error:
            raise FileError(
                f"event {event_id}: cannot be written as {self._suffix} ({error}); expected the types of"
                " the first event, and lists in .parquet only"
            ) from error

    def close(self) -> None:
        """Finish the file; without any row it has the columns that every event has."""
        if self._writer is None:
            pa, _ = arrow("lib")
            self._start(pa.schema(list(self._types.items())))
        self._open.close()

    def abandon(self) -> None:
        """Let the file go as it is, whole or not."""
        with suppress(Exception):  # what was wrong is being told already
            self._open.close()

    def _start(self, schema: Any) -> None:
        _, writing = arrow(self._suffix[1:])
        self._schema = schema
        self._types = {field.name: field.type for field in schema}
        if self._suffix == ".csv":
            # The header without quotes, which the readers of ACTS would take for part of the names.
            with self._part.open("w", encoding="utf-8", newline="") as header:
                csv.writer(header, lineterminator="\n").writerow(schema.names)
            stream = self._open.enter_context(self._part.open("ab"))
            rows_only = writing.WriteOptions(include_header=False)
            self._writer = writing.CSVWriter(stream, schema, write_options=rows_only)
        else:
            self._writer = writing.ParquetWriter(self._part, schema, compression="zstd")
        self._open.enter_context(self._writer)


@contextmanager
def incremental_writer(path: Path, types: Mapping[str, Any]) -> Iterator[IncrementalWriter]:
    """A table that takes the place of `path` if the block ends well.

    Args:
        path: ends in ``.parquet`` or ``.csv``.
        types: name -> pyarrow type of the columns that every event has.

    Raises:
        FileError: the folder is missing or closed, or there is no space.
    """
    with replacing(path) as part:
        table = IncrementalWriter(part, path.suffix, types)
        try:
            yield table
        except BaseException:
            table.abandon()
            raise
        table.close()


def write_table(
    path: Path,
    types: Mapping[str, Any],
    found: EventsWithTracks,
    columns: Callable[[Event, Tracks], Mapping[str, ndarray | Sequence[Any]]],
) -> int:
    """Write a table of events and their tracks, taken one at a time.

    Args:
        path: ends in ``.parquet`` or ``.csv``.
        types: name -> pyarrow type of the columns that every event has.
        found: events and their tracks.
        columns: the columns of one event.

    Returns:
        The number of events written.

    Raises:
        FileError: the folder is missing or closed, there is no space, or columns differ between events.
    """
    written = 0
    with incremental_writer(path, types) as table:
        for event, tracks in found:
            table.add(event.event_id, columns(event, tracks))
            written += 1
    return written


# Track labels: one row per hit, in input order, with the input's own columns of the hits.


TRACK_COLUMNS: Final = ("event_id", "hit", "r", "phi", "z", "track_id")
"""Number of the event, row of the hit in it, r [mm], phi [rad], z [mm], label (-1: on no track)."""

_POSITION_COLUMNS: Final = ("r", "phi", "z")

_INPUT_PREFIX: Final = "input_"


def kept_columns(event: Event) -> dict[str, ndarray]:
    """The input's own columns of the hits, but for the position as far as `TRACK_COLUMNS` has it.

    Another one whose name is in `TRACK_COLUMNS` gets ``input_`` before it, such as a `track_id` of other tracks.
    """
    kept = {} if event.source is None else event.source.columns()
    same = {
        *(_POSITION_COLUMNS if set(_POSITION_COLUMNS) <= set(kept) else ()),
        *("z" if {"x", "y", "z"} <= set(kept) else ()),
    }
    return {
        (f"{_INPUT_PREFIX}{name}" if name in TRACK_COLUMNS else name): values
        for name, values in kept.items()
        if name not in same
    }


def _write_labels(path: Path, found: EventsWithTracks) -> int:
    pa, _ = arrow("lib")
    kinds = (pa.int64(), pa.int64(), pa.float32(), pa.float32(), pa.float32(), pa.int64())
    return write_table(path, dict(zip(TRACK_COLUMNS, kinds, strict=True)), found, _label_columns)


def _label_columns(event: Event, tracks: Tracks) -> dict[str, ndarray]:
    check_labels(event, tracks)
    n = len(event.hits)
    r, phi, z = np.ascontiguousarray(event.hits.position.T)
    values = (np.full(n, event.event_id, np.int64), np.arange(n, dtype=np.int64), r, phi, z, tracks.track_id)
    return {**dict(zip(TRACK_COLUMNS, values, strict=True)), **kept_columns(event)}


LABELS: Final = TrackFormat("labels", (".parquet", ".csv"), _write_labels)
"""Columns `TRACK_COLUMNS`, then those of `kept_columns`."""


# Tracks as lists of hits: one row or line per track.


def _write_lists(path: Path, found: EventsWithTracks) -> int:
    return _write_list_table(path, found) if path.suffix == ".parquet" else _write_list_lines(path, found)


def _write_list_table(path: Path, found: EventsWithTracks) -> int:
    pa, _ = arrow("lib")
    types = {"event_id": pa.int64(), "track_id": pa.int64(), "hits": pa.list_(pa.int64())}
    return write_table(path, types, found, _list_columns)


def _write_list_lines(path: Path, found: EventsWithTracks) -> int:
    written = 0
    with replacing(path) as part, part.open("w", encoding="utf-8") as stream:
        for event, tracks in found:
            for row in _list_rows(event, tracks):
                stream.write(json.dumps({name: np.asarray(value).tolist() for name, value in row.items()}) + "\n")
            written += 1
    return written


def _list_columns(event: Event, tracks: Tracks) -> dict[str, list[Any]]:
    rows = _list_rows(event, tracks)
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ["event_id"])}


def _list_rows(event: Event, tracks: Tracks) -> list[dict[str, Any]]:
    """Number of the event and of the track, rows of its hits from the inside out, and their own ids."""
    hit_id = None if event.source is None else event.source.hit_id
    out = []
    for number, rows in enumerate(hit_rows_of_tracks(event, tracks)):
        row = {"event_id": event.event_id, "track_id": number, "hits": rows}
        out.append(row if hit_id is None else row | {"hit_id": hit_id[rows]})
    return out


LISTS: Final = TrackFormat("lists", (".parquet", ".jsonl"), _write_lists)
"""Keys `event_id`, `track_id`, `hits` (rows of the hits in the event) and, where the input has it, `hit_id`."""


# Fitted parameters on disk: one row per track, in a table beside that of the labels.


PARAMETERS: Final = ("d0", "z0", "phi", "theta", "q_over_p")
"""Columns of `TrackParameters.values`: d0 [mm], z0 [mm], phi [rad], theta [rad], charge over momentum [e/GeV]."""

_COVARIANCES: Final = tuple(
    f"cov_{first}_{second}" for i, first in enumerate(PARAMETERS) for second in PARAMETERS[: i + 1]
)

_INTEGER_COLUMNS: Final = ("event_id", "track_id", "ndf", "n_hits")

_COVARIANCE_ROWS, _COVARIANCE_COLUMNS = np.tril_indices(len(PARAMETERS))

PARAMETER_COLUMNS: Final = ("event_id", "track_id", *PARAMETERS, *_COVARIANCES, "chi2", "ndf", "n_hits", "status")
"""Number of the event and of the track, parameters, their covariance (lower triangle), chi2 and degrees of freedom,
hits that were fitted, and ``fitted`` or why there is none; numbers of tracks that were not fitted are NaN."""


def parameters_path(labels: Path) -> Path:
    """Where the parameters of tracks go whose labels are in the file `labels`: ``NAME.parameters.parquet`` or .csv."""
    ending = labels.suffix if labels.suffix in (".csv", ".parquet") else ".parquet"
    return labels.with_name(f"{labels.stem}.parameters{ending}")


def writing_parameters(path: Path, found: Iterable[tuple[Event, Tracks]]) -> Iterator[tuple[Event, Tracks]]:
    """The same events and tracks, whose parameters are written to a table as they pass.

    The file appears when the last event has passed.

    Args:
        path: ends in ``.parquet`` (one row group per event) or ``.csv``.
        found: events and their fitted tracks, taken one at a time.

    Raises:
        FileError: a folder that is missing or closed.
        InputError: tracks that were not fitted.
    """
    pa, _ = arrow("lib")
    kinds = {
        **dict.fromkeys(PARAMETER_COLUMNS, pa.float64()),
        **dict.fromkeys(_INTEGER_COLUMNS, pa.int64()),
        "status": pa.string(),
    }
    with incremental_writer(path, kinds) as table:
        for event, tracks in found:
            if tracks.parameters is None:
                raise InputError(
                    f"event {event.event_id}: got tracks without parameters, expected fitted ones; use FittedFinder"
                )
            table.add(event.event_id, _parameter_columns(event, tracks.parameters))
            yield event, tracks


def _parameter_columns(event: Event, parameters: TrackParameters) -> dict[str, ndarray]:
    n = len(parameters)
    names = np.array([status.name.lower() for status in FitStatus])
    values = (
        np.full(n, event.event_id, np.int64),
        np.arange(n, dtype=np.int64),
        *parameters.values.T,
        *parameters.covariance[:, _COVARIANCE_ROWS, _COVARIANCE_COLUMNS].T,
        parameters.chi2,
        parameters.ndf,
        parameters.n_hits,
        names[parameters.status],
    )
    return dict(zip(PARAMETER_COLUMNS, values, strict=True))


# Tracks as jagged arrays of awkward, one record per track.


def jagged_tracks(hits: Hits, tracks: Tracks, field: float) -> Array:
    """`Tracks.to_awkward`, which says what the records hold.

    Args:
        hits: hits that the tracks were found in.
        tracks: the tracks.
        field: solenoidal field along z [T], for the pT of tracks that were not fitted.

    Raises:
        ShapeError: the tracks are of another number of hits.
        MissingExtraError: awkward is not installed.
    """
    import awkward as ak

    pt = pt_of_tracks(hits, tracks, field)
    row, begin = hit_lists(hits, tracks)
    n_hits = np.diff(begin)
    r, phi, z = hits.position[row].T
    order = np.lexsort((r * r + z * z, np.repeat(np.arange(len(n_hits)), n_hits)))
    columns = {"row": row, "r": r, "phi": phi, "z": z}
    points = ak.zip({name: ak.unflatten(values[order], n_hits) for name, values in columns.items()})
    named = {"pt": pt, "n_hits": n_hits, "hits": points}
    if (fit := tracks.parameters) is not None:
        named |= dict(zip(("d0", "z0", "phi", "theta", "q_over_p"), fit.values.T, strict=True))
        named |= {"chi2": fit.chi2, "fitted": fit.fitted}
    return ak.zip(named, depth_limit=1)
