from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beampipe.errors import ColumnError, FileError, NotFiniteError
from beampipe.events import Event
from beampipe.tracking.formats.parquet import count_events, read_events, write_events
from tests.tracking.formats.events import assert_equal, random_event


def test_what_is_written_is_read(tmp_path: Path) -> None:
    events = [
        random_event(3),
        random_event(8, measured=False),
        Event(9, random_event(9).hits),
        random_event(4, n_hits=0, n_particles=0),
    ]
    path = tmp_path / "events.parquet"
    assert write_events(path, iter(events)) == 4
    assert count_events(path) == 4
    for got, expected in zip(read_events(path), events, strict=True):
        assert_equal(got, expected)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    write_events(path, [random_event(1)])

    def breaks() -> Iterator[Event]:
        yield random_event(2)
        raise RuntimeError("the generator broke")

    with pytest.raises(RuntimeError, match="the generator broke"):
        write_events(path, breaks())
    assert [event.event_id for event in read_events(path)] == [1]
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"gone\.parquet: no such file"):
        read_events(tmp_path / "gone.parquet")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "events.parquet"
    write_events(path, [random_event(1)])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(FileError, match="not a whole Parquet file"):
        read_events(path)


def test_damaged_data_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    write_events(path, [random_event(1, n_hits=5000)])
    damaged = bytearray(path.read_bytes())
    damaged[8:4000] = bytes(3992)
    path.write_bytes(damaged)
    with pytest.raises(FileError, match="row group 0 of 1 cannot be read"):
        list(read_events(path))


def test_one_damaged_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    write_events(path, [random_event(1, n_hits=5000)])
    whole = path.read_bytes()
    for place in range(1000, 30_000, 3000):  # zstd accepts most of these
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(FileError, match="row group 0 of 1 cannot be read"):
            list(read_events(path))


def test_a_missing_column_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"event_id": [1], "hit_r": [[1.0]], "hit_ph": [[1.0]], "hit_z": [[1.0]]}), path)
    with pytest.raises(ColumnError, match="no column 'hit_phi'; did you mean 'hit_ph'"):
        read_events(path)


def test_nan_is_named_with_file_event_and_row(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    column = [[0.0, 1.0]]
    table = {"event_id": [7], "hit_r": column, "hit_phi": [[0.0, np.nan]], "hit_z": column}
    pq.write_table(pa.table(table), path)
    with pytest.raises(NotFiniteError, match=r"events\.parquet: event 7: .* at row 1"):
        list(read_events(path))
