"""Stage 6, `factors`: scale factors with their uncertainties.

For quark and gluon jets, two ratios of data to simulation, both named, as readers mix them up:

    efficiency   share of jets that count as quark-like
    rejection    share of jets that do not: 1 - efficiency

The statistical error is half the central 68 % interval of the replicas, which draw events of data and simulation
together with all that is worked out from them: factors of re-weighting, fractions, inversion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from beampipe.calibration.config import Configuration
from beampipe.calibration.method.combine import combine, shift_vectors
from beampipe.calibration.method.efficiencies import Efficiencies
from beampipe.calibration.method.factors import FLAVOUR_NAMES, QUANTITIES, FactorKey, Factors, ScaleFactor
from beampipe.calibration.method.systematics import Systematic
from beampipe.calibration.variations import GLUON_REWEIGHT, UNVARIED, Variation, VariationKind
from beampipe.errors import UnknownNameError

__all__ = ["factors_of", "scale_factors", "statistical"]

_ONE_SIGMA: Final = (0.158655, 0.841345)
"""Quantiles between which a normal distribution has its central 68 %: those at -1 and +1 standard deviations."""


def factors_of(configuration: Configuration, efficiencies: Mapping[str, Efficiencies]) -> Factors:
    """Scale factors of all taggers, working points, flavours and quantities.

    Args:
        configuration: taggers, working points and systematics.
        efficiencies: efficiencies of all cases, by tagger.

    Raises:
        UnknownNameError: a systematic's pattern matches no variation.
        ConfigError: the rule of a systematic does not fit its variations.
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
                    by_name[FactorKey(tagger.name, wp, flavour, quantity)] = _scale_factor(
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
    low, middle, high = np.quantile(known, [_ONE_SIGMA[0], 0.5, _ONE_SIGMA[1]], axis=0)
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
