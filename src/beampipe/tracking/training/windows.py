"""Learn layers, doublet windows and triplet windows from simulated events."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.tracking.events import Event
from beampipe.tracking.kernels.geometry import arc
from beampipe.tracking.simulation.degradation import degrade
from beampipe.tracking.simulation.parameters import Degradation
from beampipe.tracking.windows import MAX_OUT, Windows, save_windows

__all__ = ["WINDOW_RECIPES", "WindowConfig", "learn_windows", "train_windows"]


@dataclass(frozen=True)
class WindowConfig:
    """What to learn from, and how wide the windows become.

    Attributes:
        pt_min: softest particle that counts [GeV].
        eta_max: largest |eta|.
        origin_max: largest radius of production [mm].
        quantile: fraction of true doublets that each side of a doublet window keeps.
        kappa_max: doublets beyond it are tails (bremsstrahlung, hard scatters), not taught [1/mm].
        z0_max: likewise for |z0| [mm].
        chi2_cut: a triplet passes below this, in units of the fitted variances (two degrees of freedom).
        min_pairs: a layer pair is known if it is seen this often per million true doublets.
        min_triplets: a triple of layers is known if it is seen this often.
        padding: added to the layer boxes on all sides [mm].
    """

    pt_min: float = 0.95
    eta_max: float = 3.2
    origin_max: float = 2.0
    quantile: float = 0.998
    kappa_max: float = 1.0e-3
    z0_max: float = 250.0
    chi2_cut: float = 12.0
    min_pairs: float = 40.0
    min_triplets: int = 30
    padding: float = 0.5


WINDOW_RECIPES: Final = {
    "module_map": WindowConfig(),
    "module_map_soft": WindowConfig(pt_min=0.27, kappa_max=3e-3, quantile=0.999, min_pairs=100.0, min_triplets=8),
}
"""The windows that are shipped."""

_TAUGHT: Final = (Degradation(0.0, 0.0, 0.0), Degradation(0.02, 0.01, 0.0), Degradation(0.05, 0.02, 0.0))
"""Degradations of the training events in turn, so that tracks with and without missing hits are learned."""


@dataclass(frozen=True, eq=False)
class _Sample:
    """True doublets and triplets of all events: layer numbers and the quantities that windows cut on."""

    pair_layers: Int64[ndarray, "n 2"]
    kappa: Float32[ndarray, " n"]
    z0: Float32[ndarray, " n"]
    triple_layers: Int64[ndarray, "m 3"]
    dkappa2: Float64[ndarray, " m"]
    turn2: Float64[ndarray, " m"]
    inverse_d2: Float64[ndarray, " m"]
    kappa2: Float64[ndarray, " m"]


def learn_windows(events: Iterable[Event], config: WindowConfig = WindowConfig()) -> Windows:
    """Tables that keep `config.quantile` of the true doublets, and true triplets up to `config.chi2_cut`.

    Args:
        events: events with truth and geometry ids, degraded as the data will be, so that skipped layers are learned.
        config: selection and widths.

    Raises:
        ConfigError: an event has no truth or geometry ids, or layers overlap in r and z.
    """
    kept = list(events)
    boxes, keys = _layer_boxes(kept, config.padding)
    sample = _collect(kept, keys, config)
    pairs, pair_windows = _doublet_windows(sample, config)
    out_begin = np.searchsorted(pairs[:, 0], np.arange(len(boxes) + 1)).astype(np.int32)
    busiest = int(np.diff(out_begin).max(initial=0))
    if busiest > MAX_OUT:
        raise ConfigError(f"windows: got {busiest} pairs out of one layer, expected at most {MAX_OUT}; raise min_pairs")
    return Windows(boxes, pairs, pair_windows, out_begin, _triplet_windows(sample, pairs, out_begin, config))


def train_windows(name: str, events: Iterable[Event], out: Path, about: Mapping[str, object]) -> Windows:
    """Learn the windows of that name from clean events and write them, with a card beside them.

    Args:
        name: one of `WINDOW_RECIPES`.
        events: clean simulated events; every third one stays so, the others lose hits and modules.
        out: the safetensors file.
        about: further facts for the card (command, data).

    Raises:
        UnknownNameError: there is no such recipe.
    """
    if name not in WINDOW_RECIPES:
        raise UnknownNameError("windows", name, WINDOW_RECIPES)
    degraded = [degrade(event, _TAUGHT[k % 3], seed=k, run_seed=k) for k, event in enumerate(events)]
    windows = learn_windows(degraded, WINDOW_RECIPES[name])
    save_windows(windows, out)
    card = {
        "name": out.stem,
        "config": asdict(WINDOW_RECIPES[name]),
        "training": {"events": len(degraded), **about},
        "metrics": {
            "layers": len(windows.layers),
            "pairs": len(windows.pairs),
            "triples": int((windows.triplet_windows[..., 0] > 0).sum()),
        },
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
    }
    out.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return windows


def _layer_boxes(events: list[Event], padding: float) -> tuple[Float32[ndarray, "n 4"], Int64[ndarray, " n"]]:
    """Box in r and z of each (volume, layer), inside out, and the key by which it is looked up."""
    keys, r, z = [], [], []
    for event in events:
        if event.truth is None or event.hits.geometry_id is None:
            raise ConfigError(f"event {event.event_id}: got no truth or no geometry ids, expected simulated events")
        keys.append(_layer_key(event))
        r.append(event.hits.position[:, 0])
        z.append(event.hits.position[:, 2])
    key, radius, along = np.concatenate(keys), np.concatenate(r), np.concatenate(z)
    names, number = np.unique(key, return_inverse=True)
    boxes = np.empty((len(names), 4), np.float32)
    for layer in range(len(names)):
        inside = number == layer
        boxes[layer] = (radius[inside].min(), radius[inside].max(), along[inside].min(), along[inside].max())
    boxes += np.array([-padding, padding, -padding, padding], np.float32)
    for i, (r_min, r_max, z_min, z_max) in enumerate(boxes):
        clash = (boxes[:, 0] < r_max) & (boxes[:, 1] > r_min) & (boxes[:, 2] < z_max) & (boxes[:, 3] > z_min)
        if clash.sum() > 1:
            raise ConfigError(f"windows: layer {i} overlaps {np.flatnonzero(clash).tolist()} in r and z; lower padding")
    return boxes, names


def _layer_key(event: Event) -> Int64[ndarray, " n_hits"]:
    """Volume and layer of an ACTS geometry identifier as one number."""
    assert event.hits.geometry_id is not None
    volume = (event.hits.geometry_id >> np.uint64(56)).astype(np.int64)
    layer = ((event.hits.geometry_id >> np.uint64(36)) & np.uint64(0xFFF)).astype(np.int64)
    return volume << 12 | layer


def _collect(events: list[Event], keys: Int64[ndarray, " n"], config: WindowConfig) -> _Sample:
    columns: list[tuple[ndarray, ...]] = []
    for event in events:
        columns.append(_true_triplets(event, np.searchsorted(keys, _layer_key(event)), config))
    return _Sample(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _wanted(event: Event, config: WindowConfig) -> Bool[ndarray, " n_hits"]:
    """Hits of the particles to learn from."""
    assert event.truth is not None
    p = event.truth.particles
    good = (p.charge != 0) & (p.pt > config.pt_min) & (np.abs(p.eta) < config.eta_max)
    good &= (p.origin_radius < config.origin_max) & p.primary
    return np.isin(event.truth.particle_id, p.particle_id[good])


def _true_triplets(event: Event, layer: Int64[ndarray, " n_hits"], config: WindowConfig) -> tuple[ndarray, ...]:
    assert event.truth is not None
    position = event.hits.position
    rho = np.hypot(position[:, 0], position[:, 2])
    row = np.flatnonzero(_wanted(event, config))
    particle = event.truth.particle_id[row]
    # Layers along each particle, inside out; a layer's two overlap hits share a step.
    _, group = np.unique(np.stack([particle, layer[row]]), axis=1, return_inverse=True)
    first = np.full(group.max(initial=-1) + 1, np.inf)
    np.minimum.at(first, group, rho[row])
    order = np.lexsort((rho[row], first[group], particle))
    row, particle, group = row[order], particle[order], group[order]
    new_step = np.r_[True, (particle[1:] != particle[:-1]) | (group[1:] != group[:-1])] if len(row) else row > 0
    begin = np.flatnonzero(new_step)
    size = np.diff(np.r_[begin, len(row)])
    owner = particle[begin]

    def join(before: ndarray, after: ndarray) -> tuple[ndarray, ndarray]:
        """All pairs of hits of the steps `before` and `after`."""
        left, right = size[before], size[after]
        count = left * right
        pick = np.repeat(np.arange(len(before)), count)
        offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return begin[before][pick] + offset // right[pick], begin[after][pick] + offset % right[pick]

    linked = np.flatnonzero(owner[1:] == owner[:-1]) if len(owner) > 1 else np.empty(0, np.int64)
    a, b = join(linked, linked + 1)
    edge_index = np.stack([row[a], row[b]])
    outward = position[edge_index[1], 0] > position[edge_index[0], 0] + 0.5
    edge_index, a, b = edge_index[:, outward], a[outward], b[outward]
    kappa, cot, z0, weight = arc(position, edge_index)
    core = (np.abs(kappa) < config.kappa_max) & (np.abs(z0) < config.z0_max)
    edge_index, a, b = edge_index[:, core], a[core], b[core]
    kappa, cot, z0, weight = kappa[core], cot[core], z0[core], weight[core]

    # Pairs of edges that share their middle hit: edges sorted by inner hit are searched by outer hit.
    by_inner = np.argsort(a, kind="stable")
    lo, hi = np.searchsorted(a[by_inner], b, "left"), np.searchsorted(a[by_inner], b, "right")
    e = np.repeat(np.arange(len(b)), hi - lo)
    f = by_inner[np.arange(len(e)) - np.repeat(np.cumsum(hi - lo) - (hi - lo), hi - lo) + np.repeat(lo, hi - lo)]
    turn = (cot[f] - cot[e]) / (1 + cot[e] * cot[f])
    return (
        layer[edge_index.T],
        kappa,
        z0,
        np.stack([layer[edge_index[0, e]], layer[edge_index[1, e]], layer[edge_index[1, f]]], axis=1),
        (kappa[f] - kappa[e]).astype(np.float64) ** 2,
        turn.astype(np.float64) ** 2,
        (weight[e] + weight[f]).astype(np.float64),
        kappa[e].astype(np.float64) ** 2,
    )


def _doublet_windows(sample: _Sample, config: WindowConfig) -> tuple[ndarray, ndarray]:
    pairs, number, count = np.unique(sample.pair_layers, axis=0, return_inverse=True, return_counts=True)
    enough = count > max(config.min_pairs * 1e-6 * len(sample.kappa), 10)
    tail = (1 - config.quantile) / 2
    windows = np.empty((len(pairs), 3), np.float32)
    for pair in np.flatnonzero(enough):
        mine = number == pair
        windows[pair, 0] = np.quantile(np.abs(sample.kappa[mine]), config.quantile) * 1.02
        windows[pair, 1:] = np.quantile(sample.z0[mine], [tail, 1 - tail])
    return pairs[enough].astype(np.int32), windows[enough]


def _triplet_windows(sample: _Sample, pairs: ndarray, out_begin: ndarray, config: WindowConfig) -> ndarray:
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
    return windows


def _variance(square: ndarray, constant: ndarray, kappa2: ndarray) -> tuple[float, float]:
    """a, b >= 0 of E[square] = a constant + b kappa2, by weighted least squares without the tails."""
    from scipy.optimize import nnls

    design = np.stack([constant, kappa2], axis=1)
    scale = design.mean(axis=0)
    a, b = np.median(square) / 0.455 / scale[0], 0.0  # 0.455: median of chi2 with one degree of freedom
    for _ in range(8):
        variance = a * constant + b * kappa2
        core = square < 12 * variance
        if core.sum() < 10:
            break
        weight = 1 / variance[core]
        solution, _ = nnls(design[core] / scale * weight[:, None], square[core] * weight)
        a, b = solution[0] / scale[0], solution[1] / scale[1]
        a = max(a, 1e-3 * np.median(square) / scale[0])
    return float(a), float(b)
