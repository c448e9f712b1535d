from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from beampipe.errors import ConfigError, TooLargeError
from beampipe.tracking.batch import FileResult, output_paths, track_files
from beampipe.tracking.events import Hits, Tracks
from beampipe.tracking.finder import InOneThread
from beampipe.tracking.formats import write_events
from tests.tracking.formats.events import random_event


class OneTrack(InOneThread):
    """All hits are one track; big events are refused."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def find(self, hits: Hits, /) -> Tracks:
        self.asked.append(len(hits))
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
    assert results[0] == FileResult(inputs[0], output / "a.tracks.parquet", 2, 12, 2, n_on_tracks=12)
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


class Backwards(OneTrack):
    """Answers the last of so many events first, and the rest when no more come."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.waiting: list[tuple[Hits, Future[Tracks]]] = []
        self.most = 0

    def submit(self, hits: Hits, /) -> Future[Tracks]:
        future: Future[Tracks] = Future()
        self.waiting.append((hits, future))
        self.most = max(self.most, len(self.waiting))
        # As a server would: from another thread, and only once nobody sends any more.
        if len(self.waiting) == self.count:
            self.answer()
        else:
            threading.Timer(0.2, self.answer).start()
        return future

    def answer(self) -> None:
        while self.waiting:
            hits, future = self.waiting.pop()
            try:
                future.set_result(self.find(hits))
            except TooLargeError as error:
                future.set_exception(error)


@pytest.mark.parametrize("in_flight", [2, 3, 64])
def test_events_in_flight_change_nothing_but_the_time(inputs: list[Path], tmp_path: Path, in_flight: int) -> None:
    seen: list[tuple[str, int]] = []
    finder = Backwards(in_flight)
    one, many = tmp_path / "one", tmp_path / "many"
    expected = list(track_files(inputs, OneTrack(), one))
    results = list(
        track_files(
            inputs,
            finder,
            many,
            progress=lambda path, event, _: seen.append((path.name, event.event_id)),
            in_flight=in_flight,
        )
    )
    assert finder.most == min(in_flight, 5)
    assert [(result.path, result.n_hits, result.error) for result in results] == [
        (result.path, result.n_hits, result.error) for result in expected
    ]
    assert seen == [("a.parquet", 0), ("a.parquet", 1), ("c.parquet", 0), ("d.parquet", 0)]
    assert sorted(path.name for path in many.iterdir()) == ["a.tracks.parquet", "d.tracks.parquet"]
    for path in many.iterdir():
        assert path.read_bytes() == (one / path.name).read_bytes()


def test_of_a_file_that_failed_no_more_is_asked(tmp_path: Path) -> None:
    source = tmp_path / "many.parquet"
    write_events(source, [random_event(n, n_hits=200 if n == 1 else 3) for n in range(50)])
    finder = OneTrack()
    (result,) = track_files([source], finder, tmp_path / "out.parquet")
    assert result.error is not None
    assert finder.asked == [3, 200]
