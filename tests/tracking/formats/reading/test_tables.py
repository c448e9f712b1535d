from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beampipe.errors import ColumnError, ConfigError, FileError, NotFiniteError
from beampipe.events import Event
from beampipe.tracking.formats import open_events
from tests.tracking.formats.events import assert_equal

PER_HIT: dict[str, list[Any]] = {
    "event_id": [7, 7, 7, 3],
    "hit_id": [10, 12, 11, 10],
    "x": [3.0, 0.0, 1.0, 6.0],
    "y": [4.0, -2.0, 0.0, 8.0],
    "z": [-5.0, 6.5, 0.5, 1.0],
    "volume_id": [8, 8, 9, 8],
    "layer_id": [2, 4, 2, 2],
    "module_id": [1, 7, 3, 2],
    "particle_id": [5, 2, 0, 9],
    "px": [0.3, 1.0, 0.0, 2.0],
    "py": [0.4, 0.0, 0.0, 0.0],
    "pz": [5.0, 0.1, 0.0, 0.0],
    "charge": [-1, 1, 0, 1],
    "vx": [0.0, 30.0, 0.0, 0.0],
    "sensor": ["a", "b", None, "a"],
}
"""Two events; the last column is nobody's."""


def per_event() -> dict[str, list[Any]]:
    """The same events, one row each with lists."""
    lists = {name: [values[:3], values[3:]] for name, values in PER_HIT.items() if name != "event_id"}
    return {"event_id": [7, 3], "run": [1, 1], **lists, "jet_pt": [[1.0], [2.0, 3.0]]}


def write(path: Path, columns: dict[str, list[Any]], **how: Any) -> Path:
    pq.write_table(pa.table(columns), path, **how)
    return path


def check(events: list[Event]) -> None:
    assert [event.event_id for event in events] == [7, 3]
    first, second = events
    expected = [[5.0, np.arctan2(4, 3), -5.0], [2.0, -np.pi / 2, 6.5], [1.0, 0.0, 0.5]]
    np.testing.assert_allclose(first.hits.position, expected, rtol=1e-6)
    assert first.hits.geometry_id is not None
    assert first.hits.geometry_id.tolist() == [
        volume << 56 | layer << 36 | module << 8 for volume, layer, module in ((8, 2, 1), (8, 4, 7), (9, 2, 3))
    ]
    assert first.truth is not None
    assert first.truth.particle_id.tolist() == [5, 2, 0]
    assert first.truth.particles.particle_id.tolist() == [2, 5]
    np.testing.assert_allclose(first.truth.particles.pt, [1.0, 0.5], rtol=1e-6)
    assert first.truth.particles.charge.tolist() == [1.0, -1.0]
    assert first.truth.particles.primary.tolist() == [False, True]
    assert first.source is not None
    assert first.source.hit_id is not None
    assert first.source.hit_id.tolist() == [10, 12, 11]
    assert list(first.source.extra) == [name for name in PER_HIT if name not in ("event_id", "hit_id")]
    assert first.source.extra["sensor"].tolist() == ["a", "b", None]
    assert len(second.hits) == 1


def test_one_row_per_hit(tmp_path: Path) -> None:
    check(list(open_events(write(tmp_path / "hits", PER_HIT))))


def test_one_row_per_event(tmp_path: Path) -> None:
    check(list(open_events(write(tmp_path / "events.parquet", per_event()))))


def test_csv_with_names_is_read_on_request_only(tmp_path: Path) -> None:
    names = [name for name in PER_HIT if name != "sensor"]
    lines = [",".join(names), *(",".join(str(PER_HIT[name][row]) for name in names) for row in range(4))]
    path = tmp_path / "hits.csv"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(FileError, match=r"CSV with the columns 'event_id', .*; --format table reads it"):
        open_events(path)
    first, second = open_events(path, format="table")
    assert (first.event_id, len(first.hits), second.event_id, len(second.hits)) == (7, 3, 3, 1)
    quoted = tmp_path / "quoted.csv"
    quoted.write_text(path.read_text().replace(",".join(names), ",".join(f'"{name}"' for name in names)))
    assert_equal(open_events(quoted, format="table")[0], first)
    zipped = tmp_path / "hits.csv.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert_equal(open_events(zipped, format="table")[0], first)


