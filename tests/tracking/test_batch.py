from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from beampipe.errors import ConfigError, FileError, TooLargeError
from beampipe.events import Event, Hits, Tracks
from beampipe.tracking.batch import FileResult, check_outputs, output_paths, track_files
from beampipe.tracking.finder import InOneThread, hits_of
from beampipe.tracking.formats import open_events, write_events
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


def test_outputs_that_cannot_be_named_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a folder"):
        output_paths([Path("a.csv"), Path("b.csv")], tmp_path / "tracks.parquet")
    with pytest.raises(ConfigError, match="2 inputs named 'a'"):
        output_paths([Path("x/a.csv"), Path("y/a.parquet")], tmp_path)


class Backwards(OneTrack):
    """Answers the last of so many events first, and the rest when one of them is waited for."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.waiting: list[tuple[Hits, Future[Tracks]]] = []
        self.most = 0

    def submit(self, event: Event | Hits, /) -> Future[Tracks]:
        future = AnsweredWhenWaitedFor(self)
        self.waiting.append((hits_of(event), future))
        self.most = max(self.most, len(self.waiting))
        if len(self.waiting) == self.count:
            self.answer()
        return future

    def answer(self) -> None:
        while self.waiting:
            hits, future = self.waiting.pop()
            try:
                future.set_result(self.find(hits))
            except TooLargeError as error:
                future.set_exception(error)


class AnsweredWhenWaitedFor(Future[Tracks]):
    """Who waits for a result submits no more: its finder then answers, as a server would, from another thread."""

    def __init__(self, finder: Backwards) -> None:
        super().__init__()
        self.finder = finder

    def result(self, timeout: float | None = None) -> Tracks:
        if not self.done():
            threading.Thread(target=self.finder.answer).start()
        return super().result(timeout)


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


def test_an_input_is_never_an_output(tmp_path: Path) -> None:
    source = tmp_path / "events.parquet"
    write_events(source, [random_event(0, n_hits=2)])
    before = source.read_bytes()
    (tmp_path / "link.parquet").symlink_to(source)
    finder = OneTrack()
    for output in (source, tmp_path / "link.parquet"):
        with pytest.raises(FileError, match="got an output that is the input"):
            next(track_files([source], finder, output))
    assert finder.asked == []
    assert source.read_bytes() == before


@pytest.mark.parametrize("kind", ["hits", "truth", "particles"])
def test_no_file_of_an_event_is_an_output(tmp_path: Path, kind: str) -> None:
    for name in ("hits", "truth", "particles"):
        (tmp_path / f"event000000001-{name}.csv").write_text("hit_id\n")
    for given in (tmp_path / "event000000001-hits.csv", tmp_path):
        with pytest.raises(FileError, match="got an output that is the input"):
            check_outputs([given], tmp_path / f"event000000001-{kind}.csv")


def test_a_result_beside_its_input_is_no_input_later(tmp_path: Path) -> None:
    for n in range(2):
        write_events(tmp_path / f"{n}.parquet", [random_event(n, n_hits=2)])
    done = list(track_files([tmp_path / "0.parquet", tmp_path / "1.parquet"], OneTrack(), tmp_path))
    assert [result.error for result in done] == [None, None]
    assert [event.event_id for event in open_events(tmp_path)] == [0, 1]
    # Written over by a second run, as it is a result.
    assert [result.error for result in track_files([tmp_path / "0.parquet"], OneTrack(), tmp_path)] == [None]


def test_outputs_that_no_file_can_take_are_refused(inputs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FileError, match="cannot make the folder"):
        check_outputs(inputs, inputs[0] / "found")
    with pytest.raises(FileError, match=r"got the ending '\.root'"):
        check_outputs(inputs[:1], tmp_path / "out.root")
    with pytest.raises(FileError, match="File name too long"):
        check_outputs(inputs[:1], tmp_path / ("x" * 300 + ".csv"))
    with pytest.raises(FileError, match="got a file, expected a folder for acts"):
        check_outputs(inputs[:1], _file(tmp_path / "there"), "acts")
    with pytest.raises(FileError, match="File name too long"):
        check_outputs([tmp_path / ("x" * 300)], tmp_path / "out.csv")


def _file(path: Path) -> Path:
    path.touch()
    return path


def test_each_form_has_its_ending(tmp_path: Path) -> None:
    paths = [Path("a.csv.gz"), Path("b.root")]
    assert [path.name for path in output_paths(paths, tmp_path, "trackml")] == ["a.tracks.csv", "b.tracks.csv"]
    assert [path.name for path in output_paths(paths, tmp_path, "acts")] == ["a.tracks", "b.tracks"]
    assert output_paths(paths[:1], tmp_path, "acts") == [tmp_path]


def test_an_input_that_cannot_be_written_so_is_refused_before_tracks_are_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "hits.csv"
    path.write_text("30,0,1\n70,0,2\n")
    finder = OneTrack()
    (result,) = track_files([path], finder, tmp_path / "out.csv", form="trackml")
    assert result.error is not None
    assert "got an input that is one without hit ids" in result.error
    assert finder.asked == []
