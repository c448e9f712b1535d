"""Learn layers, doublet windows and triplet windows from simulated events.

A track from a vertex at z_v crosses the beam line at z0 = z_v + d, where d comes from resolution and scattering. The
spread of d is learned and added to the range of vertices that the windows must cover, so they do not depend on the
distribution of vertices in the sample. Where vertices are spread evenly, the sample also shows from which of them
particles cross a pair of layers at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Float64, Int64
from beampipe.errors import ConfigError
from beampipe.events import Event, Position
from beampipe.tracking.kernels.geometry import MIN_DR, arc
from beampipe.tracking.kernels.weights import write_card
from beampipe.tracking.training.detector import boxes_of
from beampipe.tracking.truth import consecutive_edges, layer_code
from beampipe.tracking.windows import MAX_OUT, Windows, save_windows


@dataclass(frozen=True)
class WindowConfig:
    """Selection of training particles, and widths of the windows.

    Attributes:
        pt_min: lowest pT of a particle that is learned from [GeV].
        eta_max: largest |eta| of a particle that is learned from.
        origin_max: largest radius at which a particle that is learned from was made [mm].
        quantile: fraction of true doublets that each side of a doublet window keeps.
        kappa_max: largest |curvature| of a training doublet [1/mm]; beyond are tails of bremsstrahlung.
        vertex_z_max: largest |z| of a vertex that the windows hold for [mm].
        smear_max: largest distance along z of a training doublet's line from its vertex [mm]; beyond are tails.
        chi2_cut: largest chi2 of a triplet that passes, with the fitted variances (two degrees of freedom).
        impact_max: largest impact parameter of a training track [mm]: each particle is moved sideways by a random
            distance up to it, as if it came from a decay.
        start_min: smallest radius at which a training doublet begins [mm]: the nearer to the beam line, the more an
            impact parameter changes its curvature.
        min_pairs: fewest doublets of a layer pair that gets a window, per million true doublets.
        min_triplets: fewest triplets of a triple of layers that gets a window.
        padding: margin of the layer boxes on all sides [mm].
    """

    pt_min: float = 0.95
    eta_max: float = 3.2
    origin_max: float = 2.0
    quantile: float = 0.998
    kappa_max: float = 1.0e-3
    vertex_z_max: float = 250.0
    smear_max: float = 150.0
    chi2_cut: float = 12.0
    impact_max: float = 0.0
    start_min: float = 0.0
    min_pairs: float = 40.0
    min_triplets: int = 30
    padding: float = 0.5


WINDOW_RECIPES: Final = {
    "module_map": WindowConfig(),
    "module_map_soft": WindowConfig(pt_min=0.27, kappa_max=3e-3, quantile=0.999, min_pairs=100.0, min_triplets=8),
    "module_map_displaced": WindowConfig(
        pt_min=0.4, kappa_max=3e-3, impact_max=10.0, start_min=60.0, min_pairs=100.0, min_triplets=15
    ),
    "module_map_far": WindowConfig(
        quantile=0.999, kappa_max=6e-3, impact_max=30.0, start_min=100.0, min_pairs=30.0, min_triplets=15
    ),
}
"""The windows that are shipped."""

_MEDIAN_CHI2: Final = 0.455
"""Median of chi2 with one degree of freedom."""

_TAIL_CHI2: Final = 12.0
"""Squares beyond this many times their variance are tails, left out of its fit."""

_LEAST_SHARE: Final = 1e-3
"""Smallest constant part of a variance, as a share of the median square: it keeps windows from closing."""

_EVEN: Final = 0.9
"""Vertices are spread evenly if one in a hundred lies beyond this share of the largest |z|."""

_GAP: Final = 5.0
"""Range beyond the outermost of n values that is still crossed, in units of their range / n: e^-5 of it is missed."""

_IMAGE: Final = 20.0
"""A detector is symmetric about z = 0 if layers and mirror images differ by less than this many paddings."""

_KAPPA_MARGIN: Final = 1.02
"""Factor by which the window of a doublet's curvature is wider than the measured quantile."""


@dataclass(frozen=True, eq=False)
class _Sample:
    """True doublets and triplets of all events: layer numbers and the quantities that windows cut on."""

    pair_layers: Int64[ndarray, "n 2"]
    kappa: Float32[ndarray, " n"]
    z0: Float32[ndarray, " n"]
    vertex_z: Float32[ndarray, " n"]
    triple_layers: Int64[ndarray, "m 3"]
    dkappa2: Float64[ndarray, " m"]
    turn2: Float64[ndarray, " m"]
    inverse_d2: Float64[ndarray, " m"]
    kappa2: Float64[ndarray, " m"]


