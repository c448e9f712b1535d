from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import ColumnError, FileError
from beampipe.tracking.formats import open_events
from tests.tracking.formats.events import assert_equal
from tests.tracking.formats.test_opening import ACTS, only

STEM = "event000000000"


def rows(kind: str) -> list[dict[str, str]]:
    header, *lines = (ACTS / f"{STEM}-{kind}.csv").read_text().splitlines()
    return [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]


def write(path: Path, table: Sequence[Mapping[str, object]]) -> Path:
    path.write_text("\n".join([",".join(table[0]), *(",".join(map(str, row.values())) for row in table)]) + "\n")
    return path


def newest(second: dict[int, int]) -> list[dict[str, object]]:
    """Space points as ACTS 48 writes them; `second`: row -> its second measurement."""
    return [
        {
            "measurement_id_1": row["measurement_id"],
            "measurement_id_2": second.get(n, 18446744073709551615),
            "geometry_id_1": row["geometry_id"],
            "geometry_id_2": 0,
            **{axis: row[f"global_{axis}"] for axis in "xyz"},
            "t": "nan",
            "var_r": 0,
            "var_z": 0.01,
        }
        for n, row in enumerate(rows("measurements"))
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for kind in ("measurements", "measurement-simhit-map", "hits", "particles_simulated"):
        shutil.copy(ACTS / f"{STEM}-{kind}.csv", tmp_path)
    return tmp_path


def test_space_points_are_read_with_the_truth_of_their_measurements(folder: Path) -> None:
    path = write(folder / f"{STEM}-spacepoint.csv", newest({0: 1}))
    event, measured = only(path), only(ACTS)
    np.testing.assert_allclose(event.hits.position, measured.hits.position, rtol=1e-6)
    np.testing.assert_array_equal(event.hits.geometry_id, measured.hits.geometry_id)
    assert event.truth is not None
    assert measured.truth is not None
    np.testing.assert_array_equal(event.truth.particle_id, measured.truth.particle_id)
    # Measurement 1 is of another particle than measurement 0.
    assert event.truth.shared_hit.tolist() == [0]
    assert event.truth.shared_particle.tolist() == [int(measured.truth.particle_id[1])]
    assert event.source is not None
    assert event.source.hit_id is not None
    assert event.source.hit_id.tolist() == list(range(47))
    assert event.source.extra["measurement_id_2"].tolist() == [1] + [-1] * 46
    assert "var_z" in event.source.extra


def test_measurements_come_before_space_points(folder: Path) -> None:
    write(folder / f"{STEM}-spacepoint.csv", newest({}))
    assert_equal(only(folder), only(ACTS))
    (request,) = open_events(folder, format="acts-spacepoints")
    assert request.source is not None
    assert request.source.format == "acts-spacepoints"


def test_space_points_stand_in_for_measurements_without_positions(folder: Path) -> None:
    write(folder / f"{STEM}-spacepoint.csv", newest({}))
    old = [{name: value for name, value in row.items() if "global" not in name} for row in rows("measurements")]
    write(folder / f"{STEM}-measurements.csv", old)
    (event,) = open_events(folder)
    assert event.source is not None
    assert event.source.format == "acts-spacepoints"
    assert event.truth is not None
    (folder / f"{STEM}-spacepoint.csv").unlink()
    with pytest.raises(ColumnError, match="no column 'global_x'"):
        only(folder / f"{STEM}-measurements.csv", format="acts")


def test_older_space_points_have_other_names(tmp_path: Path) -> None:
    table = [
        {"measurement_id": row["measurement_id_1"], **{f"sp_{axis}": row[axis] for axis in "xyz"}, "sp_radius": 1}
        for row in newest({})
    ]
    event = only(write(tmp_path / "event000000005-spacepoints_pixel.csv", table))
    assert event.event_id == 5
    assert event.truth is None
    assert event.hits.geometry_id is None
    np.testing.assert_allclose(event.hits.position, only(ACTS).hits.position, rtol=1e-6)


def test_what_does_not_fit_is_named(folder: Path) -> None:
    path = write(folder / f"{STEM}-spacepoint.csv", newest({3: 4711}))
    with pytest.raises(FileError, match="got measurement_id 4711 at row 3, which"):
        only(path)
    write(folder / f"{STEM}-spacepoints_strip.csv", newest({}))
    with pytest.raises(FileError, match=r"got event000000000-spacepoints_strip\.csv of the same event beside it"):
        open_events(folder, format="acts-spacepoints")
