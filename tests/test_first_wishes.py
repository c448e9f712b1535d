"""Calls that a physicist types first in a notebook, without having read the documentation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import awkward as ak
import hist
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import beampipe
from beampipe.calibration import Factors, ScaleFactor
from beampipe.calibration.method.factors import FLAVOUR_NAMES, QUANTITIES, FactorKey
from beampipe.tracking import (
    Event,
    Hits,
    Pipeline,
    Tracks,
    compare,
    evaluate,
    load_pipeline,
    open_events,
    shipped_events,
    write_events,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of twelve small events."""
    path = tmp_path_factory.mktemp("events") / "events.parquet"
    write_events(path, shipped_events(0)[:12])
    return path


@pytest.fixture(scope="module")
def event() -> Event:
    """An event of two collisions with pile-up."""
    return shipped_events(60)[0]


@pytest.fixture(scope="module")
def finder() -> Pipeline:
    """The default pipeline."""
    return load_pipeline("module_map")


@pytest.fixture(scope="module")
def tracks(finder: Pipeline, event: Event) -> Tracks:
    """The tracks of the event."""
    return finder.find(event)


def as_a_user(code: str, path: Path) -> list[str]:
    """Lines that a program prints in which types are not checked; `path` is its file of events."""
    done = subprocess.run(
        [sys.executable, "-c", f"path = {str(path)!r}\n{code}"], check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


# Files of events


def test_open_a_file(path: Path) -> None:
    events = beampipe.open_events(path)
    assert [event.event_id for event in events] == [event.event_id for event in open_events(str(path))]


def test_loop_twice(path: Path) -> None:
    events = open_events(path)
    assert [event.event_id for event in events] == [event.event_id for event in events]
    assert sum(1 for event in events) == 12


def test_index(path: Path) -> None:
    events = open_events(path)
    everything = list(events)
    assert events[3].event_id == everything[3].event_id
    assert events[-1].event_id == everything[-1].event_id
    with pytest.raises(IndexError, match="12 events"):
        events[12]


def test_slice(path: Path) -> None:
    events = open_events(path)
    some = events[2:8:2]
    assert len(some) == 3
    assert [event.event_id for event in some] == [events[row].event_id for row in (2, 4, 6)]
    assert [event.event_id for event in some[1:]] == [events[row].event_id for row in (4, 6)]


def test_nothing_is_read_too_early(path: Path) -> None:
    code = """
from beampipe import open_events
from beampipe.tracking import Hits
made, check = [], Hits.__post_init__
Hits.__post_init__ = lambda hits: (made.append(hits), check(hits))[1]
few = open_events(path)[:2]
print(len(made))
next(iter(few))
print(len(made))
"""
    assert as_a_user(code, path) == ["0", "1"]


def test_sequence_functions(path: Path) -> None:
    events = open_events(path)
    assert isinstance(events, Sequence)
    assert next(reversed(events)).event_id == events[-1].event_id
    assert repr(events) == f"Events(source: {path.name}, events: 12)"


def test_shipped_events_are_a_sequence() -> None:
    events = shipped_events(60)
    assert len(events) == 2
    assert events[1].event_id == list(events)[1].event_id


# Find tracks


def test_find_in_an_event(finder: Pipeline, event: Event) -> None:
    np.testing.assert_array_equal(finder.find(event).track_id, finder.find(event.hits).track_id)


def test_number_of_tracks(tracks: Tracks) -> None:
    assert len(tracks) == tracks.n_tracks > 100


def test_loop_over_tracks(tracks: Tracks, event: Event) -> None:
    assert len(list(tracks)) == len(tracks)
    for number, track in enumerate(tracks[:5]):
        np.testing.assert_array_equal(track.rows, np.flatnonzero(tracks.track_id == number))
        assert sorted(track.hits.z) == sorted(event.hits.z[track.rows])
        assert track.pt == tracks.pt[number]
    assert tracks[-1] == list(tracks)[-1] != tracks[0]


def test_plot_tracks(tracks: Tracks, event: Event) -> None:
    assert isinstance(tracks.plot(), Figure)
    assert isinstance(event.plot(), Figure)
    assert isinstance(event.plot(tracks), Figure)


def test_momenta(tracks: Tracks) -> None:
    pt = tracks.pt
    assert pt.shape == (len(tracks),)
    assert np.median(pt[np.isfinite(pt)]) > 0.3
    assert len(tracks[pt > 2]) == np.count_nonzero(pt > 2)


# Columns


def test_hits_to_pandas(event: Event) -> None:
    table = event.hits.to_pandas()
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns[:3]) == ["r", "phi", "z"]
    assert len(table) == len(event.hits)


def test_hits_to_numpy(event: Event) -> None:
    array = event.hits.to_numpy()
    assert array.shape == (len(event.hits), 3)
    np.testing.assert_array_equal(array[:, 2], event.hits.z)


def test_hits_to_awkward(event: Event) -> None:
    array = event.hits.to_awkward()
    assert ak.fields(array)[:3] == ["r", "phi", "z"]
    assert len(array) == len(event.hits)


def test_particles_to_pandas_numpy_and_awkward(event: Event) -> None:
    assert event.truth is not None
    particles = event.truth.particles
    table = particles.to_pandas()
    np.testing.assert_array_equal(table["pt"], particles.pt)
    np.testing.assert_array_equal(particles.to_numpy()["eta"], particles.eta)
    assert ak.to_list(particles.to_awkward()["pt"]) == particles.pt.tolist()


