"""What an analysis works with: the tools, the files of an assessment, and their columns, recognised by their names.

Names of branches are split into words; a word denotes a collection (leptons, photons, jets, hits) or a quantity
(transverse momentum, charge). Leptons, photons and jets have energies of tens of GeV, so values in the thousands are in
MeV.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from beampipe.analysisops.agents.agent import Tools
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.samples.branch_names import ENERGIES
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

    def branch(self, name: str) -> str:
        """The branch of a column.

        Raises:
            InputError: the files have no such column.
        """
        try:
            return self.columns[name]
        except KeyError:
            raise InputError(
                f"files: got no branch for {name}, expected one; recognised: {', '.join(sorted(self.columns))}"
            ) from None


@dataclass(frozen=True)
class Binning:
    """Binning of a histogram that a task requests.

    Attributes:
        bins: number of bins.
        low: lower edge of the first.
        high: upper edge of the last.
    """

    bins: int
    low: float
    high: float


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
    """Files and tools of one assessment, with standard column names and energies in GeV.

    Attributes:
        tools: the tools of the assessment.
        layout: names and units of the files; None if none holds a tree.
        files: role -> facts of each of its files, as `list_local_root_files_tool` lists them.
        histograms: histograms that the task requests, by name.
        public: public facts of the data, such as ``luminosity_fb``.
    """

    tools: Tools
    layout: Layout | None
    files: Mapping[str, tuple[Mapping[str, Any], ...]]
    histograms: Mapping[str, Binning] = field(default_factory=dict)
    public: Mapping[str, Any] = field(default_factory=dict)

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """The result of a tool."""
        return self.tools.call(name, **arguments)

    def handle(self, name: str, /, **arguments: Any) -> str:
        """The handle in the result of a tool."""
        return str(self.call(name, **arguments)["handle"])

    def names(self, role: str) -> list[str]:
        """The names of the files of a role.

        Raises:
            InputError: there is none.
        """
        if role not in self.files:
            raise InputError(f"files: got none of role {role}, expected one; there are {', '.join(sorted(self.files))}")
        return [str(file["name"]) for file in self.files[role]]

    def load(self, role: str, columns: Sequence[str], *, file: int | None = None) -> str:
        """Events of the files of a role.

        Args:
            role: role of the files.
            columns: standard names, such as ``"lep_pt"``.
            file: index of the file among those of the role; None for all of them.
        """
        assert self.layout is not None, "no tree"
        layout, names = self.layout, self.names(role)
        events = self.handle(
            "load_kinematics_tool",
            file_path=names if file is None else names[file],
            tree_name=layout.tree,
            branches={column: layout.branch(column) for column in columns},
        )
        if layout.energy != 1.0:
            for column in columns:
                if column.rpartition("_")[2] in ENERGIES or column in ENERGIES:
                    expression = f"{column} * {layout.energy!r}"
                    events = self.handle("derive_tool", events=events, name=column, expression=expression)
        return events

    def requested_histogram(self, name: str, events: str, column: str) -> dict[str, str]:
        """The handle of the histogram that the task requests under this name; empty if it requests none."""
        if name not in self.histograms:
            return {}
        return {name: self.handle("histogram_tool", events=events, column=column, **asdict(self.histograms[name]))}


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
    histograms = {
        name: Binning(int(binning["bins"]), float(binning["low"]), float(binning["high"]))
        for name, binning in (request.data.get("histograms") or {}).items()
    }
    public = {**request.data, **(listed.get("public") or {})}
    return Analysis(tools, layout, files, histograms, public)


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
