"""The loops that select events."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

__all__ = ["choose_pairs", "leading_pairs"]


@njit(cache=True, nogil=True)
@no_type_check
def leading_pairs(trigger, offsets, pt):
    """The two leading jets of each triggered event that has two.

    Args:
        trigger: (n,) bool.
        offsets: (n + 1,) int64, first jet of each event.
        pt: (n_jets,) float32 [GeV].

    Returns:
        (m,) int64 events, and (m, 2) int64 places of their leading and their subleading jet in `pt`.
    """
    n = len(trigger)
    events = np.empty(n, np.int64)
    places = np.empty((n, 2), np.int64)
    m = 0
    for i in range(n):
        if not trigger[i] or offsets[i + 1] - offsets[i] < 2:
            continue
        a = offsets[i]
        b = a + 1
        if pt[b] > pt[a]:
            a, b = b, a
        for j in range(offsets[i] + 2, offsets[i + 1]):
            if pt[j] > pt[a]:
                a, b = j, a
            elif pt[j] > pt[b]:
                b = j
        events[m] = i
        places[m, 0] = a
        places[m, 1] = b
        m += 1
    return events[:m].copy(), places[:m].copy()


@njit(cache=True, nogil=True)
@no_type_check
def choose_pairs(trigger, weight, entries, pt, eta, clean, most_trk, n_trk, flavour, cuts, margin, scale, events, sums):
    """The events that some variation may select.

    Args:
        trigger: (n,) bool.
        weight: (n,) float32, nominal.
        entries: (m,) int64, the events with two leading jets; all that follows belongs to these.
        pt: (m, 2) float32 [GeV], leading jet first.
        eta: (m, 2) float32.
        clean: (m, 2) bool.
        most_trk: (m, 2) uint16, the largest n_trk of all variations.
        n_trk: (m, 2) uint16.
        flavour: (m, 2) int8, negative where there is none; empty if not asked for.
        cuts: (6,) float64: subleading pT, leading pT, ratio, eta, n_trk, weight.
        margin: by which a variation may scale a pT.
        scale: 2**weight_bits.
        events: (n_cuts,) int64, added to: events after each cut.
        sums: (n_cuts,) int64, added to: their nominal weights.

    Returns:
        (k,) int64 rows of `entries`.
    """
    for i in range(len(trigger)):
        w = np.int64(np.rint(np.float64(weight[i]) * scale))
        events[0] += 1
        sums[0] += w
        if trigger[i]:
            events[1] += 1
            sums[1] += w
    chosen = np.empty(len(entries), np.int64)
    m = 0
    for row in range(len(entries)):
        i = entries[row]
        w = np.int64(np.rint(np.float64(weight[i]) * scale))
        events[2] += 1
        sums[2] += w
        if not (clean[row, 0] and clean[row, 1]):
            continue
        events[3] += 1
        sums[3] += w
        if most_trk[row, 0] < cuts[4] or most_trk[row, 1] < cuts[4]:
            continue
        enough = n_trk[row, 0] >= cuts[4] and n_trk[row, 1] >= cuts[4]
        if enough:
            events[4] += 1
            sums[4] += w
        if len(flavour) and (flavour[row, 0] < 0 or flavour[row, 1] < 0):
            continue
        if enough:
            events[5] += 1
            sums[5] += w
        if not (abs(eta[row, 0]) < cuts[3] and abs(eta[row, 1]) < cuts[3]):
            continue
        if enough:
            events[6] += 1
            sums[6] += w
        if not abs(weight[i]) < cuts[5]:
            continue
        if enough:
            events[7] += 1
            sums[7] += w
        high = np.float64(pt[row, 0])
        low = np.float64(pt[row, 1])
        if enough and low > cuts[0]:
            events[8] += 1
            sums[8] += w
            if high < cuts[1]:
                events[9] += 1
                sums[9] += w
                if high < cuts[2] * low:
                    events[10] += 1
                    sums[10] += w
        low *= 1 + margin
        high *= 1 - margin
        if low > cuts[0] and high < cuts[1] and high < cuts[2] * low:
            chosen[m] = row
            m += 1
    return chosen[:m].copy()
