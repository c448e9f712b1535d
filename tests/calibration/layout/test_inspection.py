"""`inspect` on ntuples of many styles: it finds the tree and the branches, and misses what a run would miss."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
from numpy import ndarray
from typer.testing import CliRunner

from beampipe.calibration.cli import app
from beampipe.calibration.config import DijetSelection
from beampipe.calibration.events.dijets import WeightUnits
from beampipe.calibration.events.select import SelectSettings, select
from beampipe.calibration.layout import SumsOfWeights
from beampipe.calibration.ntuple.bookkeeping import FileOrigin
from beampipe.calibration.ntuple.file_checks import inspect_file, needed_observables
from beampipe.calibration.recognition import Inspection, inspect_ntuple, inspect_ntuples
from beampipe.errors import ColumnError, FileError, UnknownNameError
from beampipe.simulation.ntuples import Events
from tests.calibration.layout.conftest import Foreign
from tests.calibration.layout.disguises import jagged, tree
from tests.calibration.rootfiles import small_events

JETS = ("pt", "eta", "n_trk", "label")


@dataclass(frozen=True)
class Style:
    """How somebody names trees and branches.

    Attributes:
        tree: name of the tree of events.
        jet: pattern of the names of columns of jets; with ``#`` one branch for each of two jets.
        run: name of the run.
        event: name of the event.
        weight: name of the weight.
        names: other names of columns of jets.
        first: number of the leading jet.
        unit: numbers of GeV in the unit of the file.
    """

    tree: str = "events"
    jet: str = "jet_{}"
    run: str = "run"
    event: str = "event"
    weight: str = "weight"
    names: Mapping[str, str] = field(default_factory=dict)
    first: int = 1
    unit: float = 1.0

    def name(self, column: str) -> str:
        return self.jet.format(self.names.get(column, column))

    def expected(self, column: str) -> str | list[str]:
        name = self.name(column)
        return [name.replace("#", str(self.first + k)) for k in range(2)] if "#" in name else name

    def table(self, events: Events, without: str = "") -> dict[str, Any]:
        """The branches, and others that are no columns of this kind."""
        rng, n_jets = np.random.default_rng(3), len(events.jet_pt)
        jets: dict[str, ndarray] = {name: events.columns[f"jet_{name}"] for name in JETS}
        jets["n_trk"], jets["label"] = jets["n_trk"].astype(np.int32), jets["label"].astype(np.int32)
        jets["pt"] = jets["pt"] / np.float32(self.unit)
        jets |= {"btag": rng.random(n_jets).astype(np.float32), "mass": jets["pt"] / 10, "nConst": jets["n_trk"] + 3}
        assert events.weight is not None
        table: dict[str, Any] = {self.run: events.run, self.event: events.event}
        table |= {self.weight: events.weight[:, 0], "EventNumber2": events.event, "mu": np.full(len(events), 30.5)}
        for name, values in jets.items():
            branches, at = self.expected(name), events.offset[:-1]
            if isinstance(branches, str):
                table[branches] = jagged(events, values)
            else:
                table |= {each: values[at + k].astype(np.float64) for k, each in enumerate(branches)}
        muons = rng.integers(0, 3, len(events))
        table["Muon_pt"] = ak.unflatten(rng.uniform(20, 90, muons.sum()).astype(np.float32), muons)
        removed = self.expected(without) if without else []
        return {
            key: values
            for key, values in table.items()
            if key not in ([removed] if isinstance(removed, str) else removed)
        }

    def write(self, path: Path, events: Events, without: str = "") -> Path:
        few = {f"setting_{k}": np.arange(5.0) for k in range(40)}
        few |= {"pt": np.arange(5.0), "jet_pt": np.arange(5.0), "eventNumber": np.arange(5)}
        tree(path, self.tree, self.table(events, without), ("metadata", few))
        return path


STYLES = [
    Style(),
    Style("analysis/nominal", "Jet_{}", "runNumber", "eventNumber", "mcEventWeight"),
    Style(
        "tree",
        "jet{}",
        "RunNumber",
        "EventNumber",
        "genWeight",
        {"n_trk": "_ntrk", "pt": "_pt", "eta": "_eta", "label": "_label"},
    ),
    Style("t", "Jet.{}", "run", "evt", "weight", {"n_trk": "nTracks", "label": "partonFlavour"}),
    Style(
        "CollectionTree",
        "AnalysisJets_{}",
        "runNumber",
        "eventNumber",
        "mcEventWeight",
        {"n_trk": "NumTrk"},
        unit=0.001,
    ),
    Style("ntuple/a/b", "jets_{}", "run", "event", "w", {"n_trk": "nTrk", "label": "flavour"}),
    Style("tuple", "Jet_{}", "runNb", "evtNum", "evtWeight", {"n_trk": "chargedMultiplicity"}),
    Style("flat0", "jet#_{}", "run", "event", "weight", first=0),
    Style("pairs", "jet_{}_#", "runNumber", "eventNumber", "mcEventWeight"),
    Style("leading", "j#_{}", "run", "event", "weight", {"n_trk": "ntrk", "label": "pdgId"}),
    Style("T", "Jet#{}", "run", "event", "weight", {"pt": "_pt", "eta": "_eta", "n_trk": "_nTrk", "label": "_label"}),
    Style(
        "dijets",
        "AntiKt4EMPFlowJets_{}",
        "runNumber",
        "eventNumber",
        "weight_mc",
        {"label": "PartonTruthLabelID"},
        unit=0.001,
    ),
    Style(
        "Delphes",
        "Jet.{}",
        "run",
        "Event.Number",
        "Event.Weight",
        {"pt": "PT", "eta": "Eta", "n_trk": "NTracks", "label": "Flavor"},
    ),
    Style("data/2018/mc", "Jet_{}", "run", "eventID", "genWeight", {"label": "partonPdgId"}),
]


@pytest.fixture(scope="module")
def events() -> Events:
    """Toy events, two jets each."""
    return small_events(400)


def of_run(path: Path, looked: Inspection) -> Exception | None:
    """The error of a run with the tagger n_trk on a file; None if it would read the events."""
    layout = looked.layout
    if not layout.own_books:
        layout = replace(layout, sums=SumsOfWeights("events"))
    origin = FileOrigin("d", looked.simulated, cross_section=1.0)
    try:
        inspect_file(path, layout, origin, needs=needed_observables(layout), min_pt=DijetSelection().min_subleading_pt)
    except FileError as error:
        return error
    settings = SelectSettings(DijetSelection(), WeightUnits(), looked.simulated, looked.simulated, layout=layout)
    select(path, 0, looked.events, settings)
    return None


def require_agreement(path: Path, looked: Inspection) -> None:
    """What is missing by `inspect` is what a run misses."""
    error = of_run(path, looked)
    if looked.missing:
        assert isinstance(error, ColumnError)
        assert all(line in str(error) for line in looked.missing.values())
        assert str(error).count(": got no ") == len(looked.missing)
    else:
        assert not isinstance(error, ColumnError), error
        assert (error is None) == (not [line for line in looked.wrong if "sums" not in line]), error


@pytest.mark.parametrize("style", STYLES, ids=lambda style: f"{style.tree}:{style.jet}")
def test_each_style_is_recognised(style: Style, events: Events, tmp_path: Path) -> None:
    path = style.write(tmp_path / "a.root", events)
    looked = inspect_ntuple(path)
    assert (looked.tree, looked.simulated) == (style.tree, True)
    for column in JETS:
        expected = style.expected(column)
        assert getattr(looked.layout.branches, column) == (
            (expected,) if isinstance(expected, str) else tuple(expected)
        )
    assert looked.layout.branches.event == (style.event,)
    assert looked.layout.weights.nominal == style.weight
    require_agreement(path, looked)
    lines = tomllib.loads(looked.configuration)["layout"]
    assert lines.get("tree", style.tree) == style.tree


@pytest.mark.parametrize("style", STYLES[::4], ids=lambda style: f"{style.tree}:{style.jet}")
def test_a_missing_branch_gets_no_suggestion_that_cannot_fit(style: Style, events: Events, tmp_path: Path) -> None:
    for column in JETS:
        path = style.write(tmp_path / f"{column}.root", events, without=column)
        looked = inspect_ntuple(path, tree=style.tree)
        require_agreement(path, looked)
        output = " ".join(looked.missing.values())
        assert "btag" not in output
        assert "EventNumber2" not in output
        assert column == "pt" or "mass" not in output


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("nano_tt_v15", "nanoaod"),
        ("pfnano", "pfnano"),
        ("PHYSLITE_example", "physlite"),
        ("treemaker", "ntuple"),
        ("treemaker", "physlite_rntuple"),
    ],
)
def test_inspect_and_run_miss_the_same(foreign: Foreign, preset: str, name: str) -> None:
    path = foreign(name)
    looked = inspect_ntuple(path, preset)
    if not looked.layout.own_books:
        require_agreement(path, looked)


def test_trees_in_folders_are_listed(events: Events, tmp_path: Path) -> None:
    path = STYLES[1].write(tmp_path / "a.root", events)
    looked = inspect_ntuple(path)
    assert {(each.name, each.entries) for each in looked.trees} == {("analysis/nominal", len(events)), ("metadata", 5)}
    assert any(line.startswith("tree: metadata (TTree), 5 entries, 43 branches") for line in looked.lines)
    with pytest.raises(UnknownNameError, match=r"analysis/nominl.*did you mean 'analysis/nominal'"):
        inspect_ntuple(path, tree="analysis/nominl")
    assert inspect_ntuple(path, tree="metadata").events == 5


def test_several_files_at_once(events: Events, tmp_path: Path) -> None:
    paths = [STYLES[1].write(tmp_path / f"mc [{k}].root", events, "n_trk" if k == 2 else "") for k in range(3)]
    first, second, third = inspect_ntuples(paths)
    assert (first.good, second.good) == (True, True)
    assert list(third.missing) != []
    assert tomllib.loads(first.configuration)["samples"]["nominal"]["files"] == [str(path) for path in paths]
    result = CliRunner().invoke(app, ["inspect", *map(str, paths), "--tree", "analysis/nominal", "--json"])
    assert result.exit_code == 1
    assert [each["good"] for each in json.loads(result.stdout)] == [True, True, False]