def test_tracks_to_pandas(tracks: Tracks) -> None:
    table = tracks.to_pandas()
    assert len(table) == len(tracks)
    assert table["n_hits"].tolist() == [len(track.hits) for track in tracks]
    assert table["pt"].tolist() == pytest.approx(tracks.pt.tolist(), nan_ok=True)


def test_tracks_to_awkward_without_hits(tracks: Tracks) -> None:
    array = tracks.to_awkward()
    assert len(array) == len(tracks)
    assert sorted(ak.to_list(array["hits", "row"][0])) == tracks[0].rows.tolist()


def test_tracks_to_numpy(tracks: Tracks) -> None:
    np.testing.assert_array_equal(tracks.to_numpy()["n_hits"], tracks.n_hits)


def test_x_y_z() -> None:
    x, y, z = np.array([30.0, 0.0]), np.array([0.0, 70.0]), np.array([5.0, -5.0])
    columns, array = Hits.from_xyz(x, y, z), Hits.from_xyz(np.stack([x, y, z], axis=1))
    np.testing.assert_allclose(columns.r, [30, 70])
    np.testing.assert_array_equal(columns.to_numpy(), array.to_numpy())
    np.testing.assert_allclose(columns.x, x, atol=1e-4)
    np.testing.assert_allclose(columns.y, y, atol=1e-4)


# Parts of an event


def test_take_by_mask_and_by_index(event: Event) -> None:
    central = np.abs(event.hits.z) < 500
    by_mask, by_index = event.take(central), event.take(np.flatnonzero(central))
    assert len(by_mask.hits) == np.count_nonzero(central)
    np.testing.assert_array_equal(by_mask.hits.to_numpy(), by_index.hits.to_numpy())
    np.testing.assert_array_equal(event.take([3, 1]).hits.r, event.hits.r[[3, 1]])
    with pytest.raises(IndexError, match=f"there are {len(event.hits)}"):
        event.take([len(event.hits)])


# Efficiency


def test_compare_in_either_order(tracks: Tracks, event: Event) -> None:
    assert event.truth is not None
    result = compare(tracks, event.truth)
    for other in (compare(event.truth, tracks), compare(event, tracks), compare(tracks, event)):
        assert other.efficiency == result.efficiency
    assert 0.8 < result.efficiency <= 1


def test_evaluate_one_or_several_finders(finder: Pipeline, path: Path) -> None:
    events = open_events(path)[:4]
    single = evaluate(finder, events)
    several = evaluate([finder, finder], events)
    named = evaluate({"mine": finder}, events)
    assert len(several.finders) == 2
    assert named["mine"].name == "mine"
    assert single.efficiency == several.efficiency == named.efficiency


def test_efficiency_against_pt_eta_and_vertex_z(finder: Pipeline, path: Path) -> None:
    result = evaluate(finder, open_events(path))
    for variable in ("pt", "eta", "vertex_z"):
        assert isinstance(result.plot(variable), Figure)
    assert "efficiency" in str(result)
    assert {"efficiency", "fake_rate"} <= set(result.to_pandas().columns)


# Calibration


def factors_of_two_bins() -> Factors:
    """One tagger at one working point."""
    nominal, error = np.array([0.97, 1.04]), np.array([0.02, 0.05])
    factor = ScaleFactor(nominal, nominal, nominal, nominal, error, {}, error, np.diag(error**2), ((), ()))
    keys = [FactorKey("n_trk", 0.5, flavour, quantity) for flavour in FLAVOUR_NAMES for quantity in QUANTITIES]
    cuts = {"n_trk": np.array([[9.0], [11.0]])}
    fractions = {"n_trk": np.array([[0.6, 0.4], [0.7, 0.5]])}
    return Factors((500.0, 600.0, 900.0), (0.5,), dict.fromkeys(keys, factor), cuts, fractions, ())


def test_calibration_results_as_tables(tmp_path: Path) -> None:
    factors_of_two_bins().write(tmp_path / "factors.json")
    factors = beampipe.calibration.Factors.read(tmp_path / "factors.json")
    table = factors.to_pandas()
    assert {"tagger", "working_point", "flavour", "quantity", "nominal", "total"} <= set(table.columns)
    histogram = factors.to_hist(tagger="n_trk", working_point=0.5, flavour="quark", quantity="efficiency")
    assert isinstance(histogram, hist.Hist)
    rows = table.query("tagger == 'n_trk' and working_point == 0.5 and flavour == 'quark' and quantity == 'efficiency'")
    np.testing.assert_array_equal(histogram.values(), rows["nominal"])


# Mistakes


def test_wrong_type_names_the_right_call(path: Path) -> None:
    code = """
import numpy as np
from beampipe.tracking import compare, evaluate, load_pipeline, open_events
events, finder = open_events(path), load_pipeline()
event = events[0]
for call in (
    lambda: finder.find(path),
    lambda: finder.find(events),
    lambda: finder.find(np.zeros((3, 3))),
    lambda: finder.find_many(event),
    lambda: compare(event, event),
    lambda: evaluate(3, events),
    lambda: evaluate(finder, event),
):
    try:
        call()
    except TypeError as error:
        print(error)
"""
    messages = as_a_user(code, path)
    right_calls = (
        "find_tracks(events, finder)",
        "for event in events",
        "from_xyz",
        "find_many([event])",
        "finder.find(event)",
        "load_pipeline",
        "[event]",
    )
    for message, call in zip(messages, right_calls, strict=True):
        assert call in message
