"""Injections do what they state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.simulation.ntuples import INJECTIONS, Injection, inject, read_bookkeeping, read_ntuple, simulate_toy
from beampipe.simulation.ntuples.injection import altered
from beampipe.simulation.ntuples.toy import toy_events


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
