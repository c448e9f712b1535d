"""Learn the tables of the track fit from simulated events: field, resolution, scattering and energy loss.

The helix of a simulated particle is known, so its hits deviate by measurement errors and scattering alone. A *kink* at
a hit is the change of direction from the hit before to the hit behind it, relative to that helix: the errors of three
hits, divided by their distances, and the scattering at the middle one, which grows with 1 / p. Its square is on average
linear in the variances of the layers; non-negative least squares gives these from kinks of all momenta at once.

The beam pipe stands for all material inside the first hits. Its scattering displaces the first hit, and turns the track
there relative to the line from its true origin: both are moments like the others. Its radius is assumed, not learned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Float64, Int64
from beampipe.errors import ConfigError
from beampipe.events import Event, Hits, Tracks
from beampipe.tracking.fitting.fitter import TrackFitter
from beampipe.tracking.fitting.helix import GEV_PER_TESLA_MM, cartesian, cross, curvature, from_acts, perigee_of
from beampipe.tracking.fitting.reference import PION_MASS, FitTables, layer_of, measurements, save_fit_tables, thickness
from beampipe.tracking.kernels.weights import write_card
from beampipe.tracking.truth import truth_of


@dataclass(frozen=True)
class FitConfig:
    """Which particles the tables of the track fit are learned from.

    Attributes:
        pt_min: lowest pT of a particle that is learned from [GeV].
        eta_max: largest |eta| of such a particle.
        origin_max: largest radius at which such a particle was made [mm].
        turn_max: largest turning angle of a particle up to a hit that counts [rad].
        min_hits: fewest hits of such a particle.
        min_particles: fewest particles to learn from.
        pipe_share: radius of the beam pipe, as a share of the innermost radius at which a layer has hits.
        core: kinks beyond this many standard deviations are tails, left out. At 2.5, fitted tracks of ACTS's Generic
            detector have pulls of unit width.
        stiff: lowest pT of a particle that the field is learned from [GeV].
    """

    pt_min: float = 0.4
    eta_max: float = 3.2
    origin_max: float = 2.0
    turn_max: float = 1.2
    min_hits: int = 4
    min_particles: int = 100
    pipe_share: float = 0.65
    core: float = 2.5
    stiff: float = 1.0


FIT_RECIPE: Final = FitConfig()
"""The configuration behind the shipped tables of the track fit."""


@dataclass(frozen=True, eq=False)
class TrueTracks:
    """Hits of true particles, from the beam outwards, one particle after the other.

    Attributes:
        particle: (n,) int64 number of the particle of each hit, ascending.
        row: (n,) int64 row of each hit in its event.
        event: (n,) int64 number of the event of each hit.
        layer: (n,) int64 number of the layer of each hit.
        xyz: (n, 3) float64 position of each hit: x, y, z [mm].
        vertex: (n_particles, 3) float64 where each particle starts: x, y, z [mm].
        momentum: (n_particles, 3) float64 px, py, pz [GeV] of each particle there.
        charge: (n_particles,) float64 charge of each particle [e].
    """

    particle: Int64[ndarray, " n"]
    row: Int64[ndarray, " n"]
    event: Int64[ndarray, " n"]
    layer: Int64[ndarray, " n"]
    xyz: Float64[ndarray, "n 3"]
    vertex: Float64[ndarray, "n_particles 3"]
    momentum: Float64[ndarray, "n_particles 3"]
    charge: Float64[ndarray, " n_particles"]

    @property
    def pt(self) -> Float64[ndarray, " n_particles"]:
        """Transverse momentum of each particle [GeV]."""
        return np.asarray(np.hypot(self.momentum[:, 0], self.momentum[:, 1]))

    @property
    def size(self) -> Int64[ndarray, " n_particles"]:
        """Number of hits of each particle."""
        return np.bincount(self.particle, minlength=len(self.charge)).astype(np.int64)

    @property
    def begin(self) -> Int64[ndarray, " n_particles"]:
        """Where the hits of each particle begin."""
        return np.asarray(np.cumsum(self.size) - self.size)


def true_tracks(events: Sequence[Event], layers: Float32[ndarray, "n_layers 4"], config: FitConfig) -> TrueTracks:
    """Hits on layers of the particles that are learned from.

    Args:
        events: clean events with truth, at least one.
        layers: r_min, r_max, z_min, z_max [mm] of each layer.
        config: selection of particles.

    Raises:
        InputError: an event has no truth.
    """
    columns, begin = [], 0
    for number, event in enumerate(events):
        particles = truth_of(event).particles
        owner, order = _owners(event, config)
        r, _, z = event.hits.position.astype(np.float64).T
        layer = layer_of(event.hits.position, layers)
        row = np.flatnonzero((layer >= 0) & (owner >= 0))
        row = row[np.lexsort((r[row] ** 2 + z[row] ** 2, owner[row]))]
        enough = np.bincount(owner[row], minlength=len(order)) >= config.min_hits
        row, kept = row[enough[owner[row]]], order[enough]
        columns.append(
            (
                (np.cumsum(enough) - 1)[owner[row]] + begin,
                row,
                np.full(len(row), number),
                layer[row],
                cartesian(event.hits.position[row]),
                particles.vertex[kept].astype(np.float64),
                particles.momentum[kept].astype(np.float64),
                particles.charge[kept].astype(np.float64),
            )
        )
        begin += len(kept)
    return TrueTracks(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _owners(event: Event, config: FitConfig) -> tuple[Int64[ndarray, " n_hits"], Int64[ndarray, " n_wanted"]]:
    """Number of the wanted particle that made each hit, -1 for others, and the rows of the wanted particles."""
    truth = truth_of(event)
    p = truth.particles
    wanted = (p.charge != 0) & (p.pt > config.pt_min) & (np.abs(p.eta) < config.eta_max)
    wanted &= (p.origin_radius < config.origin_max) & p.primary
    order = np.flatnonzero(wanted)[np.argsort(p.particle_id[wanted])]
    ids = p.particle_id[order]
    owner = np.searchsorted(ids, truth.particle_id)
    is_wanted = owner < len(ids)
    is_wanted[is_wanted] = ids[owner[is_wanted]] == truth.particle_id[is_wanted]
    return np.where(is_wanted, owner, -1).astype(np.int64), order


_MEDIAN_CHI2: Final = 0.455
"""Median of chi2 with one degree of freedom."""

_ROUNDS: Final = 10
"""Number of rounds of the fit of the variances, each with weights and core from the round before."""

_LEAST_SHARE: Final = 0.05
"""Smallest variance of a kink, as a share of the typical one: few kinks can be nearly straight."""

_OCTAVES: Final = 64
"""Number of ranges of momentum, each a factor 2 in 1 / p^2."""

_SEEN: Final = 2.0
"""Significance, in standard errors, from which on a variance counts as measured."""

_SAME_RADIUS: Final = 20.0
"""Difference of radii [mm] up to which layers count as equally near."""


def learn_variances(chains: TrueTracks, tables: FitTables, config: FitConfig) -> FitTables:
    """The tables with resolutions and scattering derived from true tracks.

    Args:
        chains: hits of true particles.
        tables: layers, field, and the energy loss so far.
        config: definition of the core of a distribution.

    Raises:
        ConfigError: the errors of no layer can be derived.
    """
    deviations = _deviations(chains, tables, config)
    n = len(tables.layers)
    pipe = config.pipe_share * float(tables.layers[:, 0].min())
    parts = (_kinks(deviations, n, pipe), _first_offsets(deviations, n, pipe))
    index = np.concatenate([part.index for part in parts])
    factor = np.concatenate([part.factor for part in parts])
    square = np.concatenate([part.square for part in parts])
    values = np.concatenate([tables.variance.T.ravel(), tables.scattering, [0.0]]).astype(np.float64)
    size = index.max(initial=0) + 1
    scale = factor[:, 3] + factor[:, 4]  # grows with 1 / p^2
    octave = np.floor(np.log2(np.maximum(scale, 1e-300))).astype(np.int64)
    layers = index[:, :3] @ np.array([size * size, size, 1]) * 2 + (factor[:, 3] > 0)
    _, group = np.unique(layers * _OCTAVES + octave % _OCTAVES, return_inverse=True)
    order = np.lexsort((square, group))
    count = np.bincount(group)
    median = square[order[np.cumsum(count) - count + count // 2]]
    typical = np.asarray(median[group] / _MEDIAN_CHI2)
    expected, error = typical, values
    core_variance = _cut_variance(config.core)
    for _ in range(_ROUNDS):
        core = square < config.core**2 * expected
        values, error = _least_squares(index[core], factor[core], square[core] / core_variance, expected[core], values)
        expected = np.maximum((factor * values[index]).sum(axis=1), _LEAST_SHARE * typical)
    columns = zip(values[:-1].reshape(3, n), error[:-1].reshape(3, n), strict=True)
    across, along, scattering = (_filled(value, error, tables) for value, error in columns)
    return replace(
        tables,
        variance=np.stack([across, along], axis=1).astype(np.float32),
        scattering=scattering.astype(np.float32),
        beam_pipe=np.array([pipe, values[-1]], np.float32),
    )


def _cut_variance(cut: float) -> float:
    """Variance of a normal distribution of unit width that is cut at so many standard deviations on both sides."""
    density = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
    return 1 - 2 * cut * density / math.erf(cut / math.sqrt(2))


@dataclass(frozen=True, eq=False)
class _Deviations:
    """How far hits lie from the helix of their particle, across and along; columns of (n, 2).

    Attributes:
        chains: the hits.
        s: length of arc [mm].
        away: deviation from the helix [mm].
        error: factor of the layer's variances in the variance of `away`.
        slope: variance of d(away)/ds by a scattering of 1 GeV^2 at this hit.
        slope_of_pipe: the same by scattering in a cylinder about the beam line.
        usable: hits that count.
    """

    chains: TrueTracks
    s: Float64[ndarray, " n"]
    away: Float64[ndarray, "n 2"]
    error: Float64[ndarray, "n 2"]
    slope: Float64[ndarray, "n 2"]
    slope_of_pipe: Float64[ndarray, "n 2"]
    usable: Bool[ndarray, " n"]


def _deviations(chains: TrueTracks, tables: FitTables, config: FitConfig) -> _Deviations:
    field = float(tables.field[0])
    helices = from_acts(perigee_of(chains.vertex, chains.momentum, chains.charge, field), field)[chains.particle]
    omega, cot = helices[:, 2], helices[:, 4]
    at = cross(helices, chains.xyz[:, 0], chains.xyz[:, 1])
    barrel = tables.barrel[chains.layer]
    one = np.ones(len(cot))
    with np.errstate(divide="ignore", invalid="ignore"):
        residual, _, radial = measurements(helices, at, chains.xyz, barrel)
        # From the coordinates that a layer measures to deviations from the track: across it, and along z.
        scale = np.where(barrel, (radial, one), (one, -cot / radial)).T
        path = thickness(one, barrel, radial, cot)
    inverse_pt2 = (omega / (GEV_PER_TESLA_MM * field)) ** 2
    inverse_p2 = inverse_pt2 / (1 + cot * cot)
    slope = inverse_pt2 * (1 + PION_MASS**2 * inverse_p2)
    slopes = np.stack([slope, slope * (1 + cot * cot)], axis=1)
    away = residual * scale
    lost = tables.energy_loss[0] * tables.scattering[chains.layer] * path * np.sqrt(inverse_p2)
    away[:, 0] -= omega * _bent(chains, at.s, np.where(np.isfinite(lost), lost, 0.0))
    usable = np.isfinite(away).all(axis=1) & (np.abs(omega * at.s) < config.turn_max) & (at.s > 0) & (radial > 0)
    pipe = np.sqrt(1 + cot * cot)[:, None]
    return _Deviations(chains, at.s, away, scale**2, slopes * path[:, None], slopes * pipe, usable)


def _bent(chains: TrueTracks, s: Float64[ndarray, " n"], lost: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
    """Sum over the hits before of lost (s - s_before)^2 / 2: the shift by momentum loss, divided by omega."""

    def before(values: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        total = np.cumsum(values) - values
        return np.asarray(total - np.repeat(total[chains.begin], chains.size))

    return np.asarray((before(lost) * s * s - 2 * before(lost * s) * s + before(lost * s * s)) / 2)


def _filled(
    value: Float64[ndarray, " n_layers"], error: Float64[ndarray, " n_layers"], tables: FitTables
) -> Float64[ndarray, " n_layers"]:
    """The values; where one is not significant, that of similar layers, as far as its error allows.

    Similar are the nearest layers in radius, of the same kind and with significant values; their median is used.
    """
    seen = value > _SEEN * error
    if not seen.any():
        raise ConfigError("fit tables: got no layer with enough hits to estimate its errors; give more events")
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
    """Squares whose expectation is linear in the unknown variances.

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
    """Squares of all kinks; the true origin counts as the hit before a first hit. `pipe` is a radius [mm]."""
    chains = seen.chains
    at = np.arange(len(chains.row) - 1)
    same = chains.particle[at] == chains.particle[at + 1]
    first = np.append(True, ~same[:-1])
    before = np.maximum(at - 1, 0)
    use = same & seen.usable[at] & seen.usable[at + 1] & (chains.layer[at] != chains.layer[at + 1])
    use &= first | (seen.usable[before] & (chains.layer[before] != chains.layer[at]))
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
        # From the origin, a hit at s appears rotated by pipe / s times the scattering angle in the pipe.
        np.where(first & (inward > pipe), seen.slope_of_pipe[at] * (pipe / inward) ** 2, 0.0),
    )
    layers = (chains.layer[before], chains.layer[at], chains.layer[at + 1], chains.layer[at])
    return _moments(layers, factors, kink, n_layers)


