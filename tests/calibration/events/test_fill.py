"""The compiled pass over a file against `select` and `fill`, with compiled loops and in numpy: the same bits."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from beampipe.calibration.config import Bootstrap, DijetSelection, Energy, Regions, Tagger
from beampipe.calibration.demo import DEMO_CONFIGURATION
from beampipe.calibration.events import fill as filling
from beampipe.calibration.events import select as pairs
from beampipe.calibration.events import variations
from beampipe.calibration.events.fill import FilledChunk, FillSettings, fill_file, fill_table
from beampipe.calibration.events.scores import Scores
from beampipe.calibration.events.select import SelectSettings, select
from beampipe.calibration.events.variations import known_jet_variations
from beampipe.calibration.kernels import native
from beampipe.calibration.layout import EVENTS, preset_layout
from beampipe.calibration.simulation import Events, read_ntuple, toy_events
from beampipe.errors import FileError
from tests.calibration.rootfiles import write_odd

pytest.importorskip("beampipe.calibration.kernels._native", exc_type=ImportError)

N, N_WEIGHTS = 3000, 5
ENERGY = Energy(12, 3)
SELECT = SelectSettings(DijetSelection(), Regions(), 36, True, True, tuple(range(N_WEIGHTS)), ("trk_eff", "trk_fake"))
FILL = FillSettings(
    pt_edges=(500.0, 600.0, 800.0, 1200.0, 2000.0),
    taggers=(Tagger("n_trk", 30, 6.0, 36.0),),
    selection=DijetSelection(),
    energy=ENERGY,
    weight_bits=36,
    labelled=True,
    weight_names=tuple(f"w{k}" for k in range(N_WEIGHTS)),
    kinematics=known_jet_variations(ENERGY),
    bootstrap=Bootstrap(9, 4),
    dataset="odd",
)


@pytest.fixture(params=["compiled", "numpy"], autouse=True)
def truth(request: pytest.FixtureRequest) -> None:
    """What the pass is compared with: each time once with the compiled loops, once with their twins."""
    _TRUTH[:] = [request.param]


_TRUTH = ["compiled"]


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


def in_stages(path: Path, start: int, stop: int, asked: SelectSettings, wanted: FillSettings) -> FilledChunk:
    with pytest.MonkeyPatch.context() as patch:
        for module in (variations, pairs, filling):
            patch.setattr(module, "native", native if _TRUTH[0] == "compiled" else lambda: None)
        dijets = select(path, start, stop, asked, observables=False)
        return FilledChunk(fill_table(dijets, Scores(), wanted), dijets.ranges, len(dijets))


def require_same(one: FilledChunk | None, other: FilledChunk) -> FilledChunk:
    assert one is not None
    assert one[1:] == other[1:]
    for each in fields(one.filled):
        got, want = getattr(one.filled, each.name), getattr(other.filled, each.name)
        if each.name == "cut_flow":
            got, want = (np.stack([flow.events, flow.weight]) for flow in (got, want))
        if isinstance(got, np.ndarray):
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want, err_msg=each.name)
        else:
            assert got == want
    return one


def test_everything_at_once(path: Path) -> None:
    made = require_same(fill_file(path, 0, N, SELECT, FILL), in_stages(path, 0, N, SELECT, FILL))
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
    made = fill_file(path, 0, N, SELECT, FILL)
    if made is None:
        assert {0, 1}.intersection(lost)
        return
    require_same(made, in_stages(path, 0, N, SELECT, FILL))


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (1, 2), (17, 1234), (N - 1, N)], ids=["first", "second", "inside", "last"]
)
def test_a_part_of_a_file(path: Path, start: int, stop: int) -> None:
    require_same(fill_file(path, start, stop, SELECT, FILL), in_stages(path, start, stop, SELECT, FILL))


@pytest.mark.parametrize(
    "regions", [Regions("eta_rank", 0.5), Regions("eta_split", split=0.7)], ids=["with a gap", "by eta"]
)
def test_other_regions(path: Path, regions: Regions) -> None:
    asked = replace(SELECT, regions=regions)
    require_same(fill_file(path, 0, N, asked, FILL), in_stages(path, 0, N, asked, FILL))


def test_some_weights_some_variations_and_other_cuts(path: Path) -> None:
    cuts = DijetSelection(450.0, 1500.0, 1.3, 1.7, 5, 10.0)
    asked = replace(SELECT, selection=cuts, weights=(0, 3), varied=("trk_fake",), weight_bits=20)
    wanted = replace(FILL, selection=cuts, weight_names=("a", "b"), weight_bits=20, bootstrap=Bootstrap(0, 0))
    wanted = replace(wanted, kinematics=("jer_2_down", "trk_fake", "jes_3_up"))
    require_same(fill_file(path, 0, N, asked, wanted), in_stages(path, 0, N, asked, wanted))


def test_data(tmp_path: Path) -> None:
    columns = some_events(8).columns
    data = Events(offset=some_events(8).offset, **{k: v for k, v in columns.items() if k not in _MC})
    path = write_odd(tmp_path / "data.root", data)
    asked = replace(SELECT, simulated=False, labelled=False, varied=(), weights=(0,))
    wanted = replace(FILL, labelled=False, weight_names=("nominal",), kinematics=())
    require_same(fill_file(path, 0, N, asked, wanted), in_stages(path, 0, N, asked, wanted))


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
    layout = preset_layout("beampipe", {"energy_unit": "MeV", "labels": {"signed": True}, "branches": {"clean": clean}})
    asked = replace(SELECT, varied=(), weights=(0,), layout=layout)
    wanted = replace(FILL, weight_names=("nominal",), kinematics=known_jet_variations(ENERGY)[2:])
    made = require_same(fill_file(path, 0, N, asked, wanted), in_stages(path, 0, N, asked, wanted))
    assert len(made.ranges) == 2


@pytest.mark.parametrize("column", ["jet_pt", "jet_eta", "weight"])
def test_what_looks_wrong_is_left_to_the_stages(tmp_path: Path, column: str) -> None:
    events = some_events(2)
    values = events.columns[column].copy()
    values[values.shape[0] // 2 :] = np.nan
    path = write_odd(tmp_path / "odd.root", Events(offset=events.offset, **{**events.columns, column: values}))
    assert fill_file(path, 0, N, SELECT, FILL) is None
    with pytest.raises(FileError, match="finite"):
        select(path, 0, N, SELECT)


def test_weights_that_64_bits_do_not_hold_are_left_to_the_stages(path: Path) -> None:
    asked, wanted = replace(SELECT, weight_bits=55), replace(FILL, weight_bits=55)
    assert fill_file(path, 0, N, asked, wanted) is None


def test_units_labels_and_repeated_events_are_left_to_the_stages(tmp_path: Path) -> None:
    events = some_events(3)
    columns = events.columns
    wrong = {"jet_pt": columns["jet_pt"] * 1000, "jet_label": -columns["jet_label"], "event": columns["event"] // 2}
    for name, values in wrong.items():
        changed = {**columns, name: values.astype(columns[name].dtype)}
        path = write_odd(tmp_path / f"{name}.root", Events(offset=events.offset, **changed))
        assert fill_file(path, 0, N, SELECT, FILL) is None, name
        with pytest.raises(FileError):
            select(path, 0, N, SELECT)


def test_a_damaged_file_is_left_to_the_stages(path: Path, tmp_path: Path) -> None:
    content = bytearray(path.read_bytes())
    with uproot.open(path) as file:
        seek = int(file[EVENTS]["jet_eta"].member("fBasketSeek")[0])
    content[seek + 200 : seek + 230] = b"x" * 30
    broken = tmp_path / "broken.root"
    broken.write_bytes(content)
    assert fill_file(broken, 0, N, SELECT, FILL) is None


def test_the_shipped_file_needs_no_stages() -> None:
    path = next(DEMO_CONFIGURATION.parent.glob("toy.*.root"))
    n = len(read_ntuple(path))
    asked = replace(SELECT, weights=(0,), varied=())
    wanted = replace(FILL, weight_names=("nominal",), kinematics=())
    require_same(fill_file(path, 0, n, asked, wanted), in_stages(path, 0, n, asked, wanted))


def test_a_setting_that_is_not_known_is_left_to_the_stages(path: Path) -> None:
    """Whoever adds one need not think of this pass: it fills only what it knows."""

    @dataclass(frozen=True)
    class More(FillSettings):
        more: int = 0

    same = {each.name: getattr(FILL, each.name) for each in fields(FILL)}
    assert fill_file(path, 0, 10, SELECT, More(**same)) is not None
    assert fill_file(path, 0, 10, SELECT, More(**same, more=1)) is None
