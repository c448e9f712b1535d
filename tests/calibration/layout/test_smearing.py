"""Jets smeared by a resolution and a scale factor of correctionlib, beside a loop over jets by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from math import atan2 as angle
from math import cos, hypot, pi, sin, sqrt
from pathlib import Path
from typing import Any

import awkward as ak
import correctionlib
import numpy as np
import pytest

from beampipe.calibration.config import Configuration, DijetSelection, Systematic
from beampipe.calibration.events.dijets import WeightUnits
from beampipe.calibration.events.fill import fill_file, fill_table
from beampipe.calibration.events.scores import Scores
from beampipe.calibration.events.select import SelectSettings, select
from beampipe.calibration.layout import preset_layout
from beampipe.calibration.ntuple.file_checks import inspect_file
from beampipe.calibration.run import run_calibration
from beampipe.calibration.tasks.plan import Chunk
from beampipe.errors import ColumnError, ConfigError
from tests.calibration.campaign import INLINE, Toys, configuration_of, made
from tests.calibration.layout.disguises import tree
from tests.calibration.rootfiles import small_events

RESOLUTION = "Toy_MC_PtResolution_AK4PF"
SCALE_FACTOR = "Toy_MC_ScaleFactor_AK4PF"


def jerc(path: Path) -> Path:
    """A file as CMS publishes it: a resolution by eta, pT and rho, a scale factor by eta and a text."""

    def real(name: str) -> dict[str, str]:
        return {"name": name, "type": "real"}

    def formula(text: str, *variables: str) -> dict[str, Any]:
        return {"nodetype": "formula", "expression": text, "parser": "TFormula", "variables": list(variables)}

    way = {"name": "systematic", "type": "string"}
    keys = [
        {"key": key, "value": formula(f"{value}+0.05*abs(x)", "JetEta")}
        for key, value in (("nom", 1.1), ("up", 1.25), ("down", 0.9))
    ]
    resolution = formula("sqrt(0.03*0.03+0.8*0.8/x+0.001*y)+0.002*abs(z)", "JetPt", "Rho", "JetEta")
    corrections = [
        (RESOLUTION, [real("JetEta"), real("JetPt"), real("Rho")], resolution),
        (SCALE_FACTOR, [real("JetEta"), way], {"nodetype": "category", "input": "systematic", "content": keys}),
    ]
    written = [
        {"name": name, "version": 1, "inputs": inputs, "output": real("value"), "data": data}
        for name, inputs, data in corrections
    ]
    path.write_text(json.dumps({"schema_version": 2, "corrections": written}))
    return path


def nanoaod(path: Path, n: int = 300) -> Path:
    """Events with jets of the generator: near ones, far ones, ones of another pT, and jets without one."""
    events, rng = small_events(n), np.random.default_rng(4)
    assert events.jet_label is not None
    counts = np.diff(events.offset)
    n_jets = int(counts.sum())
    jets: dict[str, Any] = {
        "pt": events.jet_pt,
        "eta": events.jet_eta,
        "phi": rng.uniform(-pi, pi, n_jets).astype(np.float32),
        "partonFlavour": events.jet_label,
        "nTracks": events.jet_n_trk,
    }
    own, places = [], []
    at = 0
    for count in counts:
        order = rng.permutation(count)
        of_event = []
        place = np.full(count, -1)
        for row, jet in enumerate(order[rng.random(count) < 0.8]):
            k = at + jet
            of_event.append(
                {
                    "pt": float(jets["pt"][k]) * rng.choice([rng.normal(1, 0.05), 0.5]),
                    "eta": float(jets["eta"][k]) + rng.choice([0.02, 0.15, 0.3]),
                    "phi": float((jets["phi"][k] + rng.choice([0.0, 0.17, 2.0]) + pi) % (2 * pi) - pi),
                }
            )
            place[jet] = row
        place[place < 0] = rng.choice([-1, 99], int((place < 0).sum()))  # none, and one that was not kept
        own.append(of_event)
        places.append(place)
        at += count
    table: dict[str, Any] = {
        "run": events.run,
        "event": events.event,
        "Rho_fixedGridRhoFastjetAll": rng.uniform(5, 40, n).astype(np.float32),
        "genWeight": np.ones(n, np.float32),
        "Jet": ak.unflatten(ak.zip({**jets, "genJetIdx": np.concatenate(places).astype(np.int16)}), counts),
        "GenJet": ak.values_astype(ak.Array(own), np.float32),
    }
    runs = {"genEventSumw": np.array([float(n)])}
    tree(path, "Events", table, ("Runs", runs))
    return path


GEN = {"pt": "GenJet_pt", "index": "Jet_genJetIdx", "eta": "GenJet_eta", "phi": "GenJet_phi"}


def lines(folder: Path, **smearing: Any) -> dict[str, Any]:
    return {
        "branches": {"n_trk": "Jet_nTracks"},
        "smearing": {
            "file": str(folder / "jet_jerc.json"),
            "resolution": RESOLUTION,
            "scale_factor": SCALE_FACTOR,
            **smearing,
        },
    }


def settings(changes: Mapping[str, Any]) -> SelectSettings:
    loose = DijetSelection(1.0, 50000.0, 1e6, 5.0, 0, 1e9)
    return SelectSettings(loose, WeightUnits(20), True, True, layout=preset_layout("nanoaod", changes))


def by_hand(path: Path, file: Path, way: str, *, gen: bool) -> tuple[list[list[float]], dict[str, int]]:
    """pT of the two leading jets of each event after smearing, and how many jets were smeared in which way."""
    import uproot

    every = correctionlib.CorrectionSet.from_file(str(file))
    one = {"name": "n", "version": 1, "output": {"name": "n", "type": "real"}}
    one["inputs"] = [{"name": "run", "type": "int"}, {"name": "event", "type": "int"}, {"name": "eta", "type": "real"}]
    one["data"] = {"nodetype": "hashprng", "inputs": ["run", "event", "eta"], "distribution": "normal"}
    random = correctionlib.CorrectionSet.from_string(json.dumps({"schema_version": 2, "corrections": [one]}))["n"]
    out, kinds = [], {"matched": 0, "random": 0, "far": 0, "pull": 0, "outside": 0}
    with uproot.open(path) as opened:
        rows = opened["Events"].arrays(library="ak").to_list()
    for row in rows:
        smeared = []
        for pt, eta, phi, index in zip(
            row["Jet_pt"], row["Jet_eta"], row["Jet_phi"], row["Jet_genJetIdx"], strict=True
        ):
            width = every[RESOLUTION].evaluate(eta, pt, row["Rho_fixedGridRhoFastjetAll"])
            ratio = every[SCALE_FACTOR].evaluate(eta, way)
            near = None
            if gen and index >= len(row["GenJet_pt"]):
                kinds["outside"] += 1
            elif gen and index >= 0:
                turn = phi - row["GenJet_phi"][index]
                apart = hypot(eta - row["GenJet_eta"][index], angle(sin(turn), cos(turn)))
                off = abs(pt - row["GenJet_pt"][index])
                kinds["far"] += apart >= 0.2
                kinds["pull"] += apart < 0.2 and off >= 3 * width * pt
                near = row["GenJet_pt"][index] if apart < 0.2 and off < 3 * width * pt else None
            if near is not None:
                factor = 1 + (ratio - 1) * (pt - near) / pt
                kinds["matched"] += 1
            else:
                n = random.evaluate(row["run"], row["event"], eta)
                factor = 1 + n * width * sqrt(max(ratio * ratio - 1, 0))
                kinds["random"] += 1
            smeared.append(pt * max(factor, 0))
        if len(smeared) >= 2:
            out.append(sorted(smeared, reverse=True)[:2])
    return out, kinds


@pytest.mark.parametrize("way", ["nom", "up", "down"])
@pytest.mark.parametrize("gen", [True, False])
def test_jets_are_smeared_as_by_hand(tmp_path: Path, way: str, gen: bool) -> None:
    path, file = nanoaod(tmp_path / "nano.root"), jerc(tmp_path / "jet_jerc.json")
    expected, kinds = by_hand(path, file, way, gen=gen)
    if gen:
        assert min(kinds.values()) > 10, kinds  # each way is taken
    changes = lines(tmp_path, systematic=way, **({"gen": GEN} if gen else {}))
    request = settings(changes)
    got = select(path, 0, 300, request)
    np.testing.assert_allclose(got.pt, np.array(expected)[[each[1] > 1 for each in expected]], rtol=1e-6)
    for start, stop in ((0, 100), (100, 300)):  # the same, whatever is read beside it
        part = select(path, start, stop, request)
        rows = np.isin(got.event, part.event)
        np.testing.assert_array_equal(part.pt, got.pt[rows])


def test_the_unit_of_the_file_holds_for_jets_of_the_generator(tmp_path: Path) -> None:
    path, _ = nanoaod(tmp_path / "nano.root"), jerc(tmp_path / "jet_jerc.json")
    gen = {"pt": "1000 * Jet_pt * (1 + 0.02 * (Jet_eta > 0))"}
    plain = select(path, 0, 300, settings(lines(tmp_path, gen={"pt": "Jet_pt * (1 + 0.02 * (Jet_eta > 0))"})))
    in_mev = lines(tmp_path, gen=gen) | {
        "energy_unit": "MeV",
        "branches": {"n_trk": "Jet_nTracks", "pt": "1000 * Jet_pt"},
    }
    np.testing.assert_allclose(select(path, 0, 300, settings(in_mev)).pt, plain.pt, rtol=1e-6)
    layout = preset_layout("nanoaod", {**in_mev, "weights": {"nominal": ""}, "sums": {"source": "events"}})
    with pytest.raises(Exception, match="got no bookkeeping"):  # units look right, though jets come in GeV
        inspect_file(path, layout, needs=("n_trk",))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"resolution_inputs": ["eta", "pt", "Rho"]},
            ColumnError,
            r"no branch 'Rho'.*name it in layout\.smearing\.resolution_inputs",
        ),
        (
            {"gen": {"pt": "GenJet_p"}},
            ColumnError,
            r"no branch 'GenJet_p'.*set layout\.smearing\.gen\.pt = \"GenJet_pt\"",
        ),
        ({"seed": ["event", "Jet_etaa"]}, ColumnError, r"no branch 'Jet_etaa'.*name it in layout\.smearing\.seed"),
        ({"resolution": "PtResolution"}, ConfigError, f"no correction 'PtResolution', expected one of .*{RESOLUTION}"),
        ({"systematic": "central"}, ConfigError, r"got inputs eta, =central, expected JetEta \(real\), systematic"),
        ({"gen": {"index": "Jet_genJetIdx"}}, ConfigError, r"layout\.smearing\.gen: got .*, expected pt"),
        ({"seed": []}, ConfigError, r"smearing\.seed: got nothing"),
    ],
)
def test_what_is_missing_is_one_error_before_events_are_read(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    path, _ = nanoaod(tmp_path / "nano.root"), jerc(tmp_path / "jet_jerc.json")
    with pytest.raises(error, match=message):
        inspect_file(path, preset_layout("nanoaod", lines(tmp_path, **change)), needs=("n_trk",))


def test_a_variation_names_a_value_of_the_scale_factor(tmp_path: Path) -> None:
    variations = {"jer_up": {"smearing": "up"}}
    layout = preset_layout("nanoaod", {**lines(tmp_path), "variations": variations})
    assert layout.smearing is not None
    assert layout.varied("jer_up").smearing == replace(layout.smearing, systematic="up")
    for changes in ({}, lines(tmp_path, scale_factor_inputs=["eta", "=nom"])):
        with pytest.raises(ConfigError, match=r"variations\.jer_up: got smearing 'up', expected a table"):
            preset_layout("nanoaod", {**changes, "variations": variations})


def smeared(toys: Toys, folder: Path) -> Configuration:
    """The campaign with smeared jets and variations of the scale factor."""
    changes = {
        "smearing": {
            "file": str(jerc(folder / "jet_jerc.json")),
            "resolution": RESOLUTION,
            "resolution_inputs": ["eta", "pt", "jet_n_trk"],
            "scale_factor": SCALE_FACTOR,
        },
        "variations": {"jer_up": {"smearing": "up"}, "jer_down": {"smearing": "down"}},
    }
    energy = Systematic("energy", "up_down", kinematics=("jer_*",), experimental=True)
    plain = configuration_of(toys, folder / "output", layout=preset_layout("beampipe", changes), keep_tables=False)
    none = replace(plain.energy, scale=0, resolution=0)
    return replace(plain, taggers=plain.taggers[:1], energy=none, systematics=(*plain.systematics[:1], energy))


def test_simulation_is_smeared_and_data_is_not(toys: Toys, tmp_path: Path) -> None:
    results = smeared(toys, tmp_path)
    plan = run_calibration(results, INLINE)

    def chunks(name: str) -> tuple[Chunk, ...]:
        return plan.samples[name].chunks

    ways = {name: {_way(each) for each in chunks(name)} for name in plan.samples}
    assert ways == {"nominal": {"nom"}, "data": {""}, "jets:jer_up": {"up"}, "jets:jer_down": {"down"}}
    one = chunks("nominal")[0]
    smeared_jets = select(one.path, one.start, one.stop, one.settings.select)
    at_once = fill_file(one.path, one.start, one.stop, one.settings.select, one.settings.fill)
    assert at_once is not None
    np.testing.assert_array_equal(at_once.filled.sumw, fill_table(smeared_jets, Scores(), one.settings.fill).sumw)
    unchanged = replace(one.settings.select, layout=one.settings.select.layout.unchanged)
    plain = select(one.path, one.start, one.stop, unchanged)
    assert not np.array_equal(smeared_jets.pt[:50], plain.pt[:50])
    before, result = made(results.output), (results.output / "factors.json").read_bytes()
    file = tmp_path / "jet_jerc.json"
    file.write_text(file.read_text().replace("1.25+", "1.350+"))
    run_calibration(results, INLINE)  # another file is another result
    n_simulated = sum(len(chunks(name)) for name in plan.samples if name != "data")
    assert made(results.output)["fill"] - before["fill"] == n_simulated
    assert (results.output / "factors.json").read_bytes() != result


def _way(chunk: Chunk) -> str:
    smearing = chunk.settings.select.layout.smearing
    return "" if smearing is None else smearing.systematic