def _first_offsets(seen: _Deviations, n_layers: int, pipe: float) -> _Moments:
    """Squares of the deviations of first hits: their errors, and scattering in the beam pipe of radius `pipe` [mm]."""
    chains = seen.chains
    at = chains.begin
    at = at[seen.usable[at] & (seen.s[at] > pipe)]
    none = np.zeros((len(at), 2))
    lever = seen.slope_of_pipe[at] * (seen.s[at, None] - pipe) ** 2
    return _moments((chains.layer[at],) * 4, (none, seen.error[at], none, none, lever), seen.away[at], n_layers)


def _moments(
    layers: tuple[Int64[ndarray, " n"], ...], factors: tuple[Float64[ndarray, "n 2"], ...], size: ndarray, n_layers: int
) -> _Moments:
    """Moments across and along: index and factors of three hits, of the scattering of a layer, and of the pipe."""
    columns = np.array([0, n_layers])  # across, along
    numbers = [layer[:, None] + columns for layer in layers[:3]]
    numbers.append(np.repeat(layers[3][:, None] + 2 * n_layers, 2, axis=1))
    numbers.append(np.full_like(numbers[0], 3 * n_layers))
    return _Moments(
        np.stack(numbers, axis=-1).reshape(-1, 5), np.stack(factors, axis=-1).reshape(-1, 5), (size**2).ravel()
    )