def learn_windows(events: Iterable[Event], config: WindowConfig = WindowConfig()) -> Windows:
    """Tables that keep `config.quantile` of the true doublets, and true triplets up to `config.chi2_cut`.

    Args:
        events: events with truth and geometry ids, degraded as the data will be, so that skipped layers are learned.
        config: selection of particles and widths of the windows.

    Raises:
        ConfigError: an event has no truth or geometry ids, or layers overlap in r and z.
    """
    kept = list(events)
    boxes, layers = _layer_boxes(kept, config.padding)
    columns = [_true_triplets(event, layer, config) for event, layer in zip(kept, layers, strict=True)]
    sample = _mirrored(
        _Sample(*(np.concatenate(column) for column in zip(*columns, strict=True))), boxes, config.padding
    )
    pairs, pair_windows = _doublet_windows(sample, config)
    out_begin = np.searchsorted(pairs[:, 0], np.arange(len(boxes) + 1)).astype(np.int32)
    busiest = int(np.diff(out_begin).max(initial=0))
    if busiest > MAX_OUT:
        raise ConfigError(f"windows: got {busiest} pairs out of one layer, expected at most {MAX_OUT}; raise min_pairs")
    windows = np.zeros((len(pairs), MAX_OUT, 4), np.float32)
    triples, number, count = np.unique(sample.triple_layers, axis=0, return_inverse=True, return_counts=True)
    pair_of = {(int(a), int(b)): p for p, (a, b) in enumerate(pairs)}
    order = np.argsort(number, kind="stable")
    begin = np.r_[0, np.cumsum(count)]
    for t, (a, b, c) in enumerate(triples.tolist()):
        if count[t] < config.min_triplets or (a, b) not in pair_of or (b, c) not in pair_of:
            continue
        mine = order[begin[t] : begin[t + 1]]
        curve = _variance(sample.dkappa2[mine], sample.inverse_d2[mine], sample.kappa2[mine])
        dip = _variance(sample.turn2[mine], np.ones(len(mine)), sample.kappa2[mine])
        windows[pair_of[a, b], pair_of[b, c] - out_begin[b]] = config.chi2_cut * np.array([*curve, *dip])
    return Windows(boxes, pairs, pair_windows, out_begin, windows)


def write_windows(out: Path, windows: Windows, config: WindowConfig, training: Mapping[str, object]) -> dict[str, int]:
    """Write windows with a card beside them.

    Args:
        out: safetensors file to write.
        windows: the windows.
        config: what they were learned with.
        training: facts about the training, for the card.

    Returns:
        The metrics of the card: number of layers, of pairs and of triples of layers.
    """
    save_windows(windows, out)
    metrics = {
        "layers": len(windows.layers),
        "pairs": len(windows.pairs),
        "triples": int((windows.triplet_windows[..., 0] > 0).sum()),
    }
    write_card(out, asdict(config), training, metrics)
    return metrics


def _layer_boxes(events: list[Event], padding: float) -> tuple[Float32[ndarray, "n 4"], list[Int64[ndarray, " _"]]]:
    """Box in r and z of each (volume, layer), inside out, and the number of the layer of each hit, by event."""
    codes, positions = [], []
    for event in events:
        code = layer_code(event.hits)
        if event.truth is None or code is None:
            raise ConfigError(f"event {event.event_id}: got no truth or no geometry ids, expected simulated events")
        codes.append(code)
        positions.append(event.hits.position)
    _, number = np.unique(np.concatenate(codes), return_inverse=True)
    boxes = boxes_of(np.concatenate(positions)[:, [0, 2]], number).astype(np.float32)
    boxes += np.array([-padding, padding, -padding, padding], np.float32)
    for i, (r_min, r_max, z_min, z_max) in enumerate(boxes):
        clash = (boxes[:, 0] < r_max) & (boxes[:, 1] > r_min) & (boxes[:, 2] < z_max) & (boxes[:, 3] > z_min)
        if clash.sum() > 1:
            raise ConfigError(f"windows: layer {i} overlaps {np.flatnonzero(clash).tolist()} in r and z; lower padding")
    return boxes, np.split(number, np.cumsum([len(code) for code in codes])[:-1])


def _mirrored(sample: _Sample, boxes: Float32[ndarray, "n 4"], tolerance: float) -> _Sample:
    """The sample and its image at z = 0, if the layers equal their image within `tolerance` [mm]; else the sample."""
    image = boxes[:, [0, 1, 3, 2]] * np.array([1, 1, -1, -1], np.float32)
    apart = np.abs(boxes[:, None] - image[None]).max(axis=2)
    twin = apart.argmin(axis=0)
    if len(boxes) == 0 or (apart.min(axis=0) > _IMAGE * tolerance).any():
        return sample
    flipped = replace(
        sample,
        pair_layers=twin[sample.pair_layers],
        z0=-sample.z0,
        vertex_z=-sample.vertex_z,
        triple_layers=twin[sample.triple_layers],
    )
    return _Sample(*(np.concatenate([getattr(half, f.name) for half in (sample, flipped)]) for f in fields(_Sample)))


