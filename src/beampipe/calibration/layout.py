"""Layout of input files: the branch of each column, and presets of known formats.

Each quantity that the calibration reads has one name, its *column*. A layout maps each column to a branch, and defines
how the numbers of the branch are converted.

The format of our own files is that of `beampipe.jets.ntuple_format`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from beampipe.calibration.jet_changes import SYSTEMATIC, Correction, JetFunction, Smearing
from beampipe.errors import ConfigError, look_up
from beampipe.expressions import check_expression
from beampipe.jets.substructure import C1_BETA
from beampipe.settings import build, read_toml

PROTOCOLS: Final = ("http", "https", "root", "s3")
"""Protocols of remote files, as far as fsspec supports them."""

_REMOTE: Final = re.compile(rf"^({'|'.join(PROTOCOLS)}):/+(.*)", re.DOTALL)


def is_remote(path: Path | str) -> bool:
    """Whether a path is the URL of a remote file."""
    return _REMOTE.match(str(path)) is not None


def address(path: Path) -> str:
    """The URL of a remote file: restores the double slashes that `Path` collapses.

    >>> address(Path("https://host/a.root"))
    'https://host/a.root'
    >>> address(Path("root://host//store/a.root"))
    'root://host//store/a.root'
    """
    parts = _REMOTE.match(str(path))
    if parts is None:
        return str(path)
    protocol, rest = parts.groups()
    return f"{protocol}://{rest.replace('/', '//', 1) if protocol == 'root' else rest}"


Source = Literal["none", "bookkeeping", "runs", "cutbookkeepers", "histogram", "manifest", "events"]
"""Source of the sum of weights of a file."""


@dataclass(frozen=True)
class VariedWeight:
    """Weights of variations in one branch, which has a number or a list per event.

    Attributes:
        name: name of the weight; the members of a list are called NAME_0, NAME_1, ...
        branch: branch that holds it, or an expression of branches with one number per event.
        ratio: whether the branch holds ratios to the nominal weight.
        sums: name of the sums of these weights in the tree or histogram of `SumsOfWeights`. Without it the sum of the
            nominal weight is used.
        sums_ratio: whether `sums` are ratios to the sum of the nominal weight.
    """

    name: str
    branch: str
    ratio: bool = False
    sums: str = ""
    sums_ratio: bool = False


@dataclass(frozen=True)
class Weights:
    """Weights of events; data has none.

    Attributes:
        nominal: branch with a number or a list per event; the other members of a list are full weights of variations.
            Without a branch every event has weight 1.
        index: index of the nominal weight in a list.
        names: names of all weights, the nominal one first; generated if not given.
        variations: other branches with weights of variations.
        factors: branches or expressions that multiply all weights, e.g. pile-up weights; sums of weights are those
            without these factors.
    """

    nominal: str = ""
    index: int = 0
    names: tuple[str, ...] = ()
    variations: tuple[VariedWeight, ...] = ()
    factors: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for each in self.variations:
            check_expression(each.branch, f"layout.weights.variations.{each.name}.branch")
        for text in self.factors:
            check_expression(text, "layout.weights.factors")


@dataclass(frozen=True)
class SumsOfWeights:
    """Source of the sums of weights over all generated events.

    ``none``: not configured; an error for simulation.
    ``bookkeeping``: the tree of that name that this package writes, which also has cross sections and file numbers.
    ``runs``: a tree with sums; its entries are added.
    ``cutbookkeepers``: the ATLAS CutBookkeeper records "AllExecutedEvents", one for each weight.
    ``histogram``: bins of histograms.
    ``manifest``: the file `manifest`.
    ``events``: the events of the files; correct only if the files contain all generated events.

    Attributes:
        source: one of these.
        object: name of the tree or of the histogram.
        branch: branch of the tree with the sum of nominal weights; it may hold a list, one sum for each weight.
        bin: bin of the histogram, the first one being 1.
        manifest: JSON or CSV file with one row for each slice: `dataset`, `files`, `cross_section`,
            `filter_efficiency`, `n_files`, `sum_weights`, `luminosity`. With another source, `sum_weights` is not used.
    """

    source: Source = "none"
    object: str = ""
    branch: str = ""
    bin: int = 1
    manifest: Path | None = None


@dataclass(frozen=True)
class Branches:
    """Branch of each column; an empty text means no branch.

    A column of jets is one branch with a list per event (a counter and an array, a ``std::vector``, a fixed array), or
    several branches with one number per event, one for each jet: ``pt = ["jet1_pt", "jet2_pt"]``. An expression of
    branches may replace a branch: ``clean = "Jet_jetId >= 2 and abs(Jet_eta) < 2.4"``, see `beampipe.expressions`; a
    number per event in it applies to all jets of the event.

    Attributes:
        run: number of the run; without a branch it is 1.
        event: number of the event.
        trigger: trigger decisions; an event passes if any of them is not 0. Without a branch all events pass.
        pt: transverse momentum of each jet, in the unit `Layout.energy_unit`.
        eta: pseudorapidity of each jet.
        phi: azimuth of each jet [rad]; only for a width that is derived from constituents.
        clean: quality of each jet, see `Layout.clean_from`. Without a branch all jets are clean.
        n_trk: number of tracks of each jet; without a branch it is derived from constituents.
        width: width of each jet, as `n_trk`.
        c1: two-point energy correlation of each jet, as `n_trk`.
        label: code of the parton that a jet comes from; simulation only.
        n_trk_eff: number of tracks at a lower tracking efficiency; simulation only.
        n_trk_fake: number of tracks with more fake tracks; simulation only.
        region: region of each jet, for the rule ``branch`` of `Regions`: 0, 1, or -1 for neither.
    """

    run: tuple[str, ...] = ()
    event: tuple[str, ...] = ()
    trigger: tuple[str, ...] = ()
    pt: tuple[str, ...] = ()
    eta: tuple[str, ...] = ()
    phi: tuple[str, ...] = ()
    clean: tuple[str, ...] = ()
    n_trk: tuple[str, ...] = ()
    width: tuple[str, ...] = ()
    c1: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    n_trk_eff: tuple[str, ...] = ()
    n_trk_fake: tuple[str, ...] = ()
    region: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for each in fields(self):
            given = getattr(self, each.name)
            object.__setattr__(self, each.name, tuple(name for name in given if name))
            for name in getattr(self, each.name):
                check_expression(name, f"layout.branches.{each.name}")
        for name in ("run", "event"):
            if len(getattr(self, name)) > 1:
                raise ConfigError(f"layout.branches.{name}: got {getattr(self, name)}, expected one branch")


@dataclass(frozen=True)
class Labels:
    """Codes of partons.

    Attributes:
        light: codes of light quarks.
        charm: codes of charm quarks.
        bottom: codes of bottom quarks.
        gluon: codes of gluons.
        none: codes of jets without a parton; they count as unmatched, like any code that is not listed.
        signed: whether antiquarks have negative codes; a code is then looked up without its sign.
        max_unmatched: largest share of the leading jets that may be unmatched.
    """

    light: tuple[int, ...] = (1, 2, 3)
    charm: tuple[int, ...] = (4,)
    bottom: tuple[int, ...] = (5,)
    gluon: tuple[int, ...] = (21,)
    none: tuple[int, ...] = (0,)
    signed: bool = False
    max_unmatched: float = 0.05

    def __post_init__(self) -> None:
        every = [code for group in (*self.partons, self.none) for code in group]
        twice = sorted({code for code in every if every.count(code) > 1})
        if twice:
            raise ConfigError(f"layout.labels: got code {twice[0]} twice, expected each in one list")
        if self.signed and min(code for group in self.partons for code in (*group, 0)) < 0:
            raise ConfigError("layout.labels: got a negative code and signed = true, expected one of the two")
        if not 0 <= self.max_unmatched <= 1:
            raise ConfigError(f"layout.labels: got max_unmatched {self.max_unmatched}, expected 0 to 1")

    @property
    def partons(self) -> tuple[tuple[int, ...], ...]:
        """Codes of light, charm and bottom quarks and of gluons."""
        return self.light, self.charm, self.bottom, self.gluon


@dataclass(frozen=True)
class Constituents:
    """Jet constituents, for taggers of constituents, and for n_trk, width and C1 if they have no branch.

    Taggers of constituents use charged ones above 0.5 GeV and neutral ones above 1 GeV, whatever `min_pt` is.
    n_trk, width and C1 use those above `min_pt` that are, with `charged`, not neutral: n_trk is their number, width =
    sum(pT dR) / sum(pT) with dR the distance to the jet axis in eta and phi, and C1 = sum over pairs(pT_i pT_j
    dR_ij^beta) / sum(pT)^2.

    Attributes:
        pt: branch of their transverse momenta, in `Layout.energy_unit`; empty if there are none.
        eta: branch of their pseudorapidities.
        phi: branch of their azimuths [rad].
        charge: branch of their charges; needed with `charged` and by taggers of constituents.
        jet: branch with the index of the jet of each constituent or link; a number out of range means no jet.
        link: branch with the index of the constituent of each link; empty if `jet` is a branch of constituents.
        variation: branch that says which variations of the tracking have them: 0 for all, 1 for all but ``trk_eff``, 2
            only for ``trk_fake``; needed by taggers of constituents if the tracking is varied.
        min_pt: lower limit of their pT [GeV].
        charged: whether only charged ones are used.
        beta: exponent of the distance in C1.
    """

    pt: str = ""
    eta: str = ""
    phi: str = ""
    charge: str = ""
    jet: str = ""
    link: str = ""
    variation: str = ""
    min_pt: float = 0.5
    charged: bool = True
    beta: float = C1_BETA

    @property
    def branches(self) -> dict[str, str]:
        """Key in the configuration -> branch, for all required branches."""
        keys = ("pt", "eta", "phi", *(("charge",) if self.charged or self.charge else ()), "jet")
        branches = {key: getattr(self, key) for key in keys}
        branches |= {key: getattr(self, key) for key in ("link", "variation") if getattr(self, key)}
        return branches if self.pt else {}


@dataclass(frozen=True)
class Score:
    """Scores of a tagger that the files have.

    Attributes:
        name: name of the tagger.
        branch: branch or expression with a number for each jet, low for quark-like jets.
    """

    name: str
    branch: str

    def __post_init__(self) -> None:
        check_expression(self.branch, f"layout.scores.{self.name}")


@dataclass(frozen=True)
class LayoutVariation:
    """Changes of a layout by a variation of jets; settings that are not given stay nominal.

    Attributes:
        name: name of the variation, which patterns of systematics match.
        tree: tree with the varied events.
        branches: branches with varied numbers.
        scores: branches with scores of varied jets.
        function: function that changes columns of jets.
        correction: correction of their pT, applied before `function`.
        smearing: which value of the scale factor of `Layout.smearing` to use: ``up``, ``down``.
    """

    name: str
    tree: str = ""
    branches: Branches = field(default_factory=Branches)
    scores: tuple[Score, ...] = ()
    function: JetFunction | None = None
    correction: Correction | None = None
    smearing: str = ""

    def __post_init__(self) -> None:
        changed = (self.function, self.correction, self.smearing)
        if not any((self.tree, *vars(self.branches).values(), self.scores, *changed)):
            raise ConfigError(
                f"layout.variations.{self.name}: got nothing, expected tree, branches, scores, function, correction or"
                " smearing"
            )
        if ":" in self.name:
            raise ConfigError(f"layout.variations.{self.name}: got a colon in the name, expected none")


_UNITS: Final = {"GeV": 1.0, "MeV": 1e-3, "TeV": 1e3}


@dataclass(frozen=True)
class Layout:
    """Mapping of the branches of a file to columns.

    Attributes:
        preset: name of the layout that all other keys modify.
        tree: name of the tree of events.
        energy_unit: unit of energies and momenta: ``GeV``, ``MeV``, ``TeV``, or a number of GeV (``"0.5"``).
        clean_from: smallest value of `clean` for a clean jet; true is 1.
        branches: branch of each column.
        labels: codes of partons.
        weights: weights of events.
        sums: source of sums of weights, cross sections and numbers of files.
        constituents: jet constituents from which n_trk, width and C1 are derived.
        scores: scores of taggers that the files have.
        variations: variations of jets by the files or by functions; events are selected separately for each.
        function: function that changes columns of jets.
        correction: correction of their pT, applied before `function`.
        smearing: smearing of their pT in simulation, applied between `correction` and `function`.
    """

    preset: str = "beampipe"
    tree: str = "events"
    energy_unit: str = "GeV"
    clean_from: float = 1.0
    branches: Branches = field(default_factory=Branches)
    labels: Labels = field(default_factory=Labels)
    weights: Weights = field(default_factory=Weights)
    sums: SumsOfWeights = field(default_factory=SumsOfWeights)
    constituents: Constituents = field(default_factory=Constituents)
    scores: tuple[Score, ...] = ()
    variations: tuple[LayoutVariation, ...] = ()
    function: JetFunction | None = None
    correction: Correction | None = None
    smearing: Smearing | None = None

    def __post_init__(self) -> None:
        if not self.unit > 0:
            raise ConfigError(
                f"layout: got energy_unit {self.energy_unit!r}, expected GeV, MeV, TeV or a number of GeV"
            )
        for name in ("event", "pt", "eta"):
            if not getattr(self.branches, name):
                raise ConfigError(f"layout: got no branches.{name}, expected the name of a branch")
        sums = self.sums
        if sums.source == "manifest" and sums.manifest is None:
            raise ConfigError("layout: got no sums.manifest, expected the path of a JSON or CSV file")
        if sums.source == "bookkeeping" and sums.manifest is not None:
            raise ConfigError("layout: got sums.manifest beside sums.source = 'bookkeeping', expected one of the two")
        if sums.source in ("runs", "cutbookkeepers", "histogram") and not sums.object:
            raise ConfigError(f"layout: got no sums.object, expected the name of the {sums.source} in the files")
        for each in self.variations:
            if each.smearing and (self.smearing is None or SYSTEMATIC not in self.smearing.scale_factor_inputs):
                raise ConfigError(
                    f"layout.variations.{each.name}: got smearing {each.smearing!r}, expected a table layout.smearing"
                    f" with {SYSTEMATIC!r} among its scale_factor_inputs"
                )

    @property
    def unit(self) -> float:
        """Factor that converts a pT of the file to GeV; 0 if the unit is unknown."""
        try:
            return _UNITS.get(self.energy_unit) or float(self.energy_unit)
        except ValueError:
            return 0.0

    @property
    def changed_by(self) -> str:
        """The changes of jets as a text; empty if there are none."""
        functions = [] if self.function is None else [self.function.call]
        return ", ".join([*functions, *map(str, self.files_of_changes)])

    @property
    def files_of_changes(self) -> tuple[Path, ...]:
        """Files of the corrections that change jets."""
        return tuple(each.file for each in (self.correction, self.smearing) if each is not None)

    @property
    def unchanged(self) -> Layout:
        """The layout without function, correction, smearing and variations."""
        return replace(self, function=None, correction=None, smearing=None, variations=())

    @property
    def alone(self) -> Layout:
        """The layout without the variations of jets, each of which is a layout of its own."""
        return replace(self, variations=()) if self.variations else self

    def varied(self, name: str) -> Layout:
        """The layout of a variation of jets, with the nominal weight only.

        Raises:
            UnknownNameError: there is no such variation.
        """
        lines = look_up("variation of the layout", name, {each.name: each for each in self.variations})
        kept = {key: names for key, names in vars(lines.branches).items() if names}
        scores = {each.name: each for each in (*self.scores, *lines.scores)}
        return replace(
            self.without_variations(),
            tree=lines.tree or self.tree,
            branches=replace(self.branches, **kept),
            scores=tuple(scores.values()),
            variations=(),
            function=lines.function or self.function,
            correction=lines.correction or self.correction,
            smearing=replace(self.smearing, systematic=lines.smearing)
            if self.smearing is not None and lines.smearing
            else self.smearing,
        )

    def without_variations(self) -> Layout:
        """The layout for samples of which only the nominal weight is used; the other weights are not required."""
        if self.own_books:
            return self.alone
        return replace(self, variations=(), weights=replace(self.weights, variations=(), names=()))

    @property
    def own_books(self) -> bool:
        """Whether the files contain their own bookkeeping."""
        return self.sums.source == "bookkeeping"


_PRESETS_FILE: Final = Path(__file__).parent / "data" / "presets.toml"


def _merged(lines: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables updated recursively with changes."""
    out = dict(lines)
    for key, value in changes.items():
        inside = out.get(key)
        both = isinstance(inside, Mapping) and isinstance(value, Mapping)
        out[key] = _merged(inside, value) if both else value  # type: ignore[arg-type]
    return out