def _least_squares(
    index: ndarray, factor: ndarray, square: ndarray, expected: ndarray, values: ndarray
) -> tuple[ndarray, ndarray]:
    """Variances >= 0 that describe the squares best, weighted by the variance of each square, and their errors."""
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
    is_determined = np.diag(matrix) > 0
    # A weak constraint to the last round, where the data do not constrain a variance.
    matrix = matrix[np.ix_(is_determined, is_determined)]
    small = 1e-6 * np.diag(matrix)
    upper = cholesky(matrix + np.diag(small))
    solution, _ = nnls(upper, solve_triangular(upper, target[is_determined] + small, trans="T"))
    result, error = values.copy(), np.full(size, np.inf)
    result[is_determined] = solution * scale[is_determined]
    error[is_determined] = np.sqrt(np.diag(np.linalg.inv(matrix + np.diag(small)))) * scale[is_determined]
    return result, error


_FIRST_VARIANCE: Final = 0.03**2
"""Variance of a hit [mm^2] in the first round."""

_FIRST_SCATTERING: Final = 4e-6
"""Scattering of a layer [GeV^2] in the first round: 2 % of a radiation length."""

_TRIED_LOSS: Final = 30.0
"""Trial energy loss [1/GeV] of the first round: fitted momenta are compared with those without loss."""

