from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from beampipe.errors import ConfigError, TooLargeError
from beampipe.tracking.batch import FileResult, output_paths, track_files
from beampipe.tracking.events import Hits, Tracks
from beampipe.tracking.formats import write_events
from tests.tracking.formats.events import random_event


class OneTrack:
    """All hits are one track; big events are refused."""

    def find(self, hits: Hits, /) -> Tracks:
        if len(hits) > 100:
            raise TooLargeError("hits: got more than 100; cut the event")
        return Tracks(np.zeros(len(hits), np.int64))


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("a.parquet", "b.csv", "c.parquet", "d.parquet")]
    write_events(paths[0], [random_event(0, n_hits=7), random_event(1, n_hits=5)])
    paths[1].write_text("1,2,nan\n")
    write_events(paths[2], [random_event(0, n_hits=3), random_event(1, n_hits=200)])
    write_events(paths[3], [random_event(0, n_hits=2)])
    return paths


def test_a_bad_input_costs_none_of_the_others(inputs: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "found"
    results = list(track_files(inputs, OneTrack(), output))
    assert [result.path for result in results] == inputs
    assert results[0] == FileResult(inputs[0], output / "a.tracks.parquet", 2, 12, 2)
    assert results[1].error is not None
    assert "got z = nan at row 0" in results[1].error
    assert results[2].error == "hits: got more than 100; cut the event"
    assert results[3].n_events == 1
    # What failed leaves nothing behind, not even half a file.
    assert sorted(path.name for path in output.iterdir()) == ["a.tracks.parquet", "d.tracks.parquet"]
    assert pq.read_table(results[0].output).column("event_id").to_pylist() == [0] * 7 + [1] * 5


def test_one_input_names_its_file(inputs: list[Path], tmp_path: Path) -> None:
    seen = []
    target = tmp_path / "tracks.csv"
    results = list(track_files(inputs[:1], OneTrack(), target, progress=lambda path, event, tracks: seen.append(event)))
    assert results[0].output == target
    assert target.is_file()
    assert [event.event_id for event in seen] == [0, 1]


def test_outputs_that_cannot_be_named_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a folder"):
        output_paths([Path("a.csv"), Path("b.csv")], tmp_path / "tracks.parquet")
    with pytest.raises(ConfigError, match="2 inputs named 'a'"):
        output_paths([Path("x/a.csv"), Path("y/a.parquet")], tmp_path)
