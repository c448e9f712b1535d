"""Stage 5, `extract`: shapes of quark and gluon jets from two mixtures of them, and efficiencies at fixed cuts.

With fractions f of quarks and gluons in the forward (F) and central (C) region, bin by bin in x:

    p_F = f_q^F p_q + f_g^F p_g          p_q = ( f_g^C p_F - f_g^F p_C) / D
    p_C = f_q^C p_q + f_g^C p_g   <=>    p_g = (-f_q^C p_F + f_q^F p_C) / D       D = f_q^F - f_q^C

The fractions come from re-weighted simulation, for simulation and data alike. D is small, so statistical errors grow by
1/D.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64, Shaped
from beampipe.calibration.method.reweight import CENTRAL, FORWARD, GLUON, QUARK, apply_factors, shapes

__all__ = ["Extracted", "cumulated", "extract", "mixtures", "quark_fractions", "truth", "working_point_cuts"]


@dataclass(frozen=True, eq=False)
class Extracted:
    """Shapes of unit area; any axes in front of x.

    Attributes:
        quark: (..., n_x) shape of quark jets.
        gluon: (..., n_x) shape of gluon jets.
    """

    quark: Float64[ndarray, "*v x"]
    gluon: Float64[ndarray, "*v x"]


def quark_fractions(flavours: Float64[ndarray, "*v 2 2 x"]) -> Float64[ndarray, "*v 2"]:
    """Fraction of quarks by region, from jets by (region, (quark, gluon), x) after re-weighting; nan without jets."""
    areas = np.cumsum(flavours, axis=-1)[..., -1]
    total = areas[..., QUARK] + areas[..., GLUON]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, areas[..., QUARK] / total, np.nan)


def mixtures(
    flavours: Float64[ndarray, "*v 2 2 x"], factors: Float64[ndarray, "*v x"]
) -> tuple[Float64[ndarray, "*v 2 x"], Float64[ndarray, "*v 2"]]:
    """Simulation after re-weighting: jets of both flavours by (region, x), and fractions of quarks by region."""
    quark = apply_factors(flavours[..., QUARK, :], factors)
    gluon = apply_factors(flavours[..., GLUON, :], factors)
    return quark + gluon, quark_fractions(np.stack([quark, gluon], axis=-2))


def extract(mixture: Float64[ndarray, "*v 2 x"], fractions: Float64[ndarray, "*w 2"]) -> Extracted:
    """Invert the two mixtures.

    Args:
        mixture: re-weighted jets by (region, x).
        fractions: fractions of quarks by region.

    Returns:
        Shapes; nan where D is 0 or a region has no jets.
    """
    shape = shapes(mixture)
    p_forward, p_central = shape[..., FORWARD, :], shape[..., CENTRAL, :]
    f_forward, f_central = fractions[..., FORWARD, None], fractions[..., CENTRAL, None]
    determinant = f_forward - f_central
    with np.errstate(divide="ignore", invalid="ignore"):
        quark = ((1 - f_central) * p_forward - (1 - f_forward) * p_central) / determinant
        gluon = (f_forward * p_central - f_central * p_forward) / determinant
    bad = determinant == 0
    return Extracted(np.where(bad, np.nan, quark), np.where(bad, np.nan, gluon))


def truth(flavours: Float64[ndarray, "*v 2 2 x"]) -> Extracted:
    """What `extract` should find: shapes by label, forward jets alone, which is what central jets are weighted to."""
    return Extracted(shapes(flavours[..., FORWARD, QUARK, :]), shapes(flavours[..., FORWARD, GLUON, :]))


def cumulated(shape: Float64[ndarray, "*v p x"], cuts: Shaped[ndarray, "p w"]) -> Float64[ndarray, "*v p w"]:
    """Fraction of jets below each cut, ``sum(shape[:cut])``, by bin of pT and working point.

    Args:
        shape: shapes of unit area.
        cuts: numbers of bins; of a number that is not whole, the last bin counts by the part of it that is cut off.
    """
    sums = np.cumsum(shape, axis=-1)
    whole = np.floor(cuts).astype(np.int64)
    part = cuts - whole
    before: ndarray = np.take_along_axis(sums, _everywhere(np.maximum(whole - 1, 0), sums), axis=-1)
    before = np.where(whole == 0, 0.0 * before, before)  # nan stays nan
    if not part.any():
        return before
    inside = np.take_along_axis(shape, _everywhere(np.minimum(whole, shape.shape[-1] - 1), sums), axis=-1)
    return np.where(part > 0, before + part * inside, before)


def _everywhere(places: Int64[ndarray, "p w"], sums: Float64[ndarray, "*v p x"]) -> Int64[ndarray, "*v p w"]:
    found: ndarray = np.broadcast_to(places, (*sums.shape[:-2], *places.shape))
    return found


def working_point_cuts(
    quark: Float64[ndarray, "*v x"], working_point: float, cut: str = "at_least"
) -> Shaped[ndarray, "*v"]:
    """Number of bins that count as quark-like.

    All bins if the shape never reaches the working point, or is nan.

    Args:
        quark: shapes of quark jets.
        working_point: share of quark jets aimed at.
        cut: ``at_least``: as few bins as hold the share. ``nearest``: as many, or one less, whichever holds a share
            nearer to it, but at least one. ``inside``: a part of the last of them, as if jets were spread evenly
            inside of a bin.
    """
    sums = np.cumsum(quark, axis=-1)
    reached = sums >= working_point
    ever = reached.any(axis=-1)
    counts: ndarray = np.where(ever, np.argmax(reached, axis=-1) + 1, quark.shape[-1]).astype(np.int64)
    if cut == "at_least":
        return counts
    last = np.take_along_axis(quark, counts[..., None] - 1, axis=-1)[..., 0]
    over = np.take_along_axis(sums, counts[..., None] - 1, axis=-1)[..., 0] - working_point
    if cut == "nearest":
        fewer: ndarray = np.where(ever & (counts > 1) & (last - over < over), counts - 1, counts)
        return fewer
    with np.errstate(divide="ignore", invalid="ignore"):
        part: ndarray = np.where(ever & (last > 0), counts - over / last, counts)
    return part
