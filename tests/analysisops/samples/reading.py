"""Instances read back by their standard names, as an analysis would, with energies in GeV."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from numpy import ndarray

from beampipe.analysisops.samples.dataset import ENERGIES, HiddenTruth, prepare
from beampipe.analysisops.tasks.load import load_program, program_file


@dataclass(frozen=True)
class Made:
    """An instance: what is hidden, and the folder with its data."""

    hidden: HiddenTruth
    folder: Path

    @property
    def manifest(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "manifest.json").read_text()))

    def tree(self, role: str = "data", place: int = 0) -> Any:
        return uproot.open(self.folder / self.hidden.files[role][place])[self.hidden.tree]

    def columns(self, role: str = "data", place: int = 0) -> dict[str, ak.Array]:
        """Every column by its standard name, energies in GeV."""
        arrays = self.tree(role, place).arrays()
        result = {}
        for name, here in self.hidden.columns.items():
            values = arrays[here]
            energy = name.split("_", 1)[-1] in ENERGIES and not name.endswith("phi")
            result[name] = ak.values_astype(values, np.float64) * self.hidden.energy_unit if energy else values
        return result


def make(family: str, seed: int, folder: Path, ranges: Mapping[str, tuple[float, float]] | None = None) -> Made:
    program = load_program(program_file(family))
    return Made(prepare(program.make, family, seed, folder, ranges=ranges), folder / "data")


def good(columns: dict[str, ak.Array], prefix: str, pt_min: float) -> dict[str, ak.Array]:
    """The columns of one collection, thinned to tight and isolated objects."""
    pt = columns[f"{prefix}_pt"]
    kept = columns[f"{prefix}_isTightID"] & (columns[f"{prefix}_ptcone20"] < 0.1 * pt) & (pt > pt_min)
    return thinned(columns, prefix, kept)


def thinned(columns: dict[str, ak.Array], prefix: str, kept: ak.Array) -> dict[str, ak.Array]:
    counter = f"{prefix}_n"
    return {
        name: values[kept] if name.startswith(f"{prefix}_") and name != counter else values
        for name, values in columns.items()
    }


def mass(columns: dict[str, ak.Array], prefix: str, objects: int = 2) -> ndarray:
    """The mass of the leading objects of events that have so many [GeV]."""
    rows = ak.num(columns[f"{prefix}_pt"]) >= objects
    pt, eta, phi, e = (
        ak.to_numpy(ak.values_astype(columns[f"{prefix}_{name}"][rows][:, :objects], np.float64))
        for name in ("pt", "eta", "phi", "e")
    )
    squared = e.sum(1) ** 2 - (pt * np.cos(phi)).sum(1) ** 2 - (pt * np.sin(phi)).sum(1) ** 2
    squared -= (pt * np.sinh(eta)).sum(1) ** 2
    result: ndarray = np.sqrt(squared)
    return result


def opposite_muons(columns: dict[str, ak.Array], pt_min: float = 20.0, *, isolated: bool = True) -> ndarray:
    """The mass of pairs of muons of opposite charge [GeV]."""
    columns = thinned(columns, "lep", (columns["lep_type"] == 13) & (columns["lep_pt"] > pt_min))
    if isolated:
        columns = good(columns, "lep", pt_min)
    rows = (ak.num(columns["lep_pt"]) == 2) & (ak.sum(columns["lep_charge"], axis=1) == 0)
    return mass({name: values[rows] for name, values in columns.items()}, "lep")
