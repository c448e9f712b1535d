"""Learn the tables of the track fit from simulated events: resolution, scattering, energy loss, changes of the field.

The helix of a simulated particle is known, so its hits deviate by measurement errors, scattering, loss of energy and
changes of the field alone. To first order the deviations of a track are sums of these, as in
`beampipe.tracking.fitting.tables`. The variances of the layers are those that make the deviations of all tracks most
likely.

The beam pipe stands for all material inside the first hits, and a tube in each gap between discs for the support there.
Their radii are assumed, not learned.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Float64, Int64
from beampipe.errors import ConfigError
from beampipe.events import Event, cylindrical
from beampipe.tracking.fitting.helix import GEV_PER_TESLA_MM, Crossings, cartesian, cross, from_acts, perigee_of
from beampipe.tracking.fitting.tables import (
    FIELD_POWERS,
    PION_MASS,
    FitTables,
    cross_tube,
    field_terms,
    kicks,
    layer_of,
    measurements,
    path_through,
    save_fit_tables,
)
from beampipe.tracking.kernels.weights import write_card
from beampipe.tracking.training.rings import rings_of_modules
from beampipe.tracking.truth import truth_of


@dataclass(frozen=True)
class FitConfig:
    """How the tables of the track fit are learned, and from which particles.

    Attributes:
        pt_min: lowest pT of a particle that is learned from [GeV].
        eta_max: largest |eta| of such a particle.
        origin_max: largest radius at which such a particle was made [mm].
        turn_max: largest turning angle of a particle up to a hit that counts [rad].
        min_hits: fewest hits of such a particle.
        min_particles: fewest particles to learn from.
        pipe_share: radius of the beam pipe, as a share of the innermost radius at which a layer has hits.
        max_particles: most particles to learn from, to limit the time.
        core: tracks with a chi2 more standard deviations above its mean are left out, such as those of particles that
            interact.
        tail: kicks in the beam pipe and at the first hit count as at most this many standard deviations. They have
            tails, and alone decide the errors of d0, z0 and the direction, whose core should be right; the momentum
            depends on many kicks, whose sum is nearly normal.
        stiff: lowest pT of a particle that changes of the field are learned from [GeV]; softer ones lose more energy.
    """

    pt_min: float = 0.4
    eta_max: float = 3.2
    origin_max: float = 2.0
    turn_max: float = 1.2
    min_hits: int = 4
    min_particles: int = 100
    pipe_share: float = 0.65
    max_particles: int = 30_000
    core: float = 3.5
    tail: float = 1.8
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


_ROUNDS: Final = 12
"""Steps of the likelihood fit; little changes after the eighth."""

_PRIOR: Final = 0.5
"""Relative error of a weak constraint of each variance to that of similar layers, where the data do not fix it."""

_LEAST: Final = 0.02
"""Smallest variance, in units of that of similar layers."""

_SAME_RADIUS: Final = 20.0
"""Difference of radii [mm] up to which layers count as equally near."""

_LONGEST_PATH: Final = 30.0
"""Largest `path_through` a layer of a track that is learned from."""

_BLOCK: Final = 2000
"""Number of tracks that are summed at once."""

_SHAPE_ERROR: Final = 0.1
"""Error of a weak constraint of each coefficient of the field to 0, for those that the tracks do not fix."""

_LOSS_ERROR: Final = 1e6
"""The same of the energy loss [1/GeV], where no track is stiff."""

_CONSTANT: Final = 1e-3
"""A field counts as constant if the factors on the curvature differ from 1 by less than this (rms over hits), ..."""

_SIGNIFICANT: Final = 5.0
"""... or by less than this many times their error."""

_FIRST_SCATTERING: Final = 2e-6
"""Scattering of each layer and of the beam pipe [GeV^2] in the first round: 1 % of a radiation length."""


@dataclass(frozen=True, eq=False)
class _Deviations:
    """How tracks deviate from the helices of their particles, to first order; all have the same number of hits.

    Attributes:
        residual: (n, n_residuals) hits less helix, as the layers measure them [mm].
        by_kick: (n, n_residuals, 2 n_kicks) derivatives by the kicks in tubes and at each hit, in units of a
            scattering of 1 GeV^2 at right angles: first those across the track, then those along it.
        by_loss: (n, n_residuals, n_kicks) derivatives by the energy lost there, in the same units.
        by_shape: (n, n_residuals, n_terms) derivatives by the coefficients of the field.
        stiff: (n,) bool, whether changes of the field are learned from the track.
        index: (n, n_residuals + 2 n_kicks) number of the variance of each residual and of each kick.
    """

    residual: Float64[ndarray, "n n_residuals"]
    by_kick: Float64[ndarray, "n n_residuals n_both"]
    by_loss: Float64[ndarray, "n n_residuals n_kicks"]
    by_shape: Float64[ndarray, "n n_residuals n_terms"]
    stiff: Bool[ndarray, " n"]
    index: Int64[ndarray, "n n_variances"]


def _deviations(chains: TrueTracks, tables: FitTables, config: FitConfig) -> Iterator[_Deviations]:
    """Deviations of the tracks that are learned from, in blocks."""
    field, n_layers = float(tables.field[0]), len(tables.layers)
    of_particle = from_acts(perigee_of(chains.vertex, chains.momentum, chains.charge, field), field)
    helix = of_particle[chains.particle]
    at = cross(helix, chains.xyz[:, 0], chains.xyz[:, 1])
    barrel = tables.barrel[chains.layer]
    azimuth = tables.module_azimuth(cylindrical(*chains.xyz.T), chains.layer)
    with np.errstate(divide="ignore", invalid="ignore"):
        residual, by_helix, radial = measurements(helix, at, chains.xyz, barrel, azimuth)
        path = path_through(barrel, radial, helix[:, 4])
    in_layers = _changes(helix, at, field)
    radius = np.hypot(chains.xyz[:, 0], chains.xyz[:, 1])
    tubes = [cross_tube(of_particle, float(tube)) for tube in tables.all_tubes[:, 0]]
    in_tubes = [_changes(of_particle, crossing, field) for crossing, _ in tubes]
    path_in_tubes = [path_through(np.array(True), radial, of_particle[:, 4]) for _, radial in tubes]
    by_shape = (by_helix[:, :, 2] * helix[:, 2:3])[:, :, None] * field_terms(chains.xyz)[:, None]
    usable = np.isfinite(residual).all(axis=1) & (path < _LONGEST_PATH) & (radial > 0)
    usable &= (np.abs(helix[:, 2] * at.s) < config.turn_max) & (at.s > 0)
    chosen = np.flatnonzero(np.bincount(chains.particle, ~usable) == 0)
    chosen = chosen[:: 1 + len(chosen) // config.max_particles]
    of_tubes = 3 * n_layers + np.arange(len(tubes))
    for n in np.unique(chains.size[chosen]):
        alike = chosen[chains.size[chosen] == n]
        for track in np.split(alike, np.arange(_BLOCK, len(alike), _BLOCK)):
            row = chains.begin[track][:, None] + np.arange(n)
            # Whether a kick moves a hit: those in the tubes, then those in the layers.
            outside = radius[row][:, :, None] >= tables.all_tubes[:, 0]
            behind = np.broadcast_to(np.arange(n) < np.arange(n)[:, None], (len(track), n, n))
            through = np.column_stack([*(path[track] for path in path_in_tubes), path[row]])
            moves = np.concatenate([outside, behind], axis=2)[:, :, None]
            across, along, loss = (
                (np.einsum("tkmj,tij,ti->tkmi", by_helix[row], change, amount) * moves).reshape(len(track), 2 * n, -1)
                for change, amount in (
                    (np.stack([*(tube[k][track] for tube in in_tubes), *in_layers[k][row].swapaxes(0, 1)], axis=1), by)
                    for k, by in enumerate((np.sqrt(through), np.sqrt(through), through))
                )
            )
            layer = chains.layer[row]
            kick = np.concatenate([np.broadcast_to(of_tubes, (len(track), len(tubes))), layer + 2 * n_layers], axis=1)
            measured = np.stack([layer, layer + n_layers], axis=2).reshape(len(track), 2 * n)
            yield _Deviations(
                residual[row].reshape(len(track), 2 * n),
                np.concatenate([across, along], axis=2),
                loss,
                by_shape[row].reshape(len(track), 2 * n, -1),
                chains.pt[track] > config.stiff,
                np.concatenate([measured, kick, kick], axis=1),
            )


def _changes(helix: Float64[ndarray, "n 5"], at: Crossings, field: float) -> tuple[Float64[ndarray, "n 5"], ...]:
    """Change of each helix by scattering across and along the track, and by loss of energy; each for 1 GeV^2."""
    slope2 = (1 + helix[:, 4] ** 2)[:, None]
    inverse_p2 = (helix[:, 2:3] / (GEV_PER_TESLA_MM * field)) ** 2 / slope2
    angle = np.sqrt(inverse_p2 * (1 + PION_MASS**2 * inverse_p2))
    by_phi, by_cot, by_omega = kicks(helix, at)
    return by_phi * angle * np.sqrt(slope2), by_cot * angle * slope2, by_omega * angle * helix[:, 2:3]


def _scoring_step(
    deviations: Iterable[_Deviations],
    values: Float64[ndarray, " n"],
    loss: float,
    shape: Float64[ndarray, " n_terms"],
    config: FitConfig,
) -> tuple[
    Float64[ndarray, "n n"],
    Float64[ndarray, " n"],
    float,
    Float64[ndarray, " n_terms"],
    Float64[ndarray, "n_terms n_terms"],
]:
    """One step of Fisher's scoring to the variances that make the deviations most likely.

    The covariance of the residuals r of a track is linear in the variances x: V = sum of x_i c_i c_i^T, with c the
    change of the residuals by one error or one kick. The step solves, with sums over tracks,
    sum over j of (c_i^T V^-1 c_j)^2 x_j = (c_i^T V^-1 r)^2.

    Source: D. A. Harville, J. Am. Stat. Assoc. 72 (1977) 320.

    Args:
        deviations: the tracks.
        values: variances of the step before.
        loss: energy loss of the step before [1/GeV].
        shape: coefficients of the field of the step before.
        config: definition of tails.

    Returns:
        The matrix, the right side, the energy loss by which momenta are right on average (the median over tracks), the
        coefficients of the field by least squares, for any energy loss, and their covariance.
    """
    size = len(values)
    matrix, right = np.zeros(size * size), np.zeros(size)
    losses, weights = [], []
    # Normal equations of the coefficients of the field and of the energy loss.
    normal, normal_right = np.diag([*np.full(len(shape), _SHAPE_ERROR**-2), _LOSS_ERROR**-2]), np.zeros(len(shape) + 1)
    most, share = config.tail**2, _mean_of_clipped_square(config.tail)
    for block in deviations:
        n, n_kicks = block.by_loss.shape[1:]
        variance = values[block.index]
        response = np.concatenate([np.broadcast_to(np.eye(n), (len(variance), n, n)), block.by_kick], axis=2)
        inverse = np.linalg.inv((response * variance[:, None]) @ response.swapaxes(1, 2))
        slowed = np.einsum("tki,ti->tk", block.by_loss, variance[:, n : n + n_kicks])
        bent = block.by_shape @ shape
        residual = block.residual - loss * slowed - bent
        weighted = np.einsum("tij,tj->ti", inverse, residual)
        largest, shrinking = _core_of_chi2(n, config.core)
        keep = (weighted * residual).sum(axis=1) < largest
        inverse, response, index = inverse[keep], response[keep], block.index[keep]
        products = response.swapaxes(1, 2) @ inverse @ response
        matrix += np.bincount((index[:, :, None] * size + index[:, None]).ravel(), products.ravel() ** 2, size * size)
        pull2 = np.einsum("tki,tk->ti", response, weighted[keep]) ** 2 / shrinking
        expected = np.diagonal(products, axis1=1, axis2=2)
        # The first kicks, in the beam pipe and at the first hit, each across and along.
        first = n + np.array([0, n_kicks - n // 2, n_kicks, 2 * n_kicks - n // 2])
        pull2[:, first] = np.minimum(pull2, most * expected)[:, first] / share
        right += np.bincount(index.ravel(), pull2.ravel(), size)
        by_loss = np.einsum("tij,tj->ti", inverse, slowed[keep])
        weight = (by_loss * slowed[keep]).sum(axis=1)
        losses.append((by_loss * (block.residual - bent)[keep]).sum(axis=1) / weight)
        weights.append(np.sqrt(weight))
        stiff = block.stiff[keep]
        design = np.concatenate([block.by_shape, slowed[:, :, None]], axis=2)[keep][stiff]
        weighted_design = np.einsum("tij,tjk->tik", inverse[stiff], design)
        normal += np.einsum("tik,til->kl", weighted_design, design)
        normal_right += np.einsum("tik,ti->k", weighted_design, block.residual[keep][stiff])
    all_losses = np.concatenate(losses)
    order = np.argsort(all_losses)
    total = np.cumsum(np.concatenate(weights)[order])
    median = float(all_losses[order[np.searchsorted(total, total[-1] / 2)]]) if len(order) else loss
    covariance = np.linalg.inv(normal)
    new_shape = (covariance @ normal_right)[:-1]
    return matrix.reshape(size, size), right, max(median, 0.0), new_shape, covariance[:-1, :-1]


def _mean_of_clipped_square(cut: float) -> float:
    """Mean square of a normal deviate of which larger sizes than `cut` count as `cut`."""
    density = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
    outside = math.erfc(cut / math.sqrt(2))
    return 1 - outside - 2 * cut * density + cut * cut * outside


def _core_of_chi2(ndf: int, deviations: float) -> tuple[float, float]:
    """The chi2 at so many standard deviations, and by how much squares shrink on average where it is the largest."""
    from scipy.stats import chi2

    spread2 = 2 / (9 * ndf)
    largest = ndf * (1 - spread2 + deviations * math.sqrt(spread2)) ** 3
    return largest, float(chi2.cdf(largest, ndf + 2) / chi2.cdf(largest, ndf))


def _typical(values: Float64[ndarray, " n"], tables: FitTables) -> Float64[ndarray, " n"]:
    """Variances of similar layers: the median over the nearest ones in radius, of the same kind; tubes keep theirs."""
    radius = tables.layers[:, :2].mean(axis=1)
    distance = np.abs(radius - radius[:, None])
    distance[tables.barrel != tables.barrel[:, None]] = np.inf
    alike = distance <= distance.min(axis=1, keepdims=True) + _SAME_RADIUS
    n = 3 * len(radius)
    of_layers = np.where(alike[:, None], values[:n].reshape(3, -1), np.nan)
    return np.concatenate([np.nanmedian(of_layers, axis=2).T.ravel(), values[n:]])


def _solution(
    matrix: Float64[ndarray, "n n"],
    right: Float64[ndarray, " n"],
    typical: Float64[ndarray, " n"],
    known: Float64[ndarray, " n"],
) -> Float64[ndarray, " n"]:
    """The variances that solve a step, none below a small share of the typical one; those that are known stay."""
    from scipy.linalg import cholesky, solve_triangular
    from scipy.optimize import nnls

    free = np.isnan(known)
    right = (right - matrix[:, ~free] @ known[~free])[free]
    matrix, typical = matrix[np.ix_(free, free)], typical[free]
    prior = 2 / _PRIOR**2  # the matrix is twice Fisher's information
    upper = cholesky(matrix * typical * typical[:, None] + prior * np.eye(len(right)))
    relative, _ = nnls(upper, solve_triangular(upper, right * typical + prior, trans="T"))
    values = known.copy()
    values[free] = np.maximum(relative, _LEAST) * typical
    return values


def learn_fit_tables(
    events: Iterable[Event], layers: Float32[ndarray, "n_layers 4"], field: float, config: FitConfig = FIT_RECIPE
) -> FitTables:
    """Tables of the track fit for the detector that the events are of.

    Args:
        events: clean events with truth.
        layers: r_min, r_max, z_min, z_max [mm] of each layer, as of learned windows.
        field: magnetic field along z [T] in the centre; how it changes with r and z is learned.
        config: selection of particles.

    Raises:
        ConfigError: too few particles, none whose track is long and nearly straight, or a field of 0.
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
    n = len(layers)
    rings, across = rings_of_modules(kept, layers)
    tables = FitTables(
        np.asarray(layers, np.float32),
        rings,
        np.ones((n, 2), np.float32),
        np.zeros(n, np.float32),
        np.array([config.pipe_share * layers[:, 0].min(), 0], np.float32),
        np.zeros(1, np.float32),
        np.array([field], np.float32),
        _gaps(layers),
        np.zeros(len(FIELD_POWERS), np.float32),
    )
    deviations = list(_deviations(chains, tables, config))
    if not deviations:
        raise ConfigError("fit tables: got no track that is long and nearly straight; give more events")
    values = np.concatenate([_first_variances(deviations, n), np.full(n + len(tables.all_tubes), _FIRST_SCATTERING)])
    known = np.concatenate([across, np.full(len(values) - n, np.nan)])
    values = np.where(np.isfinite(known), known, values)
    loss, shape, terms = 0.0, tables.field_shape.astype(np.float64), field_terms(chains.xyz)
    for _ in range(_ROUNDS):
        matrix, right, loss, shape, covariance = _scoring_step(deviations, values, loss, shape, config)
        noise = np.sqrt(np.einsum("ni,ij,nj->n", terms, covariance, terms).mean())
        if np.sqrt(np.mean((terms @ shape) ** 2)) < max(_CONSTANT, _SIGNIFICANT * noise):
            shape = np.zeros_like(shape)
        values = _solution(matrix, right, _typical(values, tables), known)
    return replace(
        tables,
        variance=values[: 2 * n].reshape(2, n).T.astype(np.float32),
        scattering=values[2 * n : 3 * n].astype(np.float32),
        beam_pipe=np.array([tables.beam_pipe[0], values[3 * n]], np.float32),
        tubes=np.column_stack([tables.tubes[:, 0], values[3 * n + 1 :]]).astype(np.float32),
        energy_loss=np.array([loss], np.float32),
        field_shape=shape.astype(np.float32),
    )