_FEWEST_STIFF: Final = 30
"""Fewest particles that the field is derived from."""

_FIELD_ROUNDS: Final = 10
"""Number of line fits to the field that each particle measures; each leaves out outliers of the last one."""


def learn_fit_tables(
    events: Iterable[Event],
    layers: Float32[ndarray, "n_layers 4"],
    field: float | None = None,
    config: FitConfig = FIT_RECIPE,
) -> FitTables:
    """Tables of the track fit for the detector that the events are of.

    Args:
        events: clean events with truth.
        layers: r_min, r_max, z_min, z_max [mm] of each layer, as of learned windows.
        field: magnetic field along z [T]; learned from the curvature of true particles if not given.
        config: selection of particles.

    Raises:
        ConfigError: too few particles, or their tracks are straight.
        InputError: an event has no truth.
    """
    kept = list(events)
    if not kept:
        raise ConfigError("fit tables: got no event to learn from, expected some with truth")
    chains = true_tracks(kept, layers, config)
    if len(chains.charge) < config.min_particles:
        raise ConfigError(
            f"fit tables: got {len(chains.charge)} particles of {len(kept)} events to learn from, expected"
            f" {config.min_particles} with pT > {config.pt_min} GeV and {config.min_hits} hits; give more events"
        )
    strength = np.float32(_field(chains, config) if field is None else field)
    n = len(layers)
    tables = FitTables(
        np.asarray(layers, np.float32),
        np.full((n, 2), _FIRST_VARIANCE, np.float32),
        np.full(n, _FIRST_SCATTERING, np.float32),
        np.zeros(2, np.float32),
        np.zeros(1, np.float32),
        np.array([strength], np.float32),
    )
    for _ in range(2):  # energy loss also bends tracks, and is unknown in the first round
        tables = learn_variances(chains, tables, config)
        tables = replace(tables, energy_loss=np.array([_energy_loss(kept, chains, tables)], np.float32))
    return tables


