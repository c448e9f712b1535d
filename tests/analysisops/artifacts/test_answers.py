"""From lists to grades: honest ones reach the reference, and inventions nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.analysisops.artifacts.answering import answer_from_artifacts
from beampipe.analysisops.artifacts.form import read_artifacts
from beampipe.analysisops.assessing import Prepared
from beampipe.analysisops.grading.grade import grade
from beampipe.analysisops.ledger import Entry, Ledger, read_ledger

from .conftest import FITS, hand_in, selected

Lists = dict[str, tuple[ndarray, ndarray]]
Instance = Callable[[str], Prepared]
WORDS = {"words": {"signal": "yes"}}


def answered(prepared: Prepared, folder: Path) -> tuple[dict[str, Any], tuple[Entry, ...]]:
    """The submission that comes of a folder, and the ledger."""
    book = folder / "ledger"
    given = read_artifacts(folder, prepared.task.spec.family)
    submission = answer_from_artifacts(prepared.task, given, prepared.data, prepared.hidden, Ledger(book, b"key"))
    return submission, read_ledger(book, b"key")


def graded(prepared: Prepared, folder: Path) -> dict[str, Any]:
    submission, entries = answered(prepared, folder)
    return grade(prepared.task, submission, prepared.reference, entries).to_json()


def score(prepared: Prepared, submission: dict[str, Any], entries: Sequence[Entry]) -> float:
    found = grade(prepared.task, submission, prepared.reference, entries).to_json()
    return float(found["final"]["normalized_score"])


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


def invented(event: ndarray, mass: ndarray) -> Lists:
    """Numbers of events that can be guessed, since they follow one another, and a peak where everybody knows one."""
    rng = np.random.default_rng(1)
    number = len(mass)
    peak = np.where(rng.uniform(size=number) < 0.5, rng.normal(125.1, 2.0, number), rng.uniform(105, 160, number))
    return {"mass": (np.sort(event), peak)}


def shifted(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event, mass * 1.01)}


def shuffled(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event, np.random.default_rng(1).permutation(mass))}


def doubled(event: ndarray, mass: ndarray) -> Lists:
    """Twice the yield."""
    return {"mass": (np.concatenate([event, event]), np.concatenate([mass, mass]))}


def repeated(event: ndarray, mass: ndarray) -> Lists:
    """One event over and over."""
    return {"mass": (np.repeat(event[:1], 5000), np.repeat(mass[:1], 5000))}


def other_events(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event + 50_000_000, mass)}


def no_numbers(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event, np.where(np.arange(len(mass)) % 2, mass, np.nan))}


def infinite(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (np.full(len(event), np.inf), np.full(len(mass), np.inf))}


def huge(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event * 1e12, mass)}


def guesses(event: ndarray, mass: ndarray) -> Lists:
    """Each event with every mass there can be: one of them is right."""
    grid = np.linspace(105, 160, 400)
    return {"mass": (np.repeat(event[:100], len(grid)), np.tile(grid, 100))}


def a_few_of_them(event: ndarray, mass: ndarray) -> Lists:
    """Two in a hundred are made up: a peak of twenty events more."""
    made = np.where(np.arange(len(mass)) % 50 == 0, 125.1, mass)
    return {"mass": (event, made)}


def none(event: ndarray, mass: ndarray) -> Lists:
    return {"mass": (event[:0], mass[:0])}


ATTACKS = (
    invented, shifted, shuffled, doubled, repeated, other_events, no_numbers, infinite, huge, guesses, a_few_of_them,
    none,
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_inventions_earn_nothing(instance: Instance, tmp_path: Path, attack: Callable[..., Lists]) -> None:
    prepared = instance("hyy")
    folder = hand_in(tmp_path / "out", attack(*selected(prepared)), FITS["hyy"], **WORDS)
    submission, entries = answered(prepared, folder)
    assert submission["status"] == "error"
    assert "expected" in submission["comments"]
    assert not entries
    assert score(prepared, submission, entries) == 0.0


def test_events_that_were_chosen_by_their_mass_move_the_answer_away(instance: Instance, tmp_path: Path) -> None:
    """Real events, picked so that the peak stands where tables have one: true rows, and a wrong answer."""
    prepared = instance("hyy")
    event, mass = selected(prepared)
    near = np.abs(mass - 125.1) < 1.5
    some = near | (np.random.default_rng(1).uniform(size=len(mass)) < 0.2)
    folder = hand_in(tmp_path / "out", {"mass": (event[some], mass[some])}, FITS["hyy"], **WORDS)
    submission, entries = answered(prepared, folder)
    assert abs(submission["answers"]["mass"]["value"] - 125.1) < 1.0
    assert score(prepared, submission, entries) <= 0.1


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