def _gaps(layers: Float32[ndarray, "n_layers 4"]) -> Float32[ndarray, "n_tubes 2"]:
    """Tubes, without scattering so far, in the middle between the radii that discs cover: there may be supports."""
    r_min, r_max, z_min, z_max = layers.T
    discs = layers[z_max - z_min <= r_max - r_min, :2]
    discs = discs[np.argsort(discs[:, 0])]
    reach = np.maximum.accumulate(discs[:, 1])
    radii = [(low + high) / 2 for low, high in zip(reach[:-1], discs[1:, 0], strict=True) if high > low]
    return np.array([(radius, 0.0) for radius in radii], np.float32).reshape(-1, 2)


def _first_variances(deviations: Iterable[_Deviations], n_layers: int) -> Float64[ndarray, " n"]:
    """Variances of hits as if nothing were scattered: squares of medians; 1 mm^2 for layers without hits."""
    size = np.concatenate([np.abs(block.residual).ravel() for block in deviations])
    index = np.concatenate([block.index[:, : block.residual.shape[1]].ravel() for block in deviations])
    medians = [np.median(size[index == number]) if (index == number).any() else 1.0 for number in range(2 * n_layers)]
    return np.asarray(np.square(medians))


def train_fit_tables(
    events: Iterable[Event],
    layers: Float32[ndarray, "n_layers 4"],
    out: Path,
    about: Mapping[str, object],
    field: float,
    config: FitConfig = FIT_RECIPE,
) -> FitTables:
    """Learn the tables of the track fit and write them, with a card beside them.

    Args:
        events: events to learn from, as for `learn_fit_tables`.
        layers: box of each layer, as for `learn_fit_tables`.
        out: safetensors file to write; the card lies beside it.
        about: further facts for the card (command, data).
        field: magnetic field along z [T], as for `learn_fit_tables`.
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
        "tubes": tables.tubes.tolist(),
        "energy_loss": float(tables.energy_loss[0]),
        "field_shape": tables.field_shape.tolist(),
    }
    write_card(out, asdict(config), {"events": len(kept), **about}, metrics)
    return tables
