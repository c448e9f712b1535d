"""Edges, triplets and components on tensors; the formulas are those of the kernels.

Candidates of variable number (hits in a window, edges of a hit) are expanded in chunks, so memory grows with the number
of results, not of candidates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from beampipe.arrays import Bool, Float32, Int64
from beampipe.tracking.kernels import geometry
from beampipe.tracking.kernels.features import LINK, NO_PARTNER, PAIR_FEATURES
from beampipe.tracking.windows import SEED_DEPTH, Windows, growth_stages, may_begin, pair_numbers

PositionTensor = Float32[Tensor, "n_hits 3"]
"""r [mm], phi [rad] and z [mm] of each hit."""

EdgeTensor = Int64[Tensor, "2 n_edges"]
"""Inner hit and outer hit of each edge."""

EdgeValueTensor = Float32[Tensor, " n_edges"]
"""One number of each edge: a score, a logit or a squared distance."""

TripletTensor = Int64[Tensor, "2 n_triplets"]
"""Pairs of edges, in and out, that share a hit."""

Chi2Tensor = Float32[Tensor, " n_triplets"]
"""chi2 of each triplet in units of its window; below 1."""

PairTensor = Float32[Tensor, "n_edges 6"]
"""Features of the triplets of each edge, in the order of `PAIR_FEATURES`."""


# `beampipe.tracking.kernels.geometry` on tensors: the same formulas, constants and names.


TWO_PI: Final = 2 * math.pi

MIN_DR: Final = float(geometry.MIN_DR)
"""`geometry.MIN_DR` [mm] as a Python number, for torch."""

_MIN_CHORD, _MIN_ARC = float(geometry.MIN_CHORD), float(geometry.MIN_ARC)

_MAX_DPHI: Final = float(geometry.MAX_DPHI)


class Doublet(NamedTuple):
    """`geometry.Doublet` with tensors."""

    kappa: Float32[Tensor, " n_edges"]
    slope: Float32[Tensor, " n_edges"]
    z0: Float32[Tensor, " n_edges"]
    dr: Float32[Tensor, " n_edges"]
    dz: Float32[Tensor, " n_edges"]
    dphi: Float32[Tensor, " n_edges"]


class Arc(NamedTuple):
    """`geometry.Arc` with tensors."""

    kappa: Float32[Tensor, " n_edges"]
    cot: Float32[Tensor, " n_edges"]
    z0: Float32[Tensor, " n_edges"]
    inverse_d2: Float32[Tensor, " n_edges"]

    def take(self, rows: Int64[Tensor, " n"]) -> Arc:
        """The arcs in `rows`."""
        return Arc(*(column[rows] for column in self))


def wrapped(angle: Float32[Tensor, " n"]) -> Float32[Tensor, " n"]:
    """The angle [rad] between -pi and pi."""
    return angle - TWO_PI * torch.round(angle / TWO_PI)


def doublet(position: Float32[Tensor, "n 3"], edge_index: Int64[Tensor, "2 n_edges"]) -> Doublet:
    """`geometry.doublet`: each edge along its chord."""
    inner, outer = edge_index
    r, phi, z = position.T.contiguous()
    dr, dz, dphi = r[outer] - r[inner], z[outer] - z[inner], wrapped(phi[outer] - phi[inner])
    sin_half = torch.sin(0.5 * dphi)
    distance = torch.sqrt(dr * dr + 4 * r[inner] * r[outer] * sin_half * sin_half)
    kappa = 2 * torch.sin(dphi) / distance.clamp(min=_MIN_CHORD)
    slope = dz / torch.where(dr.abs() < MIN_DR, torch.where(dr < 0, -MIN_DR, MIN_DR), dr)
    return Doublet(kappa, slope, z[inner] - r[inner] * slope, dr, dz, dphi)


def arc(position: Float32[Tensor, "n 3"], edge_index: Int64[Tensor, "2 n_edges"]) -> Arc:
    """`geometry.arc`: each edge along its circle."""
    r, phi, z = position.T.contiguous()
    a, b = edge_index
    r_a, r_b, z_a = r[a], r[b], z[a]
    dr, dphi = r_b - r_a, wrapped(phi[b] - phi[a])
    half = torch.sin(0.5 * dphi)
    inverse_d2 = 1 / (dr * dr + 4 * r_a * r_b * half * half).clamp(min=_MIN_CHORD * _MIN_CHORD)
    kappa = 2 * torch.sin(dphi) * torch.sqrt(inverse_d2)
    bend = kappa * kappa * float(geometry.ARC_SERIES)
    ds = dr * (1 + bend * (r_a * r_a + r_a * r_b + r_b * r_b))
    cot = (z[b] - z_a) / torch.where(ds.abs() < _MIN_ARC, _MIN_ARC, ds)
    return Arc(kappa, cot, z_a - r_a * (1 + bend * r_a * r_a) * cot, inverse_d2)


def triplet_chi2(
    inner: Arc, outer: Arc, window: Float32[Tensor, "n 4"]
) -> tuple[Float32[Tensor, " n"], Float32[Tensor, " n"]]:
    """`geometry.triplet_chi2` before the division: chi2 is the first tensor over the second.

    A triplet passes where the first is the smaller one and its window exists (a > 0); few do, so only these are
    divided.
    """
    a, b, c, d = window.T
    turn = 1 + inner.cot * outer.cot
    s = a * (inner.inverse_d2 + outer.inverse_d2) + b * inner.kappa * inner.kappa
    t = turn * turn * (c + d * inner.kappa * inner.kappa)
    return (outer.kappa - inner.kappa).square() * t + (outer.cot - inner.cot).square() * s, s * t


_CANDIDATES = 1 << 22  # pairs tried at a time: some 25 float32 columns of them are alive

_DISTANCES = 1 << 28  # embedding distances held at a time: 1 GB, with the usual cuts a third of that

_MARGIN = 1e-5  # rad: more than float32 angles are off by


@dataclass(frozen=True, eq=False)
class DeviceWindows:
    """`Windows` on a device, with lookup tables.

    `pair_of` is the number of each pair (inner, outer layer), -1 for none; its last row and column serve hits on no
    layer. `stages` is the growth stage of each layer, `may_begin` says whether a track may begin with each triplet,
    `least_curvature` is the share of each pair's largest curvature below which doublets are left out.
    """

    layers: Tensor
    pairs: Tensor
    pair_windows: Tensor
    out_begin: Tensor
    triplet_windows: Tensor
    pair_of: Tensor
    stages: Tensor
    may_begin: Tensor
    least_curvature: float


def windows_to_device(
    windows: Windows,
    device: torch.device,
    seed_depth: int = SEED_DEPTH,
    least_curvature: float = 0.0,
) -> DeviceWindows:
    """The tables on the device, integers as int64; tracks begin on layers with at most `seed_depth` before them."""
    return DeviceWindows(
        torch.tensor(windows.layers, device=device),
        torch.tensor(windows.pairs, device=device).long(),
        torch.tensor(windows.pair_windows, device=device),
        torch.tensor(windows.out_begin, device=device).long(),
        torch.tensor(windows.triplet_windows, device=device),
        torch.tensor(pair_numbers(windows), device=device),
        torch.tensor(growth_stages(windows), device=device),
        torch.tensor(may_begin(windows, seed_depth), device=device),
        least_curvature,
    )


def radius_edges(
    source: Float32[Tensor, "n_hits d"],
    target: Float32[Tensor, "n_hits d"],
    position: PositionTensor,
    radius: float,
    max_neighbours: int,
    kappa_max: float,
    z0_max: float,
) -> tuple[EdgeTensor, EdgeValueTensor]:
    """As `beampipe.tracking.kernels.radius_edges`, exact.

    Hits are sorted by phi, so the partners that kappa_max allows, near a hit and across the beam line, are contiguous.
    Chunks whose boxes in the embedding's principal axes are too far apart are skipped (as across the beam line in a
    trained embedding). Else a matrix product gives approximate distances that exclude almost all pairs; the distances
    of the others are computed exactly.
    """
    n = len(position)
    r, phi, z = position.T.contiguous()
    order = torch.argsort(phi.double().remainder(TWO_PI), stable=True)
    angle = phi.double().remainder(TWO_PI)[order]
    rho2 = (r.double() * r.double() + z.double() * z.double()).float()
    s, t = source[order], target[order]
    s2, t2 = (s * s).sum(1), (t * t).sum(1)
    radius2 = float(np.float32(radius) * np.float32(radius))
    loose = radius2 + 1e-5 * float(s2.max() + t2.max())
    axes = torch.linalg.eigh(torch.cov(torch.cat([s, t]).T).cpu())[1].to(s.device)
    s_turned, t_turned = s @ axes, t @ axes
    edges, distances = [position.new_empty((2, 0), dtype=torch.int64)], [position.new_empty(0)]
    for first, last, start, stop in _phi_ranges(angle, kappa_max, float(r.max())):
        columns = torch.arange(start, stop, device=position.device) % n
        if _gap2(s_turned[first:last], t_turned[columns]) > loose:
            continue
        rough = torch.addmm(t2[columns], s[first:last], t[columns].T, alpha=-2)
        at, column = torch.nonzero(rough < (loose - s2[first:last, None]), as_tuple=True)
        i, j = order[first + at], order[columns[column]]
        outward = (rho2[j] > rho2[i]) | ((rho2[j] == rho2[i]) & (j > i))
        i, j = i[outward], j[outward]
        d2 = torch.zeros(len(i), dtype=source.dtype, device=source.device)
        for k in range(source.shape[1]):
            d2 += (target[j, k] - source[i, k]).square()
        near = d2 < radius2
        edge_index, d2 = torch.stack([i[near], j[near]]), d2[near]
        edge = doublet(position, edge_index)
        inside = (edge.kappa.abs() < kappa_max) & (edge.z0.abs() < z0_max)
        edges.append(edge_index[:, inside])
        distances.append(d2[inside])
    return _nearest(torch.cat(edges, dim=1), torch.cat(distances), n, max_neighbours)


def _gap2(a: Float32[Tensor, "n d"], b: Float32[Tensor, "m d"]) -> float:
    """Squared distance of the boxes around two sets of points."""
    if len(a) == 0 or len(b) == 0:
        return math.inf
    return float(torch.maximum(b.amin(0) - a.amax(0), a.amin(0) - b.amax(0)).clamp(min=0).square().sum())


def _phi_ranges(angle: Tensor, kappa_max: float, r_max: float) -> Iterator[tuple[int, int, int, int]]:
    """Chunks [first, last) of the hits in order of angle, and ranges [start, stop) (modulo n) that hold their partners.

    |kappa| = 2 |sin(dphi)| / d bounds dphi near 0 and near pi.
    """
    n = len(angle)
    x = np.linspace(0, np.pi / 2, 2001)
    r2 = r_max * r_max
    near = x[np.sin(x) <= 0.5 * kappa_max * np.sqrt(r2 + 4 * r2 * np.sin(x / 2) ** 2)].max()
    far = x[np.sin(x) <= 0.5 * kappa_max * 2 * r_max].max()  # d is the sum of the radii at most
    rows = max(32, _DISTANCES // n)
    firsts = torch.arange(0, n, rows, device=angle.device)
    low, high = angle[firsts], angle[(firsts + rows - 1).clamp(max=n - 1)]
    turns = torch.cat([angle - TWO_PI, angle, angle + TWO_PI])  # turns[k] is hit k % n
    bounds = []
    for middle, widest in ((0.0, near), (math.pi, far)):
        reach = widest + x[1] + _MARGIN
        start = torch.searchsorted(turns, low + (middle - reach))
        stop = torch.searchsorted(turns, high + (middle + reach), right=True)
        bounds += [start, stop]
    everything = ((high - low) + near + far + 2 * (x[1] + _MARGIN) >= math.pi).long()
    for first, whole, *cut in torch.stack([firsts, everything, *bounds], dim=1).tolist():
        last = min(first + rows, n)
        if whole:
            yield first, last, 0, n
            continue
        yield first, last, cut[0], cut[1]
        yield first, last, cut[2], cut[3]


def _nearest(
    edge_index: Int64[Tensor, "2 n_pairs"], distance2: Float32[Tensor, " n_pairs"], n: int, most: int
) -> tuple[EdgeTensor, EdgeValueTensor]:
    """The `most` nearest edges of each inner hit, ties to the lower outer hit, sorted by both hits."""
    order = torch.argsort(edge_index[0] * n + edge_index[1])
    order = order[torch.argsort(distance2[order], stable=True)]
    order = order[torch.argsort(edge_index[0, order], stable=True)]
    inner = edge_index[0, order]
    rank = torch.arange(len(inner), device=inner.device) - torch.searchsorted(inner, inner)
    kept = order[rank < most]
    kept = kept[torch.argsort(edge_index[0, kept] * n + edge_index[1, kept])]
    return edge_index[:, kept], distance2[kept]


def assign_layers(position: PositionTensor, windows: DeviceWindows) -> Int64[Tensor, " n_hits"]:
    """Layer of each hit, -1 for a hit outside every box."""
    r, z = position[:, 0, None], position[:, 2, None]
    r_min, r_max, z_min, z_max = windows.layers.T
    inside = (r >= r_min) & (r <= r_max) & (z >= z_min) & (z <= z_max)
    number = torch.arange(len(windows.layers), device=position.device)
    layer: Tensor = torch.where(inside, number, -1).amax(dim=1)
    return layer


def module_map_edges(position: PositionTensor, windows: DeviceWindows) -> EdgeTensor:
    """Doublets inside their windows from which tracks grow, sorted, as `beampipe.tracking.kernels.module_map_edges`."""
    edge_index = _doublets(position, windows)
    kept = torch.zeros_like(edge_index[0], dtype=torch.bool)
    into, out = triplets(position, edge_index, windows)[0]
    layer = assign_layers(position, windows)[edge_index]
    begins = windows.may_begin[_windows_of(windows.pair_of[layer[0], layer[1]], into, out, windows)]
    stage = windows.stages[layer[1, into]]  # of the middle hits
    for current in sorted(set(windows.stages.tolist())):
        grows = (stage == current) & (begins | kept[into])
        kept[into[grows]] = True
        kept[out[grows]] = True
    return edge_index[:, kept]


def _windows_of(pair: Tensor, into: Tensor, out: Tensor, windows: DeviceWindows) -> tuple[Tensor, Tensor]:
    """Pair of each inner edge, and slot of the pair of the outer edge: index of the window of each triplet."""
    return pair[into], pair[out] - windows.out_begin[windows.pairs[pair[into], 1]]


def _doublets(position: PositionTensor, windows: DeviceWindows) -> Int64[Tensor, "2 n_doublets"]:
    """All doublets inside their windows, sorted by both hits."""
    n = len(position)
    r, phi, _ = position.T.contiguous()
    layer, angle = assign_layers(position, windows), phi.double().remainder(TWO_PI)
    key, hit = torch.sort(layer * 8.0 + angle, stable=True)  # layer by layer, in phi
    n_pairs = torch.diff(windows.out_begin)
    on_layer = layer.clamp(min=0)
    parts = [position.new_empty((2, 0), dtype=torch.int64)]
    for a, nth in _expanded(torch.where(layer >= 0, n_pairs[on_layer], 0)):
        pair = windows.out_begin[layer[a]] + nth
        outer_layer = windows.pairs[pair, 1]
        reach = _reach(r[a].double(), windows.layers[outer_layer, 1].double(), windows.pair_windows[pair, 0].double())
        low, high = angle[a] - reach, angle[a] + reach
        none = torch.full_like(low, -1.0)
        ranges = (
            (low.clamp(min=0), high.clamp(max=TWO_PI)),
            (torch.where(low < 0, low + TWO_PI, 0.0), torch.where(low < 0, TWO_PI, none)),
            (torch.zeros_like(low), torch.where(high > TWO_PI, high - TWO_PI, none)),
        )
        for start, stop in ranges:  # the second and third lie beyond phi = 0
            begin = torch.searchsorted(key, outer_layer * 8.0 + start)
            end = torch.searchsorted(key, outer_layer * 8.0 + stop, right=True)
            for query, offset in _expanded((end - begin).clamp(min=0) * (stop >= start)):
                edge_index = torch.stack([a[query], hit[begin[query] + offset]])
                parts.append(edge_index[:, _inside(position, edge_index, windows, pair[query])])
    edge_index = torch.cat(parts, dim=1)
    return edge_index[:, torch.argsort(edge_index[0] * n + edge_index[1])]


def _reach(r: Tensor, r_max: Tensor, kappa_max: Tensor) -> Tensor:
    """Largest turn from radius r to r_max on a circle through the beam line with a curvature up to kappa_max."""
    half = 0.5 * kappa_max
    turn = torch.asin((half * r_max).clamp(max=1.0)) - torch.asin((half * r).clamp(max=1.0))
    # A circle that turns back before r_max crosses it a second time, but only after a turn of more than MAX_DPHI.
    return torch.where(half * r_max < 0.8, turn.clamp(min=0, max=_MAX_DPHI), _MAX_DPHI) + _MARGIN


def _inside(
    position: Tensor, edge_index: Int64[Tensor, "2 n"], windows: DeviceWindows, pair: Int64[Tensor, " n"]
) -> Tensor:
    """Whether each doublet lies inside the window of its pair of layers."""
    kappa, _, z0, _ = arc(position, edge_index)
    dr, dphi, _ = (position[edge_index[1]] - position[edge_index[0]]).T
    kappa_max, z0_min, z0_max = windows.pair_windows[pair].T
    bent = (kappa.abs() < kappa_max) & (kappa.abs() >= windows.least_curvature * kappa_max)
    straight = (dr > MIN_DR) & (wrapped(dphi).abs() < _MAX_DPHI)
    inside: Tensor = straight & bent & (z0 > z0_min) & (z0 < z0_max)
    return inside


def triplets(
    position: PositionTensor, edge_index: EdgeTensor, windows: DeviceWindows
) -> tuple[TripletTensor, Chi2Tensor]:
    """Pairs of edges that share a hit and pass: by r^2 + z^2 of that hit, then edge in, then edge out; and chi2."""
    into, out, chi2 = [edge_index.new_empty(0)], [edge_index.new_empty(0)], [position.new_empty(0)]
    for e, f, x in _passing(position, edge_index, windows):
        into.append(e)
        out.append(f)
        chi2.append(x)
    return torch.stack([torch.cat(into), torch.cat(out)]), torch.cat(chi2)


def _passing(
    position: PositionTensor, edge_index: EdgeTensor, windows: DeviceWindows
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Edge in, edge out and chi2 of the triplets, some at a time, in their order."""
    layer = assign_layers(position, windows)
    pair = windows.pair_of[layer[edge_index[0]], layer[edge_index[1]]]
    rank = _rank_outwards(position)
    on_pair = torch.nonzero(pair >= 0)[:, 0]
    into = on_pair[torch.argsort(rank[edge_index[1, on_pair]], stable=True)]
    out = on_pair[torch.argsort(rank[edge_index[0, on_pair]], stable=True)]
    middle_of_out = rank[edge_index[0, out]]
    middle = rank[edge_index[1, into]]
    begin = torch.searchsorted(middle_of_out, middle)
    count = torch.searchsorted(middle_of_out, middle, right=True) - begin
    arcs = arc(position, edge_index)
    for row, offset in _expanded(count):
        e, f = into[row], out[begin[row] + offset]
        window = windows.triplet_windows[_windows_of(pair, e, f, windows)]
        top, bottom = triplet_chi2(arcs.take(e), arcs.take(f), window)
        good = (window[:, 0] > 0) & (top < bottom)
        yield e[good], f[good], (top / bottom)[good]


