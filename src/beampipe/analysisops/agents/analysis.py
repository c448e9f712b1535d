"""What the reference analyses share: recognise the columns of files, load and select objects, find and fit peaks.

Names of branches are split into words; a word stands for a collection (leptons, photons, jets, hits) or a quantity
(transverse momentum, charge). A lepton, a photon or a jet has tens of GeV, so energies in the thousands are MeV.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from beampipe.analysisops.agents.agent import Tools
from beampipe.analysisops.contract import TaskRequest
from beampipe.errors import InputError

# What an agent makes out of files that it has never seen: which branch is what, and in which unit energies are.


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


# The files of an assessment as an analysis sees them: by role, with columns by their standard names and in GeV.


@dataclass(frozen=True)
class Binning:
    """A histogram as a task asks for it.

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
    """What an analysis found; numbers are those that tools gave.

    Attributes:
        answers: value and uncertainty by name.
        words: answers that are words, by name.
        histograms: handles of histograms, by name.
        artifacts: handles of other things, by name.
        method: what was done, in words.
    """

    answers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    histograms: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    method: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AnalysisFiles:
    """Tools, and what is known of the files after a look at them.

    Attributes:
        tools: the tools of the assessment.
        layout: names and unit of the files; None if none holds a tree.
        files: role -> what is listed of each file of it.
        histograms: histograms that the task asks for, by name.
        public: what anybody may know of the data, such as ``luminosity_fb``.
    """

    tools: Tools
    layout: Layout | None
    files: Mapping[str, tuple[Mapping[str, Any], ...]]
    histograms: Mapping[str, Binning] = field(default_factory=dict)
    public: Mapping[str, Any] = field(default_factory=dict)

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """What a tool gives."""
        return self.tools.call(name, **arguments)

    def made(self, name: str, /, **arguments: Any) -> str:
        """The handle of what a tool makes."""
        return str(self.call(name, **arguments)["handle"])

    def names(self, role: str) -> list[str]:
        """The files of a role.

        Raises:
            InputError: there is none.
        """
        if role not in self.files:
            raise InputError(f"files: got none of role {role}, expected one; there are {', '.join(sorted(self.files))}")
        return [str(file["name"]) for file in self.files[role]]

    def load(self, role: str, columns: Sequence[str], *, file: int | None = None) -> str:
        """Events of the files of a role, with columns by their standard names; energies in GeV.

        Args:
            role: role of the files.
            columns: standard names, such as ``"lep_pt"``.
            file: place of the file among those of the role; None for all of them.
        """
        assert self.layout is not None, "no tree"
        layout, names = self.layout, self.names(role)
        events = self.made(
            "load_kinematics_tool",
            file_path=names if file is None else names[file],
            tree_name=layout.tree,
            branches={column: layout.branch(column) for column in columns},
        )
        if layout.energy != 1.0:
            for column in columns:
                if column.rpartition("_")[2] in ENERGIES or column in ENERGIES:
                    events = self.derive(events, column, f"{column} * {layout.energy!r}")
        return events

    def derive(self, events: str, name: str, expression: str) -> str:
        """Events with one more column, or another one in its place."""
        return self.made("derive_tool", events=events, name=name, expression=expression)

    def select(self, events: str, expression: str) -> str:
        """The events that fulfil a condition."""
        return self.made("select_tool", events=events, expression=expression)

    def thin(self, events: str, collection: str, fields: Sequence[str], expression: str) -> str:
        """Events whose objects fulfil a condition."""
        columns = [f"{collection}_{name}" for name in fields]
        return self.made("select_objects_tool", events=events, columns=columns, expression=expression)

    def fill(self, events: str, column: str, binning: Binning, weight: str | None = None) -> dict[str, Any]:
        """A histogram, with its handle and contents."""
        return self.call(
            "histogram_tool",
            events=events,
            column=column,
            bins=binning.bins,
            low=binning.low,
            high=binning.high,
            weight=weight,
        )

    def answer(self, name: str, events: str, column: str, weight: str | None = None) -> dict[str, str]:
        """The histogram that the task asks for under a name, as `Found.histograms`; empty if it asks for none."""
        if name not in self.histograms:
            return {}
        return {name: str(self.fill(events, column, self.histograms[name], weight)["handle"])}


