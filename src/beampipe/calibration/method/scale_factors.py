"""Stage 6, `factors`: scale factors with their uncertainties.

For quark and gluon jets, two ratios of data to simulation, both named, as readers mix them up:

    efficiency   share of jets that count as quark-like
    rejection    share of jets that do not: 1 - efficiency

The statistical error is half the central 68 % interval of the replicas, which draw events of data and simulation
together with all that is worked out from them: factors of re-weighting, fractions, inversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.config.configuration import Configuration
from beampipe.calibration.method.combine import combine, shift_vectors
from beampipe.calibration.method.efficiencies import Efficiencies, scale_factors
from beampipe.calibration.method.factors import FLAVOUR_NAMES, QUANTITIES, FactorKey, Factors, ScaleFactor
from beampipe.calibration.method.shifts import treated_shifts
from beampipe.calibration.method.validity import flags_of

__all__ = ["factors_of", "replicas_of", "statistical"]

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
                        measured, (w, f), quantity, configuration
                    )
    experimental = tuple(source.name for source in configuration.systematics if source.experimental)
    return Factors(configuration.pt_edges, configuration.working_points, by_name, cuts, fractions, experimental)


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
    """The scale factor in every replica; places are those of the working point and the flavour."""
    w, f = place
    return scale_factors(measured.data_replicas[:, :, w, f], measured.simulation_replicas[:, :, w, f], quantity)


def _scale_factor(
    measured: Efficiencies, place: tuple[int, int], quantity: str, configuration: Configuration
) -> ScaleFactor:
    w, f = place
    data, simulation, truth = (part[0, :, w, f] for part in (measured.data, measured.simulation, measured.truth))
    nominal = scale_factors(data, simulation, quantity)
    error, covariance = statistical(replicas_of(measured, place, quantity))
    unknown = ~np.isfinite(nominal)
    covariance[unknown], covariance[:, unknown] = np.nan, np.nan
    square = np.where(unknown, np.nan, error**2)
    sources: dict[str, Float64[ndarray, " p"]] = {}
    source_errors, remarks = {}, {}
    treated = treated_shifts(measured, place, quantity, error, configuration)
    for source in configuration.systematics:
        found = treated[source.name]
        sources[source.name] = combine(source.rule, found.members, found.values)
        if len(found.without):
            source_errors[source.name] = found.combined_error(source.rule)
        if found.remark():
            remarks[source.name] = found.remark()
        vectors = shift_vectors(source.rule, found.members, found.values)
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
        source_errors=source_errors,
        remarks=remarks,
    )
