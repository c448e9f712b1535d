"""Stage 4, `reweight`: factors that make central jets look like forward jets of the same flavour, by simulation alone.

The matrix method assumes that the shape of a flavour is the same in both regions. This holds only approximately, so
central jets are weighted by

    r_q(x) = p_q^F(x) / p_q^C(x)

where p are shapes of unit area in one bin of pT. The flavour of a jet is unknown in data, so the factor of quarks is
used for all jets; using that of gluons instead is a systematic. The factors are computed once, stored, and then applied
to simulation and data alike.

The weight depends only on the bins of the histogram, so it is applied to the histogram without reading events again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64

LARGEST: Final = 5.0
"""Largest factor. Real differences of the regions are a few per cent to a few tens of per cent. A larger ratio is a
fluctuation from single events in the tail, and would count every gluon there many times."""

FORWARD, CENTRAL = 0, 1
"""Indices of the regions on their axis."""

QUARK, GLUON = 0, 1
"""Indices of the flavours on their axis."""

FlavourName = Literal["quark", "gluon"]
"""Flavour of a scale factor."""


def sum_over_bins(histograms: Float64[ndarray, "*v x"]) -> Float64[ndarray, "*v"]:
    """The sum over x, from the first bin to the last: the same bit by bit on every machine."""
    return np.cumsum(histograms, axis=-1)[..., -1]


def shapes(histograms: Float64[ndarray, "*v x"]) -> Float64[ndarray, "*v x"]:
    """Histograms scaled to unit area; nan where the area is not positive."""
    area = sum_over_bins(histograms)[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(area > 0, histograms / area, np.nan)


def reweighting_factors(
    flavours: Float64[ndarray, "*v 2 2 x"], flavour: FlavourName = "quark"
) -> Float64[ndarray, "*v x"]:
    """The factors of central jets: positive, and limited to `LARGEST`.

    A bin that has jets of the flavour in one region only, or a sum of weights that is not positive, has no ratio: it is
    merged with the nearest bin that has one, see `merged_bins`. In a bin without any jet of the flavour, and where no
    bin has a ratio, the factor is 1. Data are thus kept in every bin.

    Args:
        flavours: jets by (region, (quark, gluon), x) of one pT bin, with any axes in front.
        flavour: flavour whose shapes are compared.
    """
    of_flavour = flavours[..., QUARK if flavour == "quark" else GLUON, :]
    forward, central = shapes(of_flavour[..., FORWARD, :]), shapes(of_flavour[..., CENTRAL, :])
    group = merged_bins(of_flavour)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.minimum(_sums(forward, group) / _sums(central, group), LARGEST)
    return np.where(np.isnan(forward + central), np.nan, np.where(group < 0, 1.0, ratio))


def merged_bins(jets: Float64[ndarray, "*v 2 x"]) -> Int64[ndarray, "*v x"]:
    """For each bin the bin that it shares its factor with: itself, or the nearest one that has a ratio; -1 for none.

    Of two at the same distance it is the lower one. A bin whose merged sums are not positive, which takes negative
    weights, is merged in turn.

    Args:
        jets: jets of one flavour by (region, x).
    """
    at = np.arange(jets.shape[-1])
    good = (jets > 0).all(axis=-2)
    empty = (jets == 0).all(axis=-2)
    while True:
        before = np.maximum.accumulate(np.where(good, at, -2 * len(at)), axis=-1)
        after = np.minimum.accumulate(np.where(good, at, 3 * len(at))[..., ::-1], axis=-1)[..., ::-1]
        nearest = np.where(at - before <= after - at, before, after)
        group: ndarray = np.where(empty | ~good.any(axis=-1, keepdims=True), -1, nearest)
        positive = (_sums(jets, group[..., None, :]) > 0).all(axis=-2)
        if (positive | ~good).all():
            return group
        good = good & positive


def _sums(jets: Float64[ndarray, "*v x"], group: Int64[ndarray, "*w x"]) -> Float64[ndarray, "*v x"]:
    """For each bin the sum over the bins of its group, from the first to the last; bins of group -1 keep theirs."""
    jets, group = np.broadcast_arrays(jets, np.where(group < 0, np.arange(group.shape[-1]), group))
    first = np.arange(jets.size // jets.shape[-1]).reshape(*jets.shape[:-1], 1) * jets.shape[-1]
    sums: ndarray = np.bincount((group + first).ravel(), jets.ravel(), jets.size)[group + first]
    return sums.astype(np.float64)  # without jets, numpy returns integers


def apply_factors(
    histograms: Float64[ndarray, "*v 2 x"], factors: Float64[ndarray, "*w x"]
) -> Float64[ndarray, "*u 2 x"]:
    """Histograms by (region, x) with central jets weighted; forward jets stay."""
    forward, central = histograms[..., FORWARD, :], histograms[..., CENTRAL, :] * factors
    forward, central = np.broadcast_arrays(forward, central)
    return np.stack([forward, central], axis=-2)


@dataclass(frozen=True, eq=False)
class Reweighting:
    """Re-weighting factors of central jets.

    Attributes:
        quark: (n_cases, n_pt, n_x) factors of quarks, applied to simulation and data.
        gluon: (1, n_pt, n_x) factors of gluons, nominal case.
        replicas: (n_replicas, n_pt, n_x) factors of quarks, nominal case.
    """

    quark: Float64[ndarray, "v p x"]
    gluon: Float64[ndarray, "1 p x"]
    replicas: Float64[ndarray, "b p x"]


def measure_reweighting(
    simulation: Float64[ndarray, "v p 2 2 x"], replicas: Float64[ndarray, "b p 2 2 x"]
) -> Reweighting:
    """The factors of every case and replica; arguments as in `beampipe.calibration.method.cases.Cases`."""
    return Reweighting(
        quark=reweighting_factors(simulation),
        gluon=reweighting_factors(simulation[:1], "gluon"),
        replicas=reweighting_factors(replicas),
    )
