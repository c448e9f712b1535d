"""Instances that are made once, and an analyst who uses no tools of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from numpy import ndarray

from beampipe.analysisops.artifacts.answering import answer_from_artifacts
from beampipe.analysisops.artifacts.form import read_artifacts
from beampipe.analysisops.assessing import Prepared, prepare_instance
from beampipe.analysisops.grading.grade import grade
from beampipe.analysisops.ledger import Entry, Ledger, read_ledger
from beampipe.analysisops.tasks.load import shipped_task

FITS: Mapping[str, Mapping[str, Any]] = {
    "zmumu": {"mass": {"model": "voigt_plus_exponential", "window": [75, 107], "unbinned": False}},
    "hmumu": {"mass": {"model": "gauss_plus_exponential", "window": [105, 160]}},
    "hyy": {"mass": {"model": "gauss_plus_exponential", "window": [105, 160]}},
}
"""Family -> what its fit is told."""


Instance = Callable[[str], Prepared]
WORDS = {"words": {"signal": "yes"}}


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Prepared]:
    """The instance of a family with seed 3."""
    folder = tmp_path_factory.mktemp("instances")
    return cache(lambda family: prepare_instance(shipped_task(family), 3, folder / family))


def selected(prepared: Prepared, role: str = "data") -> tuple[ndarray, ndarray]:
    """Numbers and masses [GeV] of the events that a plain analysis selects."""
    hidden = prepared.hidden
    muons = "lep_pt" in hidden.columns
    prefix, cut = ("lep", 20.0 if hidden.family == "hmumu" else 25.0) if muons else ("photon", 15.0)
    (name,) = hidden.files[role]
    with uproot.open(prepared.data / name) as file:
        arrays = file[hidden.tree].arrays()

    def column(field: str) -> ak.Array:
        return arrays[hidden.columns[f"{prefix}_{field}"]]

    scale = hidden.energy_unit
    good = (column("pt") * scale > cut) & (column("isTightID") == 1) & (column("ptcone20") < 0.1 * column("pt"))
    if muons:
        good = good & (column("type") == 13)
    pt, eta, phi = (column(field)[good] for field in ("pt", "eta", "phi"))
    enough = ak.num(pt) == 2 if muons else ak.num(pt) >= 2
    pt, eta, phi = pt[enough], eta[enough], phi[enough]
    # Of massless objects, which is another formula than that of the host.
    mass = scale * np.sqrt(2 * pt[:, 0] * pt[:, 1] * (np.cosh(eta[:, 0] - eta[:, 1]) - np.cos(phi[:, 0] - phi[:, 1])))
    if muons:
        keep = ak.sum(column("charge")[good][enough], axis=1) == 0
    else:
        keep = (pt[:, 0] * scale > 0.35 * mass) & (pt[:, 1] * scale > 0.25 * mass)
    event = arrays[hidden.columns["eventNumber"]][enough]
    return ak.to_numpy(event[keep]), ak.to_numpy(mass[keep])


def hand_in(folder: Path, lists: Mapping[str, tuple[ndarray, ndarray]], fits: Mapping[str, Any], **more: Any) -> Path:
    """A folder with lists as CSV and what names them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (event, mass) in lists.items():
        lines = [f"{number:.0f},{value:.6f}" for number, value in zip(event, mass, strict=True)]
        (folder / f"{name}.csv").write_text("\n".join(["event,mass", *lines]) + "\n")
    told = {name: {"file": f"{name}.csv", **fit} for name, fit in fits.items()}
    table = {"status": "ok", "lists": told, **more}
    (folder / "artifacts.json").write_text(json.dumps(table))
    return folder


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
