"""The toy against its own laws."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import InputError
from beampipe.simulation.ntuples import (
    TOY_SLICES,
    Events,
    ToyModel,
    read_bookkeeping,
    read_ntuple,
    simulate_toy,
    toy_events,
)
from beampipe.simulation.ntuples.toy import MODEL, WHOLE, toy_weight_names

N_EVENTS = 60_000


@pytest.fixture(scope="module")
def events() -> Events:
    return toy_events(N_EVENTS, 3, n_weights=9)


def pair(events: Events) -> dict[str, np.ndarray]:
    """Columns of the leading two jets, (n_events, 2)."""
    place = events.offset[:-1, None] + np.arange(2)
    return {name[4:]: column[place] for name, column in events.columns.items() if name.startswith("jet_")}


def test_same_seed_same_events(events: Events) -> None:
    again = toy_events(N_EVENTS, 3, n_weights=9)
    for name, column in events.columns.items():
        np.testing.assert_array_equal(column, again.columns[name], err_msg=name)
    assert not np.array_equal(events.jet_pt[:100], toy_events(N_EVENTS, 4).jet_pt[:100])


def test_jets_fall_in_pt_and_there_are_as_many_as_stated(events: Events) -> None:
    inside = np.delete(np.diff(events.jet_pt), events.offset[1:-1] - 1)
    assert (inside <= 0).all()
    assert np.diff(events.offset).mean() == pytest.approx(2 + MODEL.extra_jets, abs=0.03)
    assert events.jet_pt.min() >= 100


def test_tracks_have_the_mean_and_spread_of_their_flavour(events: Events) -> None:
    jets = pair(events)
    quark = jets["label"] != 21
    mean = MODEL.mean_tracks(quark.ravel(), jets["pt"].ravel().astype(float), jets["eta"].ravel().astype(float))
    mean = mean.reshape(quark.shape)
    for mine, flavour in ((quark, MODEL.quark), (~quark, MODEL.gluon)):
        assert jets["n_trk"][mine].mean() == pytest.approx(mean[mine].mean(), rel=0.005)
        spread = ((jets["n_trk"][mine] - mean[mine]) ** 2).mean()
        assert spread == pytest.approx((mean[mine] + mean[mine] ** 2 / flavour.n_shape).mean(), rel=0.03)
    assert (jets["n_trk_eff"] <= jets["n_trk"]).all()
    assert (jets["n_trk_fake"] >= jets["n_trk"]).all()


def test_forward_jets_are_quark_like_as_stated(events: Events) -> None:
    jets = pair(events)
    quark, eta, pt = jets["label"] != 21, jets["eta"].astype(float), jets["pt"].astype(float)
    expected = np.stack([MODEL.quark_fraction(pt[:, k], eta[:, k], eta[:, 1 - k]) for k in range(2)], axis=1)
    forward = np.abs(eta) > np.abs(eta[:, ::-1])
    for region in (forward, ~forward):
        assert quark[region].mean() == pytest.approx(expected[region].mean(), abs=0.01)
    assert 0.08 < quark[forward].mean() - quark[~forward].mean() < 0.16


def test_width_and_c1_grow_with_the_tracks(events: Events) -> None:
    jets = pair(events)
    for quark in (True, False):
        mine = (jets["label"] != 21) == quark
        for name in ("width", "c1"):
            assert np.corrcoef(jets["n_trk"][mine], jets[name][mine])[0, 1] > 0.3
    none = events.jet_n_trk == 0
    assert none.any()
    assert (events.jet_width[none] == 0).all()


def test_weights_undo_the_slices() -> None:
    # Slices with their cross sections, and data of one luminosity, have one spectrum.
    edges = np.array([600, 700, 900, 1100, 1400, 1800])
    total = np.zeros(len(edges) - 1)
    for number, part in enumerate(TOY_SLICES):
        some = toy_events(40_000, number, part=part)
        assert some.weight is not None
        scale = MODEL.cross_section(part.low, part.high) / some.weight.sum(dtype=np.float64)
        total += scale * np.histogram(some.jet_pt[some.offset[:-1]], edges, weights=some.weight[:, 0])[0]
    data = toy_events(100_000, 9, kind="data", part=WHOLE)
    assert data.weight is None
    assert data.jet_label is None
    counts = np.histogram(data.jet_pt[data.offset[:-1]], edges)[0]
    np.testing.assert_allclose(total * len(data) / MODEL.total, counts, rtol=0.06)


def test_weight_names_and_their_effect(events: Events) -> None:
    assert toy_weight_names(1) == ("nominal",)
    assert toy_weight_names(3) == ("nominal", "fsr_up", "fsr_down")
    names = toy_weight_names(120)
    assert len(set(names)) == 120
    assert events.weight is not None
    n_trk = pair(events)["n_trk"].sum(axis=1)
    nominal, up, down = (np.average(n_trk, weights=events.weight[:, k]) for k in range(3))
    assert up < nominal < down
    assert (events.weight.std(axis=0) > 0).all()
    one = toy_events(100, 3, n_weights=2)
    many = toy_events(100, 3, n_weights=60)
    assert one.weight is not None
    assert many.weight is not None
    np.testing.assert_array_equal(one.weight, many.weight[:, :2])


def test_injected_shift() -> None:
    shifted = toy_events(N_EVENTS, 3, model=replace(MODEL, quark_tracks=0.9, gluon_tracks=1.1))
    plain = toy_events(N_EVENTS, 5)
    for gluon, factor in ((False, 0.9), (True, 1.1)):
        means = [e.jet_n_trk[(e.jet_label == 21) == gluon].mean() for e in (shifted, plain)]
        assert means[0] / means[1] == pytest.approx(factor, rel=0.01)


def test_files(tmp_path: Path) -> None:
    seen: list[Path] = []
    paths = simulate_toy(tmp_path, 1000, files=5, n_weights=3, progress=seen.append)
    assert seen == paths
    assert len(paths) == 5
    books = [read_bookkeeping(path) for path in paths]
    assert sum(book["n_generated"] for book in books) == 1000
    assert [book["n_files"] for book in books] == [2, 2, 2, 2, 1]
    for path, book in zip(paths, books, strict=True):
        events = read_ntuple(path)
        assert len(events) == book["n_generated"]
        assert events.weight is not None
        np.testing.assert_allclose(events.weight.sum(axis=0, dtype=np.float64), book["sum_weights"], rtol=1e-6)
        assert (
            ToyModel(**{**json.loads(book["settings"])["model"], "quark": MODEL.quark, "gluon": MODEL.gluon}) == MODEL
        )
    named = {(book["slice"], int(n)) for path, book in zip(paths, books, strict=True) for n in read_ntuple(path).event}
    assert len(named) == 1000, "an event's run and number occur twice"


def test_data_files(tmp_path: Path) -> None:
    (path,) = simulate_toy(tmp_path, 500, kind="data", dataset="toy_data")
    book = read_bookkeeping(path)
    assert (book["slice"], book["cross_section"], book["weight_names"]) == (0, 0.0, "nominal")
    assert book["sum_weights"].tolist() == [500.0]
    assert set(read_ntuple(path).columns).isdisjoint({"weight", "jet_label", "jet_n_trk_eff"})


def test_too_few_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 files for 100 events, expected 3 or more, at least one for each slice"):
        simulate_toy(tmp_path, 100, files=2)


def test_no_events() -> None:
    with pytest.raises(InputError, match="0 events"):
        toy_events(0, 1)