def train_fit_tables(
    events: Iterable[Event],
    layers: Float32[ndarray, "n_layers 4"],
    out: Path,
    about: Mapping[str, object],
    field: float | None = None,
    config: FitConfig = FIT_RECIPE,
) -> FitTables:
    """Learn the tables of the track fit and write them, with a card beside them.

    Args:
        events: events to learn from, as for `learn_fit_tables`.
        layers: box of each layer, as for `learn_fit_tables`.
        out: safetensors file to write; the card lies beside it.
        about: further facts for the card (command, data).
        field: magnetic field along z [T]; learned if not given.
        config: selection of particles.

    Raises:
        ConfigError: the events do not suffice, see `learn_fit_tables`.
        InputError: truth is missing.
    """
    kept = list(events)
    tables = learn_fit_tables(kept, layers, field, config)
    save_fit_tables(tables, out)
    metrics = {
        "layers": len(tables.layers),
        "field": float(tables.field[0]),
        "beam_pipe_radius": float(tables.beam_pipe[0]),
        "beam_pipe_scattering": float(tables.beam_pipe[1]),
        "energy_loss": float(tables.energy_loss[0]),
    }
    write_card(out, asdict(config), {"events": len(kept), **about}, metrics)
    return tables


def _field(chains: TrueTracks, config: FitConfig) -> float:
    """The field [T]: curvature of the circle through three hits, times pT, corrected for energy loss."""
    first, last = chains.begin, chains.begin + chains.size - 1
    inner, middle, outer = (chains.xyz[row] for row in (first, (first + last) // 2, last))
    strength = -curvature(inner, middle, outer) * chains.pt / (GEV_PER_TESLA_MM * chains.charge)
    length = np.hypot(*(outer - inner)[:, :2].T)
    use = (chains.pt > config.stiff) & np.isfinite(strength) & (length > np.median(length))
    if np.count_nonzero(use) < _FEWEST_STIFF:
        raise ConfigError(
            f"fit tables: got {np.count_nonzero(use)} long tracks with pT > {config.stiff} GeV, expected"
            f" {_FEWEST_STIFF} to tell the field; give it, or more events"
        )
    design = np.stack([np.ones(np.count_nonzero(use)), 1 / chains.pt[use]], axis=1)
    values = strength[use]
    core = np.abs(values - np.median(values)) < np.abs(np.median(values))
    for _ in range(_FIELD_ROUNDS):
        solution = np.linalg.lstsq(design[core], values[core], rcond=None)[0]
        away = np.abs(values - design @ solution)
        core = away < config.core * 1.48 * np.median(away)
    if not abs(solution[0]) > 1.48 * np.median(away):
        raise ConfigError("fit tables: got straight tracks, expected a magnetic field along z; give its strength")
    return float(solution[0])


def _energy_loss(events: list[Event], chains: TrueTracks, tables: FitTables) -> float:
    """Energy loss [1/GeV] at which fitted momenta are right on average.

    By a line through 0 and a trial value: that of the tables, if they have one, as a smaller one is less exact.
    """
    true = perigee_of(chains.vertex, chains.momentum, chains.charge, float(tables.field[0]))[:, 4]
    bias, trial = [], float(tables.energy_loss[0]) or _TRIED_LOSS
    for tried in (0.0, trial):
        fitter = TrackFitter(replace(tables, energy_loss=np.array([tried], np.float32)), reject_outliers=False)
        pulls = []
        for number, event in enumerate(events):
            mine = chains.event == number
            label = np.full(len(event.hits), -1, np.int64)
            particle = chains.particle[mine]
            begin = particle.min(initial=len(chains.charge))
            label[chains.row[mine]] = particle - begin
            fits = fitter(Hits(event.hits.position), Tracks(label))
            expected = true[begin : begin + len(fits)]
            sign = np.sign(expected)
            pulls.append(((fits.values[:, 4] - expected) * sign / np.sqrt(fits.covariance[:, 4, 4]))[fits.fitted])
        bias.append(np.median(np.concatenate(pulls)))
    if bias[0] == bias[1]:
        return 0.0
    return max(trial * float(bias[0] / (bias[0] - bias[1])), 0.0)
