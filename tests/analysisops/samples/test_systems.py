"""Tracks, regions of jets and failing services: the truth is in the files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from beampipe.analysisops.agents.analysis import steps_of
from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.tasks.load import load_program, program_file, shipped_task
from beampipe.analysisops.tools.data_folder import write_manifest
from beampipe.analysisops.tools.session import LocalTools, Session
from tests.analysisops.samples.reading import Made, make

MadeBy = Callable[[str], Made]
OPERATIONS: Any = load_program(program_file("operations"))
CHAIN = Path(str(files("beampipe.chain") / "data"))
CAUSES = tuple(OPERATIONS.SIGNATURES)


def test_hits_are_found_by_the_tracking(made: MadeBy) -> None:
    from beampipe.tracking import Hits, load_pipeline

    instance = made("tracks")
    hidden = instance.hidden
    arrays = instance.tree().arrays()
    unit = hidden.parameters["length_unit"]
    r, phi, z = (ak.to_numpy(arrays[hidden.columns[f"hit_{name}"]][0]) for name in ("r", "phi", "z"))
    labels = np.array(hidden.labels)
    assert len(labels) == len(r) == arrays[hidden.columns["hit_n"]][0]
    assert 0.9e3 < r.max() * unit < 1.2e3
    result = load_pipeline("module_map").find(Hits(np.stack([r * unit, phi, z * unit], 1).astype(np.float32)))
    assert result.n_tracks == pytest.approx(hidden.truth["n_tracks"], rel=0.4)
    particles = hidden.analysis["particles"]
    assert len(particles) == hidden.truth["n_tracks"]
    matched = 0
    for particle in particles:
        ids = result.track_id[labels == particle]
        assert len(ids) >= 7
        matched += bool((np.bincount(ids[ids >= 0], minlength=1) > len(ids) / 2).any())
    assert matched > 0.55 * len(particles)


def test_gluon_fraction_has_the_ntuples_of_the_chain(made: MadeBy) -> None:
    instance = made("gluon_fraction")
    trees = {
        name: uproot.open(instance.folder / f"{name}.root") for name in ("nominal", "alternative", "data", "measured")
    }
    assert {name.partition(";")[0] for file in trees.values() for name in file} == {"events"}
    with uproot.open(CHAIN / "nominal.root") as file:
        kinds = {name: branch.typename.partition("[")[0] for name, branch in file["events"].items()}
    labels = {"jet_label", "jet_n_trk_eff", "jet_n_trk_fake", "weight", "nweight"}
    for name, file in trees.items():
        here = {branch: item.typename.partition("[")[0] for branch, item in file["events"].items()}
        left_out = (
            {"nweight"} if name in ("nominal", "alternative") else labels
        )  # the weight of the chain is a list of one
        assert here == {
            **{branch: kind for branch, kind in kinds.items() if branch not in left_out},
            "event": "int64_t",
        }


def test_the_steps_of_gluon_fraction_read_a_file_of_the_chain(tmp_path: Path) -> None:
    """As the steps do in simulation, with jets from 300 GeV on."""
    shutil.copy(CHAIN / "nominal.root", tmp_path)
    write_manifest(tmp_path, [{"name": "nominal.root", "role": "nominal"}], {})
    tools = LocalTools(Session(tmp_path, Ledger(tmp_path / "ledger.jsonl", b"key")))
    results: dict[str, Any] = {}
    steps, _ = steps_of(shipped_task("gluon_fraction").prompts[1])
    for step in steps:
        if not step["as"].startswith("nominal_"):
            continue
        text = json.dumps(step["arguments"]).replace("@public:working_point_n_trk", "15").replace("> 500", "> 300")
        for label, result in results.items():
            text = text.replace(f'"${label}"', f'"{result.get("handle")}"')
        results[step["as"]] = tools.call(step["tool"], **json.loads(text.replace("@file:nominal.name", "nominal.root")))
    weights = {name: results[f"nominal_{name}"]["sum_weights"] for name in ("n", "h1", "h2", "q1", "g1", "q2", "g2")}
    assert results["nominal_dijets"]["n_events"] > 500
    for region in "12":
        gluons = weights[f"h{region}"] / weights["n"]
        assert 0.3 < gluons < 0.8
        quark_efficiency = weights[f"q{region}"] / (weights["n"] - weights[f"h{region}"])
        assert quark_efficiency > weights[f"g{region}"] / weights[f"h{region}"] + 0.1


@pytest.mark.parametrize("cause", range(len(CAUSES)))
def test_the_signature_tells_cause_server_and_onset(cause: int, tmp_path: Path) -> None:
    instance = make("operations", 11, tmp_path, {"cause": (float(cause), float(cause))})
    hidden = instance.hidden
    assert hidden.words["cause"] == CAUSES[cause]
    series = json.loads((instance.folder / "metrics.json").read_text())["series"]
    assert {item["name"] for item in series} == set(OPERATIONS.METRICS)
    results = []
    for entry in series:
        scale = dict(OPERATIONS.SIGNATURES.values()).get(entry["name"])
        if scale is None:
            continue
        times, values = np.array(entry["times"]), np.array(entry["values"])
        after = times >= hidden.truth["onset"]
        change = (values[after].mean() - values[~after].mean()) / scale
        if change > 0.5:
            results.append((entry["labels"]["server"], entry["name"]))
    assert results == [(hidden.words["server"], OPERATIONS.SIGNATURES[CAUSES[cause]][0])]


def test_a_log_tells_what_happened_and_not_in_the_words_of_the_answer(made: MadeBy) -> None:
    instance = made("operations")
    hidden = instance.hidden
    for server in instance.manifest["public"]["servers"]:
        lines = (instance.folder / f"{server}.log").read_text().splitlines()
        times = [float(line.split()[0]) for line in lines]
        assert times == sorted(times)
        assert len(lines) > 200
        assert hidden.words["cause"] not in "\n".join(lines)
    output = (instance.folder / f"{hidden.words['server']}.log").read_text().splitlines()
    near = [line for line in output if 0 <= float(line.split()[0]) - hidden.truth["onset"] <= 20.001]
    assert near
