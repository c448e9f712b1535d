"""What a physicist types who knows arrays of awkward and tables of pandas."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import pandas as pd
import pytest
import uproot

import beampipe as bp
from beampipe.errors import ColumnError, ConfigError, FileError, InputError, UnknownNameError
from beampipe.events import BeamSpot, HitColumns
from beampipe.tracking import Event, Tracks, write_tracks
from beampipe.tracking.finder import TrackFinder
from beampipe.tracking.kernels import native
from beampipe.tracking.truth import seen_field

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
    assert (tracks[3].covariance == tracks.covariance[3]).all()
    assert tracks[3].event is event
    np.testing.assert_allclose(np.hypot(tracks.px, tracks.py), tracks.pt, rtol=1e-5)
    np.testing.assert_allclose(tracks.p / np.cosh(tracks.eta), tracks.pt, rtol=1e-5)
    np.testing.assert_allclose(event.hits.eta, -np.log(np.tan(event.hits.theta / 2)), atol=1e-5)
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
    found.save(path)
    assert bp.open_tracks(path) == [each for _, each in found]
    assert found.to_pandas().groupby("event_id").size().tolist() == [len(each) for _, each in found]


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
    names = ["module_map", "exatrkx_walk"]
    both: list[Sequence[str | TrackFinder]] = [names, [bp.load_pipeline("module_map"), "exatrkx_walk"]]
    for finders in both:
        assert set(bp.evaluate(finders, EVENTS[:1]).to_pandas()["finder"]) == set(names)


def test_finders_with_other_cuts(event: Event) -> None:
    finder = bp.load_pipeline("module_map")
    fewest = int(finder.find(event).n_hits.min())
    strict = finder.replace(min_hits=fewest + 1, score_cut=0.7, threads=1, check=False)
    assert {"min_hits": fewest + 1, "score_cut": 0.7}.items() <= strict.spec.cuts.items()
    assert 0 < len(strict.find(event)) < len(finder.find(event))
    assert strict.find(event).n_hits.min() > fewest
    assert finder.replace(**finder.spec.cuts).find(event) == finder.find(event)
    assert f"min_hits={fewest + 1}" in repr(strict)
    with pytest.raises(UnknownNameError, match=r"unknown cut: got 'min_hit', expected one of curvature, min_hits"):
        finder.replace(min_hit=7)
    with pytest.raises(ConfigError):
        finder.replace(min_hits=-1)


def test_sequences_of_events(event: Event) -> None:
    events = EVENTS[:4]
    assert list(events[[2, 0]]) == [events[2], events[0]]
    assert list(events[np.array([True, False, False, True])]) == [events[0], events[3]]
    assert events == bp.shipped_events(0)[:4] != events[1:]
    assert pickle.loads(pickle.dumps(events)) == events
    assert events.to_pandas().groupby("event_id").size().tolist() == [len(each) for each in events]
    assert events.to_awkward()[2].r.tolist() == events[2].hits.r.tolist()
    assert (event.particles, event.r.tolist()) == (event.truth and event.truth.particles, event.hits.r.tolist())
    with pytest.raises(InputError, match="got no truth, so no particles"):
        _ = replace(event, truth=None).particles
    with pytest.raises(AttributeError, match="no attribute 'radius'"):
        _ = event.radius


def test_files_one_after_the_other(tmp_path: Path) -> None:
    for number, few in enumerate((EVENTS[:2], EVENTS[2:5], EVENTS[5:6])):
        few.save(tmp_path / f"run{number}.parquet")
    (tmp_path / "notes.txt").write_text("about the runs")
    for path in (tmp_path / "run*.parquet", str(tmp_path), sorted(tmp_path.glob("*.parquet"))):
        events = bp.open_events(path)
        assert len(events) == 6
        assert events == EVENTS[:6]
        assert (events[3], events[-1], list(events[1:3])) == (EVENTS[3], EVENTS[5], list(EVENTS[1:3]))
    found = bp.find_tracks([str(tmp_path / "run1.parquet"), tmp_path / "run2.parquet"], fit=False)
    assert [event.event_id for event, _ in found] == [2, 3, 4, 5]
    with pytest.raises(FileError, match=r"walk\*\.parquet: no such file or folder"):
        bp.open_events(tmp_path / "walk*.parquet")


COLUMNS = {"event": "evt", "x": "hx", "y": "hy", "z": "hz"}


def written_as(kind: str, folder: Path) -> Path:
    """Two events with names and units of somebody else: cm, one row per hit, and a column of their own."""
    path = folder / f"hits.{kind.removeprefix('jagged_')}"
    parts = [pd.DataFrame({"evt": each.event_id, "hx": each.x, "hy": each.y, "hz": each.z}) for each in EVENTS[:2]]
    table = pd.concat(parts, ignore_index=True).assign(adc=lambda table: np.arange(len(table)))
    table[["hx", "hy", "hz"]] = table[["hx", "hy", "hz"]].astype(float) / 10
    columns = {name: table[name].to_numpy() for name in table}
    jagged = {
        name: [part.to_numpy() for _, part in table[name].groupby(table.evt)] for name in ("hx", "hy", "hz", "adc")
    }
    lists = {"evt": np.array([each.event_id for each in EVENTS[:2]])} | {n: ak.Array(v) for n, v in jagged.items()}
    if kind == "h5":
        with h5py.File(path, "w") as file:
            for name, values in columns.items():
                file[f"hits/{name}"] = values
    elif kind in ("root", "jagged_root"):
        with uproot.recreate(path) as file:
            tree = columns if kind == "root" else lists
            file.mktree("hits", {n: v.dtype if isinstance(v, np.ndarray) else "var * float64" for n, v in tree.items()})
            file["hits"].extend(tree)
    elif kind == "rntuple":
        with uproot.recreate(path) as file:
            file.mkrntuple("hits", lists)
    elif kind == "jagged_feather":
        ak.to_feather(ak.zip(lists, depth_limit=1), path)
    else:
        write = table.to_csv if kind == "csv" else table.to_parquet if kind == "parquet" else table.to_feather
        write(path, **({} if kind == "feather" else {"index": False}))
    return path


@pytest.mark.parametrize(
    "kind", ["csv", "parquet", "feather", "jagged_feather", "h5", "root", "jagged_root", "rntuple"]
)
def test_files_with_anybodys_columns(kind: str, tmp_path: Path) -> None:
    path = written_as(kind, tmp_path)
    events = bp.open_events(path, columns=COLUMNS, units=dict.fromkeys("xyz", "cm"))
    assert [each.event_id for each in events] == [0, 1]
    for read, event in zip(events, EVENTS, strict=False):
        np.testing.assert_allclose(read.hits.xyz, event.hits.xyz, rtol=1e-6, atol=1e-4)
    assert np.concatenate([each.adc for each in events]).tolist() == list(range(sum(map(len, EVENTS[:2]))))
    tracks = bp.find_tracks(path, columns=COLUMNS, units=dict.fromkeys("xyz", "cm"))[0][1]
    assert tracks.event is not None
    tracks.save(tmp_path / "tracks.parquet")
    again = bp.open_tracks(tmp_path / "tracks.parquet")
    assert isinstance(again, Tracks)
    assert again.event is not None
    assert again.event.adc.tolist() == tracks.event.adc.tolist()
    with pytest.raises(
        ColumnError, match=r"hits\.\w+: no column .hit_x.; did you mean .hx.\?; got .* with the columns"
    ):
        bp.open_events(path, columns={"x": "hit_x", "y": "hy", "z": "hz"})[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 - 3])
    with pytest.raises(FileError, match=r"hits\.\w+: "):
        list(bp.open_events(path, columns=COLUMNS))


def test_one_event_of_anything_is_found(event: Event, tmp_path: Path) -> None:
    finder = bp.load_pipeline("module_map")
    tracks = finder.find(event)
    for source in (event.hits.to_pandas(), {"r": event.hits.r, "phi": event.hits.phi, "z": event.hits.z}):
        np.testing.assert_array_equal(finder.find(source).track_id, tracks.track_id)
    EVENTS[:2].save(tmp_path / "two.parquet")
    with pytest.raises(TypeError, match=r"got several events, expected one; call find_tracks\(events, finder\)"):
        finder.find(tmp_path / "two.parquet")


def test_tracks_know_their_particle(event: Event, tracks: Tracks) -> None:
    compared = bp.compare(tracks)
    assert compared.to_pandas().equals(bp.compare(tracks, event).to_pandas())
    assert event.truth is not None
    for track in tracks[:20]:
        of_hits = event.truth.particle_id[track.rows]
        particle, most = max(Counter(of_hits.tolist()).items(), key=lambda each: each[1])
        all_hits = np.count_nonzero(event.truth.particle_id == particle)
        is_double = particle != 0 and 2 * most > track.n_hits and 2 * most > all_hits
        assert track.particle_id == (particle if is_double else 0)


def test_what_was_computed_of_one_event_is_not_that_of_another(event: Event, tracks: Tracks) -> None:
    labels = Tracks(tracks.track_id, magnetic_field=2.0)
    turned = replace(event, hits=replace(event.hits, position=event.hits.position * np.array([2, 1, 1], np.float32)))
    first, second = labels.found_in(event), labels.found_in(turned)
    assert first[0].pt == first.pt[0] != second.pt[0] == first.found_in(turned)[0].pt
    busy = bp.shipped_events(60)[0]
    assert seen_field(busy) == pytest.approx(2, rel=0.05)
    assert busy.truth is not None
    equal = replace(busy.truth, particles=replace(busy.truth.particles))
    with pytest.raises(InputError, match="are particle ids and momenta those of these hits"):
        seen_field(replace(busy, hits=busy.hits[np.random.default_rng(1).permutation(len(busy))], truth=equal))


def test_pictures(event: Event, tracks: Tracks) -> None:
    def colours(picture: Any, axes: int = 0) -> set[tuple[float, ...]]:
        drawn = picture.axes[axes].collections
        return {tuple(colour) for lines in drawn if len(lines.get_paths()) for colour in lines.get_edgecolor()}

    assert len(colours(tracks.plot(color="pt"))) > len(colours(tracks.plot(color="truth"))) > 4
    assert "a colour for each particle" in tracks.plot(color="truth").get_suptitle()
    both = bp.compare_plot(tracks, bp.find_tracks(event, "exatrkx_walk"), color="finder")
    assert [part.get_suptitle() for part in both.subfigs] == ["Event 0, tracks 1", "Event 0, tracks 2"]
    assert colours(both.subfigs[0]) != colours(both.subfigs[1])
    named = bp.compare_plot(event, ["module_map"])
    assert [part.get_suptitle() for part in named.subfigs] == ["Event 0, module_map"]
    assert event.hits.plot().get_suptitle() == "Event 0"
    with pytest.raises(UnknownNameError, match="unknown color: got 'red', expected one of finder, pt, truth"):
        tracks.plot(color="red")


def test_versions(capsys: pytest.CaptureFixture[str]) -> None:
    bp.show_versions()
    printed = capsys.readouterr().out
    assert f"numpy {np.__version__}" in printed
    assert f"kernels for {', '.join(native().compiled_isas())}; {native().isa()} is used" in printed
