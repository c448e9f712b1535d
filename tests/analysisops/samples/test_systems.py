"""Tracks, regions of jets and failing services: the truth is in the files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

from beampipe.analysisops.tasks.load import load_program, program_file
from tests.analysisops.samples.reading import Made, make

MadeBy = Callable[[str], Made]
OPERATIONS: Any = load_program(program_file("operations"))
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


def test_counting_labels_and_tracks_gives_the_scale_factors(made: MadeBy) -> None:
    instance = made("jets")
    hidden = instance.hidden
    data, simulated = (
        {name: ak.to_numpy(values) for name, values in instance.columns(role).items()}
        for role in ("data", "calibration_mc")
    )
    assert set(data["jet_label"]) == {0}
    assert data["jet_pt"].min() > 499
    public = instance.manifest["public"]
    shares, accepted = [], []
    for forward in (True, False):
        here, there = (
            (np.abs(item["jet_eta"]) > public["forward_abs_eta_min"]) == forward for item in (data, simulated)
        )
        quarks = np.mean(simulated["jet_label"][there] != 21)
        shares.append([quarks, 1 - quarks])
        accepted.append(np.mean(data["jet_n_trk"][here] <= public["working_point_n_trk"]))
    efficiency = np.linalg.solve(shares, accepted)
    for place, name in enumerate(("quark", "gluon")):
        flavour = (simulated["jet_label"] == 21) == (name == "gluon")
        nominal = np.mean(simulated["jet_n_trk"][flavour] <= public["working_point_n_trk"])
        assert efficiency[place] / nominal == pytest.approx(hidden.truth[f"sf_{name}"], rel=(0.02, 0.1)[place])
        assert abs(hidden.truth[f"sf_{name}"] - 1) > (0.05, 0.1)[place]


@pytest.mark.parametrize("cause", range(len(CAUSES)))
def test_the_signature_tells_cause_server_and_onset(cause: int, tmp_path: Path) -> None:
    instance = make("operations", 11, tmp_path, {"cause": (float(cause), float(cause))})
    hidden = instance.hidden
    assert hidden.words["cause"] == CAUSES[cause]
    series = json.loads((instance.folder / "metrics.json").read_text())["series"]
    assert {item["name"] for item in series} == set(OPERATIONS.METRICS)
    results = []
    for entry in series:
        scale = OPERATIONS.SCALES.get(entry["name"])
        if scale is None:
            continue
        times, values = np.array(entry["times"]), np.array(entry["values"])
        after = times >= hidden.truth["onset"]
        change = (values[after].mean() - values[~after].mean()) / scale
        if change > 0.5:
            results.append((entry["labels"]["server"], entry["name"]))
    assert results == [(hidden.words["server"], OPERATIONS.SIGNATURES[CAUSES[cause]])]


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
