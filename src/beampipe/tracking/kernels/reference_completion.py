"""Slow truth for the completion of tracks: plain numpy, every end asked about every free hit."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int64
from beampipe.tracking.kernels.arrays import LayerNumbers, Offsets, Position, TrackIds
from beampipe.tracking.kernels.geometry import MIN_DR, Arc, arc, triplet_chi2, wrapped
from beampipe.tracking.kernels.reference import event_of, number_by_first_hit
from beampipe.tracking.kernels.reference_map import MAX_DPHI, assign_layers
from beampipe.tracking.windows import Windows

__all__ = ["complete"]

ROUNDS: Final = 4
"""Most hits that are added at each end of a track."""

MANY_HITS: Final = np.float32(1e5)
"""Hits of an event that the lowest score is meant for; it is lower by one layer where there are ten times fewer."""

_Path = list[tuple[int, ...]]
"""The layers on the way of a track, from the beam outwards: its first hit on each, and the second if there is one."""

_Reach = dict[tuple[int, int, bool], dict[int, Float32[ndarray, " 4"]]]
"""(inner layer, outer layer, outward): the layers to look on beyond that pair, nearest first, and their windows."""


class _Proposal(NamedTuple):
    """A hit that may be added to an end of a track; proposals sort by chi2, then as they stand here."""

    chi2: float
    hit: int
    track: int
    outward: bool


def complete(
    position: Position,
    track_id: TrackIds,
    windows: Windows,
    penalty: float,
    min_score: float,
    offsets: Offsets | None = None,
) -> TrackIds:
    """Tracks with the free hits beyond their ends; see `beampipe.tracking.kernels.module_map.complete`."""
    layer, event = assign_layers(position, windows), event_of(len(position), offsets)
    reach, label = _reach(windows), track_id.copy()
    paths = {int(track): _path(position, layer, track_id == track) for track in np.unique(track_id[track_id >= 0])}
    ends = [(track, outward) for track in paths for outward in (False, True)]
    for _ in range(ROUNDS):
        found = [_proposal(position, layer, np.where(label < 0, event, -1), event, reach, paths, *end) for end in ends]
        proposals = [proposal for proposal in found if proposal is not None]
        for _, hit, track, outward in sorted(proposals):
            if label[hit] < 0 and layer[hit] not in _layers(paths[track], layer):
                label[hit] = track
                paths[track].insert(len(paths[track]) if outward else 0, (hit,))
        ends = [(proposal.track, proposal.outward) for proposal in proposals]
    n_hits = np.bincount(event)
    # A track may have no hit on any layer: its event is asked of its label, not of its path.
    event_of_track = {int(track): int(event[label == track][0]) for track in paths}
    short = [
        track
        for track, path in paths.items()
        if _score(position, layer, reach, path, penalty)
        < min_score + np.log10(np.float32(n_hits[event_of_track[track]]) / MANY_HITS)
    ]
    return number_by_first_hit(np.where(np.isin(label, short), -1, label))


def _reach(windows: Windows) -> _Reach:
    """Known triples of layers, and beyond them one layer more, within the widest window of the known ones."""
    reach: _Reach = {}
    pairs = [(int(a), int(b)) for a, b in windows.pairs]
    for p, (a, b) in enumerate(pairs):
        for slot, q in enumerate(range(windows.out_begin[b], windows.out_begin[b + 1])):
            if (window := windows.triplet_windows[p, slot])[0] > 0:
                reach.setdefault((a, b, True), {})[pairs[q][1]] = window
                reach.setdefault((b, pairs[q][1], False), {})[a] = window
    for (_, _, outward), targets in reach.items():
        widest = np.max(list(targets.values()), axis=0)
        for near in list(targets):
            for inner, outer in pairs:
                if (inner if outward else outer) == near:
                    targets.setdefault(outer if outward else inner, widest)
    return reach


def _path(position: Position, layer: LayerNumbers, mine: ndarray) -> _Path:
    """The layers on the way of one track."""
    rows = np.flatnonzero(mine & (layer >= 0))
    rho2 = position[rows, 0] * position[rows, 0] + position[rows, 2] * position[rows, 2]
    crossings: dict[int, tuple[int, ...]] = {}
    for hit in rows[np.argsort(rho2, kind="stable")].tolist():
        crossings[int(layer[hit])] = (*crossings.get(int(layer[hit]), ()), hit)[:2]
    return list(crossings.values())


def _layers(path: _Path, layer: LayerNumbers) -> set[int]:
    return {int(layer[hits[0]]) for hits in path}


def _proposal(
    position: Position,
    layer: LayerNumbers,
    free: Int64[ndarray, " n_hits"],
    event: Int64[ndarray, " n_hits"],
    reach: _Reach,
    paths: dict[int, _Path],
    track: int,
    outward: bool,
) -> _Proposal | None:
    """The best hit on the nearest layer that has one; `free` is the event of each free hit, -1 for the others."""
    path = paths[track]
    if len(path) < 2:
        return None
    inner, outer = (path[-2][0], path[-1][0]) if outward else (path[0][0], path[1][0])
    end = outer if outward else inner
    own = arc(position, np.array([[inner], [outer]]))
    for target, window in reach.get((int(layer[inner]), int(layer[outer]), outward), {}).items():
        hits = np.flatnonzero((layer == target) & (free == event[end]))
        if target in _layers(path, layer) or len(hits) == 0:
            continue
        ends = np.full(len(hits), end)
        edge_index = np.stack([ends, hits] if outward else [hits, ends])
        dr, dphi, _ = (position[edge_index[1]] - position[edge_index[0]]).T
        chi2 = _chi2(own.take(np.zeros(len(hits), np.int64)), arc(position, edge_index), window)
        chi2[(dr <= MIN_DR) | (np.abs(wrapped(dphi)) >= MAX_DPHI)] = np.inf
        best = int(np.argmin(chi2))
        if np.isfinite(chi2[best]):
            return _Proposal(float(chi2[best]), int(hits[best]), track, outward)
    return None


def _chi2(one: Arc, other: Arc, window: Float32[ndarray, " 4"]) -> Float32[ndarray, " n"]:
    return triplet_chi2(one, other, np.tile(window, (len(one.kappa), 1)))


def _score(position: Position, layer: LayerNumbers, reach: _Reach, path: _Path, penalty: float) -> float:
    """Number of layers, less 1, less what the chi2 of each three in a row cost."""
    chi2 = 0.0
    for a, b, c in zip(path, path[1:], path[2:], strict=False):
        inner, middle, outer = (int(layer[hits[0]]) for hits in (a, b, c))
        window = reach.get((inner, middle, True), {}).get(outer)
        window = reach.get((middle, outer, False), {}).get(inner) if window is None else window
        if window is None:
            chi2 += 1
            continue
        triples = np.array([(i, m, o) for i in a for m in b for o in c]).T
        x = _chi2(arc(position, triples[:2]), arc(position, triples[1:]), window)
        chi2 += min(float(x.min()), 1.0)
    return len(path) - 1 - penalty * chi2