def test_without_numbers_a_table_is_one_event(tmp_path: Path) -> None:
    columns = {"r": [30.0, 70.0], "phi": [0.1, 0.2], "z": [1.0, 2.0]}
    (event,) = open_events(write(tmp_path / "run_0012.parquet", columns))
    assert event.event_id == 12
    assert event.truth is None
    assert event.hits.geometry_id is None
    np.testing.assert_allclose(event.hits.position, [[30.0, 0.1, 1.0], [70.0, 0.2, 2.0]], rtol=1e-6)


def test_a_table_in_another_scale(tmp_path: Path) -> None:
    path = write(tmp_path / "hits.parquet", {"r": [0.01], "phi": [0.5], "z": [0.1]})
    (event,) = open_events(path, "exatrkx")
    np.testing.assert_allclose(event.hits.position, [[30.0, np.pi / 2, 40.0]], rtol=1e-6)
    assert event.source is not None
    assert list(event.source.extra) == ["input_r", "input_phi", "input_z"]
    with pytest.raises(ConfigError, match="got scale 'acts' for x, y and z"):
        list(open_events(write(tmp_path / "xyz.parquet", PER_HIT), "acts"))


def test_momenta_are_what_makes_truth(tmp_path: Path) -> None:
    columns = {name: values for name, values in PER_HIT.items() if name != "px"}
    (first, _) = open_events(write(tmp_path / "hits.parquet", columns))
    assert first.truth is None
    assert first.source is not None
    assert first.source.extra["particle_id"].tolist() == [5, 2, 0]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"event_id": [7, 3, 7, 7]}, FileError, "got the event 7 again"),
        ({"event_id": ["a", "a", "a", "b"]}, FileError, "got the event 'a' as its number"),
        ({"r": [5.0, 2.0, 1.0, 10.0], "phi": [0.0] * 4, "x": [0.03] * 4}, FileError, "expected one unit for both"),
        ({"volume_id": [8, 8, 300, 8]}, FileError, "got volume numbers from 8 to 300, expected 0 to 255"),
        ({"layer_id": [-1, 8, 3, 8]}, FileError, "got layer numbers from -1"),
        ({"particle_id": [5, -2, 0, 9]}, FileError, "got particle_id -2"),
        ({"particle_id": [5.5, 2.0, 0.0, 9.0]}, FileError, "decimals as particle_id"),
        ({"hit_id": ["a", "b", "c", "d"]}, FileError, r"got words or gaps as hit_id \('a'\), expected whole"),
        ({"y": [0.0, None, 0.0, 0.0]}, FileError, r"event 7: got words or gaps as y \(1 of 3 missing\)"),
        ({"py": ["a", "b", "c", "d"]}, FileError, "event 7: got words or gaps as py"),
        ({"geometry_id": [1, -1, 1, 1]}, FileError, "event 7: got geometry_id -1"),
        ({"z": [0.0, np.inf, 0.0, 0.0]}, NotFiniteError, "event 7: .* at row 1"),
    ],
)
def test_a_bad_table_is_named(
    tmp_path: Path, change: dict[str, list[Any]], error: type[Exception], message: str
) -> None:
    path = write(tmp_path / "hits.parquet", PER_HIT | change)
    with pytest.raises(error, match=message) as caught:
        list(open_events(path))
    assert str(path) in str(caught.value)


def test_a_table_without_positions_lists_what_is_there(tmp_path: Path) -> None:
    path = write(tmp_path / "other.parquet", {"pt": [1.0], "eta": [0.0]})
    with pytest.raises(ColumnError, match="of no known kind: got Parquet with the columns 'pt', 'eta'"):
        open_events(path)
    with pytest.raises(ColumnError, match="expected columns r, phi, z or x, y, z"):
        list(open_events(path, format="table"))


@pytest.mark.parametrize(
    "text",
    [
        "r,phi,z\n32,0.1,1\n72,0.1,2\n",
        "hit_r,hit_phi,hit_z\n32,0.1,1\n72,0.1,2\n",
        "event_id,r,phi,z\n7,32,0.1,1\n7,72,0.1,2\n",
    ],
)
def test_a_csv_file_with_nothing_but_positions_needs_no_format(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hits7.csv"
    path.write_text(text)
    (event,) = open_events(path)
    assert event.event_id == 7
    np.testing.assert_allclose(event.hits.position, [[32, 0.1, 1], [72, 0.1, 2]], rtol=1e-6)
