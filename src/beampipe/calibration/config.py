"""The configuration of a calibration: one TOML file, read into frozen dataclasses.

Unknown keys, invalid values and unknown names raise an error with a suggestion. Paths are relative to the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from glob import glob
from itertools import pairwise
from math import inf, isfinite
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from beampipe.calibration.layout import BEAMPIPE, Layout, is_remote, over_preset
from beampipe.calibration.taggers import Tagger
from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.expressions import check_expression, is_expression, names_in
from beampipe.notebook import Shown
from beampipe.settings import build, read_toml

REGIONS: Final = ("forward", "central")
"""Names of the regions; the index in this tuple is the number of a region, and -1 is neither."""


class JetBin(NamedTuple):
    """A bin of jets.

    Attributes:
        pt_low: lower edge of pT [GeV].
        pt_high: upper edge of pT [GeV].
        eta_low: lower edge of \\|eta\\|.
        eta_high: upper edge of \\|eta\\|; infinite if there are no bins of \\|eta\\|.
    """

    pt_low: float
    pt_high: float
    eta_low: float = 0.0
    eta_high: float = inf

    @property
    def pt(self) -> str:
        """The range of pT as text: ``500 to 600``."""
        return f"{self.pt_low:g} to {self.pt_high:g}"

    @property
    def eta(self) -> str:
        """The range of \\|eta\\| as text after another one: ``, |eta| 0 to 0.8``; empty if there is one bin of all."""
        return f", |eta| {self.eta_low:g} to {self.eta_high:g}" if isfinite(self.eta_high) else ""

    def __str__(self) -> str:
        """Both ranges: ``500-600 GeV, |eta| 0 to 0.8``."""
        return f"{self.pt_low:g}-{self.pt_high:g} GeV{self.eta}"


@cache
def jet_bins(pt_edges: tuple[float, ...], eta_edges: tuple[float, ...]) -> tuple[JetBin, ...]:
    """All bins in the order of arrays: those of pT in the first bin of \\|eta\\|, then in the second, and so on."""
    ranges = tuple(pairwise(eta_edges)) or ((0.0, inf),)
    return tuple(JetBin(*pt, *eta) for eta in ranges for pt in pairwise(pt_edges))


_RULES: Final = ("eta_rank", "eta_split", "branch")


@dataclass(frozen=True)
class Regions:
    """Rule that assigns jets to the forward and the central region.

    ``eta_rank``: of the pair, the jet with the higher \\|eta\\| is forward, the other one central (at equal \\|eta\\|
    the leading jet is forward); the pair is used if its \\|eta\\| differ by at least `min_eta_gap`.
    ``eta_split``: a jet with \\|eta\\| >= `split` is forward, any other central.

    ``branch``: the column ``layout.branches.region`` holds the region: 0 is forward, 1 central, -1 neither. Any pair of
    regions with different fractions of quarks can thus be used, e.g. jets of photon + jet events (0) and of dijets (1).

    Attributes:
        rule: name of the rule, ``eta_rank``, ``eta_split`` or ``branch``.
        min_eta_gap: smallest difference of the two \\|eta\\| for the rule ``eta_rank``.
        split: \\|eta\\| at which the forward region begins for the rule ``eta_split``.
    """

    rule: str = "eta_rank"
    min_eta_gap: float = 0.0
    split: float = 1.0

    def __post_init__(self) -> None:
        if self.rule not in _RULES:
            raise UnknownNameError("rule of the regions", self.rule, _RULES)
        if self.min_eta_gap < 0 or self.split <= 0:
            raise ConfigError(f"regions: got {self}, expected min_eta_gap >= 0 and split > 0")


@dataclass(frozen=True)
class DijetSelection:
    """Cuts on the two leading jets of an event. They are applied to each variation with its own pT and n_trk.

    Attributes:
        min_subleading_pt: limit that the pT of the softer jet must exceed [GeV].
        max_leading_pt: limit that the pT of the harder jet must stay below [GeV].
        max_pt_ratio: limit that harder pT / softer pT must stay below.
        max_abs_eta: limit that the \\|eta\\| of both jets must stay below.
        min_n_trk: number of tracks that both jets must at least have.
        max_weight: limit that the size of the nominal weight must stay below, in units of its median in the slice; 0
            for no limit. What a limit drops is reported as a share of the events.
    """

    min_subleading_pt: float = 500.0
    max_leading_pt: float = 2000.0
    max_pt_ratio: float = 1.5
    max_abs_eta: float = 2.1
    min_n_trk: int = 2
    max_weight: float = 0.0

    def __post_init__(self) -> None:
        for name, holds, expected in (
            ("min_subleading_pt", self.min_subleading_pt > 0, "more than 0"),
            ("max_abs_eta", self.max_abs_eta > 0, "more than 0"),
            ("max_weight", self.max_weight == 0 or self.max_weight > 1, "more than 1 (medians), or 0 for none"),
            ("max_leading_pt", self.min_subleading_pt < self.max_leading_pt, "more than min_subleading_pt"),
            ("max_pt_ratio", self.max_pt_ratio > 1, "more than 1"),
        ):
            if not holds:
                raise ConfigError(f"selection: got {name} {getattr(self, name)}, expected {expected}")


_FEWEST, _MOST = 5, 100
"""Limits of the number of groups."""


@dataclass(frozen=True)
class ShiftSettings:
    """Statistical errors and pruning of systematic shifts; see `beampipe.calibration.method.uncertainties`.

    Attributes:
        groups: number of jackknife groups of the events of every sample, 5 or more; leaving out one group at a time
            gives the statistical error of each shift. With 0 the errors are unknown. The memory of histograms grows by
            this factor.
        prune: largest relative decrease of the total uncertainty by leaving out shifts that are compatible with 0, each
            counted with its error added; 0 leaves out none.
    """

    groups: int = 0
    prune: float = 0.0

    def __post_init__(self) -> None:
        if self.groups != 0 and not _FEWEST <= self.groups <= _MOST:
            raise ConfigError(f"shifts: got {self.groups} groups, expected 0 (none) or {_FEWEST} to {_MOST}")
        if not 0 <= self.prune <= 0.1:
            raise ConfigError(f"shifts: got prune {self.prune}, expected 0 to 0.1, a share of the total uncertainty")
        if self.prune and not self.groups:
            raise ConfigError("shifts: got prune, but no groups: errors of shifts are not known; give groups = 20")


Rule = Literal["envelope", "quadrature", "difference", "up_down"]
"""Rule that combines the variations of a source: see `beampipe.calibration.method.uncertainties`."""

_METHODS: Final = ("gluon_reweight", "nonclosure")


@dataclass(frozen=True)
class Systematic:
    """One source of uncertainty; exactly one of `weights`, `kinematics`, `samples`, `extractions`, `method` is set.

    Attributes:
        name: name of the source.
        rule: how its variations are combined into one uncertainty.
        weights: patterns (``pdf_*``) for names of weights of the nominal sample.
        kinematics: patterns for variations of jets: ``jes_*``, ``jer_*``, ``trk_*``.
        samples: names of one other sample (against nominal) or of two (against each other).
        extractions: names of other extractions, applied to data and nominal simulation.
        method: variation of the method itself: ``gluon_reweight`` or ``nonclosure``.
        experimental: whether the source comes from the detector; it is then drawn as a bar, not as a band.
        smooth: whether each shift is replaced by a smooth function of jet pT that is compatible with it.
        only_data: whether the efficiency in simulation stays nominal, for scale factors that only correct nominal
            simulation: the shift is then that of the efficiency in data, as it is measured with the variation. Not for
            ``nonclosure``, which does not use data.
    """

    name: str
    rule: Rule = "difference"
    weights: tuple[str, ...] = ()
    kinematics: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    extractions: tuple[str, ...] = ()
    method: str = ""
    experimental: bool = False
    smooth: bool = False
    only_data: bool = False

    def __post_init__(self) -> None:
        given = [self.weights, self.kinematics, self.samples, self.extractions, self.method]
        if sum(map(bool, given)) != 1:
            raise ConfigError(
                f"systematic {self.name}: got {sum(map(bool, given))} of weights, kinematics, samples, extractions,"
                " method; expected one of them"
            )
        if len(self.samples) > 2:
            raise ConfigError(f"systematic {self.name}: got {len(self.samples)} samples, expected one or two")
        if self.method not in ("", *_METHODS):
            raise UnknownNameError(f"method of systematic {self.name}", self.method, _METHODS)
        if self.only_data and self.method == "nonclosure":
            raise ConfigError(f"systematic {self.name}: got only_data with nonclosure, which does not use data")


@dataclass(frozen=True)
class Style:
    """Labels of the figures of the report; no number depends on them.

    Attributes:
        experiment: name of the experiment, e.g. ``ATLAS``; empty for none.
        label: text after it, e.g. ``Preliminary``.
        energy: centre-of-mass energy [TeV]; 0 for none.
        luminosity: integrated luminosity of data [1/fb]; 0 for none.
        figures: which figures are drawn: ``main``, or ``all`` with every working point, the shapes of taggers, their
            re-weighting and the fractions of quarks.
    """

    experiment: str = ""
    label: str = ""
    energy: float = 0.0
    luminosity: float = 0.0
    figures: Literal["main", "all"] = "main"

    def __post_init__(self) -> None:
        if self.energy < 0 or self.luminosity < 0:
            raise ConfigError(f"style: got {self}, expected an energy and a luminosity of 0 or more")


Kind = Literal["simulation", "data", "pseudo-data"]
"""Kind of a sample. Pseudo-data is simulation that is used as data; its labels only give the true scale factors."""

DATA_KINDS: Final = ("data", "pseudo-data")
"""Kinds of samples that may be used as data."""


@dataclass(frozen=True)
class InputSample:
    """Files of one dataset.

    Attributes:
        name: name of the sample in this configuration.
        files: ROOT files, sorted, without repetition.
        kind: simulation, data or pseudo-data.
        luminosity: integrated luminosity that simulation is scaled to [1/pb].
        weight_bits: number of bits after the point that weights are rounded to, in units of about the median of their
            slice, so that their sums are exact.
        cross_section: cross section of a simulated sample of one slice [pb], if no file and no manifest has it.
        filter_efficiency: generator filter efficiency, if no file and no manifest has it.
    """

    name: str
    files: tuple[Path, ...]
    kind: Kind = "simulation"
    luminosity: float = 1.0
    weight_bits: int = 36
    cross_section: float = 0.0
    filter_efficiency: float = 1.0

    def __post_init__(self) -> None:
        if self.cross_section < 0 or not 0 < self.filter_efficiency <= 1:
            raise ConfigError(
                f"sample {self.name}: got cross_section {self.cross_section}, filter_efficiency"
                f" {self.filter_efficiency}, expected 0 or more, and more than 0 up to 1"
            )
        if not 1 <= self.weight_bits <= 50:
            raise ConfigError(f"sample {self.name}: got weight_bits {self.weight_bits}, expected 1 to 50")
        if self.luminosity <= 0:
            raise ConfigError(f"sample {self.name}: got luminosity {self.luminosity}, expected more than 0")


@dataclass(frozen=True)
class Energy:
    """Nuisance parameters of the jet energy, each of which is varied up and down.

    Attributes:
        scale: number of parameters of the jet energy scale.
        resolution: number of parameters of the jet energy resolution.
    """

    scale: int = 45
    resolution: int = 8

    def __post_init__(self) -> None:
        if not (0 <= self.scale <= 200 and 0 <= self.resolution <= 50):
            raise ConfigError(f"energy: got {self}, expected 0 to 200 parameters of the scale, 0 to 50 of resolution")


@dataclass(frozen=True)
class Bootstrap:
    """Poisson bootstrap over events for the statistical uncertainty.

    Attributes:
        replicas: number of replicas; 0 leaves the statistical uncertainty unknown.
        seed: seed of the Poisson random numbers.
    """

    replicas: int = 200
    seed: int = 1

    def __post_init__(self) -> None:
        if self.replicas < 0 or not 0 <= self.seed < 2**32:
            raise ConfigError(f"bootstrap: got {self}, expected replicas >= 0 and a seed from 0 to {2**32 - 1}")


@dataclass(frozen=True, repr=False)
class Configuration(Shown):
    """All settings that a result depends on, and the output folder.

    Attributes:
        output: folder of the store and of the results.
        samples: every sample by its name.
        nominal: name of the nominal simulation; fractions, cuts and re-weighting come from it.
        data: name of the sample that is used as data.
        pt_edges: edges of the bins of jet pT [GeV].
        eta_edges: edges of the bins of jet \\|eta\\|; none for a single bin of all jets.
        working_points: quark efficiencies aimed at.
        extraction: how efficiencies are measured: ``matrix``, ``template``, ``topics``, or the name of a plug-in.
        chunk_events: approximate number of events per chunk; 0 for 250,000, or for 100,000 if models score jets, which
            takes more memory. No result depends on it.
        max_dropped: largest share of the events inside the cuts on pT and eta that quality, labels or weights may each
            drop in a sample; above it, commands end with an error after they have written the result.
        keep_tables: whether to keep jet tables and scores, so that other bins, regions or cuts of `cuts`, or more
            variations, select no event again.
        keep_variations: whether the tables also have the weights and numbers of tracks of the variations, so that such
            changes read no file: 4 bytes per weight, and 4 per varied number of tracks, of an event.
        cuts: cuts on numbers of the event, all of which must hold: expressions of branches, e.g. ``HLT_j450`` or
            ``nPV < 60``. They are applied to jet tables.
        keep: branches with a number per event that jet tables have for later `cuts`, beside those of the present ones.
        selection: cuts on the two leading jets.
        regions: rule that assigns jets to the forward and the central region.
        taggers: quantities that separate quark jets from gluon jets.
        energy: number of nuisance parameters of the jet energy.
        bootstrap: number of replicas, and their seed.
        systematics: sources of uncertainty.
        shifts: statistical errors and pruning of systematic shifts.
        layout: which branch of the files holds what.
        style: labels of the figures.
    """

    output: Path
    samples: Mapping[str, InputSample]
    nominal: str = "nominal"
    data: str = "data"
    pt_edges: tuple[float, ...] = (500.0, 600.0, 800.0, 1000.0, 1200.0, 1500.0, 2000.0)
    eta_edges: tuple[float, ...] = ()
    working_points: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8)
    extraction: str = "matrix"
    chunk_events: int = 0
    max_dropped: float = 0.1
    keep_tables: bool = True
    keep_variations: bool = False
    cuts: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    selection: DijetSelection = field(default_factory=DijetSelection)
    regions: Regions = field(default_factory=Regions)
    taggers: tuple[Tagger, ...] = (Tagger(),)
    energy: Energy = field(default_factory=Energy)
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    systematics: tuple[Systematic, ...] = ()
    shifts: ShiftSettings = field(default_factory=ShiftSettings)
    layout: Layout = BEAMPIPE
    style: Style = field(default_factory=Style)

    def __post_init__(self) -> None:
        for role in ("nominal", "data"):
            if getattr(self, role) not in self.samples:
                raise UnknownNameError(f"sample ({role})", getattr(self, role), self.samples)
        if self.samples[self.nominal].kind != "simulation":
            raise ConfigError(f"sample {self.nominal}: got kind {self.samples[self.nominal].kind}, expected simulation")
        if self.samples[self.data].kind not in DATA_KINDS:
            raise ConfigError(f"sample {self.data}: got kind simulation, expected one of {', '.join(DATA_KINDS)}")
        edges = self.pt_edges
        if len(edges) < 2 or any(a >= b for a, b in pairwise(edges)):
            raise ConfigError(f"pt_edges: got {edges}, expected two or more that rise")
        lowest, highest = self.selection.min_subleading_pt, self.selection.max_leading_pt
        if edges[0] < lowest or edges[-1] > highest:
            raise ConfigError(
                f"pt_edges: got {edges[0]:g} to {edges[-1]:g}, but [selection] has jets of {lowest:g} to {highest:g}"
                " GeV only: bins would be filled in part; set min_subleading_pt and max_leading_pt there"
            )
        edges = self.eta_edges
        if edges and (len(edges) < 2 or edges[0] < 0 or any(a >= b for a, b in pairwise(edges))):
            raise ConfigError(f"eta_edges: got {edges}, expected none, or two or more that rise from 0 or more")
        points = self.working_points
        if not points or not all(0 < point < 1 for point in points) or len(set(points)) < len(points):
            raise ConfigError(f"working_points: got {points}, expected fractions between 0 and 1, each once")
        if self.chunk_events < 0:
            raise ConfigError(f"chunk_events: got {self.chunk_events}, expected 0 or more")
        if not 0 < self.max_dropped <= 1:
            raise ConfigError(f"max_dropped: got {self.max_dropped}, expected a share, more than 0 up to 1")
        if not self.taggers:
            raise ConfigError("taggers: got none, expected at least one")
        self._check_samples()
        self._check_taggers()
        self._check_tables()

    def _check_taggers(self) -> None:
        """Check that each tagger has a model or a branch, and that the region rule ``branch`` has a branch."""
        if (self.regions.rule == "branch") != bool(self.layout.branches.region):
            raise ConfigError(
                f"regions: got rule {self.regions.rule!r} and layout.branches.region"
                f" {', '.join(self.layout.branches.region) or 'none'}, expected a branch for the rule 'branch' and for"
                " no other"
            )
        scores = [each.name for each in self.layout.scores]
        for tagger in self.taggers:
            if tagger.in_files == (tagger.name not in scores):
                raise ConfigError(
                    f"tagger {tagger.name}: got model {tagger.model!r} and layout.scores {', '.join(scores) or 'none'},"
                    " expected a model or a branch of scores for every tagger but n_trk, and not both"
                )
            given = self.layout.constituents
            if tagger.shipped and tagger.of_constituents and given != BEAMPIPE.constituents:
                raise ConfigError(
                    f"tagger {tagger.name}: got model {tagger.model!r} and other layout.constituents than those of"
                    " simulated ntuples; it is valid for these only. Train one for yours: beampipe calibration"
                    " train-tagger -o NAME.safetensors"
                )
            if tagger.of_constituents and not (given.pt and given.charge and self.layout.branches.phi):
                raise ConfigError(
                    f"tagger {tagger.name}: got no layout.constituents.pt, charge or layout.branches.phi, expected the"
                    " branches of the constituents of jets"
                )

    def _check_tables(self) -> None:
        """Check the cuts on numbers of the event, and what tables keep for them."""
        for text in self.cuts:
            check_expression(text, "cuts")
        for text in self.keep:
            if is_expression(text):
                raise ConfigError(f"keep: got {text!r}, expected the name of a branch")
        if self.keep_variations and not self.keep_tables:
            raise ConfigError("keep_variations: got true with keep_tables = false, expected tables to keep them in")

    @property
    def kept(self) -> tuple[str, ...]:
        """Branches with a number per event that jet tables have, in alphabetical order."""
        return tuple(sorted({*self.keep, *(name for text in self.cuts for name in names_in(text))}))

    def facts(self) -> Mapping[str, object]:
        """Names of samples, taggers and systematics, and the folder of the results."""
        return {
            "samples": ", ".join(self.samples),
            "taggers": ", ".join(self.tagger_names),
            "systematics": ", ".join(source.name for source in self.systematics) or "none",
            "output": self.output,
        }

    def _check_samples(self) -> None:
        """Check that samples named by systematics exist, and that no value is given twice."""
        for sample in self.samples.values():
            if self.layout.own_books and (sample.cross_section, sample.filter_efficiency) != (0.0, 1.0):
                raise ConfigError(
                    f"sample {sample.name}: got cross_section or filter_efficiency, expected none: with"
                    " layout.sums.source = 'bookkeeping' the files have them"
                )
        for source in self.systematics:
            if source.smooth and not self.shifts.groups:
                raise ConfigError(
                    f"systematic {source.name}: got smooth, but errors of shifts are not known; give groups = 20 under"
                    " [shifts]"
                )
            for name in source.samples:
                if name not in self.samples:
                    raise UnknownNameError(f"sample of systematic {source.name}", name, self.samples)

    @property
    def tagger_names(self) -> tuple[str, ...]:
        """Names of the taggers, in the order of the configuration."""
        return tuple(tagger.name for tagger in self.taggers)

    @property
    def other_samples(self) -> tuple[str, ...]:
        """Names of the alternative samples that systematics use."""
        names = dict.fromkeys(name for source in self.systematics for name in source.samples)
        return tuple(name for name in names if name != self.nominal)

    @property
    def other_extractions(self) -> tuple[str, ...]:
        """Names of the extractions that systematics use."""
        return tuple(dict.fromkeys(name for source in self.systematics for name in source.extractions))

    @property
    def used_samples(self) -> tuple[str, ...]:
        """Names of the nominal sample, data and the alternative samples; other configured samples are not read."""
        return tuple(dict.fromkeys((self.nominal, self.data, *self.other_samples)))

    @property
    def kinematic_patterns(self) -> tuple[str, ...]:
        """Patterns of the variations of jets in all systematics."""
        return tuple(pattern for source in self.systematics for pattern in source.kinematics)

    @property
    def weight_patterns(self) -> tuple[str, ...]:
        """Patterns of the weights in all systematics."""
        return tuple(pattern for source in self.systematics for pattern in source.weights)

    def layout_of(self, sample: str) -> Layout:
        """Which branch holds what in the files of a sample; jets of data are not smeared."""
        layout = self.layout if self.wants_variations(sample) else self.layout.without_variations()
        return replace(layout, smearing=None) if layout.smearing and self.samples[sample].kind == "data" else layout

    def wants_variations(self, sample: str) -> bool:
        """Whether weights and jets of a sample are varied: only those of the nominal one are."""
        return sample == self.nominal


def load_configuration(path: str | Path, *, output: str | Path | None = None) -> Configuration:
    """The configuration in a TOML file.

    Args:
        path: TOML file of the calibration.
        output: folder for results, in place of the one in the file.

    Raises:
        FileError: the file does not exist, is not TOML, or a pattern of `files` matches no file.
        ConfigError: a key is unknown or missing, or a value is invalid.
        UnknownNameError: the name of a sample, kind or rule is unknown.
    """
    path = Path(path)
    table = {"output": "calibration", **read_toml(path, "the TOML file of a calibration")}
    if output is not None:
        table["output"] = str(Path(output).absolute())
    folder, where, samples = path.parent, str(path), table.get("samples", {})
    if isinstance(samples, Mapping):
        place = f"{where}: samples."
        table["samples"] = {name: _with_files(entry, folder, place + name) for name, entry in samples.items()}
    if "layout" in table:
        table["layout"] = layout = over_preset(table["layout"], where)
        if isinstance(layout, Mapping) and (layout.get("variations") or layout["preset"] != BEAMPIPE.preset):
            table.setdefault("energy", {"scale": 0, "resolution": 0})  # the placeholders are for simulated ntuples
    configuration = build(Configuration, table, where, folder)
    taggers = [
        replace(tagger, model=str(folder / tagger.model)) if tagger.model_file else tagger
        for tagger in configuration.taggers
    ]
    return replace(configuration, taggers=tuple(taggers))


_BRACES: Final = re.compile(r"\{([^{}]*,[^{}]*)\}")
"""Innermost braces with several forms."""


def alternatives(pattern: str) -> tuple[str, ...]:
    """The forms of a pattern with braces, as in a shell.

    >>> alternatives("mc_{a,b{1,2}}.root")
    ('mc_a.root', 'mc_b1.root', 'mc_a.root', 'mc_b2.root')
    """
    braces = _BRACES.search(pattern)
    if braces is None:
        return (pattern,)
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return tuple(form for part in braces[1].split(",") for form in alternatives(f"{before}{part}{after}"))


def _with_files(entry: Any, folder: Path, where: str) -> Any:
    """The table of a sample with its file patterns expanded; any other value is returned unchanged.

    A pattern is a file of that very name if it exists, otherwise the files of each ``{one,or,other}`` form.

    Raises:
        FileError: a form matches no file.
    """
    if not isinstance(entry, Mapping):
        return entry
    patterns = entry.get("files")
    if isinstance(patterns, str):
        patterns = [patterns]
    if not isinstance(patterns, list) or not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        raise ConfigError(f"{where}: got files = {patterns!r}, expected paths or patterns of paths")
    files: set[Path] = set()
    for pattern in patterns:
        if is_remote(pattern):
            files.add(Path(pattern))
            continue
        for form in [pattern] if (folder / pattern).is_file() else alternatives(pattern):
            matched = [form] if (folder / form).is_file() else glob(form, root_dir=folder, recursive=True)
            if not matched:
                of_pattern = f" of {pattern!r}" if form != pattern else ""
                raise FileError(f"{where}: got files {form!r}{of_pattern}, which matches no file in {folder}")
            files |= {folder / each for each in matched}
    return {**entry, "files": tuple(sorted(files))}
