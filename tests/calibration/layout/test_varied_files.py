"""Variations that users' files and functions have: branches, trees, functions, corrections; and scores in branches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

from beampipe.calibration.config import Configuration, DijetSelection, Energy, Systematic
from beampipe.calibration.events.dijets import WeightUnits
from beampipe.calibration.events.select import SelectSettings, select
from beampipe.calibration.events.variations import built_in_variations
from beampipe.calibration.layout import preset_layout
from beampipe.calibration.ntuple.file_checks import inspect_file
from beampipe.calibration.results import collect_results
from beampipe.calibration.run import run_calibration
from beampipe.calibration.taggers import Tagger
from beampipe.calibration.tasks.runtime import workspace_of
from beampipe.errors import BeampipeError, ConfigError, FileError
from beampipe.jets.ntuple_format import BOOKKEEPING, EVENTS
from beampipe.simulation.ntuples import Events, read_bookkeeping, read_ntuple
from tests.calibration.campaign import INLINE, SYSTEMATICS, Toys, configuration_of, factors_sha256, made, with_sample
from tests.calibration.layout.disguises import tree
from tests.calibration.random_dijets import shifted_pt
from tests.calibration.rootfiles import small_events, write_odd

ENERGY = Energy(2, 1)
IN_TREES = ("jer_1_up", "jer_1_down")
IN_BRANCHES = ("jes_1_up", "jes_1_down")
BY_FUNCTION = ("jes_2_up", "jes_2_down")

VARIATIONS: Mapping[str, Any] = {  # in the order of the stand-in, so that sums are added up in the same order
    "tracks_eff": {"branches": {"n_trk": "jet_n_trk_eff"}},
    "tracks_fake": {"branches": {"n_trk": "jet_n_trk_fake"}},
    **{name: {"branches": {"pt": f"jet_pt_{name}"}} for name in IN_BRANCHES},
    **{name: {"function": {"call": f"tests.calibration.layout.shifts:{name}"}} for name in BY_FUNCTION},
    **{name: {"tree": f"events_{name}"} for name in IN_TREES},
}


def varied_pt(events: Events, name: str) -> Any:
    """pT of the jets as the stand-in for the jet energy varies it."""

    two = np.diff(events.offset) >= 2
    assert two.all()
    places = events.offset[:-1, None] + np.arange(2)
    columns = {"eta": events.jet_eta[places], "run": events.run, "event": events.event}
    pt = events.jet_pt / 2  # of softer jets, so that none becomes one of the pair, which the stand-in cannot do
    pt[places] = shifted_pt(name, ENERGY, pt=events.jet_pt[places], **columns).astype(np.float32)
    return pt


def table(events: Events, pt: Any, rows: Any, **more: Any) -> dict[str, Any]:
    """A tree of some events, in some order, with another pT; the larger pT is not always first."""
    jets = {name[4:]: values for name, values in events.columns.items() if name.startswith("jet_")}
    jets |= {"pt": pt, **more}
    result: dict[str, Any] = {name: events.columns[name][rows] for name in ("run", "event", "trigger")}
    result["jet"] = ak.unflatten(ak.zip(jets), np.diff(events.offset))[rows]
    if events.weight is not None:
        result["weight"] = ak.from_regular(events.weight)[rows]
    return result


def with_trees(path: Path, to: Path) -> None:
    """The file with varied pT in branches, and in trees with other events in another order."""
    events, books = read_ntuple(path), read_bookkeeping(path)
    rng = np.random.default_rng(1)
    everything = np.arange(len(events))
    branches = {f"pt_{name}": varied_pt(events, name) for name in IN_BRANCHES}
    more: list[tuple[str, Any]] = []
    for name in IN_TREES:
        pt = varied_pt(events, name)
        pair = events.offset[:-1, None] + np.arange(2)
        passed = events.jet_clean[pair].all(axis=1) & (abs(events.jet_eta[pair]).max(axis=1) < 2.1)
        rows = rng.permutation(everything[passed & (pt[pair[:, 1]] > 490)])
        assert 0 < len(rows) < len(events)
        more.append((f"events_{name}", table(events, pt, rows)))
    book = {
        name: ak.Array([value.tolist() if np.ndim(value) else value])
        if isinstance(value, str) or np.ndim(value)
        else np.array([value])
        for name, value in books.items()
    }
    tree(to, EVENTS, table(events, events.jet_pt, everything, **branches), (BOOKKEEPING, book), *more)


def of_files(toys: Toys, folder: Path, variations: Mapping[str, Any] = VARIATIONS) -> Configuration:
    """The campaign with variations that its files have."""
    (folder / "nominal").mkdir(parents=True)
    for path in toys.files("nominal"):
        with_trees(path, folder / "nominal" / path.name)
    files = tuple(sorted((folder / "nominal").glob("*.root")))
    systematics = tuple(
        replace(source, kinematics=("tracks_*",)) if source.name == "tracking" else source for source in SYSTEMATICS
    )
    result = configuration_of(toys, folder / "output", systematics=systematics, energy=Energy(0, 0), keep_tables=False)
    layout = preset_layout("beampipe", {"variations": variations})
    return replace(with_sample(result, "nominal", files=files), layout=layout)


def test_branches_trees_and_functions_vary_jets_as_the_stand_in_does(
    toys: Toys, base: Configuration, tmp_path: Path
) -> None:
    assert {name for name in VARIATIONS if name[0] == "j"} == set(built_in_variations((), ENERGY))
    result = of_files(toys, tmp_path)
    plan = run_calibration(result, INLINE)
    assert factors_sha256(result) == factors_sha256(base)
    assert set(collect_results(plan, workspace_of(result).store).samples) == set(result.samples)  # what a report shows
    one_more = {**VARIATIONS, "tracks_more": {"branches": {"n_trk": "jet_n_trk + 1"}}}
    before = made(result.output)
    again = replace(result, layout=preset_layout("beampipe", {"variations": one_more}))
    run_calibration(again, INLINE)
    n_nominal = sum(len(range(0, inspect_file(path).n_events, 600)) for path in result.samples["nominal"].files)
    assert 0 < made(result.output)["fill"] - before["fill"] <= n_nominal + 4  # the new variation and no other


def test_a_variation_that_the_files_lack_is_said_before_events_are_read(toys: Toys, tmp_path: Path) -> None:
    path = toys.files("nominal")[0]
    for lines, message in (
        ({"tree": "event_jes"}, r"no tree 'event_jes' of variation 'x', expected .* did you mean 'events'"),
        (
            {"branches": {"pt": "jet_ptt"}},
            r"'x': got no branch 'jet_ptt'.* mean 'jet_pt'.*set layout\.variations\.x\.branches\.pt",
        ),
    ):
        layout = preset_layout("beampipe", {"variations": {"x": lines}})
        with pytest.raises(FileError, match=message):
            inspect_file(path, layout)
    with pytest.raises(ConfigError, match=r"variations\.x: got nothing, expected tree, branches"):
        preset_layout("beampipe", {"variations": {"x": {}}})
    changed = {"jes_1_up": {"branches": {"pt": "jet_pt"}}}
    result = replace(configuration_of(toys, tmp_path), layout=preset_layout("beampipe", {"variations": changed}))
    with pytest.raises(ConfigError, match="got the name of a built-in variation"):
        run_calibration(result, INLINE)


def settings(**lines: Any) -> SelectSettings:
    loose = DijetSelection(20.0, 5000.0, 100.0, 5.0, 0, 1e9)
    return SelectSettings(loose, WeightUnits(20), True, True, layout=preset_layout("beampipe", lines))


def test_a_correction_of_correctionlib_moves_pt(tmp_path: Path) -> None:
    path = write_odd(tmp_path / "a.root", small_events())
    kinds = {"eta": "real", "way": "string", "pt": "real"}
    shift: dict[str, Any] = {"nodetype": "formula", "parser": "TFormula", "variables": ["eta", "pt"]}
    shift["expression"] = "0.01+0.002*abs(x)+y/1000000"
    scale = {
        "name": "scale",
        "version": 1,
        "inputs": [{"name": name, "type": kind} for name, kind in kinds.items()],
        "output": {"name": "shift", "type": "real"},
        "data": {"nodetype": "category", "input": "way", "content": [{"key": "up", "value": shift}]},
    }
    written = {"schema_version": 2, "corrections": [scale]}
    file = tmp_path / "jes.json"
    file.write_text(json.dumps(written))
    correction = {"file": str(file), "name": "scale", "inputs": ["eta", "=up", "pt"], "apply": "up"}
    nominal = select(path, 0, 200, settings())
    varied = select(path, 0, 200, settings(correction=correction))
    pt, eta = nominal.pt.astype(np.float64), nominal.eta.astype(np.float64)
    expected = pt * (1.01 + 0.002 * abs(eta) + pt / 1e6)
    order = np.argsort(-expected, axis=1)
    np.testing.assert_array_equal(varied.event, nominal.event)
    np.testing.assert_allclose(varied.pt, np.take_along_axis(expected, order, 1), rtol=1e-6)
    for change, message in (
        ({"name": "scal"}, "got no correction 'scal', expected one of scale"),
        ({"inputs": ["eta"]}, r"got inputs eta, expected eta \(real\), way \(string\), pt \(real\)"),
        ({"inputs": ["eta", "=down", "pt"]}, "inside its bins"),
    ):
        with pytest.raises(ConfigError, match=message):
            select(path, 0, 200, settings(correction={**correction, **change}))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ("tests.calibration.layout.shifts:too_few", FileError, r"got pt of shape \(\d+,\), expected numbers of shape"),
        ("tests.calibration.layout.shifts:nothing", ConfigError, "cannot be imported"),
        ("no_such_module:f", ConfigError, "cannot be imported"),
        ("just_a_name", ConfigError, "expected package.module:function"),
    ],
)
def test_a_function_that_does_not_fit_is_one_error(
    tmp_path: Path, call: str, error: type[BeampipeError], message: str
) -> None:
    path = write_odd(tmp_path / "a.root", small_events())
    with pytest.raises(error, match=message):
        select(path, 0, 200, settings(function={"call": call}))


def test_scores_in_a_branch_are_calibrated_like_n_trk(toys: Toys, base: Configuration, tmp_path: Path) -> None:
    layout = preset_layout("beampipe", {"scores": {"tracks": {"branch": "jet_n_trk / 2"}}})
    plain = tuple(source for source in SYSTEMATICS if not source.kinematics)
    result = configuration_of(
        toys,
        tmp_path / "output",
        taggers=(Tagger("n_trk", 30, 0.0, 60.0), Tagger("tracks", 30, 0.0, 30.0)),
        layout=layout,
        systematics=(*plain, Systematic("energy", "up_down", kinematics=("jes_*",))),
    )
    run_calibration(result, INLINE)
    numbers = json.loads((result.output / "factors.json").read_text())
    text = json.dumps(numbers)
    assert '"tracks"' in text
    by_tagger: dict[str, list[Any]] = {"n_trk": [], "tracks": []}
    for each in numbers["scale_factors"]:
        by_tagger[each.pop("tagger")].append(each)
    assert by_tagger["tracks"] == by_tagger["n_trk"]
    with pytest.raises(ConfigError, match="expected a model or a branch of scores"):
        configuration_of(toys, tmp_path, taggers=(Tagger("pnet", 10, 0.0, 1.0),))
    path = toys.files("nominal")[0]
    with pytest.raises(FileError, match=r"no branch 'jet_scor'.*layout\.scores\.x\.branch"):
        inspect_file(path, preset_layout("beampipe", {"scores": {"x": {"branch": "jet_scor"}}}))