_TABLES: Final = read_toml(_PRESETS_FILE, "the shipped presets")

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {name: _merged(_TABLES.get(table.pop("preset", ""), {}), table) for name, table in _TABLES.items()}
)
"""Name of a preset -> its settings, as under [layout] in a configuration; one of another preset is merged over it."""


def over_preset(table: Any, where: str) -> Any:
    """The table [layout] merged over its preset; any other value is returned unchanged.

    Raises:
        UnknownNameError: there is no such preset.
        ConfigError: the name of the preset is no text.
    """
    if not isinstance(table, Mapping):
        return table
    name = table.get("preset", "beampipe")
    if not isinstance(name, str):
        raise ConfigError(f"{where}: layout: preset: got {name!r}, expected one of {', '.join(PRESETS)}")
    preset = look_up(f"preset ({where}: layout)", name, PRESETS)
    merged = _merged(preset, {**table, "preset": name})
    sums, source = table.get("sums"), preset.get("sums", {}).get("source", "none")
    if isinstance(sums, Mapping) and "manifest" in sums and "source" not in sums and source in ("none", "bookkeeping"):
        merged["sums"]["source"] = "manifest"
    return merged


def preset_layout(name: str, changes: Mapping[str, Any] | None = None, folder: Path = Path()) -> Layout:
    """The layout of a preset with some keys changed, given as in a configuration."""
    return build(Layout, over_preset({**(changes or {}), "preset": name}, "layout"), "layout", folder)


BEAMPIPE: Final = preset_layout("beampipe")
"""The layout of the files that this package writes."""


def likely_presets(trees: Mapping[str, Iterable[str]]) -> dict[str, float]:
    """Name of each preset -> share of its branches that a file has; best first, then the more detailed one.

    Args:
        trees: branches of each tree of the file, by the tree's name.
    """
    shares = {name: preset_share(name, trees.get(lines["tree"], ())) for name, lines in PRESETS.items()}
    return dict(sorted(shares.items(), key=lambda item: (-item[1], -len(_branches_of_preset(item[0])))))


def preset_share(name: str, branches: Iterable[str]) -> float:
    """Share of the branches of a preset that a tree has.

    Args:
        name: name of the preset.
        branches: branches of the tree.
    """
    wanted = _branches_of_preset(name)
    return len(wanted & set(branches)) / len(wanted)


def _branches_of_preset(name: str) -> set[str]:
    """Branches of a preset; those of constituents only if the numbers of tracks are derived from them."""
    branches = PRESETS[name]["branches"]
    constituents = {} if "n_trk" in branches else PRESETS[name].get("constituents", {})
    return {*filter(None, branches.values()), *constituents.values()}
