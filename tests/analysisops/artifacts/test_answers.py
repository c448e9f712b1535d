"""From lists to grades: honest ones reach the reference; what cannot be fitted is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .conftest import FITS, WORDS, Instance, answered, graded, hand_in, selected


@pytest.mark.parametrize("family", FITS)
def test_an_honest_list_reaches_the_reference(instance: Instance, tmp_path: Path, family: str) -> None:
    prepared = instance(family)
    folder = hand_in(tmp_path / "out", {"mass": selected(prepared)}, FITS[family], **WORDS)
    result = graded(prepared, folder)
    assert result["status"] == "ok", result["issues"]
    assert result["final"]["normalized_score"] > 0.95
    assert {one["label"] for one in result["provenance"].values()} == {"traceable"}


def test_an_honest_width_reaches_the_reference(instance: Instance, tmp_path: Path) -> None:
    prepared = instance("width")
    lists = {"mass": selected(prepared), "narrow": selected(prepared, "calibration_mc")}
    tops = {name: float(np.median(mass)) for name, (_, mass) in lists.items()}
    fits = {
        "narrow": {"model": "gauss", "window": [tops["narrow"] - 15, tops["narrow"] + 15]},
        "mass": {
            "model": "voigt_plus_exponential",
            "window": [tops["narrow"] - 70, tops["narrow"] + 70],
            "unbinned": False,
            "bins": 140,
        },
    }
    result = graded(prepared, hand_in(tmp_path / "out", lists, fits))
    assert result["status"] == "ok", result["issues"]
    assert result["final"]["normalized_score"] > 0.9


def test_the_ledger_names_what_it_was_found_in(instance: Instance, tmp_path: Path) -> None:
    prepared = instance("hyy")
    folder = hand_in(tmp_path / "out", {"mass": selected(prepared)}, FITS["hyy"], **WORDS)
    submission, entries = answered(prepared, folder)
    (listed,) = (entries[0].result or {})["files"]
    assert listed["name"] == "artifact_mass.root"
    assert len(listed["contents_sha256"]) == 64
    assert set(listed["found_in"]) == set(prepared.hidden.files["data"])
    assert all(len(sha256) == 64 for sha256 in listed["found_in"].values())
    assert [entry.tool for entry in entries[1:]] == ["load_kinematics_tool", "histogram_tool", "fit_peak_tool"]
    assert all(entry.sources == ("artifact_mass.root",) for entry in entries[1:])
    assert submission["histograms"] == {"mass": "hist_1"}


def test_masses_that_miss_a_little_move_nothing(instance: Instance, tmp_path: Path) -> None:
    prepared = instance("hyy")
    event, mass = selected(prepared)
    exact, _ = answered(prepared, hand_in(tmp_path / "a", {"mass": (event, mass)}, FITS["hyy"], **WORDS))
    moved, _ = answered(prepared, hand_in(tmp_path / "b", {"mass": (event, mass * 1.0005)}, FITS["hyy"], **WORDS))
    assert moved["answers"] == exact["answers"]


@pytest.mark.parametrize(
    "fit",
    [
        {"model": "cat", "window": [105, 160]},
        {"model": "gauss", "window": [160, 105]},
        {"model": "gauss", "window": [1e6, 2e6]},
        {"model": "gauss", "window": [105, 160], "bins": 10**9, "unbinned": False},
        {"model": "gauss", "window": [105]},
    ],
)
def test_fits_that_cannot_be_made_are_errors(instance: Instance, tmp_path: Path, fit: dict[str, Any]) -> None:
    prepared = instance("hyy")
    folder = hand_in(tmp_path / "out", {"mass": selected(prepared)}, {"mass": fit}, **WORDS)
    submission, _ = answered(prepared, folder)
    assert submission["status"] == "error"
    assert submission["answers"] == {}
    assert submission["words"] == {"signal": "yes"}


def test_an_agent_that_gives_up_says_so(instance: Instance, tmp_path: Path) -> None:
    prepared = instance("hyy")
    folder = hand_in(tmp_path / "out", {}, {}, status="error", comments="no peak")
    submission, entries = answered(prepared, folder)
    assert (submission["status"], submission["comments"], entries) == ("error", "no peak", ())
