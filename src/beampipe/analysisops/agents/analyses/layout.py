"""What an agent makes out of files that it has never seen: which branch is what, and in which unit energies are.

Names are taken apart into words; a word tells a collection (leptons, photons, jets, hits) or a quantity (transverse
momentum, charge). Energies are looked at: a lepton, a photon or a jet has tens of GeV, so thousands are MeV.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from beampipe.errors import InputError

__all__ = ["ENERGIES", "Layout", "recognise"]

ENERGIES: Final = frozenset({"pt", "e", "ptcone20", "met"})
"""Quantities in the unit of energy of a file."""

_MEV_FROM: Final = 2000.0
"""A median transverse momentum or energy from here on is one in MeV."""

_COLLECTIONS: Final[Mapping[str, frozenset[str]]] = {
    "lep": frozenset({"lep", "lepton", "leptons", "muon", "muons", "mu", "el mu", "el_mu"}),
    "photon": frozenset({"photon", "photons", "ph", "gamma", "gammas", "y"}),
    "jet": frozenset({"jet", "jets", "j"}),
    "hit": frozenset({"hit", "hits", "sp", "spacepoint", "spacepoints"}),
    "probe": frozenset({"probe", "probes"}),
    "tag": frozenset({"tag", "tags"}),
}

_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "pt": frozenset({"pt"}),
    "eta": frozenset({"eta"}),
    "phi": frozenset({"phi"}),
    "e": frozenset({"e", "energy", "en"}),
    "charge": frozenset({"charge", "q"}),
    "type": frozenset({"type", "pdgid", "id", "flavour", "flavor"}),
    "ptcone20": frozenset({"ptcone20", "iso20", "trackiso", "iso"}),
    "isTightID": frozenset({"istightid", "passestight", "tightid", "tight"}),
    "btag_quantile": frozenset({"btagquantile", "btag"}),
    "n_trk": frozenset({"ntrk", "ntracks"}),
    "label": frozenset({"truth", "truthflavour", "partonflavour", "truthlabel", "label"}),
    "r": frozenset({"r"}),
    "z": frozenset({"z"}),
}

_EVENT: Final[Mapping[str, frozenset[str]]] = {
    "met": frozenset({"met", "metet", "missinget", "metpt", "etmiss"}),
    "met_phi": frozenset({"metphi", "missingphi", "etmissphi"}),
    "mcWeight": frozenset({"mcweight", "weightmc", "generatorweight", "genweight", "wgen"}),
}


@dataclass(frozen=True)
class Layout:
    """How files are laid out.

    Attributes:
        tree: name of the tree.
        columns: standard name of a column, such as ``"lep_pt"`` -> its branch.
        energy: what one unit of energy in the files is [GeV].
    """

    tree: str
    columns: Mapping[str, str]
    energy: float = 1.0

    def branch(self, name: str) -> str:
        """The branch of a column.

        Raises:
            InputError: the files have none.
        """
        try:
            return self.columns[name]
        except KeyError:
            raise InputError(
                f"files: got no branch for {name}, expected one; recognised: {', '.join(sorted(self.columns))}"
            ) from None


def recognise(schema: Mapping[str, Any]) -> Layout:
    """The layout of a file.

    Args:
        schema: what `inspect_root_schema_tool` says of it.

    Raises:
        InputError: there is no tree.
    """
    trees = schema.get("trees") or {}
    if not trees:
        raise InputError("file: got no tree, expected one of events")
    tree = max(trees, key=lambda name: (len(trees[name]["branches"]), trees[name]["n_entries"]))
    branches = trees[tree]["branches"]
    columns: dict[str, str] = {}
    for branch in branches:
        name = _standard(branch)
        if name is not None:
            columns.setdefault(name, branch)
    looked = [columns[name] for name in ("lep_pt", "photon_pt", "jet_pt", "met") if name in columns]
    medians = [branches[branch].get("median") for branch in looked]
    mev = any(isinstance(median, int | float) and abs(median) > _MEV_FROM for median in medians)
    return Layout(tree, columns, 1e-3 if mev else 1.0)


def _standard(branch: str) -> str | None:
    """The standard name of a branch; None if no word of it is known."""
    plain = re.sub(r"[^a-z0-9]", "", branch.lower())
    for name, words in _EVENT.items():
        if plain in words:
            return name
    parts = branch.split("_")
    for cut in range(1, len(parts)):
        collection, quantity = "_".join(parts[:cut]).lower(), "".join(parts[cut:]).lower()
        for name, words in _COLLECTIONS.items():
            if collection in words:
                return next((f"{name}_{one}" for one, known in _FIELDS.items() if quantity in known), None)
    return None
