"""The loops that fill histograms.

Sums are of integers and therefore exact: a weight becomes a multiple of 2**-bits before anything is added, and then no
order of events, chunks or workers changes a bit.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

from beampipe.calibration.jets.hashing import mix
from beampipe.calibration.jets.pairs import PT_CUTS, enough_tracks, pt_cuts_passed

__all__ = ["fill_replicas", "fill_single", "fill_weights", "histogram_rows", "quantise", "tagger_bins"]


@njit(cache=True, nogil=True)
@no_type_check
def histogram_rows(pt, n_trk, region, flavour, edges, cuts, n_flavours, width, rows):
    """Where the jets of each event go.

    Args:
        pt: (n, 2) pT of the variation [GeV].
        n_trk: (n, 2) numbers of tracks of the variation.
        region: (n, 2) int8, number in `REGIONS`, -1 for neither.
        flavour: (n, 2) int8, number in the flavours of the axes.
        edges: (n_bins + 1,) float64, edges of the bins of pT [GeV].
        cuts: limits of the selection, as `Cuts`.
        n_flavours: number of flavours of the axes.
        width: bins of all taggers together.
        rows: (n, 2) int64, written: first row of the jet's cell, or -1 if the jet does not count.
    """
    for i in range(len(pt)):
        rows[i, 0] = -1
        rows[i, 1] = -1
        high = max(np.float64(pt[i, 0]), np.float64(pt[i, 1]))
        low = min(np.float64(pt[i, 0]), np.float64(pt[i, 1]))
        if pt_cuts_passed(high, low, cuts) < PT_CUTS or not enough_tracks(n_trk[i, 0], n_trk[i, 1], cuts):
            continue
        for j in range(2):
            where = -1
            while where + 1 < len(edges) and edges[where + 1] <= pt[i, j]:  # there are few
                where += 1
            if region[i, j] >= 0 and 0 <= where < len(edges) - 1:
                rows[i, j] = ((where * 2 + region[i, j]) * n_flavours + flavour[i, j]) * width


@njit(cache=True, nogil=True)
@no_type_check
def tagger_bins(x, low, high, n_bins, offset, out):
    """Bins of a tagger; outside the axis is its first or last bin.

    Args:
        x: (n, 2) values of the tagger: numbers of tracks, or scores.
        low: lower edge of the first bin.
        high: upper edge of the last bin.
        n_bins: number of bins of the tagger.
        offset: added to every bin.
        out: (n, 2) int64, written.
    """
    for i in range(len(x)):
        for j in range(2):
            # Multiplied before it is divided: a whole number of tracks must not fall short of its own bin.
            place = np.floor((np.float64(x[i, j]) - low) * n_bins / (high - low))
            out[i, j] = np.int64(min(max(place, 0.0), n_bins - 1.0)) + offset


@njit(cache=True, nogil=True)
@no_type_check
def quantise(weight, scale):
    """(n,) int64 weights, and (n,) int64 squares of weights, as multiples of 1 / scale."""
    weights = np.empty(len(weight), np.int64)
    squares = np.empty(len(weight), np.int64)
    for i in range(len(weight)):
        w = np.float64(weight[i])
        weights[i] = np.int64(np.rint(w * scale))
        squares[i] = np.int64(np.rint(w * w * scale))
    return weights, squares


@njit(cache=True, nogil=True)
@no_type_check
def fill_weights(rows, bins, weight, scale, sumw, sumw2):
    """Add every weight of every jet: one pass for all variations of weights.

    Args:
        rows: (n, 2) int64 of `histogram_rows`: first row of the cell of each jet, -1 if it does not count.
        bins: (n, 2, n_taggers) int64, bin of each tagger, counted over all taggers.
        weight: (n, n_weights) float32, weights of each event.
        scale: units in a weight of 1: 2**weight_bits.
        sumw: (n_rows, n_weights) int64, added to.
        sumw2: (n_rows, n_weights) int64, added to: squares of the weights.
    """
    n_weights = weight.shape[1]
    weights = np.empty(n_weights, np.int64)
    squares = np.empty(n_weights, np.int64)
    for i in range(len(rows)):
        if rows[i, 0] < 0 and rows[i, 1] < 0:
            continue
        for k in range(n_weights):
            w = np.float64(weight[i, k])
            weights[k] = np.int64(np.rint(w * scale))
            squares[k] = np.int64(np.rint(w * w * scale))
        for j in range(2):
            if rows[i, j] >= 0:
                for t in range(bins.shape[2]):
                    row = rows[i, j] + bins[i, j, t]
                    for k in range(n_weights):
                        sumw[row, k] += weights[k]
                    for k in range(n_weights):
                        sumw2[row, k] += squares[k]


@njit(cache=True, nogil=True)
@no_type_check
def fill_single(rows, bins, weights, squares, sumw, sumw2, entries):
    """Add one weight of every jet.

    Args:
        rows: (n, 2) int64 of `histogram_rows`.
        bins: (n, 2, n_taggers) int64, bin of each tagger, counted over all taggers.
        weights: (n,) int64 weights of `quantise`.
        squares: (n,) int64 squares of weights of `quantise`.
        sumw: (n_rows,) int64, added to: weights.
        sumw2: (n_rows,) int64, added to: squares of weights.
        entries: (n_rows,) int64, added to: numbers of jets.
    """
    for i in range(len(rows)):
        for j in range(2):
            if rows[i, j] >= 0:
                for t in range(bins.shape[2]):
                    row = rows[i, j] + bins[i, j, t]
                    sumw[row] += weights[i]
                    sumw2[row] += squares[i]
                    entries[row] += 1


@njit(cache=True, nogil=True)
@no_type_check
def fill_replicas(rows, bins, weights, keys, seed, table, replicas):
    """Add the nominal weight to every replica as often as the event is in it: both its jets together.

    Args:
        rows: (n, 2) int64 of `histogram_rows`.
        bins: (n, 2, n_taggers) int64, bin of each tagger, counted over all taggers.
        weights: (n,) int64 weights of `quantise`.
        keys: (n,) uint64 keys of `event_keys`.
        seed: uint64, added to the number of each block of four replicas.
        table: (65536,) uint8 Poisson numbers of `poisson_table`.
        replicas: (n_rows, n_replicas) int64, added to.
    """
    n_replicas = replicas.shape[1]
    times = np.empty(n_replicas + 3, np.int64)
    for i in range(len(rows)):
        if rows[i, 0] < 0 and rows[i, 1] < 0:
            continue
        for b in range((n_replicas + 3) // 4):
            bits = mix(keys[i] + mix(seed + np.uint64(b)))
            for c in range(4):
                times[4 * b + c] = weights[i] * table[(bits >> np.uint64(16 * c)) & np.uint64(0xFFFF)]
        for j in range(2):
            if rows[i, j] >= 0:
                for t in range(bins.shape[2]):
                    row = rows[i, j] + bins[i, j, t]
                    for b in range(n_replicas):
                        replicas[row, b] += times[b]
