"""The table [layout] of a configuration: which branch of a ROOT file holds what, and in which units.

Everything that the calibration needs of a file has one name here, its *column*. A layout says for each column which
branch it is, and how numbers of the branch become numbers of the column.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Final

from beampipe.calibration.layout.expressions import check_expression
from beampipe.calibration.layout.functions import Correction, JetFunction
from beampipe.calibration.layout.smearing import SYSTEMATIC, Smearing
from beampipe.calibration.layout.weights import SumsOfWeights, Weights
from beampipe.errors import ConfigError, UnknownNameError

__all__ = ["Branches", "Constituents", "Labels", "Layout", "Score", "VariedLines"]


@dataclass(frozen=True)
class Branches:
    """Branch of each column; no branch is an empty text.

    A column of jets is one branch with a list per event (a counter and an array, a ``std::vector``, a fixed array), or
    several branches with one number per event, one for each jet: ``pt = ["jet1_pt", "jet2_pt"]``. In place of a branch
    there may be an expression of branches: ``clean = "Jet_jetId >= 2 and abs(Jet_eta) < 2.4"``, see
    `beampipe.calibration.layout.expressions`; a number per event then holds for all jets of the event.

    Attributes:
        run: number of the run; without a branch it is 1.
        event: number of the event.
        trigger: decisions of triggers; an event passes if one of them is not 0. Without a branch all events pass.
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
        none: codes that say that a jet has no parton; they count as unmatched, like any code that is not listed.
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
    """What n_trk, width and C1 are derived from where no branch has them.

    Of the constituents of a jet those count whose pT exceeds `min_pt` and, with `charged`, whose charge is not 0. Then
    n_trk is their number, width = sum(pT dR) / sum(pT) with dR the distance to the jet in eta and phi, and
    C1 = sum over pairs(pT_i pT_j dR_ij^beta) / sum(pT)^2.

    Attributes:
        pt: branch of their transverse momenta, in `Layout.energy_unit`; empty if nothing is to be derived.
        eta: branch of their pseudorapidities.
        phi: branch of their azimuths [rad].
        charge: branch of their charges; needed with `charged`.
        jet: branch with the number of the jet that a constituent, or a link, belongs to; any other number is no jet.
        link: branch with the number of the constituent that a link is to; empty if `jet` is a branch of constituents.
        min_pt: limit that their pT must exceed [GeV].
        charged: whether only charged ones count.
        beta: exponent of the distance in C1.
    """

    pt: str = ""
    eta: str = ""
    phi: str = ""
    charge: str = ""
    jet: str = ""
    link: str = ""
    min_pt: float = 0.5
    charged: bool = True
    beta: float = 0.2

    @property
    def branches(self) -> dict[str, str]:
        """Key in the configuration -> branch, of all branches that are needed."""
        keys = ("pt", "eta", "phi", *(("charge",) if self.charged else ()), "jet")
        found = {key: getattr(self, key) for key in keys}
        return found | ({"link": self.link} if self.link else {}) if self.pt else {}


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
class VariedLines:
    """What a variation of jets changes of a layout; what is not given stays.

    Attributes:
        name: name of the variation, which patterns of systematics match.
        tree: tree with the varied events.
        branches: branches with varied numbers.
        scores: branches with scores of varied jets.
        function: what changes columns of jets.
        correction: what changes their pT, before `function` does.
        smearing: which value of the scale factor of `Layout.smearing` is wanted: ``up``, ``down``.
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
    """Which branch holds what.

    Attributes:
        preset: name of the layout that all other keys are changes of.
        tree: name of the tree of events.
        energy_unit: unit of energies and momenta: ``GeV``, ``MeV``, ``TeV``, or a number of GeV (``"0.5"``).
        falling_pt: whether jets must be sorted by falling pT; without, the two leading ones are searched for.
        clean_from: smallest number in the branch `clean` that a clean jet has; true is 1.
        branches: branch of each column.
        labels: codes of partons.
        weights: weights of events.
        sums: where sums of weights, cross sections and numbers of files come from.
        constituents: what n_trk, width and C1 are derived from.
        scores: scores of taggers that the files have.
        variations: variations of jets that the files or functions have; each is selected from the files by itself.
        function: what changes columns of jets.
        correction: what changes their pT, before `function` does.
        smearing: what makes the resolution of their pT in simulation that of data, between the two.
    """

    preset: str = "beampipe"
    tree: str = "events"
    energy_unit: str = "GeV"
    falling_pt: bool = False
    clean_from: float = 1.0
    branches: Branches = field(default_factory=Branches)
    labels: Labels = field(default_factory=Labels)
    weights: Weights = field(default_factory=Weights)
    sums: SumsOfWeights = field(default_factory=SumsOfWeights)
    constituents: Constituents = field(default_factory=Constituents)
    scores: tuple[Score, ...] = ()
    variations: tuple[VariedLines, ...] = ()
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
        """What a pT of the file is multiplied by to be in GeV; 0 if that is not known."""
        try:
            return _UNITS.get(self.energy_unit) or float(self.energy_unit)
        except ValueError:
            return 0.0

    @property
    def changed_by(self) -> str:
        """What changes jets, for people; empty if nothing does."""
        functions = [] if self.function is None else [self.function.call]
        return ", ".join([*functions, *map(str, self.files_of_changes)])

    @property
    def files_of_changes(self) -> tuple[Path, ...]:
        """Files of the corrections that change jets."""
        return tuple(each.file for each in (self.correction, self.smearing) if each is not None)

    @property
    def unchanged(self) -> Layout:
        """The same without what changes jets after they are read, and without variations."""
        return replace(self, function=None, correction=None, smearing=None, variations=())

    @property
    def alone(self) -> Layout:
        """The same without the variations of jets, each of which is a layout of its own."""
        return replace(self, variations=()) if self.variations else self

    def varied(self, name: str) -> Layout:
        """The layout of a variation of jets; of weights, it has only the nominal one.

        Raises:
            UnknownNameError: there is no such variation.
        """
        lines = {each.name: each for each in self.variations}.get(name)
        if lines is None:
            raise UnknownNameError("variation of the layout", name, [each.name for each in self.variations])
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
        """The same for samples of which only the nominal weight counts: they need not have the others."""
        if self.own_books:
            return self.alone
        return replace(self, variations=(), weights=replace(self.weights, variations=(), names=()))

    @property
    def own_books(self) -> bool:
        """Whether files say themselves where they stand in their dataset."""
        return self.sums.source == "bookkeeping"
