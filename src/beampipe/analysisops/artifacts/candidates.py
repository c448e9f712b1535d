"""All masses that can be formed from the objects of an event, computed from the host's data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.dataset import HiddenTruth
from beampipe.analysisops.tools.data_folder import DataFolder
from beampipe.arrays import Float64
from beampipe.errors import FileError

_MOST: Final = 100
"""So many systems of an event are looked at: those of its first objects."""


@dataclass(frozen=True)
class Candidates:
    """Events with the masses of their systems of objects, such as pairs of muons.

    Attributes:
        event: number of each event, ascending.
        masses: masses of all systems of its objects [GeV]; padded with NaN.
        sources: file -> its SHA-256 in the manifest.
    """

    event: Float64[ndarray, " n"]
    masses: Float64[ndarray, "n systems"]
    sources: dict[str, str]

    def nearest(self, event: Float64[ndarray, " m"], mass: Float64[ndarray, " m"]) -> Float64[ndarray, " m"]:
        """For each event the mass closest to the given one; NaN for an event that does not exist."""
        if not len(self.event) or not self.masses.shape[1]:
            return np.full(len(event), np.nan)
        place = np.minimum(np.searchsorted(self.event, event), len(self.event) - 1)
        found = self.masses[place]
        with np.errstate(invalid="ignore", over="ignore"):
            distance = np.abs(found - mass[:, None])
        distance[np.isnan(distance)] = np.inf
        best = np.take_along_axis(found, distance.argmin(1)[:, None], 1)[:, 0]
        return np.asarray(np.where(self.event[place] == event, best, np.nan), float)


def read_candidates(data: Path, hidden: HiddenTruth, role: str, collection: str, number: int = 2) -> Candidates:
    """Read the candidates in the files of a role.

    Args:
        data: folder of the instance's data.
        hidden: its hidden truth, with names and unit of the columns.
        role: role of the files.
        collection: standard prefix of the objects, such as ``"lep"``.
        number: number of objects in a system.

    Raises:
        FileError: there is no such file, or two events have the same number; an error of the host.
    """
    files = [file for file in DataFolder(data).files() if file.facts.get("role") == role]
    if not files:
        raise FileError(f"{data}: got no file of role {role}, expected one", path=data, name=role)
    parts = [_read(file.path, hidden, collection, number) for file in files]
    width = max(masses.shape[1] for _, masses in parts)
    event = np.concatenate([event for event, _ in parts])
    masses = np.concatenate(
        [np.pad(masses, ((0, 0), (0, width - masses.shape[1])), constant_values=np.nan) for _, masses in parts]
    )
    order = np.argsort(event, kind="stable")
    if np.any(np.diff(event[order]) == 0):
        raise FileError(f"{data}: got two events of one number among those of role {role}, expected one", path=data)
    sources = {file.name: str(file.facts.get("sha256", "")) for file in files}
    return Candidates(event[order], masses[order], sources)


def _read(path: Path, hidden: HiddenTruth, collection: str, number: int) -> tuple[ndarray, ndarray]:
    """Numbers of the events of a file, and the masses of their systems."""
    import awkward as ak
    import uproot

    wanted = {name: hidden.columns[f"{collection}_{name}"] for name in ("pt", "eta", "phi", "e")}
    event = hidden.columns["eventNumber"]
    with uproot.open(path) as file:
        arrays = file[hidden.tree].arrays([event, *wanted.values()])
    objects = ak.zip({name: ak.values_astype(arrays[branch], np.float64) for name, branch in wanted.items()})
    members = ak.unzip(ak.combinations(objects, number))
    width = min(int(ak.max(ak.num(members[0]), initial=0)), _MOST)
    masses = _mass(members) * hidden.energy_unit
    padded = ak.to_numpy(ak.fill_none(ak.pad_none(masses, width, clip=True), np.nan))
    return np.asarray(arrays[event], float), np.asarray(padded, float).reshape(len(arrays), width)


def _mass(members: Sequence[Any]) -> Any:
    """m^2 = E^2 - p^2 of the sum of objects; a small negative one, from rounding, counts as 0."""
    energy = sum(one.e for one in members)
    x = sum(one.pt * np.cos(one.phi) for one in members)
    y = sum(one.pt * np.sin(one.phi) for one in members)
    z = sum(one.pt * np.sinh(one.eta) for one in members)
    return np.sqrt(np.maximum(energy**2 - x**2 - y**2 - z**2, 0.0))
