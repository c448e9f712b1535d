"""What an analysis works with: the tools, the files of an assessment, and their columns, recognised by their names.

Names of branches are split into words; a word denotes a collection (leptons, photons, jets, hits) or a quantity
(transverse momentum, charge). Leptons, photons and jets have energies of tens of GeV, so values in the thousands are in
MeV.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from beampipe.analysisops.agents.agent import Tools
from beampipe.analysisops.contract import TaskRequest
from beampipe.errors import InputError

RECALLED_HIGGS: Final[Mapping[str, tuple[float, float]]] = {"mass": (125.20, 0.11), "signal_yield": (100.0, 20.0)}
"""Mass of the Higgs boson in the Review of Particle Physics (2024) [GeV], and a guess of the usual size of a yield."""

_MEV_FROM: Final = 2000.0
"""A median transverse momentum or energy of at least this value is in MeV."""

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
    """Names and units in data files.

    Attributes:
        tree: name of the tree.
        columns: standard name of a column, such as ``"lep_pt"`` -> its branch.
        energy: unit of energy in the files [GeV].
    """

    tree: str
    columns: Mapping[str, str]
    energy: float = 1.0


@dataclass(frozen=True)
class AnalysisResult:
    """The result of an analysis, with numbers as the tools returned them.

    Attributes:
        answers: value and uncertainty by name, each `beampipe.analysisops.references.Referenced`.
        words: word answers, by name.
        histograms: handles of histograms, by name.
        artifacts: handles of other things, by name.
        method: description of the analysis.
    """

    answers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    histograms: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    method: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Analysis:
    """The tools of one assessment and what is known of its files.

    Attributes:
        tools: the tools of the assessment.
        layout: names and units of the files; None if none holds a tree.
        files: role -> facts of each of its files, as `list_local_root_files_tool` lists them.
        public: public facts of the data, such as ``luminosity_fb``, and the requested ``histograms``.
    """

    tools: Tools
    layout: Layout | None
    files: Mapping[str, tuple[Mapping[str, Any], ...]]
    public: Mapping[str, Any] = field(default_factory=dict)

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """The result of a tool."""
        return self.tools.call(name, **arguments)


def open_files(request: TaskRequest, tools: Tools, layout: Layout | None = None) -> Analysis:
    """List the files of an assessment, and recognise the columns of the first ROOT file.

    Args:
        request: the task.
        tools: its tools.
        layout: names and units of the files if they are given; None to recognise them.
    """
    listed = tools.call("list_local_root_files_tool")
    files: dict[str, tuple[Mapping[str, Any], ...]] = {}
    for file in listed["files"]:
        role = str(file.get("role") or "data")
        files[role] = (*files.get(role, ()), file)
    trees = [file for role in sorted(files, key=lambda role: role != "data") for file in files[role]]
    root = next((file for file in trees if str(file["name"]).endswith(".root")), None)
    if root is not None and layout is None:
        layout = recognise(tools.call("inspect_root_schema_tool", file_path=root["name"]))
    public = {**request.data, **(listed.get("public") or {})}
    return Analysis(tools, layout, files, public)


def recognise(schema: Mapping[str, Any]) -> Layout:
    """Recognise the layout of a file.

    Args:
        schema: result of `inspect_root_schema_tool`.

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
        name = _standard_name(branch)
        if name is not None:
            columns.setdefault(name, branch)
    energies = [columns[name] for name in ("lep_pt", "photon_pt", "jet_pt", "met") if name in columns]
    medians = [branches[branch].get("median") for branch in energies]
    mev = any(isinstance(median, int | float) and abs(median) > _MEV_FROM for median in medians)
    return Layout(tree, columns, 1e-3 if mev else 1.0)


def _standard_name(branch: str) -> str | None:
    """The standard name of a branch; None if it is not recognised."""
    plain = re.sub(r"[^a-z0-9]", "", branch.lower())
    for name, words in _EVENT.items():
        if plain in words:
            return name
    parts = branch.split("_")
    for cut in range(1, len(parts)):
        collection, quantity = "_".join(parts[:cut]).lower(), "".join(parts[cut:]).lower()
        for name, words in _COLLECTIONS.items():
            if collection in words:
                return next((f"{name}_{field}" for field, words in _FIELDS.items() if quantity in words), None)
    return None
