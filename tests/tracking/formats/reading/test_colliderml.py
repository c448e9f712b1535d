from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beampipe.errors import ColumnError, FileError
from beampipe.tracking.formats import open_events

HITS: dict[str, Any] = {
    "event_id": pa.array([4, 5], pa.uint32()),
    **{name: pa.array([[3.0, 0.0], [6.0]], pa.list_(pa.float32())) for name in ("x", "true_x")},
    **{name: pa.array([[4.0, -2.0], [8.0]], pa.list_(pa.float32())) for name in ("y", "true_y")},
    **{name: pa.array([[-5.0, 6.5], [1.0]], pa.list_(pa.float32())) for name in ("z", "true_z", "time")},
    "particle_id": pa.array([[17, 900], [17]], pa.list_(pa.uint64())),
    "detector": pa.array([[1, 1], [2]], pa.list_(pa.uint8())),
    "volume_id": pa.array([[17, 24], [17]], pa.list_(pa.uint8())),
    "layer_id": pa.array([[2, 4], [2]], pa.list_(pa.uint16())),
    "surface_id": pa.array([[101, 7], [3]], pa.list_(pa.uint32())),
}
"""Types and names of release 1."""

PARTICLES: dict[str, Any] = {
    "event_id": pa.array([3, 4, 5], pa.uint32()),
    "particle_id": pa.array([[1], [900, 17], [17]], pa.list_(pa.uint64())),
    "pdg_id": pa.array([[22], [-211, 13], [211]], pa.list_(pa.int64())),
    **{
        name: pa.array([[1.0], [1.0, -1.0], [1.0]], pa.list_(pa.float32()))
        for name in ("mass", "charge", "vx", "vy", "vz", "time")
    },
    **{name: pa.array([[0.0], [0.3, 3.0], [1.0]], pa.list_(pa.float32())) for name in ("px", "pz")},
    "py": pa.array([[0.0], [0.4, 4.0], [1.0]], pa.list_(pa.float32())),
    "vertex_primary": pa.array([[1], [1, 1], [1]], pa.list_(pa.uint16())),
    "primary": pa.array([[True], [True, False], [True]], pa.list_(pa.bool_())),
}


def write(path: Path, columns: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("hits", "particles"),
    [
        ("ttbar_tracker_hits.parquet", "ttbar_particles.parquet"),
        ("ttbar_tracker_hits/part-0.parquet", "ttbar_particles/part-0.parquet"),
        ("tracker_hits/v1.tracker_hits.0-1.parquet", "particles/v1.particles.0-1.parquet"),
    ],
)
def test_particles_beside_the_hits_are_their_truth(tmp_path: Path, hits: str, particles: str) -> None:
    path = write(tmp_path / hits, HITS)
    (alone, _) = open_events(path)
    assert alone.truth is None
    write(tmp_path / particles, PARTICLES)
    first, second = open_events(path)
    assert (first.event_id, second.event_id) == (4, 5)
    np.testing.assert_allclose(first.hits.position[0], [5.0, np.arctan2(4, 3), -5.0], rtol=1e-6)
    assert first.hits.geometry_id is not None
    assert first.hits.geometry_id[0] == 17 << 56 | 2 << 36 | 101 << 8
    assert first.truth is not None
    assert first.truth.particle_id.tolist() == [17, 900]
    assert first.truth.particles.particle_id.tolist() == [900, 17]
    np.testing.assert_allclose(first.truth.particles.pt, [0.5, 5.0], rtol=1e-6)
    assert first.truth.particles.primary.tolist() == [True, False]
    assert first.source is not None
    assert first.source.format == "colliderml"
    assert {"true_x", "time", "surface_id"} <= set(first.source.extra)
    assert len(list(open_events(path.parent))) == 2


def test_particles_may_be_named(tmp_path: Path) -> None:
    path, named = write(tmp_path / "a.parquet", HITS), write(tmp_path / "b.parquet", PARTICLES)
    assert open_events(path)[0].truth is None
    assert next(iter(open_events(path, particles=str(named)))).truth is not None
    with pytest.raises(FileError, match=r"gone\.parquet: no such file, expected the table of particles"):
        list(open_events(path, particles=str(tmp_path / "gone.parquet")))
    with pytest.raises(ColumnError, match="no column pdg_id, charge, px"):
        list(open_events(path, particles=str(path)))


def test_events_without_particles_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "tracker_hits.parquet", HITS)
    late = {name: column[1:] if name == "event_id" else column[:2] for name, column in PARTICLES.items()}
    write(tmp_path / "particles.parquet", {name: column[:1] for name, column in late.items()})
    with pytest.raises(FileError, match=r"particles\.parquet: got no event 5"):
        list(open_events(path))


def event_display() -> dict[str, Any]:
    def hit(number: int, particle: int, x: float, z: float) -> dict[str, Any]:
        pdg, pt = {3: (-211, 0.5), 8: (11, 2.0)}[particle]
        position = {"x": x, "y": 0.0, "z": z, "volume_id": 17}
        return position | {"pT": pt, "pdg_id": pdg, "particle_id": particle, "HIT_ID": number}

    hits = [hit(40, 3, -70.0, 80.0), hit(4, 3, -30.0, 40.0), hit(9, 8, 30.0, 10.0)]
    return {"metadata": {"event_id": 6}, "vertex": [0.0, 0.0, 10.0], "all_tracker_hits": hits, "tracks": []}


def test_event_display(tmp_path: Path) -> None:
    path = tmp_path / "event_2.json"
    path.write_text(json.dumps(event_display()))
    (event,) = open_events(path)
    assert event.event_id == 6
    np.testing.assert_allclose(event.hits.position[0], [70.0, np.pi, 80.0], rtol=1e-6)
    assert event.source is not None
    assert event.source.hit_id is not None
    assert event.source.hit_id.tolist() == [40, 4, 9]
    assert event.truth is not None
    particles = event.truth.particles
    assert particles.particle_id.tolist() == [3, 8]
    assert particles.charge.tolist() == [-1.0, -1.0]  # pi-, e-
    # From the vertex to the innermost hit: 30 mm in both r and z for the first, no way in z for the second.
    np.testing.assert_allclose(particles.momentum, [[-0.5, 0.0, 0.5], [2.0, 0.0, 0.0]], atol=1e-6)
    assert_no_hits(tmp_path)


def assert_no_hits(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    body = event_display()
    del body["all_tracker_hits"][1]["z"]
    path.write_text(json.dumps(body))
    with pytest.raises(ColumnError, match="hit 1 has no z"):
        list(open_events(path))
    path.write_text(json.dumps(body)[:-20])
    with pytest.raises(FileError, match=r"bad\.json: not a whole JSON file"):
        open_events(path)
    path.write_text('{"other": 1}')
    with pytest.raises(FileError, match="of no known kind: got JSON with the keys 'other'"):
        open_events(path)
