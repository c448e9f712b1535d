"""The loops that select events."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, no_type_check

import numpy as np
from numba import njit

from beampipe.calibration.jets.dijets import CUT_NAMES

__all__ = ["PT_CUTS", "PairColumns", "choose_pairs", "enough_tracks", "leading_pairs", "pt_cuts_passed"]

PT_CUTS: Final = 3
"""Number of cuts on pT: the last ones of `CUT_NAMES`."""

# The places of the other cuts in `CUT_NAMES`, in its order.
_ALL, _TRIGGER, _TWO_JETS, _CLEAN, _N_TRK, _LABEL, _ETA, _WEIGHT = range(len(CUT_NAMES) - PT_CUTS)
_N_CUTS: Final = len(CUT_NAMES)


class PairColumns(NamedTuple):
    """What `choose_pairs` looks at in events with two leading jets; of each pair the leading jet comes first.

    Attributes:
        pt: (m, 2) float32, transverse momentum of each jet [GeV].
        eta: (m, 2) float32, pseudorapidity of each jet.
        clean: (m, 2) bool, whether each jet passes jet cleaning.
        n_trk: (m, 2) uint16, number of tracks of each jet.
        most_trk: (m, 2) uint16, the largest `n_trk` of all variations.
        flavour: (m, 2) int8, negative where the jet has no label; empty if no label is asked for.
    """

    pt: Any
    eta: Any
    clean: Any
    n_trk: Any
    most_trk: Any
    flavour: Any


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def enough_tracks(one, other, cuts):
    """Whether both jets of a pair have the tracks that `Cuts` ask for, given n_trk of each."""
    return one >= cuts.min_n_trk and other >= cuts.min_n_trk


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def pt_cuts_passed(high, low, cuts):
    """How many of the cuts on pT a pair passes before it fails one; `PT_CUTS` if it is selected.

    Args:
        high: pT of the harder jet [GeV], float64.
        low: pT of the softer jet [GeV], float64.
        cuts: limits of the selection, as `Cuts`.
    """
    passed = 0
    if low > cuts.min_subleading_pt:
        passed = 1
        if high < cuts.max_leading_pt:
            passed = 2
            if high < cuts.max_pt_ratio * low:
                passed = 3
    return passed


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _last_cut_passed(clean, tracks, labelled, eta, weight, pt_cuts):
    """The last cut that a pair passes before it fails one, as a place in `CUT_NAMES`."""
    if not clean:
        return _TWO_JETS
    if not tracks:
        return _CLEAN
    if not labelled:
        return _N_TRK
    if not eta:
        return _LABEL
    if not weight:
        return _ETA
    return _WEIGHT + pt_cuts


@njit(cache=True, nogil=True)
@no_type_check
def leading_pairs(trigger, offsets, pt):
    """The two leading jets of each triggered event that has two.

    Args:
        trigger: (n,) bool, whether the trigger accepted the event.
        offsets: (n + 1,) int64, first jet of each event.
        pt: (n_jets,) float32, transverse momentum of each jet [GeV].

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
def choose_pairs(trigger, weight, entries, pairs, cuts, margin, scale):
    """The events that some variation may select, and how many are left after each cut with nominal pT and n_trk.

    Args:
        trigger: (n,) bool, whether the trigger accepted the event.
        weight: (n,) float32, nominal weight of the event.
        entries: (m,) int64, rising: the events with two leading jets.
        pairs: `PairColumns` of these events.
        cuts: limits of the selection, as `Cuts`.
        margin: largest relative change of a pT by a variation.
        scale: units in a weight of 1: 2**weight_bits.

    Returns:
        (k,) int64 rows of `entries`; (n_cuts,) int64 events after each of `CUT_NAMES`; (n_cuts,) int64 sums of their
        nominal weights in units of 1 / scale.
    """
    pt, eta, clean, n_trk, most_trk, flavour = pairs  # here: looked up in the loop, a field costs time
    chosen = np.empty(len(entries), np.int64)
    events = np.zeros(_N_CUTS, np.int64)
    sums = np.zeros(_N_CUTS, np.int64)
    row, m = 0, 0
    for i in range(len(trigger)):
        last = _TRIGGER if trigger[i] else _ALL
        if row < len(entries) and entries[row] == i:
            good = clean[row, 0] & clean[row, 1]
            labelled = len(flavour) == 0 or (flavour[row, 0] >= 0) & (flavour[row, 1] >= 0)
            inside = (abs(eta[row, 0]) < cuts.max_abs_eta) & (abs(eta[row, 1]) < cuts.max_abs_eta)
            light = abs(weight[i]) < cuts.max_abs_weight
            tracks = enough_tracks(n_trk[row, 0], n_trk[row, 1], cuts)
            high, low = np.float64(pt[row, 0]), np.float64(pt[row, 1])
            last = _last_cut_passed(good, tracks, labelled, inside, light, pt_cuts_passed(high, low, cuts))
            if good & labelled & inside & light and enough_tracks(most_trk[row, 0], most_trk[row, 1], cuts):
                high, low = high * (1 - margin), low * (1 + margin)
                if pt_cuts_passed(high, low, cuts) == PT_CUTS:
                    chosen[m] = row
                    m += 1
            row += 1
        events[last] += 1
        sums[last] += np.int64(np.rint(np.float64(weight[i]) * scale))
    # An event that fails its first cut after `last` has passed all cuts before.
    for cut in range(_N_CUTS - 1, 0, -1):
        events[cut - 1] += events[cut]
        sums[cut - 1] += sums[cut]
    return chosen[:m].copy(), events, sums
