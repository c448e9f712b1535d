from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from beampipe.errors import FileError, ShapeError
from beampipe.tracking.events import Event, Tracks
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