def open_files(request: TaskRequest, tools: Tools, layout: Layout | None = None) -> AnalysisFiles:
    """Look at the files of an assessment.

    Args:
        request: the task.
        tools: its tools.
        layout: names and unit of the files, for whoever knows them; None to find out.
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
        name: Binning(int(one["bins"]), float(one["low"]), float(one["high"]))
        for name, one in (request.data.get("histograms") or {}).items()
    }
    public = {**request.data, **(listed.get("public") or {})}
    return AnalysisFiles(tools, layout, files, histograms, public)


# Objects that analyses select: tight, isolated leptons and photons, jets.


LEPTONS: Final = ("pt", "eta", "phi", "e", "charge", "type", "ptcone20", "isTightID")

PHOTONS: Final = ("pt", "eta", "phi", "e", "ptcone20", "isTightID")

JETS: Final = ("pt", "eta", "phi", "e", "btag_quantile")


def leptons(
    opened: AnalysisFiles,
    role: str,
    *,
    pt: float,
    kind: int | None = None,
    more: Sequence[str] = (),
    file: int | None = None,
) -> str:
    """Events with their tight, isolated leptons.

    Args:
        opened: the files.
        role: role of the files.
        pt: smallest transverse momentum [GeV].
        kind: 11 or 13; None for both.
        more: other columns to load, by standard name.
        file: place of one file of the role; None for all.
    """
    events = opened.load(role, [f"lep_{name}" for name in LEPTONS] + [*more], file=file)
    cuts = f"lep_pt > {pt:g} and lep_isTightID and lep_ptcone20 < 0.1 * lep_pt"
    if kind is not None:
        cuts += f" and lep_type == {kind}"
    return opened.thin(events, "lep", LEPTONS, cuts)


def photons(opened: AnalysisFiles, role: str, *, pt: float) -> str:
    """Events with their tight, isolated photons above a transverse momentum [GeV]."""
    events = opened.load(role, [f"photon_{name}" for name in PHOTONS])
    return opened.thin(
        events, "photon", PHOTONS, f"photon_pt > {pt:g} and photon_isTightID and photon_ptcone20 < 0.1 * photon_pt"
    )


def four_vectors(collection: str) -> dict[str, str]:
    """The columns of a collection that tools of masses take."""
    return {name: f"{collection}_{name}" for name in ("pt", "eta", "phi", "e")}


def opposite_pairs(opened: AnalysisFiles, events: str, pairing: str = "opposite_charge", **more: Any) -> str:
    """Events with a pair of leptons of opposite charge, and its ``mass`` [GeV]; what is in `more` goes to the tool."""
    return opened.made(
        "calc_dilepton_mass_tool",
        events=events,
        **four_vectors("lep"),
        charge="lep_charge",
        pairing=pairing,
        **more,
    )


# Where a peak is, before it is fitted.


def highest(opened: AnalysisFiles, events: str, column: str, binning: Binning) -> float:
    """The middle of the fullest bin."""
    filled = opened.fill(events, column, binning)
    values, edges = filled["values"], filled["edges"]
    place = max(range(len(values)), key=values.__getitem__)
    return float(edges[place] + edges[place + 1]) / 2


def around(centre: float, half: float) -> tuple[float, float]:
    """A window to either side of a value."""
    return round(centre - half, 3), round(centre + half, 3)


def fit(
    opened: AnalysisFiles, events: str, column: str, window: tuple[float, float], model: str, **more: Any
) -> dict[str, Any]:
    """A fit of a peak; what is in `more` goes to the tool."""
    return opened.call("fit_peak_tool", events=events, column=column, window=list(window), model=model, **more)
