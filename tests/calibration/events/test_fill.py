"""The compiled filler, fed by files and by tables, against numpy: the same bits."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from beampipe.calibration.config import Bootstrap, DijetSelection, Energy, Regions
from beampipe.calibration.events import fill as fill_module
from beampipe.calibration.events import select as select_module
from beampipe.calibration.events.dijets import WeightUnits
from beampipe.calibration.events.fill import FilledChunk, FillPath, FillSettings, fill_by_numpy, fill_file, fill_table
from beampipe.calibration.events.scores import Scores, predict
from beampipe.calibration.events.select import SelectSettings, select, select_by_numpy
from beampipe.calibration.events.variations import built_in_variations
from beampipe.calibration.layout import preset_layout
from beampipe.calibration.taggers import Tagger
from beampipe.errors import FileError, InputError
from beampipe.jets.ntuple_format import EVENTS, VARIED_N_TRK
from beampipe.simulation.ntuples import Events, toy_events
from tests.calibration.random_dijets import require_same
from tests.calibration.rootfiles import write_odd

pytest.importorskip("beampipe.calibration.kernels._native", exc_type=ImportError)

N, N_WEIGHTS = 3000, 5
ENERGY = Energy(12, 3)
SELECT = SelectSettings(
    DijetSelection(),
    WeightUnits(36),
    True,
    True,
    tuple(range(N_WEIGHTS)),
    ("trk_eff", "trk_fake"),
    max_weight=20.0,
)
FILL = FillSettings(
    pt_edges=(500.0, 600.0, 800.0, 1200.0, 2000.0),
    taggers=(Tagger("n_trk", 30, 6.0, 36.0),),
    selection=DijetSelection(),
    energy=ENERGY,
    units=WeightUnits(36),
    labelled=True,
    weight_names=tuple(f"w{k}" for k in range(N_WEIGHTS)),
    kinematics=built_in_variations(tuple(VARIED_N_TRK), ENERGY),
    bootstrap=Bootstrap(9, 4),
    dataset="odd",
)


def some_events(seed: int, n: int = N) -> Events:
    """Toy events, made uneven: no jets, one jet, jets in no order, negative weights, tracks beyond the axes."""
    events, rng = toy_events(n, seed, n_weights=N_WEIGHTS), np.random.default_rng(seed)
    n_jets = np.diff(events.offset)
    n_jets[rng.random(n) < 0.05] = 0
    n_jets[rng.random(n) < 0.05] = 1
    keep = np.concatenate([np.arange(a, a + k) for a, k in zip(events.offset, n_jets, strict=False)]).astype(np.int64)
    keep = keep[: n_jets.sum()]
    jets = {name: values[keep] for name, values in events.columns.items() if name.startswith("jet_")}
    jets["jet_pt"] = (jets["jet_pt"] * rng.choice([0.7, 1, 1, 1.4], len(keep))).astype(np.float32)
    jets["jet_n_trk"] = np.where(rng.random(len(keep)) < 0.1, 60000, jets["jet_n_trk"]).astype(np.uint16)
    jets["jet_label"] = np.where(rng.random(len(keep)) < 0.02, 0, jets["jet_label"]).astype(np.int8)
    others = {name: values for name, values in events.columns.items() if not name.startswith("jet_")}
    signs = rng.choice([1, 1, 1, -1], (n, 1))
    others["weight"] = (events.columns["weight"] * signs * rng.lognormal(0, 2, (n, 1))).astype(np.float32)
    return Events(offset=np.concatenate([[0], np.cumsum(n_jets)]), **others, **jets)


@pytest.fixture(scope="module", params=range(2))
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_odd(tmp_path_factory.mktemp("one_pass") / "odd.root", some_events(request.param))


def by_numpy(path: Path, start: int, stop: int, asked: SelectSettings, wanted: FillSettings) -> FilledChunk:
    dijets = select_by_numpy(path, start, stop, asked)
    return FilledChunk(fill_by_numpy(dijets, Scores(), wanted), dijets.ranges, len(dijets))


def require_same_chunk(one: FilledChunk, other: FilledChunk) -> None:
    assert one[1:3] == other[1:3]
    require_same(one.filled, other.filled)


def require_equal(path: Path, start: int, stop: int, asked: SelectSettings, wanted: FillSettings) -> FilledChunk:
    """One pass with a table and without, and a table that is filled: all as numpy has it."""
    want = by_numpy(path, start, stop, asked, wanted)
    made = fill_file(path, start, stop, asked, wanted, with_table=True)
    assert made.refusal == ""
    assert made.dijets is not None
    require_same_chunk(made, want)
    require_same_chunk(fill_file(path, start, stop, asked, wanted), want)
    require_same(fill_table(select(path, start, stop, asked), Scores(), wanted), want.filled)
    require_same(made.dijets, select_by_numpy(path, start, stop, asked.nominal))
    return made


def test_everything_at_once(path: Path) -> None:
    made = require_equal(path, 0, N, SELECT, FILL)
    filled = made.filled
    assert (np.diff(filled.cut_flow.events) < 0).all(), "every cut loses events"
    cells = filled.entries.reshape(-1, 30).sum(axis=0)
    assert cells[0] > cells[1], "tracks below the axis"
    assert cells[-1] > cells[-2], "and above"
    assert (filled.sumw < 0).any(), "and negative sums"
    assert len(np.unique(filled.sumw, axis=1).T) == N_WEIGHTS
    assert len(np.unique(filled.replicas, axis=1).T) == 9
    assert len(np.unique(filled.varied_sumw, axis=0)) > 25, "variations differ"


@pytest.mark.parametrize("lost", [(), (2,), (1,), (0,), (2, 3)], ids=str)
def test_jets_in_order_and_what_is_not(tmp_path: Path, lost: tuple[int, ...]) -> None:
    """Falling pT, events without jets among them; then one event with pT that is no number, and a hard jet after it."""
    events = toy_events(N, 3, n_weights=N_WEIGHTS)
    n_jets = np.diff(events.offset)
    assert all(np.all(np.diff(part) <= 0) for part in np.split(events.columns["jet_pt"], events.offset[1:-1]))
    if lost:
        pt = events.columns["jet_pt"]
        one = int(np.flatnonzero(n_jets >= 5)[7])
        pt[[events.offset[one] + place for place in lost]] = np.nan
        pt[events.offset[one] + 4] = 5000.0
    path = write_odd(tmp_path / "order.root", events)
    if 0 in lost:
        with pytest.raises(FileError, match="finite"):
            fill_file(path, 0, N, SELECT, FILL)
        return
    require_equal(path, 0, N, SELECT, FILL)


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (1, 2), (17, 1234), (N - 1, N)], ids=["first", "second", "inside", "last"]
)
def test_a_part_of_a_file(path: Path, start: int, stop: int) -> None:
    require_equal(path, start, stop, SELECT, FILL)


@pytest.mark.parametrize(
    "regions", [Regions("eta_rank", 0.5), Regions("eta_split", split=0.7)], ids=["with a gap", "by eta"]
)
def test_other_regions(path: Path, regions: Regions) -> None:
    require_equal(path, 0, N, SELECT, replace(FILL, regions=regions))


def test_some_weights_some_variations_and_other_cuts(path: Path) -> None:
    cuts = DijetSelection(450.0, 1500.0, 1.3, 1.7, 5, 10.0)
    request = replace(SELECT, selection=cuts, weights=(0, 3), varied=("trk_fake",), units=WeightUnits(20))
    wanted = replace(FILL, selection=cuts, weight_names=("a", "b"), units=WeightUnits(20), bootstrap=Bootstrap(0, 0))
    wanted = replace(wanted, kinematics=("jer_2_down", "trk_fake", "jes_3_up"))
    require_equal(path, 0, N, request, wanted)


def test_bins_of_eta(path: Path) -> None:
    """All three fillers agree, and the bins add up to the histograms without them."""
    of_eta = require_equal(path, 0, N, SELECT, replace(FILL, eta_edges=(0.0, 0.7, 1.3, 2.1))).filled
    whole = require_equal(path, 0, N, SELECT, FILL).filled
    for name in ("sumw", "sumw2", "replicas", "entries"):
        values = getattr(of_eta, name).reshape(3, -1, *getattr(whole, name).shape[1:])
        assert all(each.any() for each in values), "jets in every bin"
        np.testing.assert_array_equal(values.sum(axis=0), getattr(whole, name))
    np.testing.assert_array_equal(
        of_eta.varied_sumw.reshape(len(FILL.kinematics), 3, -1).sum(axis=1), whole.varied_sumw
    )
    outside = fill_file(path, 0, N, SELECT, replace(FILL, eta_edges=(0.7, 1.3))).filled
    np.testing.assert_array_equal(outside.sumw, of_eta.sumw.reshape(3, *whole.sumw.shape)[1])


def test_data(tmp_path: Path) -> None:
    columns = some_events(8).columns
    data = Events(offset=some_events(8).offset, **{k: v for k, v in columns.items() if k not in _MC})
    path = write_odd(tmp_path / "data.root", data)
    request = replace(SELECT, simulated=False, labelled=False, varied=(), weights=(0,))
    wanted = replace(FILL, labelled=False, weight_names=("nominal",), kinematics=())
    require_equal(path, 0, N, request, wanted)


_MC = ("jet_label", "weight", "jet_n_trk_eff", "jet_n_trk_fake")


@pytest.mark.parametrize(
    "packing", [None, uproot.LZ4(1), uproot.ZLIB(1), uproot.LZMA(1), uproot.ZSTD(3)], ids=lambda each: str(each)[:4]
)
def test_other_layouts_and_packings(tmp_path: Path, packing: Any) -> None:
    """MeV, labels with signs as int32, baskets of each branch of another size, two runs in no order."""
    events, path, rng = some_events(1), tmp_path / "other.root", np.random.default_rng(1)
    columns, n_jets = events.columns, np.diff(events.offset)
    signs = rng.choice([1, -1], events.offset[-1]).astype(np.int32)
    table: dict[str, Any] = {
        "run": rng.choice([3, 4], N).astype(np.int32),
        "event": rng.permutation(N).astype(np.int64),
        "trigger": columns["trigger"],
        "jet": ak.unflatten(
            ak.zip(
                {
                    "pt": columns["jet_pt"].astype(np.float64) * 1024,
                    "eta": columns["jet_eta"],
                    "n_trk": columns["jet_n_trk"].astype(np.int32),
                    "label": np.where(columns["jet_label"] == 21, 21, columns["jet_label"] * signs),
                }
            ),
            n_jets,
        ),
        "weight": columns["weight"][:, 0].astype(np.float64),
    }
    with uproot.recreate(path, compression=packing) as file:
        kinds = {k: v.dtype if isinstance(v, np.ndarray) else v.type.content for k, v in table.items()}
        tree = file.mktree(EVENTS, kinds)
        for part in np.array_split(np.arange(N), 3):
            tree.extend({name: values[part[0] : part[-1] + 1] for name, values in table.items()})
    clean = "" if packing is None else "jet_n_trk < 1000 and abs(jet_eta) < 2"
    layout = preset_layout(
        "beampipe",
        {"energy_unit": "MeV", "labels": {"signed": True}, "branches": {"clean": clean, "width": "", "c1": ""}},
    )
    request = replace(SELECT, varied=(), weights=(0,), layout=layout)
    wanted = replace(FILL, weight_names=("nominal",), kinematics=built_in_variations((), ENERGY))
    made = require_equal(path, 0, N, request, wanted)
    assert len(made.ranges) == 2


@pytest.mark.parametrize("column", ["jet_pt", "jet_eta", "weight"])
def test_what_is_not_finite_is_refused(tmp_path: Path, column: str) -> None:
    events = some_events(2)
    values = events.columns[column].copy()
    values[values.shape[0] // 2 :] = np.nan
    path = write_odd(tmp_path / "odd.root", Events(offset=events.offset, **{**events.columns, column: values}))
    for call in (fill_file, by_numpy):
        with pytest.raises(FileError, match=f"{column}.*finite"):
            call(path, 0, N, SELECT, FILL)


def test_weights_that_64_bits_do_not_hold_are_refused(path: Path) -> None:
    request, wanted = replace(SELECT, units=WeightUnits(55)), replace(FILL, units=WeightUnits(55))
    with pytest.raises(InputError, match="64 bits"):
        fill_file(path, 0, N, request, wanted)


def test_the_bound_of_sums_is_that_of_numpy(tmp_path: Path) -> None:
    """The filler bounds all weights by the largest of an event; numpy has the last word."""
    events = some_events(4)
    weight = np.zeros((N, N_WEIGHTS), np.float32)
    weight[np.arange(N), np.arange(N) % N_WEIGHTS] = 1.0
    path = write_odd(tmp_path / "odd.root", Events(offset=events.offset, **{**events.columns, "weight": weight}))
    n = int(by_numpy(path, 0, N, SELECT, FILL).n_selected)
    bits = int(np.log2(2.0**62 / 16 / n)) + 1
    request, wanted = replace(SELECT, units=WeightUnits(bits)), replace(FILL, units=WeightUnits(bits))
    made = fill_file(path, 0, N, request, wanted)
    assert "too large" in made.refusal
    require_same_chunk(made, by_numpy(path, 0, N, request, wanted))


def test_units_labels_and_repeated_events_are_refused(tmp_path: Path) -> None:
    events = some_events(3)
    columns = events.columns
    wrong = {"jet_pt": columns["jet_pt"] * 1000, "jet_label": -columns["jet_label"], "event": columns["event"] // 2}
    for name, values in wrong.items():
        changed = {**columns, name: values.astype(columns[name].dtype)}
        path = write_odd(tmp_path / f"{name}.root", Events(offset=events.offset, **changed))
        with pytest.raises(FileError) as raised:
            select_by_numpy(path, 0, N, SELECT)
        with pytest.raises(FileError, match=re.escape(str(raised.value))):
            fill_file(path, 0, N, SELECT, FILL)
        with pytest.raises(FileError, match=re.escape(str(raised.value))):
            select(path, 0, N, SELECT)


def test_a_damaged_file_is_refused(path: Path, tmp_path: Path) -> None:
    content = bytearray(path.read_bytes())
    with uproot.open(path) as file:
        seek = int(file[EVENTS]["jet_eta"].member("fBasketSeek")[0])
    content[seek + 200 : seek + 230] = b"x" * 30
    broken = tmp_path / "broken.root"
    broken.write_bytes(content)
    with pytest.raises(FileError, match="jet_eta"):
        fill_file(broken, 0, N, SELECT, FILL)


def test_groups_of_events(path: Path) -> None:
    made = require_equal(path, 0, N, SELECT, replace(FILL, groups=7))
    assert made.filled.groups.shape[:2] == (7, N_WEIGHTS + len(FILL.kinematics))
    np.testing.assert_array_equal(made.filled.groups[:, 0].sum(axis=0), made.filled.sumw[:, 0])


def test_regions_and_scores_that_the_files_have(tmp_path: Path) -> None:
    events, rng = some_events(5), np.random.default_rng(5)
    n_jets = events.offset[-1]
    more = {"jet_region": rng.choice([-1, 0, 1], n_jets).astype(np.int8), "jet_q": rng.random(n_jets, np.float32)}
    path = write_odd(tmp_path / "more.root", events, more=more)
    layout = preset_layout("beampipe", {"branches": {"region": "jet_region"}, "scores": {"q": {"branch": "jet_q"}}})
    request = replace(SELECT, region_in_files=True, layout=layout, observables=True)
    made, want = select(path, 0, N, request), select_by_numpy(path, 0, N, request)
    require_same(made, want)
    wanted = replace(FILL, taggers=(*FILL.taggers, Tagger("q", 10, 0.0, 1.0)), groups=5)
    scores = predict(made, [], wanted.kinematics, ENERGY)
    varied = {
        key: np.where(rng.random(values.shape) < 0.1, 1 - values, values) for key, values in scores.by_name.items()
    }
    one = fill_table(made, Scores(varied), wanted)
    two = fill_by_numpy(want, Scores(varied), wanted)
    require_same(one, two)
    assert FillPath.of(wanted).kind == "table"
    assert FillPath.of(FILL).kind == "one pass"


def test_without_compiled_kernels_numpy_fills(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    want = fill_file(path, 0, N, SELECT, FILL, with_table=True)
    for module in (select_module, fill_module):
        monkeypatch.setattr(module, "native", lambda: None)
    made = fill_file(path, 0, N, SELECT, FILL, with_table=True)
    assert made.refusal
    assert FillPath.of(FILL).kind == "numpy"
    require_same_chunk(made, want)
    require_same(fill_table(select(path, 0, N, SELECT), Scores(), FILL), want.filled)
