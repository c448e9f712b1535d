"""Stage 6, `factors`: scale factors with their uncertainties.

For quark and gluon jets, two ratios of data to simulation, both named, as readers mix them up:

    efficiency   share of jets that count as quark-like
    rejection    share of jets that do not: 1 - efficiency

The statistical error is half the central 68 % interval of the replicas, which draw events of data and simulation
together with all that is worked out from them: factors of re-weighting, fractions, inversion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from beampipe.calibration.config import Configuration, Systematic
from beampipe.calibration.method.combine import combine, shift_vectors
from beampipe.calibration.method.efficiencies import Efficiencies
from beampipe.calibration.variations import GLUON_REWEIGHT, UNVARIED, Variation, VariationKind
from beampipe.errors import FileError, UnknownNameError

__all__ = ["FLAVOUR_NAMES", "QUANTITIES", "Factors", "ScaleFactor", "factors_of", "scale_factors"]

FLAVOUR_NAMES: Final = ("quark", "gluon")
QUANTITIES: Final = ("efficiency", "rejection")
Quantity = Literal["efficiency", "rejection"]

_FORMAT: Final = 1
_LOW, _HIGH = 0.158655, 0.841345


@dataclass(frozen=True, eq=False)
class ScaleFactor:
    """One scale factor against pT.

    Attributes:
        nominal: (n_pt,).
        data: (n_pt,), the efficiency or rejection in data.
        simulation: (n_pt,), extracted from simulation like data.
        truth: (n_pt,), of simulation by label.
        statistical: (n_pt,) uncertainty.
        sources: (n_pt,) uncertainty by name of the systematic.
        total: (n_pt,) uncertainty: statistical and all sources in quadrature.
        covariance: (n_pt, n_pt), statistical and all sources.
    """

    nominal: Float64[ndarray, " p"]
    data: Float64[ndarray, " p"]
    simulation: Float64[ndarray, " p"]
    truth: Float64[ndarray, " p"]
    statistical: Float64[ndarray, " p"]
    sources: Mapping[str, Float64[ndarray, " p"]]
    total: Float64[ndarray, " p"]
    covariance: Float64[ndarray, "p p"]


@dataclass(frozen=True, eq=False)
class Factors:
    """All scale factors of a calibration.

    Attributes:
        pt_edges: [GeV].
        working_points: quark efficiencies aimed at.
        by_name: by (tagger, working point, flavour, quantity).
        cuts: (n_pt, n_wp) upper edge of the quark-like bins, by tagger.
        fractions: (n_pt, 2) of quarks in forward and central jets of simulation, by tagger, re-weighted.
        experimental: sources that come from the detector.
    """

    pt_edges: tuple[float, ...]
    working_points: tuple[float, ...]
    by_name: Mapping[tuple[str, float, str, str], ScaleFactor]
    cuts: Mapping[str, Float64[ndarray, "p w"]]
    fractions: Mapping[str, Float64[ndarray, "p 2"]]
    experimental: tuple[str, ...]

    @property
    def taggers(self) -> tuple[str, ...]:
        """Names."""
        return tuple(self.cuts)

    def write(self, path: Path) -> None:
        """Write JSON: the same factors give the same bytes. A number that cannot be known is null."""
        entries = [
            {
                "tagger": tagger,
                "working_point": wp,
                "flavour": flavour,
                "quantity": quantity,
                **{
                    name: getattr(one, name).tolist()
                    for name in ("nominal", "data", "simulation", "truth", "statistical", "total", "covariance")
                },
                "sources": {name: values.tolist() for name, values in one.sources.items()},
            }
            for (tagger, wp, flavour, quantity), one in self.by_name.items()
        ]
        plain = {
            "format": _FORMAT,
            "about": {
                "efficiency": "share of jets in quark-like bins; scale factor = data / simulation",
                "rejection": "share of jets in the other bins; scale factor = data / simulation",
                "statistical": "half the central 68 % interval of the replicas",
            },
            "pt_edges": self.pt_edges,
            "working_points": self.working_points,
            "experimental": self.experimental,
            "cuts": {name: values.tolist() for name, values in self.cuts.items()},
            "fractions": {name: values.tolist() for name, values in self.fractions.items()},
            "scale_factors": entries,
        }
        path.write_text(json.dumps(_without_nan(plain), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Factors:
        """Read what `write` wrote.

        Raises:
            FileError: it is another file.
        """
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            if plain["format"] != _FORMAT:
                raise ValueError(f"format {plain['format']}, expected {_FORMAT}")
            by_name = {}
            for entry in plain["scale_factors"]:
                key = tuple(entry.pop(name) for name in ("tagger", "working_point", "flavour", "quantity"))
                sources = {name: _array(values) for name, values in entry.pop("sources").items()}
                by_name[key] = ScaleFactor(sources=sources, **{name: _array(v) for name, v in entry.items()})
            return cls(
                tuple(plain["pt_edges"]),
                tuple(plain["working_points"]),
                by_name,
                {name: _array(values) for name, values in plain["cuts"].items()},
                {name: _array(values) for name, values in plain["fractions"].items()},
                tuple(plain["experimental"]),
            )
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise FileError(f"{path}: got no factors ({error}); make them: beampipe calibration factors") from error


def factors_of(configuration: Configuration, efficiencies: Mapping[str, Efficiencies]) -> Factors:
    """Scale factors of all taggers, working points, flavours and quantities.

    Raises:
        UnknownNameError: a systematic's pattern matches no variation.
        ConfigError: its rule does not fit.
    """
    by_name = {}
    cuts, fractions = {}, {}
    for tagger in configuration.taggers:
        measured = efficiencies[tagger.name]
        width = (tagger.high - tagger.low) / tagger.bins
        cuts[tagger.name] = tagger.low + measured.cuts * width
        fractions[tagger.name] = measured.fractions[0]
        for w, wp in enumerate(configuration.working_points):
            for f, flavour in enumerate(FLAVOUR_NAMES):
                for quantity in QUANTITIES:
                    by_name[tagger.name, wp, flavour, quantity] = _scale_factor(
                        measured, (w, f), quantity, configuration.systematics
                    )
    experimental = tuple(source.name for source in configuration.systematics if source.experimental)
    return Factors(configuration.pt_edges, configuration.working_points, by_name, cuts, fractions, experimental)


def scale_factors(
    data: Float64[ndarray, "*v"], simulation: Float64[ndarray, "*v"], quantity: str
) -> Float64[ndarray, "*v"]:
    """Ratio of data to simulation; nan where simulation has 0."""
    if quantity == "rejection":
        data, simulation = 1 - data, 1 - simulation
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(simulation != 0, data / simulation, np.nan)


def statistical(replicas: Float64[ndarray, "b p"]) -> tuple[Float64[ndarray, " p"], Float64[ndarray, "p p"]]:
    """Errors and covariance from replicas; nan if there are fewer than 2.

    Replicas with a small determinant lie far out, so the error is half the central 68 % interval; correlations are
    those of the replicas, kept within three errors of the median.
    """
    n_pt = replicas.shape[1]
    if len(replicas) < 2:
        return np.full(n_pt, np.nan), np.full((n_pt, n_pt), np.nan)
    known = replicas[np.isfinite(replicas).all(axis=1)]
    if len(known) < len(replicas) / 2:
        return np.full(n_pt, np.nan), np.full((n_pt, n_pt), np.nan)
    low, middle, high = np.quantile(known, [_LOW, 0.5, _HIGH], axis=0)
    error = (high - low) / 2
    centred = np.clip(known - middle, -3 * error, 3 * error)
    centred = centred - np.cumsum(centred, axis=0)[-1] / len(centred)
    products = np.cumsum(centred[:, :, None] * centred[:, None, :], axis=0)[-1]
    size = np.sqrt(np.diagonal(products))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(size[:, None] * size > 0, products / (size[:, None] * size), 0.0)
    return error, correlation * error[:, None] * error


def _scale_factor(
    measured: Efficiencies, place: tuple[int, int], quantity: str, systematics: Sequence[Systematic]
) -> ScaleFactor:
    w, f = place
    data, simulation, truth = (part[:, :, w, f] for part in (measured.data, measured.simulation, measured.truth))
    every = scale_factors(data, simulation, quantity)
    nominal = every[0]
    variations = measured.variations
    drawn = scale_factors(measured.data_replicas[:, :, w, f], measured.simulation_replicas[:, :, w, f], quantity)
    error, covariance = statistical(drawn)
    sources: dict[str, Float64[ndarray, " p"]] = {}
    members: Sequence[str]
    square = np.where(np.isnan(error), 0.0, error**2)
    covariance = np.where(np.isnan(covariance), 0.0, covariance)
    for source in systematics:
        if source.method == "nonclosure":
            closure = scale_factors(simulation[:1], truth[:1], quantity)
            members, shifts = ("nonclosure",), nominal * (1 - closure)
        elif len(source.samples) == 2:
            one, other = (_case(every, variations, name) for name in source.samples)
            members, shifts = ("difference",), (one - other)[None]
        else:
            varied = _members(source, variations)
            members = tuple(map(str, varied))
            shifts = np.stack([every[variations.index(one)] - nominal for one in varied])
        sources[source.name] = combine(source.rule, members, shifts)
        vectors = shift_vectors(source.rule, members, shifts)
        square = square + sources[source.name] ** 2
        covariance = covariance + np.cumsum(vectors[:, :, None] * vectors[:, None, :], axis=0)[-1]
    quoted = [1 - part[0] if quantity == "rejection" else part[0] for part in (data, simulation, truth)]
    return ScaleFactor(
        nominal=nominal,
        data=quoted[0],
        simulation=quoted[1],
        truth=quoted[2],
        statistical=error,
        sources=sources,
        total=np.sqrt(square),
        covariance=covariance,
    )


def _case(every: Float64[ndarray, "v p"], variations: Sequence[Variation], sample: str) -> Float64[ndarray, " p"]:
    """The nominal sample is in the first case, any other in one of its own."""
    one = Variation("sample", sample)
    case: ndarray = every[variations.index(one if one in variations else UNVARIED)]
    return case


def _members(source: Systematic, variations: Sequence[Variation]) -> Sequence[Variation]:
    """The variations of a source."""
    if source.method:
        return [GLUON_REWEIGHT]
    wanted: tuple[tuple[VariationKind, tuple[str, ...]], ...] = (
        ("weight", source.weights),
        ("jets", source.kinematics),
        ("sample", source.samples),
    )
    members = [one for one in variations if any(one.matches(kind, patterns) for kind, patterns in wanted)]
    if not members:
        patterns = ", ".join(str(Variation(kind, pattern)) for kind, given in wanted for pattern in given)
        raise UnknownNameError(f"variation of systematic {source.name}", patterns, map(str, variations))
    return members


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _array(values: Any) -> Any:
    return np.array(values, dtype=np.float64)  # None becomes nan
