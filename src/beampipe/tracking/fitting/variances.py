"""Resolution and scattering of each layer, and of the beam pipe, from kinks of true tracks.

The helix of a true particle is known, so that its hits tell errors and scattering alone. A *kink* at a hit is the
change of direction from the hit before to the hit behind it, relative to that helix: the errors of three hits, divided
by their distances, and the scattering at the middle one, which grows with 1 / p. Its square is on average linear in
the variances of the layers, which are found by non-negative least squares from kinks of all momenta at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from beampipe.errors import ConfigError
from beampipe.tracking.fitting.chains import Chains, FitConfig
from beampipe.tracking.fitting.helix import GEV_PER_TESLA_MM, cross, from_acts, perigee_of
from beampipe.tracking.fitting.reference import measurements
from beampipe.tracking.fitting.tables import PION_MASS, FitTables

__all__ = ["learn_variances"]

_CORE_VARIANCE: Final = 0.9733
"""Variance of a normal distribution of unit width that is cut at three standard deviations."""

_MEDIAN_CHI2: Final = 0.455
"""Median of chi2 with one degree of freedom."""

_ROUNDS: Final = 10
"""Times that the variances are fitted, each time with the weights and the core of the last."""

_LEAST_SHARE: Final = 0.05
"""Smallest variance of a kink, as a share of what is typical: few kinks may be told to be all but straight."""

_SEEN: Final = 2.0
"""Errors that a variance must be worth to be taken as seen."""

_SAME_RADIUS: Final = 20.0
"""Difference of radii [mm] up to which layers count as equally near."""


def learn_variances(chains: Chains, tables: FitTables, config: FitConfig) -> FitTables:
    """The tables with resolutions and scattering as the chains tell them.

    Args:
        chains: hits of true particles.
        tables: layers, field, and what is known of the loss of energy.
        config: what counts as the core of a distribution.

    Raises:
        ConfigError: the events tell the errors of no layer.
    """
    seen = _deviations(chains, tables, config)
    n = len(tables.layers)
    values = np.concatenate([tables.variance.T.ravel(), tables.scattering]).astype(np.float64)
    error, pipe = np.zeros(3 * n), tables.beam_pipe.astype(np.float64)
    index, factor, kink2, first = _kinks(seen, n)
    typical = _typical(index, kink2, 3 * n)
    expected = typical
    for _ in range(_ROUNDS):
        square = kink2 - first * pipe[1] * pipe[0] ** 2
        core = square < config.core**2 * expected
        values, error = _least_squares(index[core], factor[core], square[core] / _CORE_VARIANCE, expected[core], values)
        expected = np.maximum((factor * values[index]).sum(axis=1), _LEAST_SHARE * typical)
        pipe = _beam_pipe(seen, tables, values[:n], config)
    columns = zip(values.reshape(3, n), error.reshape(3, n), strict=True)
    across, along, scattering = (_filled(value, error, tables) for value, error in columns)
    return replace(
        tables,
        variance=np.stack([across, along], axis=1).astype(np.float32),
        scattering=scattering.astype(np.float32),
        beam_pipe=pipe.astype(np.float32),
    )


@dataclass(frozen=True, eq=False)
class _Deviations:
    """How far hits lie from the helix of their particle, across and along; columns of (n, 2).

    Attributes:
        chains: the hits.
        s: length of arc [mm].
        away: deviation [mm].
        error: what the variances of the layer are multiplied by in the variance of `away`.
        slope: variance of d(away)/ds by a scattering of 1 GeV^2 at this hit.
        slope_of_pipe: the same by scattering in a cylinder about the beam line.
        known: hits that count.
    """

    chains: Chains
    s: Float64[ndarray, " n"]
    away: Float64[ndarray, "n 2"]
    error: Float64[ndarray, "n 2"]
    slope: Float64[ndarray, "n 2"]
    slope_of_pipe: Float64[ndarray, "n 2"]
    known: Bool[ndarray, " n"]


def _deviations(chains: Chains, tables: FitTables, config: FitConfig) -> _Deviations:
    field = float(tables.field[0])
    helices = from_acts(perigee_of(chains.vertex, chains.momentum, chains.charge, field), field)[chains.particle]
    omega, cot = helices[:, 2], helices[:, 4]
    at = cross(helices, chains.xyz[:, 0], chains.xyz[:, 1])
    barrel = tables.barrel[chains.layer]
    one = np.ones(len(cot))
    with np.errstate(divide="ignore", invalid="ignore"):
        residual, _, radial = measurements(helices, at, chains.xyz, barrel)
        # From what a layer measures to the way of the track: across it, and along z.
        scale = np.where(barrel, (radial, one), (one, -cot / radial)).T
        path = np.sqrt(1 + cot * cot) / np.where(barrel, np.abs(radial), np.abs(cot))
    inverse_pt2 = (omega / (GEV_PER_TESLA_MM * field)) ** 2
    inverse_p2 = inverse_pt2 / (1 + cot * cot)
    slope = inverse_pt2 * (1 + PION_MASS**2 * inverse_p2)
    slopes = np.stack([slope, slope * (1 + cot * cot)], axis=1)
    away = residual * scale
    lost = tables.energy_loss[0] * tables.scattering[chains.layer] * path * np.sqrt(inverse_p2)
    away[:, 0] -= omega * _bent(chains.particle, at.s, np.where(np.isfinite(lost), lost, 0.0))
    known = np.isfinite(away).all(axis=1) & (np.abs(omega * at.s) < config.turn_max) & (at.s > 0) & (radial > 0)
    pipe = np.sqrt(1 + cot * cot)[:, None]
    return _Deviations(chains, at.s, away, scale**2, slopes * path[:, None], slopes * pipe, known)


def _bent(
    particle: Int64[ndarray, " n"], s: Float64[ndarray, " n"], lost: Float64[ndarray, " n"]
) -> Float64[ndarray, " n"]:
    """Sum over the hits before of lost (s - s_before)^2 / 2: how far lost momentum has bent the track, over omega."""
    first = np.flatnonzero(np.append(True, particle[1:] != particle[:-1]))

    def before(values: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        total = np.cumsum(values) - values
        return np.asarray(total - np.repeat(total[first], np.diff(np.append(first, len(particle)))))

    return np.asarray((before(lost) * s * s - 2 * before(lost * s) * s + before(lost * s * s)) / 2)


def _filled(
    value: Float64[ndarray, " n_layers"], error: Float64[ndarray, " n_layers"], tables: FitTables
) -> Float64[ndarray, " n_layers"]:
    """The values; where one is smaller than its error, that of layers alike, as far as the error allows.

    Alike are the layers of the same kind that are nearest in radius and whose own values are seen; the median counts.
    """
    seen = value > _SEEN * error
    if not seen.any():
        raise ConfigError("fit tables: got no layer whose errors can be told; give more events")
    radius = tables.layers[:, :2].mean(axis=1)
    filled = value.copy()
    for layer in np.flatnonzero(~seen):
        alike = seen & (tables.barrel == tables.barrel[layer])
        distance = np.where(alike if alike.any() else seen, np.abs(radius - radius[layer]), np.inf)
        typical = np.median(value[distance <= distance.min() + _SAME_RADIUS])
        filled[layer] = max(value[layer], min(typical, error[layer]))
    return filled


def _kinks(seen: _Deviations, n_layers: int) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Squares of all kinks, and what they are made of.

    Returns:
        (n, 4) numbers of the variances that add up to each: those of the hits before, at and behind the kink, and the
        scattering of the layer; (n, 4) their factors; (n,) squares; (n,) factor of the scattering in the beam pipe
        times the square of its radius, for kinks at a first hit, whose hit before is the true origin.
    """
    chains = seen.chains
    at = np.arange(len(chains.row) - 1)
    same = chains.particle[at] == chains.particle[at + 1]
    first = np.append(True, ~same[:-1])
    before = np.maximum(at - 1, 0)
    use = same & seen.known[at] & seen.known[at + 1] & (chains.layer[at] != chains.layer[at + 1])
    use &= first | (seen.known[before] & (chains.layer[before] != chains.layer[at]))
    at, first, before = at[use], first[use], before[use]
    from_origin = first[:, None]
    inward = seen.s[at] - np.where(first, 0.0, seen.s[before])
    outward = seen.s[at + 1] - seen.s[at]
    good = (inward > 0) & (outward > 0)
    at, first, before, from_origin = at[good], first[good], before[good], from_origin[good]
    inward, outward = inward[good, None], outward[good, None]
    kink = (seen.away[at + 1] - seen.away[at]) / outward
    kink -= (seen.away[at] - np.where(from_origin, 0.0, seen.away[before])) / inward
    factor = np.stack(
        [
            np.where(from_origin, 0.0, seen.error[before] / inward**2),
            seen.error[at] * (1 / inward + 1 / outward) ** 2,
            seen.error[at + 1] / outward**2,
            seen.slope[at],
        ],
        axis=-1,
    )
    columns = np.array([0, n_layers])  # across, along
    layers = [chains.layer[hit][:, None] + columns for hit in (before, at, at + 1)]
    layers.append(np.broadcast_to(chains.layer[at][:, None] + 2 * n_layers, (len(at), 2)))
    pipe = np.where(from_origin, seen.slope_of_pipe[at] / inward**2, 0.0)
    return np.stack(layers, axis=-1).reshape(-1, 4), factor.reshape(-1, 4), (kink**2).ravel(), pipe.ravel()


