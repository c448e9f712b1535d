"""Extraction `topics`: fractions of quarks from the tails of the two mixtures in data (jet topics), then the inversion.

A tail, or anchor, is a range of x that nearly all jets of one flavour leave empty: the low bins that hold a share of
quark jets, the high bins that hold the same share of gluon jets. The anchors A are the same for all cases, from nominal
simulation after re-weighting. Among re-weighted jets of data, p_R(A) is the part of region R in A, and

    p_F(A) / p_C(A) = (f_F q_F(A) + (1 - f_F) g_F(A)) / (f_C q_C(A) + (1 - f_C) g_C(A))

with the shapes q and g of simulation. The two anchors are two linear equations for the fractions f of quarks, in which
simulation only states how pure the anchors are. The fractions then replace those of simulation in the inversion.

Shapes of data differ from those of simulation, and so does the purity. Therefore simulated q and g are tilted, h(x) to
h(x) z^x, until their means are those of the extracted shapes, and the fractions are computed again, in a few rounds.

The topics of E. Metodiev and J. Thaler (arXiv:1802.00008) take the smallest ratio of the two mixtures as an anchor.
With a finite number of jets the smallest ratio is a fluctuation, and the bias does not vanish with more of them: hence
fixed tails, and a correction for their purity. The method assumes that the shape of a flavour is the same in both
regions in data as far as it is in re-weighted simulation: see `beampipe.calibration.method.reweight`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Shaped
from beampipe.calibration.method.goodness import Refolding
from beampipe.calibration.method.matrix import (
    Extracted,
    Extraction,
    all_flavours,
    both_shapes,
    efficiencies_at,
    extract,
    quark_fractions,
    truth,
    working_point_cuts,
)
from beampipe.calibration.method.reweight import CENTRAL, FORWARD, GLUON, QUARK, shapes, sum_over_bins

SHARE: Final = 0.2
"""Share of the jets of a flavour in its tail."""

ROUNDS: Final = 6
"""Number of tilts of simulated shapes to the extracted ones. Each about halves the bias that is left: after three it is
up to 0.016 of the scale factor in the closure test, after six 0.005, with nearly the same statistical error."""

SMALLEST_DIFFERENCE: Final = 0.05
"""Difference of the fractions of the two regions below which there is no value."""

_LARGEST_SHIFT: Final = 0.5
"""Largest shift of a mean by a tilt, in standard deviations."""

_STEPS: Final = 8
"""Steps of Newton's method for a tilt; four are usual."""


def topic_fractions(
    jets: Float64[ndarray, "*v p 2 x"],
    flavours: Float64[ndarray, "*s p 2 2 x"],
    nominal: Float64[ndarray, "p 2 2 x"],
    share: float = SHARE,
    rounds: int = ROUNDS,
) -> Float64[ndarray, "*u p 2"]:
    """Fractions of quarks in the forward and the central jets of data.

    Args:
        jets: re-weighted jets of data by (pT, region, x).
        flavours: re-weighted jets of simulation by (pT, region, (quark, gluon), x).
        nominal: the same of nominal simulation, for the tails.
        share: share of the jets of a flavour in its tail.
        rounds: number of tilts of simulation.

    Returns:
        Fractions by (pT, region); nan if a region is empty, or if jets are so few that a fraction is outside 0 to 1, or
        that the fractions differ by less than `SMALLEST_DIFFERENCE`.
    """
    anchors, simulated = tails(nominal, share), shapes(flavours)
    in_simulation = _means(extract(all_flavours(flavours), quark_fractions(flavours)))
    fractions = _solved(jets, simulated, anchors)
    for _ in range(rounds):
        difference = _means(extract(jets, fractions)) - in_simulation
        fractions = _solved(jets, tilted(simulated, difference), anchors)
    with np.errstate(invalid="ignore"):
        valid = (fractions >= 0).all(axis=-1) & (fractions <= 1).all(axis=-1)
        valid &= np.abs(fractions[..., FORWARD] - fractions[..., CENTRAL]) >= SMALLEST_DIFFERENCE
    return np.where(valid[..., None], fractions, np.nan)


def tails(nominal: Float64[ndarray, "p 2 2 x"], share: float) -> Float64[ndarray, "p 2 x"]:
    """The part of each bin that is in the tail of quarks and in that of gluons: (pT, (quark, gluon), x)."""
    known, bins = truth(nominal), np.arange(nominal.shape[-1])
    low = working_point_cuts(known.quark, share, "inside")
    high = working_point_cuts(known.gluon[..., ::-1], share, "inside")
    return np.stack(
        [np.clip(low[..., None] - bins, 0.0, 1.0), np.clip(high[..., None] - bins, 0.0, 1.0)[..., ::-1]], axis=-2
    )


