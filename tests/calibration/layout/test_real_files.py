"""Files that nobody here wrote: what they are is recognised, and events are selected, by preset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot

from beampipe.calibration.config import DijetSelection, load_configuration
from beampipe.calibration.events.dijets import WeightUnits
from beampipe.calibration.events.select import SelectSettings, select
from beampipe.calibration.layout import preset_layout
from beampipe.calibration.ntuple.columns import open_source
from beampipe.calibration.ntuple.file_checks import sums_of_weights, weight_counts, weight_names
from beampipe.calibration.recognition import inspect_ntuple
from beampipe.errors import ConfigError
from tests.calibration.layout.conftest import Foreign
from tests.calibration.layout.test_inspection import require_agreement

PHYSLITE_RNTUPLE = "uproot-physlite-rntuple_v1-0-0-0"
NANOAOD_RNTUPLE = "cmsopendata2015_ttbar_19980_NANOAOD_RNTupleImporter_rntuple_v1-0-0-1"
LOOSE = DijetSelection(20.0, 5000.0, 100.0, 5.0, 0, 1e9)


@pytest.mark.parametrize(
    ("name", "preset", "missing"),
    [
        ("PHYSLITE_example", "physlite", ["jetClean_LooseBad", "'MetaData'"]),
        (PHYSLITE_RNTUPLE, "physlite_rntuple", []),
        ("nano_tt_v15", "nanoaod", ["branches.n_trk", "'Runs'"]),
        ("nanoAOD_2015_CMS_Open_Data_ttbar", "nanoaod", ["branches.n_trk", "'Runs'"]),
        (NANOAOD_RNTUPLE, "nanoaod", ["branches.n_trk", "'Runs'"]),
        ("pfnano", "pfnano", []),
        ("treemaker", "ntuple", ["Jets_partonFlavor"]),
    ],
)
def test_inspect_tells_what_a_file_is_and_what_is_missing(
    foreign: Foreign, name: str, preset: str, missing: list[str]
) -> None:
    look = inspect_ntuple(foreign(name))
    assert look.preset == preset
    if "RNTuple" not in name and "rntuple" not in name:  # slow
        require_agreement(foreign(name), look)
    output = [line for line in look.lines if line.startswith(("missing: ", "wrong: "))]
    assert len(output) == len(missing), output
    for words, line in zip(missing, output, strict=True):
        assert words in line
    assert look.good == (not missing)


def test_inspect_guesses_the_branches_of_a_file_of_no_known_kind(foreign: Foreign, tmp_path: Path) -> None:
    path = foreign("treemaker")
    look = inspect_ntuple(path)
    assert any("Jets.fCoordinates.fPt" in line and "1.09528 to 476.803" in line for line in look.lines)
    (tmp_path / "data.root").write_bytes(path.read_bytes())
    written = look.configuration.replace("data/*.root", "data.root")
    (tmp_path / "a.toml").write_text(written)
    layout = load_configuration(tmp_path / "a.toml").layout
    assert (layout.tree, layout.labels.signed) == ("PreSelection", True)
    assert layout.branches.n_trk == ("Jets_chargedMultiplicity",)
    result = select(path, 0, 10, SelectSettings(LOOSE, WeightUnits(20), True, True, layout=layout))
    with uproot.open(path) as file:
        pt = file["PreSelection"]["Jets.fCoordinates.fPt"].array()
        expected = sorted(float(np.float32(max(event))) for event in pt)
    assert set(result.pt[:, 0].tolist()) <= set(expected)
    assert len(result) >= 5


def leading(pt: Any) -> list[int]:
    return sorted(range(len(pt)), key=lambda k: -pt[k])[:2]


@pytest.mark.parametrize(
    ("name", "preset", "lines", "prefix", "tracks", "unit"),
    [
        (
            "PHYSLITE_example",
            "physlite",
            {"branches": {"clean": ""}, "labels": {"max_unmatched": 1.0}},
            "AnalysisJetsAuxDyn.",
            "DFCommonJets_QGTagger_NTracks",
            0.001,
        ),
        (
            PHYSLITE_RNTUPLE,
            "physlite_rntuple",
            {"branches": {"clean": ""}},
            "AnalysisJetsAuxDyn:",
            "DFCommonJets_QGTagger_NTracks",
            0.001,
        ),
        ("nano_tt_v15", "nanoaod", {"branches": {"n_trk": "Jet_nConstituents"}}, "Jet_", "nConstituents", 1.0),
        (
            NANOAOD_RNTUPLE,
            "nanoaod",
            {"branches": {"n_trk": "Jet_nConstituents"}, "labels": {"max_unmatched": 1.0}},
            "Jet_",
            "nConstituents",
            1.0,
        ),
    ],
)
def test_events_of_others_are_selected_as_by_a_loop(
    foreign: Foreign, name: str, preset: str, lines: dict[str, Any], prefix: str, tracks: str, unit: float
) -> None:
    path, layout = foreign(name), preset_layout(preset, lines)
    with uproot.open(path) as file:
        tree = file[layout.tree]
        columns = {key: tree[prefix + key].array().tolist() for key in ("pt", "eta", tracks)}
        label = tree[layout.branches.label[0]].array().tolist()
        n = tree.num_entries
    expected = []
    for k in range(n):
        order = leading(columns["pt"][k])
        if len(order) < 2:
            continue
        rows = [[columns[key][k][j] for key in ("pt", "eta", tracks)] for j in order]
        codes = [abs(label[k][j]) if layout.labels.signed else label[k][j] for j in order]
        has_label = all(code in (1, 2, 3, 4, 5, 21) for code in codes)
        high, low = (row[0] * unit for row in rows)
        if has_label and low > 20 and max(abs(row[1]) for row in rows) < 5:
            expected.append((high, low, *(row[2] for row in rows)))
    result = select(path, 0, n, SelectSettings(LOOSE, WeightUnits(20), True, True, layout=layout))
    inside = result.pt[:, 1] > 20  # a variation may select those just below
    got = np.column_stack([result.pt, result.n_trk])[inside]
    assert len(expected) >= 5
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_n_trk_from_constituents_is_that_of_a_loop_over_candidates(foreign: Foreign) -> None:
    path, layout = foreign("pfnano"), preset_layout("pfnano")
    with uproot.open(path) as file:
        e = file["Events"]
        names = [
            *(
                "PFCands_pt",
                "PFCands_eta",
                "PFCands_phi",
                "PFCands_charge",
                "JetPFCands_jetIdx",
                "JetPFCands_pFCandsIdx",
            ),
            *("Jet_pt", "Jet_eta", "Jet_phi"),
        ]
        table = {name: e[name].array().tolist() for name in names}
    n_trk, width = [], []
    for k in range(10):
        for jet in range(len(table["Jet_pt"][k])):
            members = []
            for link, candidate in enumerate(table["JetPFCands_pFCandsIdx"][k]):
                charged = table["PFCands_charge"][k][candidate] != 0
                if table["JetPFCands_jetIdx"][k][link] == jet and charged and table["PFCands_pt"][k][candidate] > 0.5:
                    members.append(candidate)
            n_trk.append(len(members))
            total = sum(table["PFCands_pt"][k][m] for m in members)
            moment = 0.0
            for m in members:
                turn = abs(table["PFCands_phi"][k][m] - table["Jet_phi"][k][jet])
                turn = min(turn, 2 * np.pi - turn)
                moment += table["PFCands_pt"][k][m] * np.hypot(
                    table["PFCands_eta"][k][m] - table["Jet_eta"][k][jet], turn
                )
            width.append(moment / total if total else 0.0)
    with open_source(path, layout, 0, 10) as source:
        got = {name: source.whole_column(f"jet_{name}")[1] for name in ("n_trk", "width")}
    assert max(n_trk) == 50
    assert got["n_trk"].tolist() == n_trk
    np.testing.assert_allclose(got["width"], width, rtol=1e-5)


def test_sums_come_from_the_records_of_each_weight(foreign: Foreign) -> None:
    path, layout = foreign(PHYSLITE_RNTUPLE), preset_layout("physlite_rntuple", {"weights": {"index": 0}})
    with open_source(path, layout, 0, 100) as source, uproot.open(path) as file:
        counts = weight_counts(source)
        n_weights = len(weight_names(source, counts))
        sums = sums_of_weights(file, source, counts, ()).sums
        weights = np.concatenate([table for _, table in source.weights()])
    assert n_weights == 194
    np.testing.assert_allclose(sums, weights.sum(axis=0, dtype=np.float64), rtol=1e-6)


def test_expressions_stand_for_branches(foreign: Foreign) -> None:
    path = foreign("nano_tt_v15")
    lines = {
        "branches": {
            "trigger": ["event > 69374600 and run == 1"],
            "clean": "Jet_nConstituents >= 10 and abs(Jet_eta) < 2.4 and event > 0",
            "n_trk": "Jet_nConstituents",
        }
    }
    with uproot.open(path) as file:
        tree = file["Events"]
        event, eta, number = (tree[name].array() for name in ("event", "Jet_eta", "Jet_nConstituents"))
    with open_source(path, preset_layout("nanoaod", lines), 0, 200) as source:
        passed = source.flat("trigger")
        clean = source.whole_column("jet_clean")[1]
    assert passed.tolist() == (event > 69374600).tolist()
    assert 0 < passed.sum() < 200
    expected = (number >= 10) & (abs(eta) < 2.4)
    assert clean.tolist() == [bool(item) for row in expected for item in row]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Jet_jetId >= 2 & Jet_puId > 0", "write and, or"),
        ("__import__('os').system('x')", "expected branches, numbers"),
        ("Jet_pt >", "neither the name of a branch nor an expression"),
        ("Jet_pt[0] > 3", "expected branches, numbers"),
    ],
)
def test_what_is_no_expression_is_refused_at_the_door(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        preset_layout("nanoaod", {"branches": {"clean": text}})
