"""Extraction `template`: efficiencies in data by a fit of templates of quark and gluon jets on each side of the cut.

In a bin of pT the templates t are the jets of re-weighted simulation, scaled to the number of jets of data in each
region R. Among the bins x on one side of the cut of a working point, data are expected to have

    mu_R(x) = s_q t_q^R(x) + s_g t_g^R(x),        R = forward, central

with the same s in both regions. They maximise the Poisson likelihood, sum over R and x of (d log mu - mu), which is
concave: Newton's method finds its only maximum. With e the efficiency of forward jets by label, that in data is

    s_below e / (s_below e + s_above (1 - e))

With a single bin on each side this is the inversion of `matrix`. With more bins it has smaller errors, but relies on
the shapes of simulation on each side of the cut.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Shaped
from beampipe.calibration.method.goodness import Refolding
from beampipe.calibration.method.matrix import efficiencies_at, truth
from beampipe.calibration.method.reweight import GLUON, QUARK, sum_over_bins

_STEPS: Final = 40
"""Largest number of steps of Newton's method; five are usual."""

_CONVERGED: Final = 1e-9
"""Relative change of a scale below which it is final: the next one would be about its square."""

_SAME: Final = 1e-12
"""Relative determinant of the curvature below which the templates of quarks and gluons count as the same."""

_LARGEST_STEP: Final = 4.0
"""Largest factor by which a step changes a scale, which therefore stays positive."""


def fitted(
    jets: Float64[ndarray, "*v p 2 x"],
    flavours: Float64[ndarray, "*s p 2 2 x"],
    cuts: Shaped[ndarray, "p w"],
    nominal: Float64[ndarray, "p 2 2 x"],
) -> Float64[ndarray, "*u p w 2"]:
    """Efficiencies of quark and gluon jets in data; the interface of `beampipe.calibration.method.matrix.Extraction`.

    A bin of pT has nan if a region is empty, or if the templates of quarks and gluons are the same.
    """
    below = _below(cuts, jets.shape[-1])
    with np.errstate(divide="ignore", invalid="ignore"):
        templates = _templates(jets, flavours)
        below_cut, above_cut = (_scales(jets, templates, side) for side in (below, 1 - below))
        expected = efficiencies_at(truth(flavours), cuts)
        tagged = below_cut * expected
        efficiencies: ndarray = tagged / (tagged + above_cut * (1 - expected))
    return efficiencies


def unexplained(
    jets: Float64[ndarray, "*v p 2 x"],
    flavours: Float64[ndarray, "*s p 2 2 x"],
    cuts: Shaped[ndarray, "p w"],
    nominal: Float64[ndarray, "p 2 2 x"],
) -> Float64[ndarray, "*u p w 2 x"]:
    """Jets of data minus those of the fitted templates; see `beampipe.calibration.method.goodness`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        below, templates = _below(cuts, jets.shape[-1]), _templates(jets, flavours)
        fit = np.zeros(())
        for side in (below, 1 - below):
            scales = _scales(jets, templates, side)
            for flavour in (QUARK, GLUON):
                part = scales[..., flavour][..., None, None] * templates[..., None, :, flavour, :]
                fit = fit + part * side[..., None, :]
    left: ndarray = jets[..., None, :, :] - fit
    return left


refolding: Final = Refolding(unexplained, one_sided=False)


def _below(cuts: Shaped[ndarray, "p w"], n_bins: int) -> Float64[ndarray, "p w x"]:
    """The part of each bin that is below the cut."""
    return np.clip(cuts[..., None] - np.arange(n_bins), 0.0, 1.0)


def _templates(
    jets: Float64[ndarray, "*v p 2 x"], flavours: Float64[ndarray, "*s p 2 2 x"]
) -> Float64[ndarray, "*u p 2 2 x"]:
    """Jets of simulation, scaled to the number of jets of data in each region; nan where there are none."""
    numbers = sum_over_bins(jets)
    simulated = sum_over_bins(flavours[..., QUARK, :]) + sum_over_bins(flavours[..., GLUON, :])
    scale = np.where(numbers > 0, numbers, np.nan) / simulated
    templates: ndarray = flavours * scale[..., None, None]
    return templates


def _scales(
    jets: Float64[ndarray, "*v p 2 x"], templates: Float64[ndarray, "*u p 2 2 x"], side: Float64[ndarray, "p w x"]
) -> Float64[ndarray, "*u p w 2"]:
    """The scales of quarks and gluons that fit data best, given which part of each bin counts."""
    d, q, g = (
        part.reshape(*part.shape[:-2], 1, 2 * part.shape[-1])
        for part in (jets, templates[..., QUARK, :], templates[..., GLUON, :])
    )
    every = np.broadcast_arrays(d, q, g, np.concatenate([side, side], axis=-1))
    scales = np.ones((2, *every[0].shape[:-1]))
    left = np.ones(every[0].shape[:-1], bool)  # each fit ends by itself, so that no other one changes its result
    for _ in range(_STEPS):
        d, q, g, weight = (part[left] for part in every)
        quark, gluon = scales[:, left]
        mean = quark[:, None] * q + gluon[:, None] * g
        ratio = np.where(mean > 0, d / mean, 0.0)
        pull = np.where(mean > 0, weight * (ratio - 1), 0.0)
        curvature = np.where(mean > 0, weight * ratio / mean, 0.0)
        slope_q, slope_g = sum_over_bins(pull * q), sum_over_bins(pull * g)
        qq, qg, gg = (
            sum_over_bins(curvature * q * q),
            sum_over_bins(curvature * q * g),
            sum_over_bins(curvature * g * g),
        )
        determinant = np.where(qq * gg - qg * qg > _SAME * qq * gg, qq * gg - qg * qg, np.nan)
        after_quark = _step(quark, (gg * slope_q - qg * slope_g) / determinant)
        after_gluon = _step(gluon, (qq * slope_g - qg * slope_q) / determinant)
        scales[:, left] = after_quark, after_gluon
        left[left] = (np.abs(after_quark / quark - 1) > _CONVERGED) | (np.abs(after_gluon / gluon - 1) > _CONVERGED)
        if not left.any():
            break
    return np.moveaxis(scales, 0, -1)


def _step(value: Float64[ndarray, "*v"], change: Float64[ndarray, "*v"]) -> Float64[ndarray, "*v"]:
    limited: ndarray = np.clip(value + change, value / _LARGEST_STEP, value * _LARGEST_STEP)
    return limited
