"""The loop that selects events."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

__all__ = ["choose_pairs"]


@njit(cache=True, nogil=True)
@no_type_check
def choose_pairs(trigger, offsets, pt, eta, clean, most_trk, n_trk, flavour, weight, cuts, margin, scale, events, sums):
    """The events that some variation may select, and the places of their two leading jets.

    Args:
        trigger: (n,) bool.
        offsets: (n + 1,) int64, first jet of each event.
        pt: (n_jets,) float32 [GeV].
        eta: (n_jets,) float32.
        clean: (n_jets,) bool.
        most_trk: (n_jets,) uint16, the largest n_trk of all variations.
        n_trk: (n_jets,) uint16.
        flavour: (n_jets,) int8, negative where there is none; empty if not asked for.
        weight: (n,) float32, nominal.
        cuts: (6,) float64: subleading pT, leading pT, ratio, eta, n_trk, weight.
        margin: by which a variation may scale a pT.
        scale: 2**weight_bits.
        events: (n_cuts,) int64, added to: events after each cut.
        sums: (n_cuts,) int64, added to: their nominal weights.

    Returns:
        (m,) int64 events and (m, 2) int64 jets.
    """
    n = len(trigger)
    chosen = np.empty(n, np.int64)
    pairs = np.empty((n, 2), np.int64)
    m = 0
    for i in range(n):
        w = np.int64(np.rint(np.float64(weight[i]) * scale))
        events[0] += 1
        sums[0] += w
        if not trigger[i]:
            continue
        events[1] += 1
        sums[1] += w
        if offsets[i + 1] - offsets[i] < 2:
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
        events[2] += 1
        sums[2] += w
        if not (clean[a] and clean[b]):
            continue
        events[3] += 1
        sums[3] += w
        if most_trk[a] < cuts[4] or most_trk[b] < cuts[4]:
            continue
        enough = n_trk[a] >= cuts[4] and n_trk[b] >= cuts[4]
        if enough:
            events[4] += 1
            sums[4] += w
        if len(flavour) and (flavour[a] < 0 or flavour[b] < 0):
            continue
        if enough:
            events[5] += 1
            sums[5] += w
        if not (abs(eta[a]) < cuts[3] and abs(eta[b]) < cuts[3]):
            continue
        if enough:
            events[6] += 1
            sums[6] += w
        if not abs(weight[i]) < cuts[5]:
            continue
        if enough:
            events[7] += 1
            sums[7] += w
        high = np.float64(pt[a])
        low = np.float64(pt[b])
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
            chosen[m] = i
            pairs[m, 0] = a
            pairs[m, 1] = b
            m += 1
    return chosen[:m].copy(), pairs[:m].copy()
