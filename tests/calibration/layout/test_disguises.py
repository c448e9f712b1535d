"""The same physics in files of many kinds gives the same scale factors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.calibration.config import Configuration
from beampipe.calibration.layout import preset_layout
from beampipe.calibration.run import run_calibration
from beampipe.calibration.tasks.runtime import FACTORS
from beampipe.errors import BeampipeError
from beampipe.simulation.ntuples.toy import toy_weight_names
from tests.calibration.campaign import INLINE, Toys, configuration_of, factors_sha256, with_sample
from tests.calibration.layout.disguises import Writer, disguise, merged, nanoaod, ntuple, physlite

NANOAOD: Mapping[str, Any] = {
    "branches": {
        "trigger": ["HLT_PFJet500"],
        "clean": "Jet_jetId",
        "n_trk": "Jet_nTracks",
        "width": "Jet_width",
        "c1": "Jet_c1",
        "n_trk_eff": "Jet_nTracksEff",
        "n_trk_fake": "Jet_nTracksFake",
    },
    "clean_from": 2.0,
    "weights": {
        "variations": {"pdf": {"branch": "LHEPdfWeight", "ratio": True, "sums": "LHEPdfSumw", "sums_ratio": True}}
    },
    "sums": {"manifest": "datasets.csv"},
}

PHYSLITE: Mapping[str, Any] = {
    "branches": {
        "run": "runNumber",
        "event": "eventNumber",
        "trigger": "passed",
        "pt": "Jets_pt",
        "eta": "Jets_eta",
        "clean": "Jets_clean",
        "n_trk": "Jets_NTracks",
        "width": "Jets_Width",
        "c1": "Jets_C1",
        "label": "Jets_Label",
        "n_trk_eff": "Jets_NTracksEff",
        "n_trk_fake": "Jets_NTracksFake",
    },
    "weights": {"nominal": "mcEventWeights"},
    "sums": {"source": "manifest", "manifest": "datasets.csv"},
}

NTUPLE: Mapping[str, Any] = {
    "tree": "t",
    "energy_unit": "0.5",
    "branches": {
        "run": "runNumber",
        "event": "eventNumber",
        "trigger": "pass",
        **{name: [f"jet1_{name}", f"jet2_{name}"] for name in ("pt", "eta", "clean", "n_trk", "width", "c1", "label")},
        **{name: [f"jet1_{name}", f"jet2_{name}"] for name in ("n_trk_eff", "n_trk_fake")},
    },
    "weights": {"nominal": "w"},
    "sums": {"manifest": "datasets.csv"},
}


def disguised(toys: Toys, folder: Path, write: Writer, preset: str, lines: Mapping[str, Any]) -> Configuration:
    """The campaign on files by `write`."""
    disguise(toys, folder, write)
    result = configuration_of(toys, folder / "output")
    for name in result.samples:
        result = with_sample(result, name, files=tuple(sorted((folder / name).glob("*.root"))))
    weights = {**lines["weights"], "names": list(toy_weight_names(8))}
    return replace(result, layout=preset_layout(preset, {**lines, "weights": weights}, folder))


def numbers(configuration: Configuration) -> Any:
    return json.loads((configuration.output / FACTORS).read_text())


def close(got: Any, expected: Any, where: str = "") -> None:
    """Equal but for numbers, which may differ by rounding."""
    assert type(got) is type(expected), where
    if isinstance(expected, dict):
        assert got.keys() == expected.keys(), where
        for key in expected:
            close(got[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(got) == len(expected), where
        for k, each in enumerate(expected):
            close(got[k], each, f"{where}[{k}]")
    elif isinstance(expected, float):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6, err_msg=where)
    else:
        assert got == expected, where


def as_rntuple(path: Path, events: Any, book: Mapping[str, Any]) -> None:
    physlite(path, events, book, unit=1024.0, rntuple=True)


@pytest.mark.parametrize(
    ("write", "preset", "lines", "same_bytes"),
    [
        pytest.param(ntuple, "ntuple", NTUPLE, True, id="flat ntuples in half a GeV"),
        pytest.param(
            *(as_rntuple, "physlite", {**PHYSLITE, "tree": "EventData", "energy_unit": repr(1 / 1024)}, True),
            id="RNTuples",
        ),
        pytest.param(physlite, "physlite", PHYSLITE, False, id="MeV"),
        pytest.param(nanoaod, "nanoaod", NANOAOD, False, id="signed labels and ratios of weights"),
    ],
)
def test_other_files_give_the_same_numbers(
    toys: Toys,
    base: Configuration,
    tmp_path: Path,
    write: Writer,
    preset: str,
    lines: Mapping[str, Any],
    same_bytes: bool,
) -> None:
    result = disguised(toys, tmp_path, write, preset, lines)
    run_calibration(result, INLINE)
    close(numbers(result), numbers(base))
    assert not same_bytes or factors_sha256(result) == factors_sha256(base)


def test_merged_files_give_the_same_bytes(toys: Toys, base: Configuration, tmp_path: Path) -> None:
    files = toys.files("nominal")
    in_slice_0 = [path for path in files if "slice0" in path.name]
    assert len(in_slice_0) == 2
    one = merged(in_slice_0, tmp_path / "merged.root")
    rest = tuple(path for path in files if path not in in_slice_0)
    data = merged(toys.files("data"), tmp_path / "data.root")
    result = configuration_of(toys, tmp_path / "output")
    result = with_sample(result, "nominal", files=(one, *rest))
    run_calibration(with_sample(result, "data", files=(data,)), INLINE)
    assert factors_sha256(result) == factors_sha256(base)


def test_merged_files_of_two_slices_are_refused(toys: Toys, tmp_path: Path) -> None:
    one = merged(toys.files("nominal"), tmp_path / "merged.root")
    result = with_sample(configuration_of(toys, tmp_path / "output"), "nominal", files=(one,))
    with pytest.raises(BeampipeError, match=r"got .* 0 and 1 and 2 in 'bookkeeping', expected one: files of different"):
        run_calibration(result, INLINE)