def tilted(
    simulated: Float64[ndarray, "*s 2 2 x"], difference: Float64[ndarray, "*u 2"]
) -> Float64[ndarray, "*w 2 2 x"]:
    """Shapes times z^x of unit area, with the z at which the mean of forward jets has moved by a difference.

    Shifts are limited to about `_LARGEST_SHIFT`. Powers are products: every processor gives the same.

    Args:
        simulated: shapes by (region, (quark, gluon), x).
        difference: shift of the mean [bins] of quarks and gluons.
    """
    forward = simulated[..., FORWARD, :, :]
    mean, variance = _moments(forward)
    wanted = mean + difference
    limit = 1 + _LARGEST_SHIFT / np.sqrt(variance)
    z = np.ones_like(wanted)
    for _ in range(_STEPS):
        mean, variance = _moments(forward * _powers(z, forward.shape[-1]))
        z = np.clip(z * np.clip(1 + (wanted - mean) / variance, 1 / limit, limit), 1 / limit, limit)
    return shapes(simulated * _powers(z, forward.shape[-1])[..., None, :, :])


def _powers(z: Float64[ndarray, "*u"], n: int) -> Float64[ndarray, "*u n"]:
    factors = np.repeat(z[..., None], n, axis=-1)
    factors[..., 0] = 1.0
    return np.cumprod(factors, axis=-1)


def _moments(histograms: Float64[ndarray, "*u x"]) -> tuple[Float64[ndarray, "*u"], Float64[ndarray, "*u"]]:
    """Mean and variance [bins]."""
    bins, shape = np.arange(histograms.shape[-1]), shapes(histograms)
    mean = sum_over_bins(shape * bins)
    return mean, sum_over_bins(shape * (bins - mean[..., None]) ** 2)


def _means(extracted: Extracted) -> Float64[ndarray, "*u 2"]:
    bins = np.arange(extracted.quark.shape[-1])
    return np.stack([sum_over_bins(extracted.quark * bins), sum_over_bins(extracted.gluon * bins)], axis=-1)


def _solved(
    jets: Float64[ndarray, "*v p 2 x"], simulated: Float64[ndarray, "*u p 2 2 x"], anchors: Float64[ndarray, "p 2 x"]
) -> Float64[ndarray, "*w p 2"]:
    """The fractions at which both anchors have the measured ratio, by Cramer's rule."""
    in_data = sum_over_bins(shapes(jets)[..., None, :] * anchors[..., None, :, :])  # by (region, anchor)
    expected = sum_over_bins(simulated[..., None, :] * anchors[..., None, None, :, :])  # by (region, flavour, anchor)
    forward, central = in_data[..., FORWARD, :], in_data[..., CENTRAL, :]
    q_forward, g_forward = expected[..., FORWARD, QUARK, :], expected[..., FORWARD, GLUON, :]
    q_central, g_central = expected[..., CENTRAL, QUARK, :], expected[..., CENTRAL, GLUON, :]
    # a f_F + b f_C = c, for each anchor
    a, b = central * (q_forward - g_forward), forward * (g_central - q_central)
    c = forward * g_central - central * g_forward
    determinant = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    determinant = np.where(determinant == 0, np.nan, determinant)
    return np.stack(
        [
            (c[..., 0] * b[..., 1] - c[..., 1] * b[..., 0]) / determinant,
            (a[..., 0] * c[..., 1] - a[..., 1] * c[..., 0]) / determinant,
        ],
        axis=-1,
    )


def _with_tails(share: float) -> Extraction:
    """The extraction with tails that hold a share of the jets of a flavour."""

    def extraction(
        jets: Float64[ndarray, "*v p 2 x"],
        flavours: Float64[ndarray, "*s p 2 2 x"],
        cuts: Shaped[ndarray, "p w"],
        nominal: Float64[ndarray, "p 2 2 x"],
    ) -> Float64[ndarray, "*u p w 2"]:
        return efficiencies_at(extract(jets, topic_fractions(jets, flavours, nominal, share)), cuts)

    return extraction


def _shapes_with_tails(share: float) -> Refolding:
    """The shapes that are extracted with tails of a share; no fraction depends on a working point."""

    def numbers(
        jets: Float64[ndarray, "*v p 2 x"],
        flavours: Float64[ndarray, "*s p 2 2 x"],
        cuts: Shaped[ndarray, "p w"],
        nominal: Float64[ndarray, "p 2 2 x"],
    ) -> Float64[ndarray, "*u p 1 2 x"]:
        return both_shapes(extract(jets, topic_fractions(jets, flavours, nominal, share)))

    return Refolding(numbers, one_sided=True)


topics: Final = _with_tails(SHARE)
"""The extraction `topics`."""

topics_narrow: Final = _with_tails(SHARE / 2)
"""`topics` with smaller tails: together with `topics_wide`, the uncertainty by the choice of tails."""

topics_wide: Final = _with_tails(1.5 * SHARE)
"""`topics` with larger tails."""

topics_shapes: Final = _shapes_with_tails(SHARE)
topics_narrow_shapes: Final = _shapes_with_tails(SHARE / 2)
topics_wide_shapes: Final = _shapes_with_tails(1.5 * SHARE)
