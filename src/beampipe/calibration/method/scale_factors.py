"""Stage 6, `factors`: scale factors with their uncertainties.

For quark and gluon jets, two ratios of data to simulation, both named, as readers mix them up:

    efficiency   share of jets that count as quark-like
    rejection    share of jets that do not: 1 - efficiency

The statistical error is half the central 68 % interval of the replicas, which draw events of data and simulation
together with all that is worked out from them: factors of re-weighting, fractions, inversion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from beampipe.calibration.config.configuration import Configuration
from beampipe.calibration.config.systematics import Systematic
from beampipe.calibration.method.combine import combine, shift_vectors
from beampipe.calibration.method.efficiencies import Efficiencies
from beampipe.calibration.method.factors import FLAVOUR_NAMES, QUANTITIES, FactorKey, Factors, ScaleFactor
from beampipe.calibration.method.validity import flags_of
from beampipe.calibration.variations import GLUON_REWEIGHT, UNVARIED, Variation, VariationKind
from beampipe.errors import UnknownNameError

__all__ = ["Shifts", "factors_of", "replicas_of", "scale_factors", "shifts_of", "statistical"]

_ONE_SIGMA: Final = (0.158655, 0.841345)
"""Quantiles between which a normal distribution has its central 68 %: those at -1 and +1 standard deviations."""


class Shifts(NamedTuple):
    """What the variations of one source do to a scale factor.

    Attributes:
        members: names of the variations.
        values: (n_members, n_pt) by how much each shifts the scale factor.
    """

    members: tuple[str, ...]
    values: Float64[ndarray, "m p"]


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
    """Errors and covariance from replicas.

    Replicas with a small determinant lie far out, so the error is half the central 68 % interval; correlations are
    those of the replicas, kept within three errors of the median.

    Each bin stands for itself. Its error is nan if fewer than two replicas have a value in it, or fewer than half of
    them; a replica without a value in one bin counts in all others. For correlations such a value counts as the mean,
    so that the covariance of the bins that have an error never has a negative eigenvalue.
    """
    there = np.isfinite(replicas)
    counts = there.sum(axis=0)
    valid = (counts >= 2) & (counts >= len(replicas) / 2)
    error = np.full(replicas.shape[1], np.nan)
    covariance = np.full((replicas.shape[1],) * 2, np.nan)
    if not valid.any():
        return error, covariance
    known = np.where(there, replicas, np.nan)[:, valid]
    low, middle, high = np.nanquantile(known, [_ONE_SIGMA[0], 0.5, _ONE_SIGMA[1]], axis=0)
    error[valid] = (high - low) / 2
    centred = np.nan_to_num(np.clip(known - middle, -3 * error[valid], 3 * error[valid]))
    centred = np.where(there[:, valid], centred - np.cumsum(centred, axis=0)[-1] / counts[valid], 0.0)
    products = np.zeros((int(valid.sum()),) * 2)
    for one in centred:
        products += one[:, None] * one
    size = np.sqrt(np.diagonal(products))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(size[:, None] * size > 0, products / (size[:, None] * size), 0.0)
    covariance[np.ix_(valid, valid)] = correlation * error[valid][:, None] * error[valid]
    return error, covariance


def replicas_of(measured: Efficiencies, place: tuple[int, int], quantity: str) -> Float64[ndarray, "b p"]:
    """The scale factor in every replica; arguments as of `shifts_of`."""
    w, f = place
    return scale_factors(measured.data_replicas[:, :, w, f], measured.simulation_replicas[:, :, w, f], quantity)


def shifts_of(measured: Efficiencies, place: tuple[int, int], quantity: str, source: Systematic) -> Shifts:
    """What each variation of a source does to one scale factor, with its sign.

    Args:
        measured: efficiencies of the tagger.
        place: places of the working point and of the flavour on the axes of `measured`.
        quantity: ``efficiency`` or ``rejection``.
        source: source of uncertainty.

    Raises:
        UnknownNameError: a pattern of the source matches no variation.
    """
    w, f = place
    data, simulation, truth = (part[:, :, w, f] for part in (measured.data, measured.simulation, measured.truth))
    every, variations = scale_factors(data, simulation, quantity), measured.variations
    if source.method == "nonclosure":
        closure = scale_factors(simulation[:1], truth[:1], quantity)
        return Shifts(("nonclosure",), every[0] * (1 - closure))
    if len(source.samples) == 2:
        one, other = (_case(every, variations, name) for name in source.samples)
        return Shifts(("difference",), (one - other)[None])
    varied = _members(source, variations)
    return Shifts(tuple(map(str, varied)), np.stack([every[variations.index(member)] - every[0] for member in varied]))


def _scale_factor(
    measured: Efficiencies, place: tuple[int, int], quantity: str, systematics: Sequence[Systematic]
) -> ScaleFactor:
    w, f = place
    data, simulation, truth = (part[0, :, w, f] for part in (measured.data, measured.simulation, measured.truth))
    nominal = scale_factors(data, simulation, quantity)
    error, covariance = statistical(replicas_of(measured, place, quantity))
    unknown = ~np.isfinite(nominal)
    covariance[unknown], covariance[:, unknown] = np.nan, np.nan
    square = np.where(unknown, np.nan, error**2)
    sources: dict[str, Float64[ndarray, " p"]] = {}
    for source in systematics:
        found = shifts_of(measured, place, quantity, source)
        sources[source.name] = combine(source.rule, *found)
        vectors = shift_vectors(source.rule, *found)
        square = square + sources[source.name] ** 2
        covariance = covariance + np.cumsum(vectors[:, :, None] * vectors[:, None, :], axis=0)[-1]
    both, fractions = np.stack([data, simulation]), measured.fractions[0]
    quoted = [1 - part if quantity == "rejection" else part for part in (data, simulation, truth)]
    return ScaleFactor(
        nominal=nominal,
        data=quoted[0],
        simulation=quoted[1],
        truth=quoted[2],
        statistical=error,
        sources=sources,
        total=np.sqrt(square),
        covariance=covariance,
        flags=flags_of(nominal, error, sources, both, fractions, measured.jets),
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
