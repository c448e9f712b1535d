"""Events in Parquet: one row and one row group per event, list columns; an event is read without its neighbours.

Columns: `event_id`; `hit_r`, `hit_phi`, `hit_z` [mm, rad, mm]; where known `hit_geometry_id`, `hit_local0/1` [mm],
`hit_variance0/1` [mm^2]; for simulated events `hit_particle_id`, `shared_hit`, `shared_particle`, `particle_id`,
`particle_pdg`, `particle_charge` [e], `particle_px/py/pz` [GeV], `particle_vx/vy/vz` [mm], `particle_primary`.
A null list means "unknown", an empty one "none". Files of `Tracks.save` have the columns `TRACKS_IN_EVENT` beside them.
"""

from __future__ import annotations

import json
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import starmap
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.errors import BeampipeError, ColumnError, ConfigError, FileError, InputError, expect_type, nearest
from beampipe.events import BeamSpot, Event, HitColumns, Hits, Particles, TrackParameters, Tracks, Truth, fit_results
from beampipe.files import MARK, replacing
from beampipe.provenance import Provenance
from beampipe.tracking.formats.format import EventFormat
from beampipe.tracking.formats.tables import arrow, open_parquet
from beampipe.tracking.formats.writing import TrackFormat

COLUMNS: Final[dict[str, type[np.generic]]] = {
    "hit_r": np.float32,
    "hit_phi": np.float32,
    "hit_z": np.float32,
    "hit_geometry_id": np.uint64,
    "hit_local0": np.float32,
    "hit_local1": np.float32,
    "hit_variance0": np.float32,
    "hit_variance1": np.float32,
    "hit_particle_id": np.int64,
    "shared_hit": np.int64,
    "shared_particle": np.int64,
    "particle_id": np.int64,
    "particle_pdg": np.int32,
    "particle_charge": np.float32,
    "particle_px": np.float32,
    "particle_py": np.float32,
    "particle_pz": np.float32,
    "particle_vx": np.float32,
    "particle_vy": np.float32,
    "particle_vz": np.float32,
    "particle_primary": np.bool_,
}
"""List columns and their element types; `event_id` (int64) stands before them."""

TRACKS_IN_EVENT: Final[dict[str, str]] = {
    "track_id": "list<int64>",
    "track_candidates": "list<list<int64>>",
    "track_beam_spot": "list<double>",
    "track_magnetic_field": "double",
    "track_min_hits": "int64",
    "track_fit_field": "double",
    **{f"track_fit_{each.name}": f"list<{np.dtype(each.metadata['dtype'])}>" for each in fit_results()},
    "track_source": "string",
}
"""Further columns of files of tracks and their types: attributes of `Tracks` and, flat, of `TrackParameters`; and the
input's own columns of the hits, as JSON."""

_PROVENANCE: Final = "provenance"
"""Key of the metadata: JSON, a list of the first row and the `Provenance` of events that were made alike."""

_NEEDED: Final = ("event_id", "hit_r", "hit_phi", "hit_z")


def write_events(path: str | Path, events: Iterable[Event], *, compression_level: int = 6) -> int:
    """Write `events` to `path`; the file appears only when it is complete.

    >>> write_events("events.parquet", shipped_events(0)[:5])
    5

    Args:
        path: Parquet file to write; an older one of that name is replaced.
        events: taken one at a time, so a generator of any length needs the memory of one event.
        compression_level: level of the zstd compression.

    Returns:
        The number of events written.

    Raises:
        FileError: another ending, a folder that is missing or closed, or no space.
    """
    expect_type("write_events", path, (str, PathLike), "call write_events(path, events)")
    expect_type("write_events", events, Iterable, "call write_events(path, [event])")
    return _write_rows(path, ((event, {}) for event in events), {}, compression_level)


def save_tracks(path: str | Path, several: Iterable[Tracks]) -> int:
    """Write tracks and their events to a Parquet file, a row for each `Tracks`; returns the number of rows.

    Raises:
        FileError: another ending, a folder that is missing or closed, or no space.
        InputError: an input's own column has values other than numbers, words and truth values.
    """
    pa, _ = arrow("lib")

    def kind(text: str) -> Any:
        inner = text.removeprefix("list<").removesuffix(">")
        return pa.list_(kind(inner)) if inner != text else pa.type_for_alias(text)

    types = {name: kind(text) for name, text in TRACKS_IN_EVENT.items()}
    return _write_rows(path, ((tracks.event, _track_columns(tracks)) for tracks in several), types)