def _true_triplets(event: Event, layer: Int64[ndarray, " n_hits"], config: WindowConfig) -> tuple[ndarray, ...]:
    assert event.truth is not None
    position = _moved_aside(event, config.impact_max)
    p = event.truth.particles
    good = (p.charge != 0) & (p.pt > config.pt_min) & (np.abs(p.eta) < config.eta_max)
    good &= (p.origin_radius < config.origin_max) & p.primary
    hit = np.flatnonzero(np.isin(event.truth.particle_id, p.particle_id[good]))
    edge_index = consecutive_edges(position, layer, hit, event.truth.particle_id[hit])
    edge_index = edge_index[:, position[edge_index[1], 0] > position[edge_index[0], 0] + MIN_DR]
    arcs = arc(position, edge_index)
    # z of the vertex of each hit's particle; row -1, for hits of no listed particle, takes the appended 0.
    z = np.append(p.vertex[:, 2], np.float32(0))[p.rows(event.truth.particle_id)]
    vertex_z = z[edge_index[0]]
    near = (np.abs(arcs.z0 - vertex_z) < config.smear_max) & (np.abs(vertex_z) < config.vertex_z_max)
    near &= position[edge_index[0], 0] >= config.start_min
    core = np.flatnonzero((np.abs(arcs.kappa) < config.kappa_max) & near)
    edge_index, vertex_z = edge_index[:, core], vertex_z[core]
    kappa, cot, z0, inverse_d2 = arcs.take(core)

    # Pairs of edges that share their middle hit: edges are sorted by inner hit, and searched by outer hit.
    lo, hi = (np.searchsorted(edge_index[0], edge_index[1], side) for side in ("left", "right"))
    e = np.repeat(np.arange(len(lo)), hi - lo)
    f = np.arange(len(e)) - np.repeat(np.cumsum(hi - lo) - hi, hi - lo)
    turn = (cot[f] - cot[e]) / (1 + cot[e] * cot[f])
    return (
        layer[edge_index.T],
        kappa,
        z0,
        vertex_z,
        np.stack([layer[edge_index[0, e]], layer[edge_index[1, e]], layer[edge_index[1, f]]], axis=1),
        (kappa[f] - kappa[e]).astype(np.float64) ** 2,
        turn.astype(np.float64) ** 2,
        (inverse_d2[e] + inverse_d2[f]).astype(np.float64),
        kappa[e].astype(np.float64) ** 2,
    )


def _moved_aside(event: Event, impact_max: float) -> Position:
    """The hits, with each particle rotated as if it passed the beam line at a random distance up to `impact_max` [mm].

    A straight track that misses the beam line by d has hits at phi + asin(d / r) instead of phi. Prompt particles are
    many and alike; particles from decays are few, and most have small impact parameters.
    """
    position = event.hits.position
    if impact_max == 0:
        return position
    assert event.truth is not None
    particles, made = np.unique(event.truth.particle_id, return_inverse=True)
    impact = np.random.default_rng(event.event_id).uniform(-impact_max, impact_max, len(particles))[made]
    moved = position.copy()
    moved[:, 1] += np.arcsin(np.clip(impact / np.maximum(position[:, 0], 1e-3), -1, 1))
    return moved


def _doublet_windows(sample: _Sample, config: WindowConfig) -> tuple[ndarray, ndarray]:
    pairs, number, count = np.unique(sample.pair_layers, axis=0, return_inverse=True, return_counts=True)
    enough = count > max(config.min_pairs * 1e-6 * len(sample.kappa), 10)
    tail = (1 - config.quantile) / 2
    windows = np.empty((len(pairs), 3), np.float32)
    even = len(sample.z0) > 0 and np.quantile(np.abs(sample.vertex_z), 0.99) > _EVEN * config.vertex_z_max
    for pair in np.flatnonzero(enough):
        mine = number == pair
        z0 = sample.z0[mine]
        low, high = np.quantile(z0 - sample.vertex_z[mine], [tail, 1 - tail]) + [-1, 1] * np.array(config.vertex_z_max)
        if even:
            gap = _GAP * np.ptp(z0) / len(z0)
            low, high = max(low, z0.min() - gap), min(high, z0.max() + gap)
        windows[pair] = np.quantile(np.abs(sample.kappa[mine]), config.quantile) * _KAPPA_MARGIN, low, high
    return pairs[enough].astype(np.int32), windows[enough]


def _variance(square: ndarray, constant: ndarray, kappa2: ndarray) -> tuple[float, float]:
    """a, b >= 0 of E[square] = a constant + b kappa2, by weighted least squares without the tails."""
    from scipy.optimize import nnls

    design = np.stack([constant, kappa2], axis=1)
    scale = design.mean(axis=0)
    a, b = np.median(square) / _MEDIAN_CHI2 / scale[0], 0.0
    for _ in range(8):
        variance = a * constant + b * kappa2
        core = square < _TAIL_CHI2 * variance
        if core.sum() < 10:
            break
        weight = 1 / variance[core]
        solution, _ = nnls(design[core] / scale * weight[:, None], square[core] * weight)
        a, b = solution[0] / scale[0], solution[1] / scale[1]
        a = max(a, _LEAST_SHARE * np.median(square) / scale[0])
    return float(a), float(b)
