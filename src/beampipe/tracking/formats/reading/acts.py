"""Events as ACTS writes them: `eventNNN-measurements.csv` and, for the truth, `-measurement-simhit-map`, `-hits`,
`-particles_simulated` (or `-particles`).

Source: `CsvMeasurementWriter`, `CsvSimHitWriter` and `CsvParticleWriter` of ACTS 48 (https://github.com/acts-project/acts,
Examples/Io/Csv); checked on files that ACTS wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import FileError
from beampipe.tracking.events import Event, HitColumns, Hits, Particles, Truth
from beampipe.tracking.events.arrays import cylindrical
from beampipe.tracking.formats.families import Family, expected_family, family_of, rows_of
from beampipe.tracking.formats.reading.format import Format, Told
from beampipe.tracking.formats.reading.glimpse import Glimpse
from beampipe.tracking.formats.tables.columns import linked_truth
from beampipe.tracking.formats.tables.csv import header_of, read_columns, read_table

__all__ = ["ACTS", "acts_truth", "read_acts"]

_MAP: Final = "measurement-simhit-map"
_DECIMALS: Final = ("phi", "theta", "time", "var_phi", "var_theta", "var_time")


def read_acts(family: Family) -> Event:
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


def acts_truth(family: Family, measurement_id: ndarray, where: Path) -> Truth | None:
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
    row = rows_of(links["measurement_id"], measurement_id, path, "measurement_id", where)
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
    return rows_of(number[len(barcode) :], number[: len(barcode)], path, "particle_id (as ranked)", particles_path) + 1


def _barcode(path: Path) -> ndarray:
    names = [name for name in header_of(path) if name.startswith("particle_id")] or ["particle_id"]
    columns = read_columns(path, dict.fromkeys(names, np.uint64))
    return np.stack([columns[name] for name in names], axis=1)


def _recognises(file: Glimpse) -> bool:
    found = family_of(file.path)
    if file.kind != "csv" or found is None or found[1] != "measurements":
        return False
    # Measurements without a position on the globe are read by way of their space points, where there are any.
    return file.has("global_x") or not any(file.path.parent.glob(f"{found[0].stem}-spacepoint*.csv*"))


def _read(path: Path, told: Told) -> Iterator[Event]:
    yield read_acts(expected_family(path, "measurements"))


ACTS: Final = Format("acts", _recognises, _read)
"""Measurements as ACTS writes them, with global positions; in mm and GeV."""
