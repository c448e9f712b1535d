"""Events and tracks as ACTS writes them, in CSV: measurements, space points, proto tracks, parameters. In mm and GeV.

`eventNNN-measurements.csv` and, for the truth, `-measurement-simhit-map`, `-hits`, `-particles_simulated` (or
`-particles`). Source: `CsvMeasurementWriter`, `CsvSimHitWriter` and `CsvParticleWriter` of ACTS 48
(https://github.com/acts-project/acts, Examples/Io/Csv); checked on files that ACTS wrote.

`eventNNN-spacepoint.csv`, with the truth of its measurements. Source: `CsvSpacePointWriter` and `CsvOutputData.hpp`.
Three generations: `measurement_id_1, measurement_id_2, geometry_id_1, geometry_id_2, x, y, z, t, var_r, var_z` (checked
on files that ACTS 48.1 wrote); the same with one measurement only; `measurement_id, sp_x, sp_y, sp_z, ...`.

`eventNNN-prototracks.csv`, one file per event: `trackId`, `measurementId`, `x`, `y`, `z` [mm]. Source:
`CsvProtoTrackWriter`. `eventNNN-track_parameters.csv`, one file per event: parameters at the perigee and their
covariance, which `CsvTrackParameterReader` reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import ColumnError, FileError
from beampipe.events import NOISE, Event, HitColumns, Hits, Particles, Tracks, Truth, cylindrical, hit_lists
from beampipe.files import make_folder
from beampipe.tracking.formats import tables
from beampipe.tracking.formats.format import EventFiles, EventFormat, FileProbe, matching_rows, one_event, probe_file
from beampipe.tracking.formats.read_options import ReadOptions
from beampipe.tracking.formats.writing import (
    EventsWithTracks,
    TrackFormat,
    check_labels,
    own_hit_ids,
    parameters_of,
    write_table,
)

_DECIMALS: Final = ("phi", "theta", "time", "var_phi", "var_theta", "var_time")


def read_acts(path: Path, options: ReadOptions) -> Iterator[Event]:
    """The event of a file of measurements, with truth if the map, the hits and the particles lie beside it.

    ACTS names a particle by up to five numbers; here `particle_id` is the row in the file of particles, from 1.
    A measurement with several simulated hits keeps the first as its particle, the others as `shared_particle`.
    A particle is primary if no process made it (`process` = 0).

    Raises:
        FileError: a file is missing or cut short, or names a measurement, hit or particle that is not there.
        ColumnError: a column is missing, for instance the global position, which old versions of ACTS do not write.
    """
    files = EventFiles.beside(path, "measurements")
    path = files.path("measurements")
    pairs = ("local0", "local1", "var_local0", "var_local1")
    table, rest = tables.read_table(
        path,
        {
            "measurement_id": np.int64,
            "geometry_id": np.uint64,
            **dict.fromkeys(pairs, np.float32),
            **dict.fromkeys(("global_x", "global_y", "global_z"), np.float64),
        },
    )
    hits = Hits(
        cylindrical(table["global_x"], table["global_y"], table["global_z"]),
        table["geometry_id"],
        tables.stacked(table, "local0 local1"),
        tables.stacked(table, "var_local0 var_local1"),
    )
    measurement_id = table.pop("measurement_id")
    # A column may hold whole numbers in one event and decimals in the next: all become decimals.
    rest = {
        name: values.astype(np.float32) if name in _DECIMALS and values.dtype.kind in "iuf" else values
        for name, values in rest.items()
    }
    source = HitColumns(ACTS.name, measurement_id, table | rest)
    yield Event(files.event_id, hits, _truth(files, measurement_id, path), source)


def _truth(files: EventFiles, measurement_id: ndarray, where: Path) -> Truth | None:
    """The truth of measurements from the file `where`; None without a map from measurements to simulated hits."""
    path = files.path("measurement-simhit-map")
    if not path.is_file():
        return None
    kinds = ("particles_simulated", "particles")
    particles_path = next((file for file in map(files.path, kinds) if file.is_file()), files.path(kinds[0]))
    floats = ("vx", "vy", "vz", "px", "py", "pz", "q")
    table = tables.read_columns(
        particles_path, {"particle_type": np.int32, "process": np.int64, **dict.fromkeys(floats, np.float32)}
    )
    particles = Particles(
        particle_id=np.arange(1, len(table["q"]) + 1, dtype=np.int64),
        pdg=table["particle_type"],
        charge=table["q"],
        momentum=tables.stacked(table, "px py pz"),
        vertex=tables.stacked(table, "vx vy vz"),
        primary=table["process"] == 0,
    )
    hit_particle = _particle_of_hit(files.path("hits"), _barcode(particles_path), particles_path)
    links = tables.read_columns(path, {"measurement_id": np.int64, "hit_id": np.int64})
    row = matching_rows(links["measurement_id"], measurement_id, path, "measurement_id", where)
    outside = np.flatnonzero((links["hit_id"] < 0) | (links["hit_id"] >= len(hit_particle)))
    if len(outside):
        raise FileError(
            f"{path}: got hit_id {links['hit_id'][outside[0]]} at row {outside[0]},"
            f" expected a row of {files.path('hits')}, which has {len(hit_particle)}"
        )
    return tables.linked_truth(len(measurement_id), row, hit_particle[links["hit_id"]], particles)


def _particle_of_hit(path: Path, barcode: ndarray, particles_path: Path) -> Int64[ndarray, " n_simhits"]:
    """The `particle_id` of each simulated hit."""
    made_by = _barcode(path)
    if made_by.shape[1] != barcode.shape[1]:
        raise FileError(
            f"{path}: got {made_by.shape[1]} columns particle_id*, expected {barcode.shape[1]} as in {particles_path};"
            " write both with one version of ACTS"
        )
    # One number per distinct barcode turns a lookup by five columns into one by a single column.
    _, number = np.unique(np.concatenate([barcode, made_by]), axis=0, return_inverse=True)
    known_numbers, hit_numbers = np.split(number.reshape(-1), [len(barcode)])
    return matching_rows(hit_numbers, known_numbers, path, "particle_id (as ranked)", particles_path) + 1


def _barcode(path: Path) -> ndarray:
    """(n, n_numbers) the numbers by which ACTS names the particle of each row."""
    names = [name for name in tables.header_of(path) if name.startswith("particle_id")] or ["particle_id"]
    columns = tables.read_columns(path, dict.fromkeys(names, np.uint64))
    return np.stack([columns[name] for name in names], axis=1)


def _is_measurement_file(file: FileProbe) -> bool:
    files = EventFiles.of(file.path)
    if file.kind != "csv" or files is None or files.kind != "measurements":
        return False
    # Measurements without a global position are read through their space points, where there are any.
    return file.has("global_x") or not any(files.folder.glob(f"{files.stem}-spacepoint*.csv*"))


ACTS: Final = EventFormat("acts", _is_measurement_file, read_acts, count=one_event)
"""Measurements as ACTS writes them, with global positions; in mm and GeV."""

_POSITION: Final = (("x", "y", "z"), ("sp_x", "sp_y", "sp_z"))

_FIRST_MEASUREMENT: Final = ("measurement_id_1", "measurement_id")

_SECOND_MEASUREMENT: Final = "measurement_id_2"

_FIRST_INVALID: Final = 2**31 - 1
"""Files mark "no second measurement" by numbers from here on, or negative ones; -1 after reading."""


def read_spacepoints(path: Path, options: ReadOptions) -> Iterator[Event]:
    """The event of one file of space points, with the truth of its measurements if their files lie beside it.

    A space point of two strips has the particle of its first measurement; another particle of the second shares it.

    Raises:
        FileError: a file is missing or cut short, or names a measurement, hit or particle that is not there.
        ColumnError: a column is missing.
    """
    header = probe_file(path).names
    position = next((names for names in _POSITION if set(names) <= set(header)), None)
    number = next((name for name in _FIRST_MEASUREMENT if name in header), None)
    if position is None or number is None:
        raise ColumnError(
            f"{path}: got {', '.join(header)}, expected measurement_id or measurement_id_1, and x, y, z or sp_x, sp_y,"
            " sp_z",
            path=path,
        )
    module = number.replace("measurement", "geometry")
    types: dict[str, type[np.generic]] = {number: np.int64, **dict.fromkeys(position, np.float64)}
    types |= {name: np.uint64 for name in (module,) if name in header}
    table, rest = tables.read_table(path, types)
    if _SECOND_MEASUREMENT in rest:
        origin = tables.Origin(path, SPACEPOINTS.name, 0)
        second = tables.decimals(origin, _SECOND_MEASUREMENT, rest[_SECOND_MEASUREMENT])
        rest[_SECOND_MEASUREMENT] = np.where((second >= 0) & (second < _FIRST_INVALID), second, -1).astype(np.int64)
    hits = Hits(cylindrical(*(table[name] for name in position)), table.get(module))
    measurement = table.pop(number)
    # A column may hold whole numbers in one event and decimals in the next: all but identifiers become decimals.
    rest = {
        name: values.astype(np.float64) if "_id" not in name and values.dtype.kind in "iuf" else values
        for name, values in rest.items()
    }
    files = EventFiles.of(path)
    event_id = tables.event_number(path) if files is None else files.event_id
    truth = None if files is None else _spacepoint_truth(files, path, measurement, rest.get(_SECOND_MEASUREMENT))
    yield Event(event_id, hits, truth, HitColumns(SPACEPOINTS.name, measurement, table | rest))


def _spacepoint_truth(files: EventFiles, path: Path, first: ndarray, second: ndarray | None) -> Truth | None:
    """The truth of space points, from that of their measurements."""
    measurements = files.path("measurements")
    measurement_ids = (
        tables.read_columns(measurements, {"measurement_id": np.int64})["measurement_id"]
        if measurements.is_file()
        else np.unique(first if second is None else np.concatenate([first, second]))
    )
    truth = _truth(files, measurement_ids, measurements if measurements.is_file() else path)
    if truth is None:
        return None

    def rows(measurement: ndarray) -> ndarray:
        return matching_rows(measurement, measurement_ids, path, "measurement_id", measurements)

    leading = truth.particle_id[rows(first)]
    if second is None:
        return Truth(leading, truth.particles)
    further = truth.particle_id[rows(np.where(second >= 0, second, first))]
    shared = np.flatnonzero((further != leading) & (further != NOISE))
    return Truth(leading, truth.particles, shared, further[shared])


def _is_spacepoint_file(file: FileProbe) -> bool:
    files = EventFiles.of(file.path)
    named = files is not None and files.kind.startswith("spacepoint")
    return file.kind == "csv" and named and any(name in file.names for name in _FIRST_MEASUREMENT)


SPACEPOINTS: Final = EventFormat(
    "acts-spacepoints",
    _is_spacepoint_file,
    read_spacepoints,
    yields_to=frozenset({ACTS.name}),
    count=one_event,
    unique_hit_ids=False,  # a measurement may be in several space points
)
"""Space points as ACTS writes them, in mm and GeV."""


_KINDS: Final = {"acts": "prototracks", "acts-parameters": "track_parameters"}
"""Name of a form -> end of the names of its files."""


def _write_events(form: TrackFormat, path: Path, events: EventsWithTracks) -> int:
    """Write a folder with one file per event; or, where the path ends in .csv, one file of the only event."""
    kind, written = _KINDS[form.name], 0
    for event, tracks in events:
        if path.suffix == ".csv" and written:
            raise FileError(
                f"{path}: got a second event (number {event.event_id}) for one file of {form.name}, expected a folder"
                " as output; the first event is written",
                path=path,
            )
        file = path
        if path.suffix != ".csv":
            make_folder(path)
            file = path / f"event{event.event_id:09d}-{kind}.csv"
        write_table(form, file, [(event, tracks)])
        written += 1
    return written


def _measurements(event: Event) -> Int64[ndarray, "n_hits 2"]:
    """The measurements of each hit; the second is -1, but for space points of two strips."""
    first = own_hit_ids(event, PROTOTRACKS.name, (ACTS.name, SPACEPOINTS.name))
    extra = {} if event.source is None else event.source.extra
    return np.stack([first, extra.get(_SECOND_MEASUREMENT, np.full(len(first), -1))], axis=1)


def _proto_track_columns(event: Event, tracks: Tracks) -> dict[str, ndarray]:
    check_labels(event, tracks)
    rows, begin = hit_lists(event.hits, tracks, outwards=True)
    number = np.repeat(np.arange(len(begin) - 1), np.diff(begin))
    # Space points of one track may share a strip, which the track then names once.
    measurement = _measurements(event)[rows]
    _, first = np.unique(np.stack([np.repeat(number, 2), measurement.ravel()]), axis=1, return_index=True)
    kept = np.sort(first[measurement.ravel()[first] != -1])
    r, phi, z = event.hits.position[rows[kept // 2]].astype(np.float64).T
    return {
        "trackId": number[kept // 2],
        "measurementId": measurement.ravel()[kept],
        "x": r * np.cos(phi),
        "y": r * np.sin(phi),
        "z": z,
    }


PROTOTRACKS: Final = TrackFormat(
    "acts",
    ("", ".csv"),
    {"trackId": np.int64, "measurementId": np.int64, "x": np.float64, "y": np.float64, "z": np.float64},
    _proto_track_columns,
    _measurements,
    _write_events,
)
"""Proto tracks of ACTS; the input must be of ACTS, too, as hits are identified by its measurements."""


_BOUND_NAMES: Final = ("d0", "z0", "phi", "theta", "qop")

_PARAMETER_TYPES: Final[dict[str, type]] = {
    "trackId": np.int64,
    **dict.fromkeys(_BOUND_NAMES, np.float64),
    **{f"var_{name}": np.float64 for name in _BOUND_NAMES},
    **{f"cov_{row}{column}": np.float64 for row in _BOUND_NAMES for column in _BOUND_NAMES if row != column},
}


def _parameter_columns(event: Event, tracks: Tracks) -> dict[str, ndarray]:
    """The tracks that were fitted."""
    check_labels(event, tracks)
    fits = parameters_of(event, tracks)
    number = np.flatnonzero(fits.fitted)
    covariance = fits.covariance[number]
    columns = {"trackId": number}
    for row, name in enumerate(_BOUND_NAMES):
        columns[name] = fits.values[number, row]
        for column, other in enumerate(_BOUND_NAMES):
            columns[f"var_{name}" if row == column else f"cov_{name}{other}"] = covariance[:, row, column]
    return {name: columns[name] for name in _PARAMETER_TYPES}


PARAMETERS_OF_ACTS: Final = TrackFormat(
    "acts-parameters", ("", ".csv"), _PARAMETER_TYPES, _parameter_columns, writer=_write_events
)
"""Fitted parameters at the perigee as ACTS reads them, one file per event."""