def _track_columns(tracks: Tracks) -> dict[str, Any]:
    """Each column of `TRACKS_IN_EVENT` for the tracks of one event, None where not known."""
    out: dict[str, Any] = dict.fromkeys(TRACKS_IN_EVENT)
    out["track_id"] = tracks.track_id
    out["track_beam_spot"] = list(tracks.beam_spot.numbers)
    out["track_magnetic_field"], out["track_min_hits"] = tracks.magnetic_field, tracks.min_hits
    if tracks.candidates is not None:
        out["track_candidates"] = [np.asarray(rows, np.int64) for rows in tracks.candidates]
    if (fit := tracks.parameters) is not None:
        out |= {f"track_fit_{each.name}": getattr(fit, each.name).ravel() for each in fit_results()}
        out["track_fit_field"] = fit.field
    if tracks.event is not None and (source := tracks.event.source) is not None:
        columns = {name: [values.dtype.str, values.tolist()] for name, values in source.columns().items()}
        try:
            out["track_source"] = json.dumps([source.format, source.hit_id is not None, columns])
        except TypeError as error:
            raise InputError(
                f"event {tracks.event.event_id}: cannot save the columns of the input ({error})"
            ) from error
    return out


def _write_rows(
    path: str | Path,
    rows: Iterable[tuple[Event | None, Mapping[str, Any]]],
    types: Mapping[str, Any],
    compression_level: int = 6,
) -> int:
    """Write events, if known, and values of further columns of the given types of Arrow."""
    if (ending := Path(path).suffix) not in ("", ".parquet"):
        others = "" if ending not in (".csv", ".feather", ".h5") else "; pandas writes others from to_pandas()"
        raise FileError(f"{path}: got the ending {ending!r}, expected .parquet or none for events{others}", path=path)
    pa, pq = arrow("parquet")
    fields = [("event_id", pa.int64()), *((n, pa.list_(pa.from_numpy_dtype(t))) for n, t in COLUMNS.items())]
    schema = pa.schema([*fields, *types.items()], metadata={"generator": MARK})
    floats = [f"{name}.list.element" for name, dtype in COLUMNS.items() if dtype is np.float32]
    written = 0
    made: list[tuple[int, str]] = []
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(
            temporary,
            schema,
            compression="zstd",
            compression_level=compression_level,
            # A dictionary would replace the byte split, and coordinates hardly ever repeat.
            use_dictionary=[f"{n}.list.element" for n, t in COLUMNS.items() if t not in (np.float32, np.bool_)],
            use_byte_stream_split=floats,
            write_page_checksum=True,
        ) as writer,
    ):
        for event, further in rows:
            columns = {**({} if event is None else _event_columns(event)), **further}
            arrays = [pa.array([columns.get(each.name)], type=each.type) for each in schema]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            text = "" if event is None or event.provenance is None else event.provenance.text
            if text != (made[-1][1] if made else ""):
                made.append((written, text))
            written += 1
        if made:
            writer.add_key_value_metadata({_PROVENANCE: json.dumps(made)})
    return written


def write_simulated(path: str | Path, simulated: Iterable[tuple[Event, Mapping[str, int]]]) -> dict[str, int]:
    """Write simulated events to `path`; the file appears only when it is complete.

    Args:
        path: Parquet file to write.
        simulated: events and their counts, from `beampipe.simulation.simulate_events`.

    Returns:
        The counts of all events, summed.
    """
    total: Counter[str] = Counter()

    def events() -> Iterator[Event]:
        for event, counts in simulated:
            total.update(counts)
            yield event

    write_events(path, events())
    return dict(total)


def read_events(path: str | Path, first: int = 0) -> Iterator[Event]:
    """The events of `path` from row `first` on, read one row group at a time.

    Raises:
        FileError: there is no such file, it is no Parquet file, or it is cut short.
        ColumnError: a column is missing.
        InputError: a row is unusable (NaN, lengths that differ); names file and event.
    """
    file = _open(path)
    names = file.schema_arrow.names
    for name in _NEEDED:
        if name not in names:
            raise ColumnError(
                f"{path}: no column {name!r}{nearest(name, names)};"
                f" got {', '.join(names)}; expected an event file as written by write_events"
            )
    # The check above runs at the call, not at the first event: a bad path should fail where it is given.
    return starmap(partial(_event_of_row, path), _rows_of_groups(path, file, first))


