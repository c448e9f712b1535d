"""Events and tracks as ACTS writes them, in CSV: measurements, space points, proto tracks. In mm and GeV.

`eventNNN-measurements.csv` and, for the truth, `-measurement-simhit-map`, `-hits`, `-particles_simulated` (or
`-particles`). Source: `CsvMeasurementWriter`, `CsvSimHitWriter` and `CsvParticleWriter` of ACTS 48
(https://github.com/acts-project/acts, Examples/Io/Csv); checked on files that ACTS wrote.

`eventNNN-spacepoint.csv`, with the truth of its measurements. Source: `CsvSpacePointWriter` and `CsvOutputData.hpp`.
Three generations: `measurement_id_1, measurement_id_2, geometry_id_1, geometry_id_2, x, y, z, t, var_r, var_z` (checked
on files that ACTS 48.1 wrote); the same with one measurement only; `measurement_id, sp_x, sp_y, sp_z, ...`.

`eventNNN-prototracks.csv`, one file per event: `trackId`, `measurementId`, `x`, `y`, `z` [mm]. Source:
`CsvProtoTrackWriter`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import ColumnError, FileError
from beampipe.events import NOISE, Event, HitColumns, Hits, Particles, Tracks, Truth, cylindrical
from beampipe.files import make_folder
from beampipe.tracking.formats.format import (
    EventFiles,
    EventFormat,
    FileProbe,
    ReadOptions,
    event_files_of,
    expected_event_files,
    matching_rows,
    probe_file,
)
from beampipe.tracking.formats.tables import (
    Origin,
    arrow,
    decimals,
    event_number,
    header_of,
    linked_truth,
    read_columns,
    read_table,
)
from beampipe.tracking.formats.writing import (
    EventsWithTracks,
    TrackFormat,
    hit_rows_of_tracks,
    own_hit_ids,
    write_table,
)

# Events as ACTS writes them: `eventNNN-measurements.csv` and, for the truth, `-measurement-simhit-map`,
# `-hits`, `-particles_simulated` (or `-particles`).


_MAP: Final = "measurement-simhit-map"

_DECIMALS: Final = ("phi", "theta", "time", "var_phi", "var_theta", "var_time")


def read_acts(family: EventFiles) -> Event:
    """The event of one family of files.

    ACTS names a particle by up to five numbers; here `particle_id` is the row in the file of particles, from 1.
    A measurement with several simulated hits keeps the first as its particle, the others as `shared_particle`.
    A particle is primary if no process made it (`process` = 0).

    Args:
        family: common path of the event's files, and how they end.

    Returns:
        The event; with truth if the map, the hits and the particles are there.

    Raises:
        FileError: a file is missing or cut short, or names a measurement, hit or particle that is not there.
        ColumnError: a column is missing, for instance the global position, which old versions of ACTS do not write.
    """
    path = family.path("measurements")
    pairs = ("local0", "local1", "var_local0", "var_local1")
    table, rest = read_table(
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
        np.stack([table["local0"], table["local1"]], axis=1),
        np.stack([table["var_local0"], table["var_local1"]], axis=1),
    )
    measurement_id = table.pop("measurement_id")
    # Whole numbers in one event and decimals in the next: all are decimals.
    rest = {
        name: values.astype(np.float32) if name in _DECIMALS and values.dtype.kind in "iuf" else values
        for name, values in rest.items()
    }
    source = HitColumns(ACTS.name, measurement_id, table | rest)
    return Event(family.event_id, hits, acts_truth(family, measurement_id, family.path("measurements")), source)


def acts_truth(family: EventFiles, measurement_id: ndarray, where: Path) -> Truth | None:
    """The truth of measurements, None if the family has no map from measurements to simulated hits.

    Args:
        family: common path of the event's files.
        measurement_id: number of each measurement, each once.
        where: file that they are from, for messages.

    Raises:
        FileError: a file is missing or cut short, or names a measurement, hit or particle that is not there.
        ColumnError: a column is missing.
    """
    if not family.path(_MAP).is_file():
        return None
    particles_path = next(
        (path for kind in ("particles_simulated", "particles") if (path := family.path(kind)).is_file()),
        family.path("particles_simulated"),
    )
    particles, barcode = _particles(particles_path)
    hit_particle = _particle_of_hit(family.path("hits"), barcode, particles_path)
    path = family.path(_MAP)
    links = read_columns(path, {"measurement_id": np.int64, "hit_id": np.int64})
    row = matching_rows(links["measurement_id"], measurement_id, path, "measurement_id", where)
    outside = np.flatnonzero((links["hit_id"] < 0) | (links["hit_id"] >= len(hit_particle)))
    if len(outside):
        raise FileError(
            f"{path}: got hit_id {links['hit_id'][outside[0]]} at row {outside[0]},"
            f" expected a row of {family.path('hits')}, which has {len(hit_particle)}"
        )
    made_by = hit_particle[links["hit_id"]]
    return linked_truth(len(measurement_id), row, made_by, particles)


def _particles(path: Path) -> tuple[Particles, ndarray]:
    """The particles, numbered from 1 by row, and the numbers ACTS gave each."""
    floats = ("vx", "vy", "vz", "px", "py", "pz", "q")
    table = read_columns(path, {"particle_type": np.int32, "process": np.int64, **dict.fromkeys(floats, np.float32)})
    particles = Particles(
        particle_id=np.arange(1, len(table["q"]) + 1, dtype=np.int64),
        pdg=table["particle_type"],
        charge=table["q"],
        momentum=np.stack([table[name] for name in ("px", "py", "pz")], axis=1),
        vertex=np.stack([table[name] for name in ("vx", "vy", "vz")], axis=1),
        primary=table["process"] == 0,
    )
    return particles, _barcode(path)


def _particle_of_hit(path: Path, barcode: ndarray, particles_path: Path) -> Int64[ndarray, " n_simhits"]:
    """The `particle_id` of each simulated hit."""
    made_by = _barcode(path)
    if made_by.shape[1] != barcode.shape[1]:
        raise FileError(
            f"{path}: got {made_by.shape[1]} columns particle_id*, expected {barcode.shape[1]} as in {particles_path};"
            " write both with one version of ACTS"
        )
    # One number per distinct barcode makes a lookup by five columns one by one column.
    _, number = np.unique(np.concatenate([barcode, made_by]), axis=0, return_inverse=True)
    number = number.reshape(-1)
    return (
        matching_rows(number[len(barcode) :], number[: len(barcode)], path, "particle_id (as ranked)", particles_path)
        + 1
    )


def _barcode(path: Path) -> ndarray:
    names = [name for name in header_of(path) if name.startswith("particle_id")] or ["particle_id"]
    columns = read_columns(path, dict.fromkeys(names, np.uint64))
    return np.stack([columns[name] for name in names], axis=1)


def _is_measurement_file(file: FileProbe) -> bool:
    found = event_files_of(file.path)
    if file.kind != "csv" or found is None or found[1] != "measurements":
        return False
    # Measurements without a position on the globe are read by way of their space points, where there are any.
    return file.has("global_x") or not any(file.path.parent.glob(f"{found[0].stem}-spacepoint*.csv*"))


def _read_measurement_file(path: Path, told: ReadOptions) -> Iterator[Event]:
    yield read_acts(expected_event_files(path, "measurements"))


ACTS: Final = EventFormat("acts", _is_measurement_file, _read_measurement_file)
"""Measurements as ACTS writes them, with global positions; in mm and GeV."""


# Space points as ACTS writes them: `eventNNN-spacepoint.csv`, with the truth of their measurements.


_POSITION: Final = (("x", "y", "z"), ("sp_x", "sp_y", "sp_z"))

_FIRST_MEASUREMENT: Final = ("measurement_id_1", "measurement_id")

_SECOND_MEASUREMENT: Final = "measurement_id_2"

_FIRST_INVALID: Final = 2**31 - 1
"""From here on, or below 0, a number stands for "no second measurement": -1 as the type of the column has it.

