from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from beampipe.errors import FileError, ShapeError
from beampipe.events import Event, HitColumns, Tracks
from beampipe.tracking.formats import TRACK_COLUMNS, write_tracks
from tests.tracking.formats.events import random_event


def found() -> Iterator[tuple[Event, Tracks]]:
    for event in (random_event(4, n_hits=5), random_event(2, n_hits=3), random_event(9, n_hits=0)):
        yield event, Tracks(np.arange(len(event.hits), dtype=np.int64) - 1)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_one_row_per_hit_in_input_order(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"tracks.{ending}"
    assert write_tracks(path, found()) == 3
    table = pq.read_table(path) if ending == "parquet" else pyarrow.csv.read_csv(path)
    assert table.column_names == list(TRACK_COLUMNS)
    assert table.column("event_id").to_pylist() == [4] * 5 + [2] * 3
    assert table.column("hit").to_pylist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert table.column("track_id").to_pylist() == [-1, 0, 1, 2, 3, -1, 0, 1]
    r = np.concatenate([event.hits.position[:, 0] for event, _ in found()])
    np.testing.assert_array_equal(table.column("r").to_numpy().astype(np.float32), r)


def test_labels_of_another_length_leave_no_file(tmp_path: Path) -> None:
    path = tmp_path / "tracks.csv"
    with pytest.raises(ShapeError, match="event 1: got 2 labels, expected 5"):
        write_tracks(path, [(random_event(1, n_hits=5), Tracks(np.zeros(2, np.int64)))])
    assert not list(tmp_path.iterdir())


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"got the ending '\.root', expected \.parquet or \.csv"):
        write_tracks(tmp_path / "tracks.root", [])


def with_source(event_id: int, n_hits: int, **extra: np.ndarray) -> tuple[Event, Tracks]:
    event = random_event(event_id, n_hits=n_hits)
    source = HitColumns("table", np.arange(100, 100 + n_hits, dtype=np.int64), extra)
    return Event(event_id, event.hits, None, source), Tracks(np.arange(n_hits, dtype=np.int64))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_inputs_own_columns_go_along(tmp_path: Path, ending: str) -> None:
    words = np.array(["a", None, "c"], object)
    big = np.array([2**63 + 1, 2**63 + 2, 5], np.uint64)
    path = tmp_path / f"tracks.{ending}"
    write_tracks(
        path,
        [
            with_source(3, 0),  # an event without hits does not say which columns there are
            with_source(4, 3, cell=big, word=words, track_id=np.ones(3, np.int64)),
            with_source(5, 2, cell=big[:2]),
        ],
    )
    table = pq.read_table(path) if ending == "parquet" else pyarrow.csv.read_csv(path)
    assert table.column_names == [*TRACK_COLUMNS, "hit_id", "cell", "word", "input_track_id"]
    assert table.column("hit_id").to_pylist() == [100, 101, 102, 100, 101]
    assert table.column("track_id").to_pylist() == [0, 1, 2, 0, 1]
    assert table.column("input_track_id").to_pylist() == [1, 1, 1, None, None]
    if ending == "parquet":
        assert table.column("cell").to_pylist() == [2**63 + 1, 2**63 + 2, 5, 2**63 + 1, 2**63 + 2]
        assert table.column("word").to_pylist() == ["a", None, "c", None, None]


def test_columns_that_the_first_event_lacks_are_named(tmp_path: Path) -> None:
    path = tmp_path / "tracks.parquet"
    with pytest.raises(FileError, match="event 2: got the columns later, which the first event does not have"):
        write_tracks(path, [with_source(1, 2), with_source(2, 2, later=np.zeros(2))])
    with pytest.raises(FileError, match=r"event 2: cannot be written as \.parquet"):
        write_tracks(path, [with_source(1, 1, a=np.zeros(1)), with_source(2, 1, a=np.array(["x"], object))])
    assert not list(tmp_path.iterdir())


def test_a_position_is_written_once(tmp_path: Path) -> None:
    zero = np.zeros(1)

    def names(**extra: np.ndarray) -> list[str]:
        path = tmp_path / "tracks.parquet"
        write_tracks(path, [with_source(1, 1, **extra)])
        return list(pq.read_schema(path).names)[len(TRACK_COLUMNS) + 1 :]

    assert names(x=zero, y=zero, z=zero) == ["x", "y"]
    assert names(r=zero, phi=zero, z=zero, a=zero) == ["a"]
    assert names(phi=zero) == ["input_phi"], "an angle of its own, such as the direction that ACTS measures"
