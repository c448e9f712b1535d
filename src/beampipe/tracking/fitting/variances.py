"""Resolution and scattering of each layer, and of the beam pipe, from kinks of true tracks.

The helix of a true particle is known, so that its hits tell errors and scattering alone. A *kink* at a hit is the
change of direction from the hit before to the hit behind it, relative to that helix: the errors of three hits, divided
by their distances, and the scattering at the middle one, which grows with 1 / p. Its square is on average linear in
the variances of the layers, which are found by non-negative least squares from kinks of all momenta at once.

The beam pipe stands for all that lies inside the first hits. A particle that it scatters misses its first hit and
turns there, as seen from its true origin: both are moments like the others. Its radius is assumed, not learned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int64
from beampipe.errors import ConfigError
from beampipe.tracking.fitting.chains import Chains, FitConfig
from beampipe.tracking.fitting.helix import GEV_PER_TESLA_MM, cross, from_acts, perigee_of
from beampipe.tracking.fitting.reference import measurements, thickness
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

_OCTAVES: Final = 64
"""Ranges of momentum, each of a factor 2 in 1 / p^2, that are told apart."""

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
    pipe = config.pipe_share * float(tables.layers[:, 0].min())
    parts = (_kinks(seen, n, pipe), _first_offsets(seen, n, pipe))
    index = np.concatenate([part.index for part in parts])
    factor = np.concatenate([part.factor for part in parts])
    square = np.concatenate([part.square for part in parts])
    values = np.concatenate([tables.variance.T.ravel(), tables.scattering, [0.0]]).astype(np.float64)
    typical = _typical(index, factor, square)
    expected, error = typical, values
    for _ in range(_ROUNDS):
        core = square < config.core**2 * expected
        values, error = _least_squares(index[core], factor[core], square[core] / _CORE_VARIANCE, expected[core], values)
        expected = np.maximum((factor * values[index]).sum(axis=1), _LEAST_SHARE * typical)
    columns = zip(values[:-1].reshape(3, n), error[:-1].reshape(3, n), strict=True)
    across, along, scattering = (_filled(value, error, tables) for value, error in columns)
    return replace(
        tables,
        variance=np.stack([across, along], axis=1).astype(np.float32),
        scattering=scattering.astype(np.float32),
        beam_pipe=np.array([pipe, values[-1]], np.float32),
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
        path = thickness(one, barrel, radial, cot)
    inverse_pt2 = (omega / (GEV_PER_TESLA_MM * field)) ** 2
    inverse_p2 = inverse_pt2 / (1 + cot * cot)
    slope = inverse_pt2 * (1 + PION_MASS**2 * inverse_p2)
    slopes = np.stack([slope, slope * (1 + cot * cot)], axis=1)
    away = residual * scale
    lost = tables.energy_loss[0] * tables.scattering[chains.layer] * path * np.sqrt(inverse_p2)
    away[:, 0] -= omega * _bent(chains, at.s, np.where(np.isfinite(lost), lost, 0.0))
    known = np.isfinite(away).all(axis=1) & (np.abs(omega * at.s) < config.turn_max) & (at.s > 0) & (radial > 0)
    pipe = np.sqrt(1 + cot * cot)[:, None]
    return _Deviations(chains, at.s, away, scale**2, slopes * path[:, None], slopes * pipe, known)


def _bent(chains: Chains, s: Float64[ndarray, " n"], lost: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
    """Sum over the hits before of lost (s - s_before)^2 / 2: how far lost momentum has bent the track, over omega."""

    def before(values: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        total = np.cumsum(values) - values
        return np.asarray(total - np.repeat(total[chains.begin], chains.size))

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


@dataclass(frozen=True, eq=False)
class _Moments:
    """Squares that are on average linear in the variances that are looked for.

    Attributes:
        index: (n, 5) int64 numbers of the variances that add up to each square: those of the hits before, at and
            behind the kink, the scattering of the layer, and that of the beam pipe.
        factor: (n, 5) float64 their factors.
        square: (n,) float64 squares of kinks, or of the offsets of first hits.
    """

    index: Int64[ndarray, "n 5"]
    factor: Float64[ndarray, "n 5"]
    square: Float64[ndarray, " n"]


def _kinks(seen: _Deviations, n_layers: int, pipe: float) -> _Moments:
    """Squares of all kinks; the true origin counts as the hit before a first hit.

    Args:
        seen: deviations of hits.
        n_layers: number of layers of the tables.
        pipe: radius of the beam pipe [mm].
    """
    chains = seen.chains
    at = np.arange(len(chains.row) - 1)
    same = chains.particle[at] == chains.particle[at + 1]
    first = np.append(True, ~same[:-1])
    before = np.maximum(at - 1, 0)
    use = same & seen.known[at] & seen.known[at + 1] & (chains.layer[at] != chains.layer[at + 1])
    use &= first | (seen.known[before] & (chains.layer[before] != chains.layer[at]))
    inward = seen.s[at] - np.where(first, 0.0, seen.s[before])
    outward = seen.s[at + 1] - seen.s[at]
    use &= (inward > 0) & (outward > 0)
    at, before, first = at[use], before[use], first[use, None]
    inward, outward = inward[use, None], outward[use, None]
    kink = (seen.away[at + 1] - seen.away[at]) / outward
    kink -= (seen.away[at] - np.where(first, 0.0, seen.away[before])) / inward
    factors = (
        np.where(first, 0.0, seen.error[before] / inward**2),
        seen.error[at] * (1 / inward + 1 / outward) ** 2,
        seen.error[at + 1] / outward**2,
        seen.slope[at],
        # From the origin, a hit at s seems turned by pipe / s times the angle of scattering in the pipe.
        np.where(first & (inward > pipe), seen.slope_of_pipe[at] * (pipe / inward) ** 2, 0.0),
    )
    layers = (chains.layer[before], chains.layer[at], chains.layer[at + 1], chains.layer[at])
    return _moments(layers, factors, kink, n_layers)


def _first_offsets(seen: _Deviations, n_layers: int, pipe: float) -> _Moments:
    """Squares of the deviations of first hits: their errors, and scattering in the beam pipe.

    Args:
        seen: deviations of hits.
        n_layers: number of layers of the tables.
        pipe: radius of the beam pipe [mm].
    """
    chains = seen.chains
    at = chains.begin
    at = at[seen.known[at] & (seen.s[at] > pipe)]
    none = np.zeros((len(at), 2))
    lever = seen.slope_of_pipe[at] * (seen.s[at, None] - pipe) ** 2
    return _moments((chains.layer[at],) * 4, (none, seen.error[at], none, none, lever), seen.away[at], n_layers)


def _moments(
    layers: tuple[Int64[ndarray, " n"], ...], factors: tuple[Float64[ndarray, "n 2"], ...], size: ndarray, n_layers: int
) -> _Moments:
    """Moments across and along, of three hits on their layers and of the scattering on a fourth."""
    columns = np.array([0, n_layers])  # across, along
    numbers = [layer[:, None] + columns for layer in layers[:3]]
    numbers.append(np.repeat(layers[3][:, None] + 2 * n_layers, 2, axis=1))
    numbers.append(np.full_like(numbers[0], 3 * n_layers))
    return _Moments(
        np.stack(numbers, axis=-1).reshape(-1, 5), np.stack(factors, axis=-1).reshape(-1, 5), (size**2).ravel()
    )


def _typical(index: ndarray, factor: ndarray, square: ndarray) -> ndarray:
    """Variance of each square as told by the median of those on the same three layers and of similar momentum."""
    size = index.max(initial=0) + 1
    scale = factor[:, 3] + factor[:, 4]  # grows with 1 / p^2
    octave = np.floor(np.log2(np.maximum(scale, 1e-300))).astype(np.int64)
    layers = index[:, :3] @ np.array([size * size, size, 1]) * 2 + (factor[:, 3] > 0)
    _, group = np.unique(layers * _OCTAVES + octave % _OCTAVES, return_inverse=True)
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
    for i in range(5):
        target += np.bincount(index[:, i], weight * factor[:, i] * square, size)
        for j in range(5):
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
