"""Whether the result of an extraction describes data: a chi2 of the refolded data in every bin of jets.

Each extraction gives numbers r(x) that are 0, or not negative, if its assumptions hold:

- `template`: jets of data minus those of the fitted templates, in both regions.
- `matrix` and `topics`: the extracted shapes of quarks and gluons. The inversion reproduces any data, so data can only
  contradict it where a shape is negative. The nearest shapes that are not then miss data by a chi2 of (r / sigma)^2.

Neighbouring bins of x form groups, with at least `FEWEST` expected jets and `SMALLEST_SHARE` of them in each region.
With sigma(x) from the bootstrap,

    T = sum over groups of (r / sigma)^2,        for shapes over negative r only

For shapes this is chi2, and ndf is the number of negative r: few, if shapes are 0 there, and fewer if they are not. For
`template` the replicas, moved to r = 0, show how T is distributed, with all correlations, fitted numbers and the
statistics of simulation; chi2 and ndf are T and its mean, scaled so that the variance is 2 ndf.
"""

from __future__ import annotations

from collections.abc import Callable
from math import erfc, nan, sqrt
from typing import Any, Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64, Shaped
from beampipe.calibration.method.reweight import shapes, sum_over_bins

FEWEST: Final = 20.0
"""Number of expected jets of a region in each group of bins."""

SMALLEST_SHARE: Final = 0.08
"""Share of the expected jets of a region in each group of bins: with fewer groups, smooth differences stand out."""

FEWEST_REPLICAS: Final = 20
"""Number of replicas below which the distribution of T is not known."""

IMPROBABLE: Final = 0.001
"""Probability of a larger chi2 below which data are not described."""


class Refolding(NamedTuple):
    """The numbers of an extraction that are 0, or not negative, if its assumptions hold.

    Attributes:
        numbers: function with the arguments of `beampipe.calibration.method.matrix.Extraction` that returns them by
            (pT, working point, two of them, x); there is one working point if they do not depend on it.
        one_sided: whether positive numbers fulfil the assumptions.
    """

    numbers: Callable[
        [
            Float64[ndarray, "*v p 2 x"],
            Float64[ndarray, "*s p 2 2 x"],
            Shaped[ndarray, "p w"],
            Float64[ndarray, "p 2 2 x"],
        ],
        Float64[ndarray, "*u p w 2 x"],
    ]
    one_sided: bool


def first_bins(data: Float64[ndarray, "2 x"], simulation: Float64[ndarray, "2 x"]) -> Int64[ndarray, " m"]:
    """The first bin of each group of bins of x.

    Args:
        data: jets of data by (region, x).
        simulation: re-weighted jets of simulation; their shape and the number of jets of data give what is expected.
    """
    numbers, share = sum_over_bins(data)[:, None], np.nan_to_num(shapes(simulation))
    enough = np.minimum(share * numbers / FEWEST, share / SMALLEST_SHARE).min(axis=0)
    firsts, inside = [0], 0.0
    for x, part in enumerate(enough):
        if inside >= 1 and sum_over_bins(enough[x:]) >= 1:
            firsts.append(x)
            inside = 0.0
        inside += part
    return np.array(firsts)


def goodness(
    numbers: Float64[ndarray, "p w 2 x"],
    replicas: Float64[ndarray, "b p w 2 x"],
    data: Float64[ndarray, "p 2 x"],
    simulation: Float64[ndarray, "p 2 x"],
    *,
    one_sided: bool,
) -> Float64[ndarray, "p w 2"]:
    """chi2 and ndf by (pT, working point); nan where they are not known.

    Args:
        numbers: numbers of a `Refolding`.
        replicas: the same of each replica of data and simulation.
        data: jets of data by (pT, region, x).
        simulation: re-weighted jets of simulation, all flavours.
        one_sided: as in `Refolding`.
    """
    out = np.full((*numbers.shape[:2], 2), nan)
    for p, w in np.ndindex(*out.shape[:2]):
        firsts = first_bins(data[p], simulation[p])
        value = np.add.reduceat(numbers[p, w], firsts, axis=-1).ravel()
        drawn = np.add.reduceat(replicas[:, p, w], firsts, axis=-1).reshape(len(replicas), -1)
        drawn = drawn[np.isfinite(drawn).all(axis=1)]
        if not np.isfinite(value).all() or len(drawn) < max(FEWEST_REPLICAS, len(replicas) / 2):
            continue
        moves = drawn - _mean(drawn)
        sigma = np.sqrt(_mean(moves**2))
        used = sigma > 0
        pulls, moved = value[used] / sigma[used], moves[:, used] / sigma[used]
        if one_sided:
            negative = pulls[pulls < 0]
            out[p, w] = float(np.cumsum([0.0, *negative**2])[-1]), len(negative)
        elif used.any():
            drawn_sums = sum_over_bins(moved**2)
            mean = float(_mean(drawn_sums))
            variance = float(_mean((drawn_sums - mean) ** 2))
            ndf = 2 * mean**2 / variance if variance > 0 else nan
            out[p, w] = float(sum_over_bins(pulls**2)) * ndf / mean, ndf
    return out


def _mean(values: ndarray) -> Any:
    """The mean over the first axis, added from the first to the last."""
    return np.cumsum(values, axis=0)[-1] / len(values)


def probability(chi2: float, ndf: float) -> float:
    """The probability of a larger chi2: 1 without a degree of freedom, nan if it is not known.

    By E. Wilson and M. Hilferty, Proc. Natl. Acad. Sci. 17 (1931) 684: the third root of chi2 / ndf is nearly normal.
    """
    if not ndf > 0:
        return 1.0 if ndf == 0 else nan
    width = 2 / (9 * ndf)
    return erfc(((chi2 / ndf) ** (1 / 3) - (1 - width)) / sqrt(2 * width)) / 2
