"""Injections do what they state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import uproot

from beampipe.errors import ConfigError, FileError, InputError, UnknownNameError
from beampipe.simulation.ntuples import (
    INJECTIONS,
    Events,
    Injection,
    inject,
    read_bookkeeping,
    read_ntuple,
    simulate_toy,
)
from beampipe.simulation.ntuples.injection import altered
from beampipe.simulation.ntuples.toy import toy_events
from tests.jets.random_constituents import with_constituents


@pytest.mark.parametrize("name", sorted(INJECTIONS))
def test_means_move_by_the_stated_factors(name: str) -> None:
    injection = INJECTIONS[name]
    before = toy_events(20_000, 2, n_weights=3)
    after = altered(before, injection, 1)
    gluon = before.jet_label == 21
    for mine, tracks, shape in (
        (~gluon, injection.quark_tracks, injection.quark_shape),
        (gluon, injection.gluon_tracks, injection.gluon_shape),
    ):
        assert after.jet_n_trk[mine].mean() / before.jet_n_trk[mine].mean() == pytest.approx(tracks, abs=0.001)
        np.testing.assert_allclose(after.jet_width[mine], before.jet_width[mine] * shape, rtol=1e-6)
        np.testing.assert_allclose(after.jet_c1[mine], before.jet_c1[mine] * shape, rtol=1e-6)
    np.testing.assert_array_equal(after.jet_label, before.jet_label)
    np.testing.assert_array_equal(after.jet_pt, before.jet_pt)


def test_each_track_is_kept_on_its_own() -> None:
    before = toy_events(20_000, 2)
    kept = altered(before, Injection("half", 0.5, 0.5), 1).jet_n_trk
    many = before.jet_n_trk == 20
    assert many.sum() > 1000
    assert kept[many].mean() == pytest.approx(10, abs=0.2)
    assert kept[many].var() == pytest.approx(5, rel=0.1)


def test_an_event_is_altered_alike_in_any_company() -> None:
    events = toy_events(500, 2)
    whole, part = altered(events, INJECTIONS["apart"], 3), altered(events[100:200], INJECTIONS["apart"], 3)
    np.testing.assert_array_equal(whole[100:200].jet_n_trk, part.jet_n_trk)
    assert not np.array_equal(whole.jet_n_trk, altered(events, INJECTIONS["apart"], 4).jet_n_trk)


def test_files_of_pseudo_data(tmp_path: Path) -> None:
    source = simulate_toy(tmp_path / "toy", 600, files=3, n_weights=4)
    seen: list[Path] = []
    made = inject(source, tmp_path / "pseudo", "quark_fewer", progress=seen.append)
    assert seen == made
    for old, new in zip(source, made, strict=True):
        before, after = read_bookkeeping(old), read_bookkeeping(new)
        assert after["dataset"] == "toy_quark_fewer"
        assert after["weight_names"] == "nominal"
        assert after["sum_weights"].tolist() == before["sum_weights"][:1].tolist()
        assert {name: after[name] for name in ("slice", "n_files", "cross_section", "n_generated")} == {
            name: before[name] for name in ("slice", "n_files", "cross_section", "n_generated")
        }
        events, original = read_ntuple(new), read_ntuple(old)
        assert events.weight is not None
        assert original.weight is not None
        np.testing.assert_array_equal(events.weight[:, 0], original.weight[:, 0])
        assert events.jet_n_trk_eff is None
        assert '"quark_tracks": 0.92' in after["settings"]


def test_refusals(tmp_path: Path) -> None:
    data = simulate_toy(tmp_path, 10, kind="data")
    with pytest.raises(FileError, match="expected simulation"):
        inject(data, tmp_path / "out", "none")
    with pytest.raises(UnknownNameError, match="did you mean 'closer'"):
        inject(data, tmp_path / "out", "close")
    with pytest.raises(ConfigError, match=r"gluon_tracks 3\.0"):
        Injection("x", gluon_tracks=3.0)
    with pytest.raises(ConfigError, match=r"quark_shape 0\.0"):
        Injection("x", quark_shape=0.0)


def test_an_ntuple_of_another_program_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "other.root"
    with uproot.recreate(path) as file:
        file.mkrntuple("Events", {"nJet": np.arange(3)})
    with pytest.raises(FileError, match=r"other\.root: got Events, expected the tree 'bookkeeping' of a file by"):
        inject([path], tmp_path / "out", "none")


def test_constituents_are_altered_with_the_numbers_of_tracks() -> None:
    before = with_constituents(toy_events(3000, 2), 2)
    after = altered(before, Injection("both", 0.7, 1.4, 0.5, 2.0), 1)
    bare = altered(toy_events(3000, 2), Injection("both", 0.7, 1.4, 0.5, 2.0), 1)
    np.testing.assert_array_equal(after.jet_n_trk, bare.jet_n_trk)
    old, new = (jets_with_constituents(events) for events in (before, after))
    tracks = np.bincount(new["jet"][new["charged"]], minlength=len(after.jet_pt))
    np.testing.assert_array_equal(tracks, after.jet_n_trk)
    assert not new["variation"].any()
    neutral = {name: column[~old["charged"]] for name, column in old.items()}
    for name in ("jet", "pt"):
        np.testing.assert_array_equal(new[name][~new["charged"]], neutral[name])
    gluon = before.jet_label == 21
    factor = np.where(gluon, 2.0, 0.5)[neutral["jet"]]
    for name in ("eta", "phi"):
        np.testing.assert_allclose(new[name][~new["charged"]], neutral[name] * factor, atol=2e-5)
    assert set(new["pt"][new["charged"]]) < set(old["pt"][old["charged"]])
    assert np.abs(after.columns["constituent_phi"]).max() <= np.pi + 1e-6
    part = altered(before[100:200], Injection("both", 0.7, 1.4, 0.5, 2.0), 1)
    for name, column in part.columns.items():
        np.testing.assert_array_equal(column, after[100:200].columns[name], err_msg=name)


def jets_with_constituents(events: Events) -> dict[str, np.ndarray]:
    """Number of the jet of each constituent in any variation but that of fakes, and columns relative to its axis."""
    assert events.constituent_offset is not None
    event = np.repeat(np.arange(len(events)), np.diff(events.constituent_offset))
    column = {
        name: events.columns[f"constituent_{name}"] for name in ("jet", "pt", "eta", "phi", "charged", "variation")
    }
    jet = events.offset[event] + column["jet"]
    off = (column["phi"].astype(float) - events.jet_phi[jet] + np.pi) % (2 * np.pi) - np.pi
    out = {**column, "jet": jet, "eta": column["eta"].astype(float) - events.jet_eta[jet], "phi": off}
    return {name: values[column["variation"] != 2] for name, values in out.items()}


def test_constituents_that_contradict_the_numbers_of_tracks_are_refused() -> None:
    events = with_constituents(toy_events(20, 2), 2)
    wrong = replace(events, jet_n_trk=events.jet_n_trk + np.uint16(1))
    with pytest.raises(InputError, match="other numbers of tracks than among their constituents"):
        altered(wrong, INJECTIONS["apart"], 1)