def pair_features(
    position: PositionTensor, edge_index: EdgeTensor, triplets: TripletTensor, chi2: Chi2Tensor
) -> PairTensor:
    """`beampipe.tracking.kernels.features.PAIR_FEATURES` of each edge.

    The CPU kernel goes through the triplets once, from the beam outwards. An edge whose outer hit lies nearer to the
    origin than its inner one is therefore read before it is written: its level counts as 0.
    """
    (into, out), n_edges = triplets, edge_index.shape[1]
    rank = _rank_outwards(position)
    rises = (rank[edge_index[1]] > rank[edge_index[0]]).long()
    columns = []
    for to in (out, into):
        columns.append(chi2.new_full((n_edges,), float(NO_PARTNER)).scatter_reduce(0, to, chi2, "amin"))
    for to in (out, into):
        columns.append(0.5 * torch.log1p(torch.bincount(to, minlength=n_edges).float()))
    for to, other in ((out, into), (into, out)):
        columns.append(0.125 * _levels(to, other, rises).float())
    return torch.stack(columns, dim=1)


def on_chains(pair_features: PairTensor, min_hits: int) -> Bool[Tensor, " n_edges"]:
    """Whether each edge lies on a chain of triplets of at least `min_hits` hits, and of three."""
    links = pair_features[:, PAIR_FEATURES.index("level_in")] + pair_features[:, PAIR_FEATURES.index("level_out")]
    return links >= LINK * max(min_hits - 2, 1)


