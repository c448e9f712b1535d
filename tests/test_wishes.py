"""What a physicist types who knows arrays of awkward and tables of pandas."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import beampipe as bp
from beampipe.errors import FileError
from beampipe.events import BeamSpot, HitColumns
from beampipe.tracking import Event, Tracks, write_tracks

EVENTS = bp.shipped_events(0)


@pytest.fixture(scope="module")
def event() -> Event:
    return EVENTS[0]


@pytest.fixture(scope="module")
def tracks(event: Event) -> Tracks:
    return bp.find_tracks(event)


def test_rows_have_numbers_where_tables_have_arrays(event: Event, tracks: Tracks) -> None:
    assert event.truth is not None
    for table, names in (
        (tracks, ("pt", "eta", "phi", "charge", "d0", "z0", "chi2", "n_hits")),
        (event.hits, ("r", "phi", "x", "y", "z", "geometry_id")),
        (event.truth.particles, ("pt", "eta", "px", "vz", "pdg", "charge", "primary", "particle_id")),
    ):
        for name in names:
            assert getattr(table[1], name) == getattr(table, name)[1] == getattr(table[1:3][0], name)
            assert name in dir(table[0])
    assert [track.pt for track in sorted(tracks, key=lambda track: track.pt)] == sorted(tracks.pt)
    assert len(tracks[0].hits) == tracks[0].n_hits
    assert len(event) == len(event.hits)
    assert event[0] == event.hits[0] != event[1]


def test_content_is_compared_and_pickled(event: Event, tracks: Tracks) -> None:
    assert event.truth is not None
    for one in (event, event.hits, event.truth, event.truth.particles, tracks, tracks[0], event.hits[3]):
        assert pickle.loads(pickle.dumps(one)) == one
    assert tracks == bp.find_tracks(event) != tracks[1:]
    assert tracks[1:].event is event
    assert event.hits[:5] != event.hits[1:6]
    assert len({event, EVENTS[0]}) == 1


def test_everything_becomes_arrays_and_tables(event: Event, tracks: Tracks) -> None:
    assert np.asarray(event.hits).shape == (len(event), 3)
    np.testing.assert_array_equal(np.asarray(tracks)["pt"], tracks.pt)
    assert tracks.to_pandas().query("pt > 1").pt.tolist() == tracks[tracks.pt > 1].pt.tolist()
    assert list(event.to_pandas().columns[:4]) == ["event_id", "r", "phi", "z"]
    assert len(event.to_awkward()) == len(event)


def test_tracks_of_anything(event: Event, tracks: Tracks) -> None:
    columns = {"r": event.hits.r, "phi": event.hits.phi, "z": event.hits.z}
    for source in (event.hits, event.hits.to_pandas(), event.hits.to_awkward(), columns):
        np.testing.assert_array_equal(bp.find_tracks(source).track_id, tracks.track_id)
    found = bp.find_tracks(EVENTS[:2], finder="exatrkx_walk", fit=False, progress=True)
    assert [one.event for _, one in found] == [one for one, _ in found] == list(EVENTS[:2])
    assert len(found) == 2
    assert found[1][1].event == EVENTS[1]


def test_saved_events_are_equal(event: Event, tmp_path: Path) -> None:
    event.save(tmp_path / "event.parquet")
    EVENTS[1:4].save(tmp_path / "events.parquet")
    assert list(bp.open_events(tmp_path / "event.parquet")) == [event]
    assert list(bp.open_events(tmp_path / "events.parquet")) == list(EVENTS[1:4])


def test_saved_hits_are_equal(event: Event, tmp_path: Path) -> None:
    event.hits.save(tmp_path / "hits.parquet")
    (read,) = bp.open_events(tmp_path / "hits.parquet")
    assert (read.hits, read.truth) == (event.hits, None)


def test_saved_tracks_are_equal(event: Event, tracks: Tracks, tmp_path: Path) -> None:
    path = tmp_path / "tracks.parquet"
    own = {"layer": np.arange(len(event), dtype=np.int16), "sensor": np.full(len(event), "strip")}
    for one in (
        tracks,
        tracks[5:2:-1],
        tracks[:0],
        replace(
            tracks, candidates=[*tracks.rows[:-1], tracks.rows[0]], beam_spot=BeamSpot(0.1, -0.3, 1e-3), min_hits=4
        ),
        replace(tracks, event=None, magnetic_field=None, parameters=None),
        tracks.found_in(replace(event, source=HitColumns("table", np.arange(len(event)), own))),
        tracks.found_in(event.hits),
    ):
        one.save(path)
        assert bp.open_tracks(path) == one != tracks[1:]
        if one.event is not None:
            assert list(bp.open_events(path)) == [replace(one.event, source=None)]
    found = bp.find_tracks(EVENTS[:2], fit=False)
    found.save(path, "beampipe")
    assert bp.open_tracks(path) == [each for _, each in found]


def test_other_files_hold_no_tracks(event: Event, tracks: Tracks, tmp_path: Path) -> None:
    event.save(tmp_path / "event.parquet")
    with pytest.raises(
        FileError, match=r"event\.parquet: got events of the format 'beampipe', which open_events reads"
    ):
        bp.open_tracks(tmp_path / "event.parquet")
    write_tracks(tmp_path / "labels.parquet", [(event, tracks)])
    with pytest.raises(
        FileError, match=r"got labels or lists of tracks, which pandas reads; expected a file of tracks"
    ):
        bp.open_tracks(tmp_path / "labels.parquet")
    replace(tracks, event=None).save(tmp_path / "alone.parquet")
    with pytest.raises(FileError, match="got tracks without their event, which open_tracks reads"):
        list(bp.open_events(tmp_path / "alone.parquet"))


def test_finders_by_name() -> None:
    assert list(bp.evaluate(["module_map", "exatrkx_walk"], EVENTS[:1]).to_pandas()["finder"].unique()) == [
        "module_map",
        "exatrkx_walk",
    ]


def test_versions(capsys: pytest.CaptureFixture[str]) -> None:
    bp.show_versions()
    assert f"numpy {np.__version__}" in capsys.readouterr().out
