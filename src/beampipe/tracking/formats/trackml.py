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

from beampipe.errors import FileError
from beampipe.events import NO_TRACK, NOISE, Event, HitColumns, Hits, Particles, Tracks, Truth, cylindrical
from beampipe.tracking.formats.format import EventFiles, EventFormat, FileProbe, matching_rows, one_event
from beampipe.tracking.formats.read_options import ReadOptions
from beampipe.tracking.formats.tables import PROMPT, module_code, read_columns, read_table, stacked
from beampipe.tracking.formats.writing import TrackFormat, check_labels, own_hit_ids


def read_trackml(path: Path, options: ReadOptions) -> Iterator[Event]:
    """The event of a file of hits, with truth if truth and particles lie beside it.

    `geometry_id` is that of ACTS: volume << 56 | layer << 36 | module << 8.
    The files do not say which particles are primary; those that start within 2 mm of the beam line count as such.
    They lack the species, too: `pdg` is 0.

    Raises:
        FileError: a file is missing or cut short, or a truth row names a hit or particle that is not there.
        ColumnError: a column is missing.
    """
    files = EventFiles.beside(path, "hits")
    hits_path = files.path("hits")
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
    beside = {kind: files.path(kind) for kind in ("truth", "particles")}
    have = [kind for kind, file in beside.items() if file.is_file()]
    if len(have) == 1:
        missing = next(file for kind, file in beside.items() if kind not in have)
        raise FileError(
            f"{missing}: no such file beside {beside[have[0]].name}; add it, or remove the other to read hits alone"
        )
    truth = _truth(beside["truth"], beside["particles"], hits_path, hit_id) if have else None
    yield Event(files.event_id, hits, truth, source)


def _truth(path: Path, particles_path: Path, hits_path: Path, hit_id: ndarray) -> Truth:
    floats = ("vx", "vy", "vz", "px", "py", "pz", "q")
    table = read_columns(particles_path, {"particle_id": np.int64, **dict.fromkeys(floats, np.float32)})
    vertex = stacked(table, "vx vy vz")
    particles = Particles(
        particle_id=table["particle_id"],
        pdg=np.zeros(len(vertex), np.int32),
        charge=table["q"],
        momentum=stacked(table, "px py pz"),
        vertex=vertex,
        primary=np.hypot(vertex[:, 0], vertex[:, 1]) < PROMPT,
    )
    table = read_columns(path, {"hit_id": np.int64, "particle_id": np.int64})
    row = matching_rows(table["hit_id"], hit_id, path, "hit_id", hits_path)
    has_particle = table["particle_id"] != NOISE
    matching_rows(table["particle_id"][has_particle], particles.particle_id, path, "particle_id", path.parent)
    particle_id = np.full(len(hit_id), NOISE, np.int64)
    particle_id[row] = table["particle_id"]
    return Truth(particle_id, particles)


def _is_hits_file(file: FileProbe) -> bool:
    files = EventFiles.of(file.path)
    # ACTS writes -hits.csv too, for simulated hits; those have no `hit_id`.
    return file.kind == "csv" and files is not None and files.kind == "hits" and file.has("hit_id")


TRACKML: Final = EventFormat("trackml", _is_hits_file, read_trackml, count=one_event)
"""Events of the TrackML challenge, in mm and GeV."""


def _submission_columns(event: Event, tracks: Tracks) -> dict[str, ndarray]:
    check_labels(event, tracks)
    hit_id = own_hit_ids(event, SUBMISSION.name, ())
    return {
        "event_id": np.full(len(hit_id), event.event_id, np.int64),
        "hit_id": hit_id,
        "track_id": tracks.track_id - NO_TRACK,
    }


SUBMISSION: Final = TrackFormat(
    "trackml",
    (".csv",),
    {"event_id": np.int64, "hit_id": np.int64, "track_id": np.int64},
    _submission_columns,
    lambda event: own_hit_ids(event, "trackml", ()),
)
"""A submission to the TrackML challenge; the input must have hit ids of its own."""
