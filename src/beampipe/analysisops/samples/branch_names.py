"""Naming conventions of columns and trees: they differ between experiments and releases, so they differ between
instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

ENERGIES: Final = ("pt", "e", "ptcone20", "met")
"""Standard names, without prefix, of what is in units of energy."""


@dataclass(frozen=True)
class Dialect:
    """A naming convention. Items that are not listed have their standard name.

    Attributes:
        name: name of the dialect.
        tree: name of the tree.
        collections: prefix of a collection, such as ``"lep"`` -> its prefix here.
        fields: name of a field, such as ``"pt"`` -> its name here.
        columns: name of a column that belongs to the event -> its name here.
        counter: text before (``"n"``) or after (``"_n"``) a prefix that names the number of objects.
    """

    name: str
    tree: str
    collections: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    counter: str = "_n"

    def collection(self, prefix: str) -> str:
        """The prefix of a collection."""
        return self.collections.get(prefix, prefix)

    def object_column(self, prefix: str, name: str) -> str:
        """The name of a column of objects."""
        return f"{self.collection(prefix)}_{self.fields.get(name, name)}"

    def counter_column(self, prefix: str) -> str:
        """The name of the column with the number of objects."""
        name = self.collection(prefix)
        return name + self.counter if self.counter.startswith("_") else self.counter + name

    def event_column(self, name: str) -> str:
        """The name of a column of the event."""
        return self.columns.get(name, name)


DIALECTS: Final = (
    Dialect("release_2025", "analysis"),
    Dialect("release_2020", "mini", fields={"e": "E"}, columns={"met": "met_et"}),
    Dialect(
        "long",
        "events",
        {"lep": "lepton", "photon": "photon", "jet": "jet", "hit": "hit"},
        {"e": "energy", "isTightID": "passesTight", "type": "pdgId"},
        {"met": "missing_et", "met_phi": "missing_phi", "mcWeight": "weight_mc", "eventNumber": "event"},
    ),
    Dialect(
        "plural",
        "ntuple",
        {"lep": "leptons", "photon": "photons", "jet": "jets", "hit": "hits"},
        {"pt": "pT", "e": "E", "type": "flavour", "ptcone20": "iso20", "btag_quantile": "btagQuantile"},
        {"met": "MET", "met_phi": "MET_phi", "mcWeight": "generatorWeight", "jet_n_trk": "jet_nTracks"},
    ),
    Dialect(
        "upper",
        "Events",
        {"lep": "Lepton", "photon": "Photon", "jet": "Jet", "hit": "Hit"},
        {"e": "energy", "isTightID": "tightId", "ptcone20": "trackIso", "type": "pdgId"},
        {
            "met": "MET_pt",
            "met_phi": "MET_phi",
            "mcWeight": "genWeight",
            "eventNumber": "event",
            "jet_pt": "Jet_pt",
            "jet_eta": "Jet_eta",
            "jet_n_trk": "Jet_nTrk",
            "jet_label": "Jet_partonFlavour",
        },
        "n",
    ),
    Dialect(
        "short",
        "nominal",
        {"lep": "el_mu", "photon": "ph", "jet": "j", "hit": "sp"},
        {"pt": "pT", "e": "en", "charge": "q", "isTightID": "tight", "type": "id"},
        {"met": "etmiss", "met_phi": "etmiss_phi", "mcWeight": "w_gen", "jet_pt": "j_pT", "jet_label": "j_truth"},
    ),
)
"""The dialects of the files."""
