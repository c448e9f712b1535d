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

from beampipe.arrays import Float64

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
    total: ndarray = np.cumsum(histograms, axis=-1)[..., -1]
    return total


def shapes(histograms: Float64[ndarray, "*v x"]) -> Float64[ndarray, "*v x"]:
    """Histograms scaled to unit area; nan where the area is not positive."""
    area = sum_over_bins(histograms)[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(area > 0, histograms / area, np.nan)


def reweighting_factors(
    flavours: Float64[ndarray, "*v 2 2 x"], flavour: FlavourName = "quark"
) -> Float64[ndarray, "*v x"]:
    """The factors of central jets.

    In a bin without central jets of the flavour the factor is 1, so that data in it are kept. Factors are limited to
    `LARGEST`.

    Args:
        flavours: jets by (region, (quark, gluon), x) of one pT bin, with any axes in front.
        flavour: flavour whose shapes are compared.
    """
    of_flavour = flavours[..., QUARK if flavour == "quark" else GLUON, :]
    forward, central = shapes(of_flavour[..., FORWARD, :]), shapes(of_flavour[..., CENTRAL, :])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.minimum(forward / central, LARGEST)
        return np.where(central > 0, ratio, np.where(np.isnan(central), np.nan, 1.0))


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
    """The factors of every case and replica; arguments as in `beampipe.calibration.method.templates.Cases`."""
    return Reweighting(
        quark=reweighting_factors(simulation),
        gluon=reweighting_factors(simulation[:1], "gluon"),
        replicas=reweighting_factors(replicas),
    )