def _levels(to: Int64[Tensor, " n"], other: Int64[Tensor, " n"], rises: Int64[Tensor, " n_edges"]) -> Tensor:
    """Length of the longest chain of triplets that ends at each edge, by repeated relaxation: one round per link."""
    level = torch.zeros_like(rises)
    while True:
        longer = level.scatter_reduce(0, to, (level * rises)[other] + 1, "amax")
        if torch.equal(longer, level):
            return level
        level = longer


def connected_components(n: int, edge_index: EdgeTensor, min_hits: int) -> Int64[Tensor, " n_hits"]:
    """Component of each hit, numbered by first hit; -1 where it has fewer than `min_hits` (>= 2) hits.

    Each hit points to a hit of its component, at first to itself. In each round both ends of an edge, and the hits they
    point to, get the lower pointer; then pointers are followed to their ends (Shiloach and Vishkin, J. Algorithms 3
    (1982) 57). In the end all hits of a component point to its first hit.
    """
    pointer = torch.arange(n, device=edge_index.device)
    while True:
        ends = pointer[edge_index]
        lower = ends.amin(dim=0)
        lowest = pointer.scatter_reduce(0, torch.cat([ends[0], ends[1]]), torch.cat([lower, lower]), "amin")
        lowest = lowest[lowest]
        lowest = lowest[lowest]
        if torch.equal(lowest, pointer):
            break
        pointer = lowest
    kept = torch.bincount(pointer, minlength=n) >= max(min_hits, 2)
    number = torch.where(kept, torch.cumsum(kept, 0) - 1, -1)
    return number[pointer]


def _rank_outwards(position: PositionTensor) -> Int64[Tensor, " n_hits"]:
    """Rank of each hit by r^2 + z^2, equal ones by row."""
    r, _, z = position.T.contiguous()
    order = torch.argsort(r * r + z * z, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    return rank


def _expanded(count: Int64[Tensor, " n"]) -> Iterator[tuple[Tensor, Tensor]]:
    """Row k repeated `count[k]` times, with 0 .. count[k] - 1; at most `_CANDIDATES` at a time."""
    end = torch.cumsum(count, 0)
    total = int(end[-1]) if len(end) else 0
    for first in range(0, total, _CANDIDATES):
        index = torch.arange(first, min(first + _CANDIDATES, total), device=count.device)
        row = torch.searchsorted(end, index, right=True)
        yield row, index - (end[row] - count[row])
