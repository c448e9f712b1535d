"""Building blocks of the reference analyses: recognise the columns of files, select objects, find and fit peaks.

Names of branches are split into words; a word denotes a collection (leptons, photons, jets, hits) or a quantity
(transverse momentum, charge). Leptons, photons and jets have energies of tens of GeV, so values in the thousands are in
MeV.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from beampipe.analysisops.agents.agent import Tools
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.samples.branch_names import ENERGIES
from beampipe.analysisops.samples.detector import ISOLATION
from beampipe.errors import InputError

LEPTONS: Final = ("pt", "eta", "phi", "e", "charge", "type", "ptcone20", "isTightID")
PHOTONS: Final = ("pt", "eta", "phi", "e", "ptcone20", "isTightID")
JETS: Final = ("pt", "eta", "phi", "e", "btag_quantile")

STATISTICAL: Final = "statistical, from the curvature of the likelihood (HESSE); no systematic uncertainty"
"""Source of the uncertainty of a fit, for `AnalysisResult.method`."""

DIPHOTON_SELECTION: Final = (
    "the two leading tight, isolated photons, above 0.35 and 0.25 of their mass, so that the continuum stays smooth"
)
"""Selection of `diphotons`, for `AnalysisResult.method`."""

RECALLED_HIGGS: Final[Mapping[str, tuple[float, float]]] = {"mass": (125.20, 0.11), "signal_yield": (100.0, 20.0)}
"""Mass of the Higgs boson in the Review of Particle Physics (2024) [GeV], and a guess of the usual size of a yield."""

_MEV_FROM: Final = 2000.0
"""A median transverse momentum or energy of at least this value is in MeV."""

_EVIDENCE: Final = 5.0
"""Minimum ratio of the yield to its error for a signal."""

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
                    events = self.derive(events, column, f"{column} * {layout.energy!r}")
        return events

    def derive(self, events: str, name: str, expression: str) -> str:
        """Events with an added or replaced column."""
        return self.handle("derive_tool", events=events, name=name, expression=expression)

    def select(self, events: str, expression: str) -> str:
        """The events that fulfil a condition."""
        return self.handle("select_tool", events=events, expression=expression)

    def select_objects(self, events: str, collection: str, fields: Sequence[str], expression: str) -> str:
        """Events with those of their objects that fulfil a condition."""
        columns = [f"{collection}_{name}" for name in fields]
        return self.handle("select_objects_tool", events=events, columns=columns, expression=expression)

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

    def requested_histogram(self, name: str, events: str, column: str) -> dict[str, str]:
        """The handle of the histogram that the task requests under this name; empty if it requests none."""
        if name not in self.histograms:
            return {}
        return {name: str(self.fill(events, column, self.histograms[name])["handle"])}


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


def leptons(
    analysis: Analysis,
    role: str,
    *,
    pt: float,
    kind: int | None = None,
    more: Sequence[str] = (),
    file: int | None = None,
) -> str:
    """Events with their tight, isolated leptons.

    Args:
        analysis: files and tools.
        role: role of the files.
        pt: smallest transverse momentum [GeV].
        kind: 11 or 13; None for both.
        more: further columns to load, by standard name.
        file: index of one file of the role; None for all.
    """
    events = analysis.load(role, [f"lep_{name}" for name in LEPTONS] + [*more], file=file)
    return tight_leptons(analysis, events, pt, "" if kind is None else f" and lep_type == {kind}")


def tight_leptons(analysis: Analysis, events: str, pt: float, more_cuts: str = "") -> str:
    """Events with only their tight, isolated leptons above a pt [GeV]."""
    cuts = f"lep_pt > {pt:g} and lep_isTightID and lep_ptcone20 < {ISOLATION:g} * lep_pt"
    return analysis.select_objects(events, "lep", LEPTONS, cuts + more_cuts)


def four_vectors(collection: str) -> dict[str, str]:
    """Arguments of the mass tools for a collection."""
    return {name: f"{collection}_{name}" for name in ("pt", "eta", "phi", "e")}


def opposite_pairs(analysis: Analysis, events: str, pairing: str = "opposite_charge", **more: Any) -> str:
    """Events with a pair of leptons of opposite charge, and its ``mass`` [GeV]; `more` is passed to the tool."""
    return analysis.handle(
        "calc_dilepton_mass_tool",
        events=events,
        **four_vectors("lep"),
        charge="lep_charge",
        pairing=pairing,
        **more,
    )


def dimuons(analysis: Analysis, role: str, *, pt: float) -> str:
    """Events with exactly two good muons of opposite charge above a pt [GeV], and column ``mass`` [GeV]."""
    events = analysis.select(leptons(analysis, role, pt=pt, kind=13), "count(lep_pt) == 2")
    return opposite_pairs(analysis, events)


def diphotons(analysis: Analysis, cuts: Mapping[str, Any]) -> str:
    """Events whose two leading tight, isolated photons pass cuts relative to their ``mass`` [GeV].

    Args:
        analysis: files and tools.
        cuts: ``leading_over_mass`` and ``subleading_over_mass``, minimum ratio of each photon's pt to the mass.
    """
    events = analysis.load("data", [f"photon_{name}" for name in PHOTONS])
    good = f"photon_pt > 15 and photon_isTightID and photon_ptcone20 < {ISOLATION:g} * photon_pt"
    events = analysis.select_objects(events, "photon", PHOTONS, good)
    pairs = analysis.handle("calc_dilepton_mass_tool", events=events, **four_vectors("photon"), pairing="leading")
    first, second = cuts["leading_over_mass"], cuts["subleading_over_mass"]
    return analysis.select(pairs, f"photon_pt[0] > {first:g} * mass and photon_pt[1] > {second:g} * mass")


def fullest_bin(analysis: Analysis, events: str, column: str, binning: Binning) -> float:
    """Centre of the bin with the largest content."""
    filled = analysis.fill(events, column, binning)
    values, edges = filled["values"], filled["edges"]
    fullest = max(range(len(values)), key=values.__getitem__)
    return float(edges[fullest] + edges[fullest + 1]) / 2


def window_around(centre: float, half: float) -> tuple[float, float]:
    """A window centred on a value."""
    return round(centre - half, 3), round(centre + half, 3)


def fit_peak(
    analysis: Analysis, events: str, column: str, window: Sequence[float], model: str, **more: Any
) -> dict[str, Any]:
    """Fit a peak; `more` is passed to the tool."""
    return analysis.call("fit_peak_tool", events=events, column=column, window=list(window), model=model, **more)


def tag_and_probe(
    analysis: Analysis, events: str, window: Sequence[float], model: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Peaks of pairs in which both muons pass the identification, and in which one does, of one shape."""
    both = analysis.select(events, "count(lep_isTightID) == 2")
    single = analysis.select(events, "count(lep_isTightID) == 1")
    passing = fit_peak(analysis, both, "mass", window, model, bins=80)
    shape = {name: passing[name] for name in ("mu", "width", "sigma")}
    return passing, fit_peak(analysis, single, "mass", window, model, bins=80, fixed=shape)