def _typical(index: ndarray, square: ndarray, size: int) -> ndarray:
    """Variance of each kink as told by the median of those on the same three layers, whatever their momenta."""
    _, group = np.unique(index[:, :3] @ np.array([size * size, size, 1]), return_inverse=True)
    order = np.lexsort((square, group))
    count = np.bincount(group)
    median = square[order[np.cumsum(count) - count + count // 2]]
    return np.asarray(median[group] / _MEDIAN_CHI2)


def _least_squares(
    index: ndarray, factor: ndarray, square: ndarray, expected: ndarray, values: ndarray
) -> tuple[ndarray, ndarray]:
    """Variances >= 0 for which the squares are as expected, each weighted by its own variance, and their errors."""
    from scipy.linalg import cholesky, solve_triangular
    from scipy.optimize import nnls

    size = len(values)
    weight = 0.5 / expected**2  # the square of a normal deviate has twice the square of its mean as variance
    scale = np.where(values > 0, values, values[values > 0].min())
    factor = factor * scale[index]
    normal, target = np.zeros(size * size), np.zeros(size)
    for i in range(4):
        target += np.bincount(index[:, i], weight * factor[:, i] * square, size)
        for j in range(4):
            normal += np.bincount(index[:, i] * size + index[:, j], weight * factor[:, i] * factor[:, j], size * size)
    matrix = normal.reshape(size, size)
    seen = np.diag(matrix) > 0
    # A little towards the last round where the data say nothing.
    matrix = matrix[np.ix_(seen, seen)]
    small = 1e-6 * np.diag(matrix)
    upper = cholesky(matrix + np.diag(small))
    found, _ = nnls(upper, solve_triangular(upper, target[seen] + small, trans="T"))
    result, error = values.copy(), np.full(size, np.inf)
    result[seen] = found * scale[seen]
    error[seen] = np.sqrt(np.diag(np.linalg.inv(matrix + np.diag(small)))) * scale[seen]
    return result, error


def _beam_pipe(
    seen: _Deviations, tables: FitTables, variance: Float64[ndarray, " n_layers"], config: FitConfig
) -> ndarray:
    """Radius [mm] and scattering [GeV^2] of the material inside the innermost barrel layer; zeros where none is seen.

    Scattering at the radius b moves the first hit, at s, by (s - b) times the angle, and turns the direction from it to
    the second hit by b / s times the angle against that from the origin: their mean square and product tell both.
    """
    chains = seen.chains
    innermost = np.argmin(np.where(tables.barrel, tables.layers[:, 0], np.inf))
    at = np.flatnonzero(np.append(True, chains.particle[1:] != chains.particle[:-1])[:-1])
    use = seen.known[at] & seen.known[at + 1] & (chains.layer[at] == innermost) & (chains.layer[at + 1] != innermost)
    at = at[use]
    s, outward = seen.s[at], seen.s[at + 1] - seen.s[at]
    moved, slope = seen.away[at, 0], seen.slope_of_pipe[at, 0]
    error = variance[innermost] * seen.error[at, 0]
    kink = (seen.away[at + 1, 0] - moved) / outward - moved / s
    square, product = moved**2 - error, moved * kink + error * (1 / outward + 1 / s)
    core = moved**2 < config.core**2 * np.median(moved**2) * 2.2
    core &= np.abs(kink) < config.core * 1.48 * np.median(np.abs(kink) / np.sqrt(slope)) * np.sqrt(slope)
    weight = slope[core]  # least squares of a line through zero
    if weight.sum() <= 0 or core.sum() < config.min_particles:
        return np.zeros(2)
    by_square = (weight * square[core]).sum() / (weight**2).sum()
    by_product = (weight * product[core]).sum() / (weight**2).sum()
    radius = float(np.median(s[core]))
    if by_square <= 0 or by_product <= 0:
        return np.zeros(2)
    pipe = radius / (1 + by_square / (by_product * radius))
    return np.array([pipe, by_square / (radius - pipe) ** 2])