In what is read it is -1.
"""


def read_spacepoints(path: Path) -> Event:
    """The event of one file of space points.

    A space point of two strips has the particle of its first measurement; another particle of the second shares it.

    Args:
        path: file; the truth is read from the files beside it, if its name is ``eventNNN-KIND.csv``.

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
    wanted: dict[str, type[np.generic]] = {number: np.int64, **dict.fromkeys(position, np.float64)}
    wanted |= {name: np.uint64 for name in (module,) if name in header}
    table, rest = read_table(path, wanted)
    if _SECOND_MEASUREMENT in rest:
        second = decimals(Origin(path, SPACEPOINTS.name, 0), _SECOND_MEASUREMENT, rest[_SECOND_MEASUREMENT])
        rest[_SECOND_MEASUREMENT] = np.where((second >= 0) & (second < _FIRST_INVALID), second, -1).astype(np.int64)
    hits = Hits(cylindrical(*(table[name] for name in position)), table.get(module))
    measurement = table.pop(number)
    # Whole numbers in one event and decimals in the next: all but the identifiers are decimals.
    rest = {name: values.astype(np.float64) if _is_decimal(name, values) else values for name, values in rest.items()}
    family = event_files_of(path)
    event_id = event_number(path) if family is None else family[0].event_id
    truth = None if family is None else _spacepoint_truth(family[0], path, measurement, rest.get(_SECOND_MEASUREMENT))
    return Event(event_id, hits, truth, HitColumns(SPACEPOINTS.name, measurement, table | rest))


