"""Instances that are made once, and an analyst who uses no tools of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from numpy import ndarray

from beampipe.analysisops.artifacts.answering import answer_from_artifacts
from beampipe.analysisops.artifacts.form import read_artifacts
from beampipe.analysisops.grading.grade import grade
from beampipe.analysisops.instances import PreparedInstance
from beampipe.analysisops.ledger import Entry, Ledger, read_ledger

FITS: Mapping[str, Mapping[str, Any]] = {
    "zmumu": {"mass": {"model": "voigt_plus_exponential", "window": [75, 107], "unbinned": False}},
    "hmumu": {"mass": {"model": "gauss_plus_exponential", "window": [105, 160]}},
    "hyy": {"mass": {"model": "gauss_plus_exponential", "window": [105, 160]}},
    "hbb": {"mass": {"model": "gauss_plus_exponential", "window": [70, 230], "unbinned": False, "bins": 160}},
    "hzz4l": {"mass": {"model": "gauss_plus_linear", "window": [105, 160]}},
}
"""Family -> what its fit is told."""


Instance = Callable[[str], PreparedInstance]
WORDS = {"words": {"signal": "yes"}}


SELECTION: Mapping[str, tuple[str, float, int]] = {
    "zmumu": ("lep", 15.0, 2),
    "width": ("lep", 15.0, 2),
    "hmumu": ("lep", 20.0, 2),
    "hzz4l": ("lep", 7.0, 4),
    "hyy": ("photon", 15.0, 2),
    "hbb": ("jet", 0.0, 2),
}
"""Family -> collection, smallest transverse momentum [GeV], and objects in a system."""


def selected(prepared: PreparedInstance, role: str = "data") -> tuple[ndarray, ndarray]:
    """Numbers and masses [GeV] of the events that a plain analysis selects."""
    hidden = prepared.hidden
    prefix, lowest, number = SELECTION[hidden.family]
    (name,) = hidden.files[role]
    with uproot.open(prepared.data / name) as file:
        arrays = file[hidden.tree].arrays()
    start = f"{prefix}_"
    fields = {name.removeprefix(start): arrays[here] for name, here in hidden.columns.items() if name.startswith(start)}
    fields.pop("n", None)
    objects = ak.zip(fields)
    pt = objects.pt * hidden.energy_unit
    if prefix == "jet":
        objects = objects[objects.btag_quantile >= 4]
        arrays, objects = (one[arrays[hidden.columns["met"]] * hidden.energy_unit > 80] for one in (arrays, objects))
    else:
        objects = objects[(pt > lowest) & (objects.isTightID == 1) & (objects.ptcone20 < 0.1 * objects.pt)]
    if number == 2 and prefix == "lep":
        objects = objects[objects["type"] == 13]
    enough = ak.num(objects) >= number if prefix == "photon" else ak.num(objects) == number
    arrays, objects = arrays[enough], objects[enough][:, :number]
    energy, x, y, z = (
        ak.to_numpy(ak.sum(part, axis=1)).astype(float) * hidden.energy_unit
        for part in (
            objects.e,
            objects.pt * np.cos(objects.phi),
            objects.pt * np.sin(objects.phi),
            objects.pt * np.sinh(objects.eta),
        )
    )
    mass = np.sqrt(energy**2 - x**2 - y**2 - z**2)
    pt = objects.pt * hidden.energy_unit
    keep = np.ones(len(mass), bool)
    if prefix == "lep":
        keep &= ak.to_numpy(ak.sum(objects.charge, axis=1)) == 0
    if number == 4:
        keep &= ak.to_numpy((pt[:, 0] > 20) & (ak.sum(objects.charge * (objects["type"] == 13), axis=1) == 0))
    if prefix == "photon":
        keep &= ak.to_numpy((pt[:, 0] > 0.35 * mass) & (pt[:, 1] > 0.25 * mass))
    return ak.to_numpy(arrays[hidden.columns["eventNumber"]])[keep], mass[keep]


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


def answered(prepared: PreparedInstance, folder: Path) -> tuple[dict[str, Any], tuple[Entry, ...]]:
    """The submission that comes of a folder, and the ledger."""
    book = folder / "ledger"
    given = read_artifacts(folder, prepared.task.spec.family)
    submission = answer_from_artifacts(prepared.task, given, prepared.data, prepared.hidden, Ledger(book, b"key"))
    return submission, read_ledger(book, b"key")


def graded(prepared: PreparedInstance, folder: Path) -> dict[str, Any]:
    submission, entries = answered(prepared, folder)
    return grade(prepared.task, submission, prepared.reference, entries).to_json()


def score(prepared: PreparedInstance, submission: dict[str, Any], entries: Sequence[Entry]) -> float:
    found = grade(prepared.task, submission, prepared.reference, entries).to_json()
    return float(found["final"]["normalized_score"])
