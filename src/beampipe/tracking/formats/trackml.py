"""Events of the TrackML challenge and submissions to it. In mm and GeV.

Events: `eventNNN-hits.csv`, `-truth.csv`, `-particles.csv`, plain or gzipped. Source: the data description of
https://www.kaggle.com/c/trackml-particle-identification/data.

Submissions: `event_id`, `hit_id`, `track_id`. Source: the evaluation page of the same challenge: each hit once, on one
track, with non-negative numbers. Here tracks count from 1, and 0 is for the hits on no track.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import FileError
from beampipe.events import NO_TRACK, NOISE, Event, HitColumns, Hits, Particles, Tracks, Truth, cylindrical
from beampipe.tracking.formats.format import (
    EventFiles,
    EventFormat,
    FileProbe,
    ReadOptions,
    event_files_of,
    expected_event_files,
    matching_rows,
)
from beampipe.tracking.formats.tables import PROMPT, arrow, module_code, read_columns, read_table
from beampipe.tracking.formats.writing import EventsWithTracks, TrackFormat, check_labels, own_hit_ids, write_table

# Events of the TrackML challenge: `eventNNN-hits.csv`, `-truth.csv`, `-particles.csv`, plain or gzipped.


def read_trackml(family: EventFiles) -> Event:
    """The event of one family of files.

    The module is told by `geometry_id` as ACTS numbers it: volume << 56 | layer << 36 | module << 8.
    The files do not say which particles are primary; those that start within 2 mm of the beam line count as such.
    They do not say the species either: `pdg` is 0.

    Args:
        family: common path of the event's files, and how they end.

    Returns:
        The event; with truth if both truth and particles are there.

    Raises:
        FileError: a file is missing or cut short, or a truth row names a hit or particle that is not there.
        ColumnError: a column is missing.
    """
    hits_path = family.path("hits")
    table, rest = read_table(
        hits_path,
        {
            "hit_id": np.int64,
            **dict.fromkeys(("x", "y", "z"), np.float64),
            **dict.fromkeys(("volume_id", "layer_id", "module_id"), np.uint64),
        },
    )
    hit_id = table.pop("hit_id")
    geometry_id = module_code(hits_path, table["volume_id"], table["layer_id"], table["module_id"])
    hits = Hits(cylindrical(table["x"], table["y"], table["z"]), geometry_id)
    source = HitColumns(TRACKML.name, hit_id, table | rest)
    have = [kind for kind in ("truth", "particles") if family.path(kind).is_file()]
    if not have:
        return Event(family.event_id, hits, None, source)
    if len(have) == 1:
        missing = {"truth", "particles"}.difference(have).pop()
        raise FileError(
            f"{family.path(missing)}: no such file beside {family.path(have[0]).name}; add it, or remove the other"
            " to read hits alone"
        )
    particles = _particles(family.path("particles"))
    return Event(family.event_id, hits, _truth(family.path("truth"), hits_path, hit_id, particles), source)


def _particles(path: Path) -> Particles:
    floats = ("vx", "vy", "vz", "px", "py", "pz", "q")
    table = read_columns(path, {"particle_id": np.int64, **dict.fromkeys(floats, np.float32)})
    vertex = np.stack([table[name] for name in ("vx", "vy", "vz")], axis=1)
    return Particles(
        particle_id=table["particle_id"],
        pdg=np.zeros(len(vertex), np.int32),
        charge=table["q"],
        momentum=np.stack([table[name] for name in ("px", "py", "pz")], axis=1),
        vertex=vertex,
        primary=np.hypot(vertex[:, 0], vertex[:, 1]) < PROMPT,
    )


def _truth(path: Path, hits_path: Path, hit_id: ndarray, particles: Particles) -> Truth:
    table = read_columns(path, {"hit_id": np.int64, "particle_id": np.int64})
    row = matching_rows(table["hit_id"], hit_id, path, "hit_id", hits_path)
    made = table["particle_id"] != NOISE
    matching_rows(table["particle_id"][made], particles.particle_id, path, "particle_id", path.parent)
    particle_id = np.full(len(hit_id), NOISE, np.int64)
    particle_id[row] = table["particle_id"]
    return Truth(particle_id, particles)


def _is_hits_file(file: FileProbe) -> bool:
    found = event_files_of(file.path)
    # ACTS writes -hits.csv too, for the simulated hits; these have no number of their own.
    return file.kind == "csv" and found is not None and found[1] == "hits" and file.has("hit_id")


def _read_hits_file(path: Path, told: ReadOptions) -> Iterator[Event]:
    yield read_trackml(expected_event_files(path, "hits"))


TRACKML: Final = EventFormat("trackml", _is_hits_file, _read_hits_file)
"""Events of the TrackML challenge, in mm and GeV."""


# A submission to the TrackML challenge: `event_id`, `hit_id`, `track_id`.


def _write_submission(path: Path, found: EventsWithTracks) -> int:
    pa, _ = arrow("lib")
    return write_table(path, dict.fromkeys(("event_id", "hit_id", "track_id"), pa.int64()), found, _submission_columns)


def _submission_columns(event: Event, tracks: Tracks) -> dict[str, ndarray]:
    check_labels(event, tracks)
    hit_id = _hit_ids(event)
    return {
        "event_id": np.full(len(hit_id), event.event_id, np.int64),
        "hit_id": hit_id,
        "track_id": tracks.track_id - NO_TRACK,
    }


def _hit_ids(event: Event) -> Int64[ndarray, " n_hits"]:
    return own_hit_ids(event, SUBMISSION.name, ())


SUBMISSION: Final = TrackFormat("trackml", (".csv",), _write_submission, _hit_ids)
"""Needs an input with hit ids of its own."""
