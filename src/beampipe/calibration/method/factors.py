"""Published scale factors: ratios of data to simulation against jet pT, with uncertainties and flags; their JSON file.

*Flags* mark problems of a number in a bin of pT, each by a rule in `FLAGS`. With one of the first three flags the
number has no valid error, and the bin has no total uncertainty. With the others it has one, but should be checked
before use.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import isclose, isfinite
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64
from beampipe.calibration.config import JetBin, jet_bins
from beampipe.calibration.method.cases import Dropped
from beampipe.calibration.method.goodness import IMPROBABLE, probability
from beampipe.errors import ConfigError, FileError, InputError, UnknownNameError
from beampipe.lazy import import_name
from beampipe.notebook import Shown

if TYPE_CHECKING:
    from hist import Hist
    from hist.storage import Weight
    from matplotlib.figure import Figure
    from pandas import DataFrame


FEWEST_JETS: Final = 100
"""Number of jets of one region (of data, or of one flavour of simulation) below which a bin is flagged."""

FEWEST_EFFECTIVE: Final = 25.0
"""Effective number of jets below which one weight may dominate: it is at most 25 if one event has a fifth of the sum
of weights."""

SMALLEST_DETERMINANT: Final = 0.05
"""Difference of the quark fractions below which a bin is flagged: extraction then multiplies errors by 20."""

FARTHEST: Final = 0.1
"""Difference between efficiency and working point above which a bin is flagged; a bin of n_trk has up to 0.09."""

PUBLISHED: Final = (0.0, 3.0)
"""Limits of scale factors that corrections contain."""

FLAGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "no_value": "the scale factor is not known",
        "no_statistical_error": "fewer than half of the replicas, or fewer than two, have a value",
        "no_systematic_error": "the shift of a systematic is not known",
        "negative_efficiency": "the efficiency extracted from data or simulation is below 0",
        "efficiency_above_1": "the efficiency extracted from data or simulation is above 1",
        "small_determinant": f"the fractions of quarks differ by less than {SMALLEST_DETERMINANT:g}",
        "dominated_by_one_weight": f"enough jets, but their effective number is below {FEWEST_EFFECTIVE:g}",
        "few_events": f"fewer than {FEWEST_JETS} jets of a region, in data or of a flavour in simulation",
        "not_published": f"the scale factor is outside {PUBLISHED[0]:g} to {PUBLISHED[1]:g}, or its total uncertainty"
        " exceeds it: corrections have no number",
        "far_from_working_point": f"the cut has another efficiency of quarks in simulation, by more than {FARTHEST:g}:"
        " take more bins, or other limits of the tagger",
        "does_not_describe_data": f"a larger chi2 of the refolded data has a probability below {IMPROBABLE:g}: an"
        " assumption of the extraction does not hold",
    }
)
"""Meaning of each flag, by its name."""

NO_VALID_ERROR: Final = ("no_value", "no_statistical_error", "no_systematic_error")
"""Flags of bins that have no valid error, and therefore no total uncertainty."""


def flags_of(
    nominal: Float64[ndarray, " p"],
    statistical: Float64[ndarray, " p"],
    total: Float64[ndarray, " p"],
    sources: Mapping[str, Float64[ndarray, " p"]],
    efficiencies: Float64[ndarray, "2 p"],
    fractions: Float64[ndarray, "p 2"],
    jets: Float64[ndarray, "q 2 3 2"],
    distance: Float64[ndarray, " p"],
    described: Float64[ndarray, "n 2"],
) -> tuple[tuple[str, ...], ...]:
    """The flags of one scale factor: for each bin of pT the names in `FLAGS` whose rule holds.

    Args:
        nominal: the scale factor.
        statistical: its statistical uncertainty.
        total: its total uncertainty; nan if it is not known.
        sources: its uncertainty by name of the systematic.
        efficiencies: efficiency in data and in simulation, extracted.
        fractions: fractions of quarks in forward and central jets.
        jets: number and effective number of jets by region of (quark, gluon, data); no bins if they are not known.
        distance: efficiency of quarks in simulation, extracted, minus the working point.
        described: chi2 and ndf of the refolded data; no bins if they are not known.
    """
    n_pt = len(nominal)
    lost = np.zeros(n_pt, bool)
    for values in sources.values():
        lost |= ~np.isfinite(values)
    few, one_weight = np.zeros(n_pt, bool), np.zeros(n_pt, bool)
    if len(jets):
        number, effective = jets[..., 0].reshape(n_pt, -1), jets[..., 1].reshape(n_pt, -1)
        few |= (number < FEWEST_JETS).any(axis=1)
        one_weight |= ((number >= FEWEST_JETS) & (effective < FEWEST_EFFECTIVE)).any(axis=1)
    with np.errstate(invalid="ignore"):
        holds = (
            ~np.isfinite(nominal),
            ~np.isfinite(statistical),
            lost,
            (efficiencies < 0).any(axis=0),
            (efficiencies > 1).any(axis=0),
            np.abs(fractions[:, 0] - fractions[:, 1]) < SMALLEST_DETERMINANT,
            one_weight,
            few,
            np.isfinite(nominal) & np.isfinite(total) & ~publishable(nominal, total),
            np.abs(distance) > FARTHEST,
            [probability(*each) < IMPROBABLE for each in described.tolist()] or np.zeros(n_pt, bool),
        )
    named = tuple(zip(FLAGS, holds, strict=True))
    return tuple(tuple(name for name, where in named if where[p]) for p in range(n_pt))


def publishable(nominal: Float64[ndarray, " n"], total: Float64[ndarray, " n"]) -> Bool[ndarray, " n"]:
    """Whether corrections contain a scale factor: it has a total uncertainty below 100 %, and is in `PUBLISHED`."""
    with np.errstate(invalid="ignore"):
        inside: Bool[ndarray, " n"] = (PUBLISHED[0] <= nominal) & (nominal <= PUBLISHED[1]) & (total <= nominal)
    return inside


def in_words(flags: Iterable[str]) -> str:
    """Flags as text: ``few_events`` becomes ``few events``; empty if there are none."""
    return ", ".join(flag.replace("_", " ") for flag in flags)


FLAVOUR_NAMES: Final = ("quark", "gluon")
"""Flavours of scale factors."""

QUANTITIES: Final = ("efficiency", "rejection")
"""Quantities whose ratio is a scale factor: fraction of jets that count as quark-like, and of those that do not."""

Quantity = Literal["efficiency", "rejection"]
"""Quantity whose ratio of data to simulation is a scale factor."""

_FORMAT: Final = 4

FACTORS_MARK: Final = '"efficiency": "share of jets in quark-like bins'
"""Text near the begin of a file of scale factors that identifies it, for `beampipe.files.require_ours`."""

_NUMBERS: Final = ("nominal", "data", "simulation", "truth", "statistical", "total")

_ARRAYS: Final = (*_NUMBERS, "covariance")


class FlavourAndQuantity(NamedTuple):
    """Flavour and quantity of a scale factor.

    Attributes:
        flavour: flavour of the jets, one of `FLAVOUR_NAMES`.
        quantity: quantity whose ratio the scale factor is, one of `QUANTITIES`.
    """

    flavour: str
    quantity: str


SHORT_NAMES: Final[Mapping[str, FlavourAndQuantity]] = {
    "SF_q": FlavourAndQuantity("quark", "efficiency"),
    "SF_g": FlavourAndQuantity("gluon", "rejection"),
}
"""The usual names of the two main scale factors."""


class FactorKey(NamedTuple):
    """The key that identifies a scale factor.

    Attributes:
        tagger: name of the tagger.
        working_point: target quark efficiency.
        flavour: flavour of the jets, one of `FLAVOUR_NAMES`.
        quantity: quantity whose ratio the scale factor is, one of `QUANTITIES`.
    """

    tagger: str
    working_point: float
    flavour: str
    quantity: str


@dataclass(frozen=True, eq=False, repr=False)
class ScaleFactor(Shown):
    """One scale factor against pT.

    Attributes:
        nominal: (n_pt,) the scale factor: data / simulation.
        data: (n_pt,) the efficiency or rejection in data.
        simulation: (n_pt,) the efficiency or rejection in simulation, extracted in the same way as in data.
        truth: (n_pt,) the efficiency or rejection in simulation by label.
        statistical: (n_pt,) statistical uncertainty of the scale factor.
        sources: (n_pt,) uncertainty by name of the systematic.
        total: (n_pt,) uncertainty: statistical and all sources in quadrature; nan in a bin that lacks one of them.
        covariance: (n_pt, n_pt) covariance of statistical uncertainty and all sources; nan where `total` is.
        flags: problems of the scale factor in each bin, names in `beampipe.calibration.method.factors.FLAGS`.
        source_errors: (n_pt,) statistical error of the uncertainty of each source, by its name; empty if they were not
            computed.
        remarks: remark on smoothed or pruned shifts of a source, by its name.
    """

    nominal: Float64[ndarray, " p"]
    data: Float64[ndarray, " p"]
    simulation: Float64[ndarray, " p"]
    truth: Float64[ndarray, " p"]
    statistical: Float64[ndarray, " p"]
    sources: Mapping[str, Float64[ndarray, " p"]]
    total: Float64[ndarray, " p"]
    covariance: Float64[ndarray, "p p"]
    flags: tuple[tuple[str, ...], ...]
    source_errors: Mapping[str, Float64[ndarray, " p"]] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)

    @property
    def valid(self) -> Bool[ndarray, " p"]:
        """(n_pt,) whether there is a value with a total uncertainty."""
        valid: Bool[ndarray, " p"] = np.isfinite(self.nominal) & np.isfinite(self.total)
        return valid

    @property
    def published(self) -> Bool[ndarray, " p"]:
        """(n_pt,) whether corrections contain the number."""
        return publishable(self.nominal, self.total)

    def part(self, bins: slice) -> ScaleFactor:
        """The scale factor in some of the bins."""
        return replace(
            self,
            **{name: getattr(self, name)[bins] for name in (*_NUMBERS, "flags")},
            covariance=self.covariance[bins, bins],
            sources={name: values[bins] for name, values in self.sources.items()},
            source_errors={name: values[bins] for name, values in self.source_errors.items()},
        )

    def facts(self) -> Mapping[str, object]:
        """Number of bins, value and total uncertainty in each, and names of the sources."""
        values = ", ".join(f"{value:.3f} +- {error:.3f}" for value, error in zip(self.nominal, self.total, strict=True))
        return {"bins": len(self.nominal), "values": values, "sources": ", ".join(self.sources)}


@dataclass(frozen=True)
class FactorInBin:
    """One scale factor in one bin of pT.

    Attributes:
        tagger: name of the tagger.
        working_point: quark efficiency aimed at.
        flavour: flavour of the jets, ``quark`` or ``gluon``.
        quantity: quantity whose ratio is meant, ``efficiency`` or ``rejection``.
        pt_low: lower edge of the bin [GeV].
        pt_high: upper edge of the bin [GeV].
        eta_low: lower edge of the bin in \\|eta\\|.
        eta_high: upper edge of the bin in \\|eta\\|; infinite if there is a single one.
        nominal: the scale factor: data / simulation.
        data: the efficiency or rejection in data.
        simulation: the efficiency or rejection in simulation, extracted in the same way as in data.
        truth: the efficiency or rejection in simulation by label.
        statistical: statistical uncertainty of the scale factor.
        total: statistical uncertainty and all sources in quadrature; nan if one of them is not known.
        sources: uncertainty by name of the systematic.
        source_errors: statistical error of that uncertainty by name of the systematic; empty if not computed.
        cut: value of the tagger below which a jet counts as quark-like.
        forward_fraction: fraction of quarks among forward jets of re-weighted simulation.
        central_fraction: fraction of quarks among central jets of re-weighted simulation.
        flags: problems of the scale factor, names in `beampipe.calibration.method.factors.FLAGS`.
    """

    tagger: str
    working_point: float
    flavour: str
    quantity: str
    pt_low: float
    pt_high: float
    eta_low: float
    eta_high: float
    nominal: float
    data: float
    simulation: float
    truth: float
    statistical: float
    total: float
    sources: Mapping[str, float]
    source_errors: Mapping[str, float]
    cut: float
    forward_fraction: float
    central_fraction: float
    flags: tuple[str, ...]

    @property
    def bin(self) -> JetBin:
        """The bin."""
        return JetBin(self.pt_low, self.pt_high, self.eta_low, self.eta_high)


@dataclass(frozen=True, eq=False, repr=False)
class Factors(Shown):
    """All scale factors of a calibration::

        factors = Factors.read("factors.json")
        one = factors.at(tagger="n_trk", working_point=0.5, flavour="quark", quantity="efficiency", pt=700.0)
        print(one.nominal, "+-", one.total)

    Attributes:
        pt_edges: edges of the bins of jet pT [GeV].
        working_points: target quark efficiencies.
        by_name: every scale factor by its key; `at` and `against_pt` look one up.
        cuts: (n_pt, n_wp) upper edge of the quark-like bins, by tagger.
        fractions: (n_pt, 2) fractions of quarks in forward and central jets of re-weighted simulation, by tagger.
        experimental: names of the sources that come from the detector.
        dropped: events of each sample that were dropped inside the cuts on pT and eta.
        max_dropped: share of dropped events above which `require_valid` raises an error.
        eta_edges: edges of the bins of jet \\|eta\\|; none for a single bin. Arrays are in the order of `bins`.
        notes: what a reader must know first, e.g. that there is no trigger cut.
        described: (n_pt, n_wp, 2) chi2 and ndf of the refolded data by tagger; none if there are no replicas.
    """

    pt_edges: tuple[float, ...]
    working_points: tuple[float, ...]
    by_name: Mapping[FactorKey, ScaleFactor]
    cuts: Mapping[str, Float64[ndarray, "p w"]]
    fractions: Mapping[str, Float64[ndarray, "p 2"]]
    experimental: tuple[str, ...]
    dropped: tuple[Dropped, ...] = ()
    max_dropped: float = 1.0
    eta_edges: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    described: Mapping[str, Float64[ndarray, "p w 2"]] = field(default_factory=dict)

    @property
    def taggers(self) -> tuple[str, ...]:
        """Names of the taggers with scale factors."""
        return tuple(self.cuts)

    @property
    def bins(self) -> tuple[JetBin, ...]:
        """The bins of jets, in the order of arrays."""
        return jet_bins(self.pt_edges, self.eta_edges)

    def by_eta(self) -> tuple[Factors, ...]:
        """The scale factors of each bin of \\|eta\\|."""
        parts, n_pt = [], len(self.pt_edges) - 1
        for k, edges in enumerate(tuple(pairwise(self.eta_edges)) or ((),)):
            part = slice(k * n_pt, (k + 1) * n_pt)
            parts.append(
                replace(
                    self,
                    by_name={key: factor.part(part) for key, factor in self.by_name.items()},
                    cuts={tagger: cuts[part] for tagger, cuts in self.cuts.items()},
                    fractions={tagger: fractions[part] for tagger, fractions in self.fractions.items()},
                    described={tagger: described[part] for tagger, described in self.described.items()},
                    eta_edges=tuple(edges),
                )
            )
        return tuple(parts)

    def indices_of(self, key: FactorKey) -> tuple[int, int]:
        """Indices of the working point and of the flavour of a scale factor."""
        return self.working_points.index(key.working_point), FLAVOUR_NAMES.index(key.flavour)

    def against_pt(self, *, tagger: str, working_point: float, flavour: str, quantity: str) -> ScaleFactor:
        """One scale factor in all bins of pT.

        Args:
            tagger: name of the tagger.
            working_point: quark efficiency aimed at.
            flavour: flavour of the jets, ``quark`` or ``gluon``.
            quantity: quantity whose ratio is meant, ``efficiency`` or ``rejection``.

        Raises:
            UnknownNameError: there is no such tagger, working point, flavour or quantity.
        """
        return self.by_name[self._key(tagger, working_point, flavour, quantity)]

    def at(
        self, *, tagger: str, working_point: float, flavour: str, quantity: str, pt: float, eta: float = 0.0
    ) -> FactorInBin:
        """One scale factor for jets of one pT and pseudorapidity.

        Args:
            tagger: name of the tagger.
            working_point: quark efficiency aimed at.
            flavour: flavour of the jets, ``quark`` or ``gluon``.
            quantity: quantity whose ratio is meant, ``efficiency`` or ``rejection``.
            pt: transverse momentum of the jet [GeV].
            eta: pseudorapidity of the jet; only bins of \\|eta\\| depend on it.

        Raises:
            UnknownNameError: there is no such tagger, working point, flavour or quantity.
            ConfigError: pT or eta is outside all bins.
        """
        key = self._key(tagger, working_point, flavour, quantity)
        for number, (pt_low, pt_high, eta_low, eta_high) in enumerate(self.bins):
            if pt_low <= pt < pt_high and eta_low <= abs(eta) < eta_high:
                return self._in_bin(key, number)
        wrong = [f"pt: got {pt:g} GeV, expected {self.pt_edges[0]:g} to {self.pt_edges[-1]:g}"]
        if self.eta_edges:
            wrong.append(f"eta: got {eta:g}, expected |eta| of {self.eta_edges[0]:g} to {self.eta_edges[-1]:g}")
        raise ConfigError("; ".join(wrong))

    def table(self) -> tuple[FactorInBin, ...]:
        """Every scale factor in every bin, one row each."""
        return tuple(self._in_bin(key, number) for key in self.by_name for number in range(len(self.bins)))

    def to_pandas(self) -> DataFrame:
        """The `table` as one of pandas; needs pandas.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        from pandas import DataFrame

        return DataFrame(self.table())

    def to_hist(self, *, tagger: str, working_point: float, flavour: str, quantity: str) -> Hist[Weight]:
        """One scale factor as a histogram against jet pT [GeV], and \\|eta\\| if there are bins of it.

        Variances are the squares of the total uncertainties.

        Args:
            tagger: name of the tagger; this and the other arguments are those of `against_pt`.
            working_point: target quark efficiency.
            flavour: ``quark`` or ``gluon``.
            quantity: ``efficiency`` or ``rejection``.

        Raises:
            UnknownNameError: there is no such tagger, working point, flavour or quantity.
        """
        from hist import Hist, axis, storage

        factor = self.against_pt(tagger=tagger, working_point=working_point, flavour=flavour, quantity=quantity)
        axes = [axis.Variable(self.pt_edges, name="pt", label="jet pT [GeV]", flow=False)]
        if self.eta_edges:
            axes.insert(0, axis.Variable(self.eta_edges, name="abs_eta", label="jet |eta|", flow=False))
        histogram = Hist(*axes, storage=storage.Weight())
        values = np.stack([factor.nominal, factor.total**2], axis=-1)
        histogram[...] = values.reshape(*histogram.axes.size, 2)
        return histogram

    def plot(
        self,
        tagger: str = "",
        working_point: float = 0.0,
        flavour: str = "quark",
        quantity: str = "efficiency",
        eta_bin: int = 0,
    ) -> Figure:
        """A figure of one scale factor against pT with its uncertainties; a notebook shows it.

        Args:
            tagger: name of the tagger; the first one if empty.
            working_point: quark efficiency aimed at; the first one if 0.
            flavour: flavour of the jets, ``quark`` or ``gluon``.
            quantity: quantity whose ratio is meant, ``efficiency`` or ``rejection``.
            eta_bin: number of the bin of \\|eta\\|.

        Raises:
            UnknownNameError: there is no such tagger, working point, flavour or quantity.
        """
        key = self._key(tagger or self.taggers[0], working_point or self.working_points[0], flavour, quantity)
        return import_name("beampipe.calibration.report.figures:plot_factor")(self.by_eta()[eta_bin], key)  # type: ignore[no-any-return]

    def facts(self) -> Mapping[str, object]:
        """Taggers, working points and edges of the bins of pT [GeV]."""
        return {
            "taggers": ", ".join(self.taggers),
            "working points": self.working_points,
            "pT": self.pt_edges,
            **self._eta(),
        }

    def _repr_html_(self) -> str:
        return import_name("beampipe.calibration.report.tables:factors_html")(self)  # type: ignore[no-any-return]

    def require_valid(self) -> None:
        """Raise an error if no scale factor is valid, or if too many events were dropped.

        Raises:
            InputError: no scale factor has a value with a total uncertainty in any bin, or a cut drops a larger share
                of the events of a sample than `max_dropped`.
        """
        too_many = [str(each) for each in self.dropped if each.share > self.max_dropped]
        if too_many:
            limit = f"{self.max_dropped:.0%}"
            raise InputError(f"{'; '.join(too_many)}; expected at most {limit}: change the cut, or set max_dropped")
        if any(factor.valid.any() for factor in self.by_name.values()):
            return
        seen = {flag for factor in self.by_name.values() for flags in factor.flags for flag in flags}
        empty = dict.fromkeys(each.sample for each in self.dropped if not np.isfinite(each.events))
        reasons = [f"no event of sample {name} passes the trigger and the cuts on pT and eta" for name in empty]
        why = "; ".join([*reasons, *(text for name, text in FLAGS.items() if name in seen)])
        raise InputError(
            f"scale factors: got no bin with a valid error ({why or 'nothing is known'}), expected one or more; take"
            " more events, wider bins or more replicas"
        )

    def write(self, path: str | Path) -> None:
        """Write JSON: the same factors give the same bytes. An unknown number is null."""
        entries = [
            {
                **key._asdict(),
                **{name: getattr(factor, name) for name in _ARRAYS},
                "sources": factor.sources,
                "source_errors": factor.source_errors,
                "remarks": factor.remarks,
                "flags": factor.flags,
            }
            for key, factor in self.by_name.items()
        ]
        plain = {
            "format": _FORMAT,
            "about": {
                "efficiency": "share of jets in quark-like bins; scale factor = data / simulation",
                "rejection": "share of jets in the other bins; scale factor = data / simulation",
                "statistical": "half the central 68 % interval of the replicas",
                "source_errors": "statistical errors of sources; none if [shifts] of the configuration has no groups",
                "remarks": "shifts of a source that are smooth, or left out",
                "total": "null in a bin that has no valid error",
                "flags": FLAGS,
                "refolded": "chi2 and ndf by which the extraction describes data, by tagger, bin and working point",
                "dropped": "shares of the events of a sample inside the cuts on pT and eta that each other cut drops",
            },
            "pt_edges": self.pt_edges,
            **self._eta(),
            "working_points": self.working_points,
            "experimental": self.experimental,
            "dropped": [each._asdict() for each in self.dropped],
            "max_dropped": self.max_dropped,
            **({"notes": self.notes} if self.notes else {}),
            "cuts": self.cuts,
            "fractions": self.fractions,
            **({"refolded": self.described} if self.described else {}),
            "scale_factors": entries,
        }
        Path(path).write_text(json.dumps(json_numbers(plain), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: str | Path) -> Factors:
        """Read what `write` wrote.

        Raises:
            FileError: the file is missing, or has another format.
        """
        try:
            plain = json.loads(Path(path).read_text(encoding="utf-8"))
            if plain["format"] != _FORMAT:
                raise ValueError(f"format {plain['format']}, expected {_FORMAT}")
            by_name = {}
            for entry in plain["scale_factors"]:
                by_name[FactorKey(*(entry[name] for name in FactorKey._fields))] = ScaleFactor(
                    **_arrays({name: entry[name] for name in _ARRAYS}),
                    sources=_arrays(entry["sources"]),
                    flags=tuple(tuple(names) for names in entry["flags"]),
                    source_errors=_arrays(entry["source_errors"]),
                    remarks=entry["remarks"],
                )
            return cls(
                tuple(plain["pt_edges"]),
                tuple(plain["working_points"]),
                by_name,
                _arrays(plain["cuts"]),
                _arrays(plain["fractions"]),
                tuple(plain["experimental"]),
                tuple(
                    Dropped(each["sample"], each["cut"], *array_of_numbers([each["events"], each["weight"]]).tolist())
                    for each in plain["dropped"]
                ),
                plain["max_dropped"],
                tuple(plain.get("eta_edges", ())),
                tuple(plain.get("notes", ())),
                _arrays(plain.get("refolded", {})),
            )
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise FileError(
                f"{path}: got no factors ({error}); make them: beampipe calibration factors", path=path
            ) from error

    def _eta(self) -> dict[str, Any]:
        """The bins of \\|eta\\|, if there are any."""
        return {"eta_edges": self.eta_edges} if self.eta_edges else {}

    def _key(self, tagger: str, working_point: float, flavour: str, quantity: str) -> FactorKey:
        """The key of a scale factor; the working point is matched with a tolerance for rounding."""
        points = [point for point in self.working_points if isclose(point, working_point, abs_tol=1e-9)]
        for kind, name, valid in (
            ("tagger", tagger, self.taggers),
            ("working point", str(working_point), (str(working_point),) if points else map(str, self.working_points)),
            ("flavour", flavour, FLAVOUR_NAMES),
            ("quantity", quantity, QUANTITIES),
        ):
            choices = tuple(valid)
            if name not in choices:
                raise UnknownNameError(kind, name, choices)
        return FactorKey(tagger, points[0], flavour, quantity)

    def _in_bin(self, key: FactorKey, number: int) -> FactorInBin:
        factor = self.by_name[key]
        forward, central = self.fractions[key.tagger][number]
        numbers: dict[str, Any] = {name: float(getattr(factor, name)[number]) for name in _NUMBERS}
        return FactorInBin(
            **key._asdict(),
            **numbers,
            **self.bins[number]._asdict(),
            sources={name: float(values[number]) for name, values in factor.sources.items()},
            source_errors={name: float(values[number]) for name, values in factor.source_errors.items()},
            cut=float(self.cuts[key.tagger][number, self.working_points.index(key.working_point)]),
            forward_fraction=float(forward),
            central_fraction=float(central),
            flags=factor.flags[number],
        )


def json_numbers(value: Any) -> Any:
    """Nested mappings, lists and arrays as JSON types, with None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {key: json_numbers(item) for key, item in value.items()}
    if isinstance(value, ndarray):
        return value.tolist() if np.isfinite(value).all() else json_numbers(value.tolist())
    if isinstance(value, list | tuple):
        return [json_numbers(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def array_of_numbers(values: Any) -> Any:
    """A float64 array from nested lists of JSON: None becomes nan."""
    return np.array(values, dtype=np.float64)


def _arrays(by_name: Mapping[str, Any]) -> dict[str, Any]:
    return {name: array_of_numbers(values) for name, values in by_name.items()}