def read_tracks(path: str | Path) -> Iterator[Tracks]:
    """The tracks of each row of a file of `save_tracks`, with their events.

    Raises:
        FileError: there is no such file, it is no Parquet file, it is cut short, or a row is unusable.
    """
    for table, row, made in _rows_of_groups(path, _open(path), 0):
        try:
            yield _tracks_of_row(path, table, row, made)
        except (BeampipeError, KeyError, TypeError, ValueError) as error:
            raise FileError(f"{path}: got tracks that cannot be read ({error}); save them again", path=path) from error


def _tracks_of_row(path: str | Path, table: Any, row: int, made: Provenance | None) -> Tracks:
    def column(name: str, dtype: type[np.generic]) -> ndarray:
        values = _array_of_row(table, row, name, dtype)
        if values is None:
            raise ColumnError(f"no {name}")
        return values

    arrays_of = {"track_id", *(f"track_fit_{each.name}" for each in fit_results())}
    cells = {name: table.column(name)[row].as_py() for name in TRACKS_IN_EVENT.keys() - arrays_of}
    fit = None
    if cells["track_fit_field"] is not None:
        arrays = {
            each.name: column(f"track_fit_{each.name}", each.metadata["dtype"]).reshape(-1, *each.metadata["shape"])
            for each in fit_results()
        }
        fit = TrackParameters(**arrays, field=cells["track_fit_field"])
    lists = cells["track_candidates"]
    tracks = Tracks(
        column("track_id", np.int64),
        candidates=None if lists is None else [np.array(rows, np.int64) for rows in lists],
        beam_spot=BeamSpot(*cells["track_beam_spot"]),
        parameters=fit,
        magnetic_field=cells["track_magnetic_field"],
        min_hits=cells["track_min_hits"],
    )
    if not table.column("hit_r")[row].is_valid:
        return tracks
    event = _event_of_row(path, table, row, made)
    if cells["track_source"] is not None:
        form, has_ids, columns = json.loads(cells["track_source"])
        own = {name: np.array(values, dtype) for name, (dtype, values) in columns.items()}
        event = replace(event, source=HitColumns(form, own.pop("hit_id") if has_ids else None, own))
    return tracks.found_in(event)


def count_events(path: str | Path) -> int:
    """The number of events in `path`, from its footer."""
    with _open(path) as file:
        return int(file.metadata.num_rows)


def _event_columns(event: Event) -> dict[str, Any]:
    """`event_id` and each column of `COLUMNS` for one event, None where not known."""
    hits, truth = event.hits, event.truth
    out: dict[str, Any] = {"event_id": event.event_id, **dict.fromkeys(COLUMNS)}
    out |= _split("hit", "r phi z", hits.position)
    out["hit_geometry_id"] = hits.geometry_id
    if hits.local is not None:
        out |= _split("hit", "local0 local1", hits.local)
    if hits.variance is not None:
        out |= _split("hit", "variance0 variance1", hits.variance)
    if truth is not None:
        out |= {
            "hit_particle_id": truth.particle_id,
            "shared_hit": truth.shared_hit,
            "shared_particle": truth.shared_particle,
            "particle_id": truth.particles.particle_id,
            "particle_pdg": truth.particles.pdg,
            "particle_charge": truth.particles.charge,
            "particle_primary": truth.particles.primary,
        }
        out |= _split("particle", "px py pz", truth.particles.momentum)
        out |= _split("particle", "vx vy vz", truth.particles.vertex)
    return out


def _split(prefix: str, names: str, table: ndarray) -> dict[str, ndarray]:
    return {f"{prefix}_{name}": table[:, i] for i, name in enumerate(names.split())}