def probe_efficiency(
    analysis: Analysis, both: float, one: float, both_error: float, one_error: float
) -> tuple[float, float]:
    """Efficiency with its uncertainty, from the numbers of pairs in which both muons pass and in which one does.

    Each passing muon is a tag for the other: a pair of two gives two passing probes.
    """
    efficiency = analysis.call(
        "calculate_tool",
        expression="2 * both / (2 * both + one)",
        values={"both": both, "one": one},
        errors={"both": both_error, "one": one_error},
    )
    return efficiency["value"], efficiency["uncertainty"]


def muon_probes(analysis: Analysis, events: str, pt: float) -> str:
    """Events with exactly two muons of opposite charge above a pt [GeV], identified or not, and ``mass`` [GeV]."""
    muons = analysis.select_objects(events, "lep", LEPTONS, f"lep_type == 13 and lep_pt > {pt:g}")
    return opposite_pairs(analysis, analysis.select(muons, "count(lep_pt) == 2"))


def is_signal(peak: Mapping[str, Any]) -> bool:
    """Whether a fitted peak is more than a fluctuation."""
    error = peak["signal_yield_error"]
    return bool(peak["valid"] and error and peak["signal_yield"] > _EVIDENCE * error)


def peak_result(
    analysis: Analysis,
    events: str,
    peak: Mapping[str, Any],
    *,
    selection: str,
    model: str,
    window: Sequence[float],
    words: Mapping[str, str] | None = None,
) -> AnalysisResult:
    """Mass and yield of a fitted peak, with the mass histogram and a description of the method."""
    low, high = window
    return AnalysisResult(
        {
            "mass": (peak["mu"], peak["mu_error"]),
            "signal_yield": (peak["signal_yield"], peak["signal_yield_error"]),
        },
        words or {},
        analysis.requested_histogram("mass", events, "mass"),
        method={
            "selection": selection,
            "model": model,
            "window": f"{low:g} to {high:g} GeV, whose sidebands fix the background",
            "uncertainty": STATISTICAL,
        },
    )


def stated(facts: Mapping[str, Any], name: str) -> float:
    """A number among the public facts of a file or of all data.

    Raises:
        InputError: there is none.
    """
    value = facts.get(name)
    if not isinstance(value, int | float):
        raise InputError(f"data: got no {name}, expected a number among what is stated of the files")
    return value


def expected_events(analysis: Analysis, events: str, expression: str, file: Mapping[str, Any]) -> dict[str, Any]:
    """Number of events that a simulated sample predicts for data, as ``value`` with its statistical ``uncertainty``.

    Args:
        analysis: files and tools.
        events: selected events of the sample, with ``mcWeight``.
        expression: final selection, applied to `events`.
        file: public facts of the file.
    """
    counted = analysis.call("count_tool", events=events, expression=expression, weight="mcWeight")
    return analysis.call(
        "calculate_tool",
        expression="passed * cross_section * 1000 * luminosity / all",
        values={
            "passed": counted["sum_weights"],
            "cross_section": stated(file, "cross_section_pb"),
            "luminosity": stated(analysis.public, "luminosity_fb"),
            "all": stated(file, "sum_of_weights"),
        },
        errors={"passed": counted["error"]},
    )


def half_band(analysis: Analysis, limit: Mapping[str, Any]) -> float:
    """Half the width of the +-1 sigma band of expected limits."""
    band = analysis.call(
        "calculate_tool",
        expression="(high - low) / 2",
        values={"high": limit["expected_plus_1"], "low": limit["expected_minus_1"]},
    )
    return cast("float", band["value"])
