"""The forms for readers of other programs: what is in the files, and which inputs are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from beampipe.errors import FileError, InputError, UnknownNameError
from beampipe.events import Event, HitColumns, Hits, Tracks
from beampipe.tracking.formats import TRACK_FORMATS, write_tracks

LABELS = np.array([1, 0, -1, 1, 0, 1], np.int64)
HIT_ID = np.array([60, 50, 40, 30, 20, 10], np.int64)
R = np.array([30.0, 100.0, 5.0, 20.0, 50.0, 10.0], np.float32)


def found(format: str = "trackml", *, own_ids: bool = True, event_id: int = 7) -> tuple[Event, Tracks]:
    position = np.stack([R, np.full(6, np.pi / 2, np.float32), np.arange(6, dtype=np.float32)], axis=1)
    source = HitColumns(format, HIT_ID if own_ids else None)
    return Event(event_id, Hits(position), None, source), Tracks(LABELS)


def shared(format: str = "acts") -> tuple[Event, Tracks]:
    """Two tracks that share the hit in row 1."""
    event, tracks = found(format)
    return event, Tracks(tracks.track_id, candidates=[np.array([1, 4]), np.array([0, 1, 3])])


def nothing() -> tuple[Event, Tracks]:
    return Event(8, Hits(np.empty((0, 3), np.float32)), None, HitColumns("acts", HIT_ID[:0])), Tracks(LABELS[:0])


def test_lists_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "tracks.parquet"
    assert write_tracks(path, [nothing(), found()], "lists") == 2
    table = pq.read_table(path)
    assert table.column_names == ["event_id", "track_id", "hits", "hit_id"]
    assert table.column("track_id").to_pylist() == [0, 1]
    assert table.column("hits").to_pylist() == [[4, 1], [5, 3, 0]], "from the inside out"
    assert table.column("hit_id").to_pylist() == [[20, 50], [10, 30, 60]]


def test_trackml_submission(tmp_path: Path) -> None:
    path = tmp_path / "submission.csv"
    write_tracks(path, [found(), found("table", event_id=9)], "trackml")
    table = pyarrow.csv.read_csv(path)
    assert table.column_names == ["event_id", "hit_id", "track_id"]
    assert table.column("event_id").to_pylist() == [7] * 6 + [9] * 6
    assert table.column("hit_id").to_pylist() == HIT_ID.tolist() * 2
    assert table.column("track_id").to_pylist() == [2, 1, 0, 2, 1, 2] * 2


@pytest.mark.parametrize("format", ["acts", "acts-spacepoints"])
def test_proto_tracks_of_acts(tmp_path: Path, format: str) -> None:
    folder = tmp_path / "made" / "here"
    assert write_tracks(folder, [found(format), nothing()], "acts") == 2
    assert sorted(path.name for path in folder.iterdir()) == [
        "event000000007-prototracks.csv",
        "event000000008-prototracks.csv",
    ]
    first = folder / "event000000007-prototracks.csv"
    assert first.read_text().startswith("trackId,measurementId,x,y,z\n"), "the reader of ACTS knows no quotes"
    table = pyarrow.csv.read_csv(first)
    assert table.column_names == ["trackId", "measurementId", "x", "y", "z"]
    assert table.column("trackId").to_pylist() == [0, 0, 1, 1, 1]
    assert table.column("measurementId").to_pylist() == [20, 50, 10, 30, 60]
    np.testing.assert_allclose(table.column("y").to_numpy(), R[[4, 1, 5, 3, 0]], rtol=1e-6)
    np.testing.assert_allclose(table.column("x").to_numpy(), 0, atol=1e-5)
    assert pyarrow.csv.read_csv(folder / "event000000008-prototracks.csv").num_rows == 0


def test_space_points_of_two_strips_name_both_once(tmp_path: Path) -> None:
    event, tracks = found()
    second = np.array([61, -1, 41, 11, -1, 11], np.int64)
    source = HitColumns("acts-spacepoints", np.array([60, 50, 40, 10, 20, 10]), {"measurement_id_2": second})
    path = tmp_path / "prototracks.csv"
    write_tracks(path, [(Event(7, event.hits, None, source), tracks)], "acts")
    table = pyarrow.csv.read_csv(path)
    assert table.column("trackId").to_pylist() == [0, 0, 1, 1, 1, 1]
    assert table.column("measurementId").to_pylist() == [20, 50, 10, 11, 60, 61]
    np.testing.assert_allclose(table.column("y").to_numpy(), R[[4, 1, 5, 5, 0, 0]], rtol=1e-6)


def test_predictions_for_colliderml(tmp_path: Path) -> None:
    path = tmp_path / "predictions.parquet"
    write_tracks(path, [found("colliderml", own_ids=False)], "colliderml")
    table = pq.read_table(path)
    assert table.to_pydict() == {
        "event_id": [7] * 5,
        "hit_id": [0, 1, 3, 4, 5],
        "track_id": [1, 0, 1, 0, 1],
    }


@pytest.mark.parametrize(
    ("form", "ending", "pair", "message"),
    [
        ("trackml", ".csv", found(own_ids=False), "that is one without hit ids, expected hit ids to write trackml"),
        ("acts", ".csv", found("trackml"), "that is one of trackml, expected acts or acts-spacepoints to write acts"),
        (
            "colliderml",
            ".parquet",
            found("event-display"),
            "input of event-display, expected tracker_hits of ColliderML",
        ),
    ],
)
def test_an_input_that_lacks_what_is_needed_is_refused(
    tmp_path: Path, form: str, ending: str, pair: tuple[Event, Tracks], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_tracks(tmp_path / f"out{ending}", [pair], form)
    event, tracks = pair
    with pytest.raises(InputError, match="event 7"):
        write_tracks(tmp_path / f"out{ending}", [(Event(7, event.hits), tracks)], form)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", TRACK_FORMATS)
def test_another_ending_is_refused(tmp_path: Path, form: str) -> None:
    other = ".parquet" if form == "edm4hep" else ".root"
    with pytest.raises(FileError, match=rf"got the ending '\{other}', expected (\.|a folder)"):
        write_tracks(tmp_path / f"tracks{other}", [], form)


def test_a_hit_id_twice_names_no_hit(tmp_path: Path) -> None:
    event, tracks = found()
    twice = Event(7, event.hits, None, HitColumns("table", np.array([1, 2, 2, 3, 4, 5], np.int64)))
    with pytest.raises(InputError, match="event 7: got the hit id 2 2 times, expected each once to write trackml"):
        write_tracks(tmp_path / "out.csv", [(twice, tracks)], "trackml")


def test_an_unknown_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'labels'"):
        write_tracks(tmp_path / "tracks.csv", [], "label")