def _rows_of_groups(path: str | Path, file: Any, first: int) -> Iterator[tuple[Any, int, Provenance | None]]:
    """Table, row in it and provenance of each event from row `first` on, one row group at a time."""
    pa, _ = arrow("parquet")
    made = _provenances(path, file)
    number = 0
    with file:
        for group in range(file.metadata.num_row_groups):
            n_rows = file.metadata.row_group(group).num_rows
            number += n_rows
            if first >= n_rows:
                first -= n_rows
                continue
            try:
                table = file.read_row_group(group)
            except (pa.ArrowException, OSError) as error:
                raise FileError(
                    f"{path}: row group {group} of {file.metadata.num_row_groups} cannot be read ({error});"
                    " expected a whole Parquet file, copy or write it again"
                ) from error
            for row in range(first, table.num_rows):
                place = bisect([begin for begin, _ in made], number - n_rows + row) - 1
                yield table, row, None if place < 0 else made[place][1]
            first = 0


def _provenances(path: str | Path, file: Any) -> list[tuple[int, Provenance | None]]:
    """The first row and the provenance of events that were made alike; none for files of older versions."""
    text = (file.metadata.metadata or {}).get(_PROVENANCE.encode())
    try:
        entries = json.loads(text or "[]")
        return [(int(begin), Provenance.parse(made) if made else None) for begin, made in entries]
    except (ValueError, TypeError, ConfigError) as error:
        raise FileError(f"{path}: got a provenance that cannot be read ({error}); write the file again") from error


def _array_of_row(table: Any, row: int, name: str, dtype: type[np.generic]) -> ndarray | None:
    """The list of a column in a row; None where it is null, or the table lacks the column."""
    cell = table.column(name)[row] if name in table.column_names else None
    if cell is None or not cell.is_valid:
        return None
    return np.asarray(cell.values.to_numpy(zero_copy_only=False)).astype(dtype, copy=False)


def _event_of_row(path: str | Path, table: Any, row: int, made: Provenance | None) -> Event:
    event_id = table.column("event_id")[row].as_py()

    def column(name: str) -> ndarray | None:
        return _array_of_row(table, row, name, COLUMNS[name])

    def needed(name: str) -> ndarray:
        values = column(name)
        if values is None and event_id is None and "track_id" in table.column_names:
            raise FileError(f"{path}: got tracks without their event, which open_tracks reads", path=Path(path))
        if values is None:
            raise ColumnError(f"{path}: event {event_id}: got no {name}, expected a list; write the file again")
        return values

    def joined(*names: str) -> ndarray | None:
        return None if any(column(name) is None for name in names) else stacked(*names)

    def stacked(*names: str) -> ndarray:
        return np.stack([needed(name) for name in names], axis=1)

    try:
        hits = Hits(
            stacked("hit_r", "hit_phi", "hit_z"),
            column("hit_geometry_id"),
            joined("hit_local0", "hit_local1"),
            joined("hit_variance0", "hit_variance1"),
        )
        if column("hit_particle_id") is None:
            return Event(event_id, hits, provenance=made)
        particles = Particles(
            needed("particle_id"),
            needed("particle_pdg"),
            needed("particle_charge"),
            stacked("particle_px", "particle_py", "particle_pz"),
            stacked("particle_vx", "particle_vy", "particle_vz"),
            needed("particle_primary"),
        )
        truth = Truth(needed("hit_particle_id"), particles, needed("shared_hit"), needed("shared_particle"))
        return Event(event_id, hits, truth, provenance=made)
    except FileError:
        raise
    except BeampipeError as error:
        raise type(error)(f"{path}: event {event_id}: {error}") from error
    except ValueError as error:  # columns of one table that differ in length
        raise FileError(
            f"{path}: event {event_id}: columns differ in length ({error}); write the file again"
        ) from error


def _open(path: str | Path) -> Any:
    if not Path(path).is_file():
        raise FileError(f"{path}: no such file; expected a Parquet file of events")
    return open_parquet(path)


OWN: Final = EventFormat(
    "beampipe",
    lambda file: file.kind == "parquet" and file.has(*_NEEDED),
    lambda path, options: read_events(path),
    count=count_events,
    read_from=lambda path, options, first: read_events(path, first),
)
"""Our own events, in mm, rad and GeV."""

OWN_TRACKS: Final = TrackFormat(
    "beampipe",
    (".parquet",),
    {},
    lambda event, tracks: _track_columns(tracks),
    writer=lambda form, path, pairs: save_tracks(path, (tracks.found_in(event) for event, tracks in pairs)),
)
"""Events and all that is known of their tracks, as `beampipe.tracking.open_tracks` reads them."""