def _is_decimal(name: str, values: ndarray) -> bool:
    return "_id" not in name and values.dtype.kind in "iuf"


def _spacepoint_truth(family: EventFiles, path: Path, first: ndarray, second: ndarray | None) -> Truth | None:
    """The truth of space points, from that of their measurements."""
    measurements = family.path("measurements")
    known = (
        read_columns(measurements, {"measurement_id": np.int64})["measurement_id"]
        if measurements.is_file()
        else np.unique(first if second is None else np.concatenate([first, second]))
    )
    truth = acts_truth(family, known, measurements if measurements.is_file() else path)
    if truth is None:
        return None

    def rows(measurement: ndarray) -> ndarray:
        return matching_rows(measurement, known, path, "measurement_id", measurements)

    leading = truth.particle_id[rows(first)]
    if second is None:
        return Truth(leading, truth.particles)
    further = truth.particle_id[rows(np.where(second >= 0, second, first))]
    shared = np.flatnonzero((further != leading) & (further != NOISE))
    return Truth(leading, truth.particles, shared, further[shared])


def _is_spacepoint_file(file: FileProbe) -> bool:
    family = event_files_of(file.path)
    named = family is not None and family[1].startswith("spacepoint")
    return file.kind == "csv" and named and any(name in file.names for name in _FIRST_MEASUREMENT)


def _read_spacepoint_file(path: Path, told: ReadOptions) -> Iterator[Event]:
    yield read_spacepoints(path)


SPACEPOINTS: Final = EventFormat(
    "acts-spacepoints",
    _is_spacepoint_file,
    _read_spacepoint_file,
    yields_to=frozenset({ACTS.name}),
)
"""Space points as ACTS writes them, in mm and GeV."""


# Proto tracks as ACTS writes and reads them: `eventNNN-prototracks.csv`, one file per event.


_FORMATS: Final = ("acts", "acts-spacepoints")

_NO_MEASUREMENT: Final = -1


def _write_proto_tracks(path: Path, found: EventsWithTracks) -> int:
    """Write a folder with one file per event; or, where the path ends in .csv, one file of the only event."""
    written = 0
    for event, tracks in found:
        if path.suffix == ".csv" and written:
            raise FileError(
                f"{path}: got a second event (number {event.event_id}) for one file of {PROTOTRACKS.name}, expected a"
                " folder as output; the first event is written",
                path=path,
            )
        _write_event(path if path.suffix == ".csv" else _file(path, event), event, tracks)
        written += 1
    return written


def _file(folder: Path, event: Event) -> Path:
    make_folder(folder)
    return folder / f"event{event.event_id:09d}-prototracks.csv"


def _write_event(path: Path, event: Event, tracks: Tracks) -> None:
    pa, _ = arrow("lib")
    types = dict.fromkeys(("trackId", "measurementId"), pa.int64()) | dict.fromkeys("xyz", pa.float64())
    write_table(path, types, [(event, tracks)], _proto_track_columns)


def _measurements(event: Event) -> Int64[ndarray, "n_hits 2"]:
    """The measurements of each hit; the second is -1, but for space points of two strips."""
    first = own_hit_ids(event, PROTOTRACKS.name, _FORMATS)
    extra = {} if event.source is None else event.source.extra
    return np.stack([first, extra.get(_SECOND_MEASUREMENT, np.full(len(first), _NO_MEASUREMENT))], axis=1)


def _proto_track_columns(event: Event, tracks: Tracks) -> dict[str, ndarray]:
    lists = hit_rows_of_tracks(event, tracks)
    rows = np.concatenate([np.empty(0, np.int64), *lists])
    number = np.repeat(np.arange(len(lists), dtype=np.int64), [len(one) for one in lists])
    # Space points of one track may share a strip, which the track then names once.
    measurement = _measurements(event)[rows]
    _, first = np.unique(np.stack([np.repeat(number, 2), measurement.ravel()]), axis=1, return_index=True)
    kept = np.sort(first[measurement.ravel()[first] != _NO_MEASUREMENT])
    r, phi, z = event.hits.position[rows[kept // 2]].astype(np.float64).T
    return {
        "trackId": number[kept // 2],
        "measurementId": measurement.ravel()[kept],
        "x": r * np.cos(phi),
        "y": r * np.sin(phi),
        "z": z,
    }


PROTOTRACKS: Final = TrackFormat("acts", ("", ".csv"), _write_proto_tracks, _measurements)
"""Needs an input of ACTS, whose measurements the numbers are."""
