"""The loops that fill histograms: compiled, and the same in numpy.

Sums are of integers and therefore exact: a weight becomes a multiple of 2**-bits before anything is added, and then no
order of events, chunks or workers changes a bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Float64, Int8, Int64, UInt8, UInt16, UInt64
from beampipe.calibration.config.selection import Cuts
from beampipe.calibration.jets.hashing import mix
from beampipe.calibration.jets.pairs import PT_CUTS, enough_tracks, pt_cuts_passed, units
from beampipe.calibration.kernels.loading import native

__all__ = ["fill_replicas", "fill_single", "fill_weights", "histogram_rows", "quantise", "tagger_bins"]

_BLOCK: Final = 4096
"""Events that the numpy twins take at once, so that their tables stay small."""


def histogram_rows(
    pt: Float32[ndarray, "n 2"],
    n_trk: UInt16[ndarray, "n 2"],
    region: Int8[ndarray, "n 2"],
    flavour: Int8[ndarray, "n 2"],
    edges: Float64[ndarray, " e"],
    cuts: Cuts,
    n_flavours: int,
    width: int,
) -> Int64[ndarray, "n 2"]:
    """Where the jets of each event go.

    Args:
        pt: pT of the variation [GeV].
        n_trk: numbers of tracks of the variation.
        region: number in `REGIONS`, -1 for neither.
        flavour: number in the flavours of the axes.
        edges: edges of the bins of pT [GeV].
        cuts: limits of the selection.
        n_flavours: number of flavours of the axes.
        width: bins of all taggers together.

    Returns:
        First row of each jet's cell, or -1 if the jet does not count.
    """
    compiled = native()
    if compiled is not None:
        rows = np.empty(pt.shape, np.int64)
        columns = map(np.ascontiguousarray, (pt, n_trk, region, flavour))
        compiled.histogram_rows(*columns, edges, tuple(cuts), n_flavours, width, rows)
        return rows
    one, other = (pt[:, j].astype(np.float64) for j in range(2))
    high, low = np.where(other > one, other, one), np.where(other < one, other, one)
    selected = (pt_cuts_passed(high, low, cuts) == PT_CUTS) & enough_tracks(n_trk[:, 0], n_trk[:, 1], cuts)
    where = np.searchsorted(edges, pt.astype(np.float64), side="right") - 1
    counts = selected[:, None] & (region >= 0) & (where >= 0) & (where < len(edges) - 1)
    return np.where(counts, ((where * 2 + region) * n_flavours + flavour) * width, -1)


def tagger_bins(x: ndarray, low: float, high: float, n_bins: int, offset: int, out: Int64[ndarray, "n 2"]) -> None:
    """Bins of a tagger; outside the axis is its first or last bin, and so is a NaN.

    Args:
        x: (n, 2) values of the tagger: numbers of tracks, or scores.
        low: lower edge of the first bin.
        high: upper edge of the last bin.
        n_bins: number of bins of the tagger.
        offset: added to every bin.
        out: written.
    """
    compiled, values = native(), np.ascontiguousarray(x, np.float64)
    if compiled is not None:
        compiled.tagger_bins(values, low, high, n_bins, offset, out)
        return
    # Multiplied before it is divided: a whole number of tracks must not fall short of its own bin.
    place = np.floor((values - low) * n_bins / (high - low))
    out[:] = np.fmin(np.fmax(place, 0.0), n_bins - 1.0).astype(np.int64) + offset


def quantise(weight: ndarray, scale: float) -> tuple[Int64[ndarray, "*n"], Int64[ndarray, "*n"]]:
    """Weights, and squares of weights, as multiples of 1 / scale."""
    w = weight.astype(np.float64)
    return units(w * scale), units(w * w * scale)


def fill_weights(
    rows: Int64[ndarray, "n 2"],
    bins: Int64[ndarray, "n 2 t"],
    weight: Float32[ndarray, "n w"],
    scale: float,
    sumw: Int64[ndarray, "r w"],
    sumw2: Int64[ndarray, "r w"],
) -> None:
    """Add every weight of every jet: one pass for all variations of weights.

    Args:
        rows: first row of the cell of each jet, -1 if it does not count.
        bins: bin of each tagger, counted over all taggers.
        weight: weights of each event.
        scale: units in a weight of 1: 2**weight_bits.
        sumw: added to.
        sumw2: added to: squares of the weights.
    """
    compiled = native()
    if compiled is not None:
        compiled.fill_weights(rows, bins, np.ascontiguousarray(weight), scale, sumw, sumw2)
        return
    for event, row in _blocks(rows, bins):
        values, squares = quantise(weight[event], scale)
        _add(sumw, row, values)
        _add(sumw2, row, squares)


def fill_single(
    rows: Int64[ndarray, "n 2"],
    bins: Int64[ndarray, "n 2 t"],
    weights: Int64[ndarray, " n"],
    squares: Int64[ndarray, " n"],
    sumw: Int64[ndarray, " r"],
    sumw2: Int64[ndarray, " r"],
    entries: Int64[ndarray, " r"],
) -> None:
    """Add one weight of every jet.

    Args:
        rows: first row of the cell of each jet, -1 if it does not count.
        bins: bin of each tagger, counted over all taggers.
        weights: weights of `quantise`.
        squares: squares of weights of `quantise`.
        sumw: added to: weights.
        sumw2: added to: squares of weights.
        entries: added to: numbers of jets.
    """
    compiled = native()
    if compiled is not None:
        compiled.fill_single(rows, bins, weights, squares, sumw, sumw2, entries)
        return
    for event, row in _blocks(rows, bins):
        np.add.at(sumw, row, weights[event])
        np.add.at(sumw2, row, squares[event])
        np.add.at(entries, row, 1)


def fill_replicas(
    rows: Int64[ndarray, "n 2"],
    bins: Int64[ndarray, "n 2 t"],
    weights: Int64[ndarray, " n"],
    keys: UInt64[ndarray, " n"],
    seed: int | np.uint64,
    table: UInt8[ndarray, " p"],
    replicas: Int64[ndarray, "r b"],
) -> None:
    """Add the nominal weight to every replica as often as the event is in it: both its jets together.

    Args:
        rows: first row of the cell of each jet, -1 if it does not count.
        bins: bin of each tagger, counted over all taggers.
        weights: weights of `quantise`.
        keys: keys of `event_keys`.
        seed: added to the number of each block of four replicas, 64 bits.
        table: Poisson numbers of `poisson_table`.
        replicas: added to.
    """
    compiled = native()
    if compiled is not None:
        compiled.fill_replicas(rows, bins, weights, keys, int(seed), table, replicas)
        return
    n_replicas = replicas.shape[1]
    blocks = mix(np.uint64(seed) + np.arange((n_replicas + 3) // 4, dtype=np.uint64))
    shifts = np.arange(0, 64, 16, dtype=np.uint64)
    for event, row in _blocks(rows, bins):
        bits = mix(keys[event][:, None] + blocks)
        times = table[(bits[:, :, None] >> shifts) & np.uint64(0xFFFF)].reshape(len(event), -1)[:, :n_replicas]
        _add(replicas, row, weights[event][:, None] * times)


def _blocks(
    rows: Int64[ndarray, "n 2"], bins: Int64[ndarray, "n 2 t"]
) -> Iterator[tuple[Int64[ndarray, " m"], Int64[ndarray, " m"]]]:
    """Event and row of every jet that counts, for every tagger, some events at a time."""
    for start in range(0, len(rows), _BLOCK):
        event, jet = np.nonzero(rows[start : start + _BLOCK] >= 0)
        event += start
        for t in range(bins.shape[2]):
            yield event, rows[event, jet] + bins[event, jet, t]


def _add(sums: Int64[ndarray, "r w"], row: Int64[ndarray, " m"], values: Int64[ndarray, "m w"]) -> None:
    """sums[row] += values, for rows that may come more than once."""
    if len(row) == 0:
        return
    order = np.argsort(row, kind="stable")
    ordered = row[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    sums[ordered[first]] += np.add.reduceat(values[order], first, axis=0)
