"""The loops that select events: compiled, and the same in numpy."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Int64
from beampipe.calibration.config.selection import Cuts
from beampipe.calibration.jets.dijets import CUT_NAMES
from beampipe.calibration.kernels.loading import native

__all__ = ["PT_CUTS", "PairColumns", "choose_pairs", "enough_tracks", "leading_pairs", "pt_cuts_passed", "units"]

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


def enough_tracks(one: ndarray, other: ndarray, cuts: Cuts) -> Any:
    """Whether both jets of pairs have the tracks that `Cuts` ask for, given n_trk of each."""
    return (one >= np.float64(cuts.min_n_trk)) & (other >= np.float64(cuts.min_n_trk))


def pt_cuts_passed(high: ndarray, low: ndarray, cuts: Cuts) -> Any:
    """How many of the cuts on pT pairs pass before they fail one; `PT_CUTS` if they are selected.

    Args:
        high: (n,) float64, pT of the harder jets [GeV].
        low: (n,) float64, pT of the softer jets [GeV].
        cuts: limits of the selection.
    """
    one = low > cuts.min_subleading_pt
    two = one & (high < cuts.max_leading_pt)
    three = two & (high < cuts.max_pt_ratio * low)
    return one.astype(np.int64) + two + three


def units(values: ndarray) -> Int64[ndarray, "*n"]:
    """The nearest whole numbers, halves to even; what 64 bits do not hold is the smallest number."""
    with np.errstate(invalid="ignore"):
        rounded = np.rint(values)
        fits = (rounded >= -(2.0**63)) & (rounded < 2.0**63)
        return np.where(fits, rounded, -(2.0**63)).astype(np.int64)


def leading_pairs(
    trigger: Bool[ndarray, " n"], offsets: Int64[ndarray, " n_1"], pt: Float32[ndarray, " j"]
) -> tuple[Int64[ndarray, " m"], Int64[ndarray, "m 2"]]:
    """The two leading jets of each triggered event that has two.

    Args:
        trigger: whether the trigger accepted each event.
        offsets: first jet of each event.
        pt: transverse momentum of each jet [GeV].

    Returns:
        Events, and places of their leading and their subleading jet in `pt`; of equals the first one leads.
    """
    compiled = native()
    if compiled is None:
        return _leading_pairs(trigger, offsets, pt)
    n = len(trigger)
    events, places = np.empty(n, np.int64), np.empty((n, 2), np.int64)
    m = compiled.leading_pairs(
        np.ascontiguousarray(trigger).view(np.uint8),
        np.ascontiguousarray(offsets),
        np.ascontiguousarray(pt),
        events,
        places,
    )
    return events[:m].copy(), places[:m].copy()


def _leading_pairs(
    trigger: Bool[ndarray, " n"], offsets: Int64[ndarray, " n_1"], pt: Float32[ndarray, " j"]
) -> tuple[Int64[ndarray, " m"], Int64[ndarray, "m 2"]]:
    """The twin in numpy: the n-th jets of all events at once."""
    events = np.flatnonzero(trigger & (np.diff(offsets) >= 2))
    lead = offsets[events]
    second = lead + 1
    turned = pt[second] > pt[lead]
    lead, second = np.where(turned, second, lead), np.where(turned, lead, second)
    n_jets = np.diff(offsets)[events]
    for k in range(2, int(n_jets.max(initial=0))):
        more = np.flatnonzero(n_jets > k)
        jet, a, b = offsets[events[more]] + k, lead[more], second[more]
        first = pt[jet] > pt[a]
        second[more] = np.where(first, a, np.where(pt[jet] > pt[b], jet, b))
        lead[more] = np.where(first, jet, a)
    return events, np.stack([lead, second], axis=1)


def choose_pairs(
    trigger: Bool[ndarray, " n"],
    weight: Float32[ndarray, " n"],
    entries: Int64[ndarray, " m"],
    pairs: PairColumns,
    cuts: Cuts,
    margin: float,
    scale: float,
) -> tuple[Int64[ndarray, " k"], Int64[ndarray, " c"], Int64[ndarray, " c"]]:
    """The events that some variation may select, and how many are left after each cut with nominal pT and n_trk.

    Args:
        trigger: whether the trigger accepted each event.
        weight: nominal weight of each event.
        entries: rising: the events with two leading jets.
        pairs: columns of these events.
        cuts: limits of the selection.
        margin: largest relative change of a pT by a variation.
        scale: units in a weight of 1: 2**weight_bits.

    Returns:
        Rows of `entries`; events after each of `CUT_NAMES`; sums of their nominal weights in units of 1 / scale.
    """
    compiled = native()
    if compiled is None:
        return _choose_pairs(trigger, weight, entries, pairs, cuts, margin, scale)
    rows = np.empty(len(entries), np.int64)
    events, sums = np.zeros(_N_CUTS, np.int64), np.zeros(_N_CUTS, np.int64)
    pt, eta, clean, n_trk, most_trk, flavour = map(np.ascontiguousarray, pairs)
    m = compiled.choose_pairs(
        np.ascontiguousarray(trigger).view(np.uint8),
        *(np.ascontiguousarray(weight), entries, pt, eta, clean.view(np.uint8), n_trk, most_trk, flavour),
        *(tuple(cuts), margin, scale, rows, events, sums),
    )
    return rows[:m].copy(), events, sums


def _choose_pairs(
    trigger: Bool[ndarray, " n"],
    weight: Float32[ndarray, " n"],
    entries: Int64[ndarray, " m"],
    pairs: PairColumns,
    cuts: Cuts,
    margin: float,
    scale: float,
) -> tuple[Int64[ndarray, " k"], Int64[ndarray, " c"], Int64[ndarray, " c"]]:
    """The twin in numpy: the last cut that each event passes before it fails one, then sums from the last cut on."""
    high, low = (pairs.pt[:, j].astype(np.float64) for j in range(2))
    labelled = (pairs.flavour >= 0).all(axis=1) if len(pairs.flavour) else np.ones(len(entries), bool)
    clean = pairs.clean.all(axis=1)
    inside = (np.abs(pairs.eta).astype(np.float64) < cuts.max_abs_eta).all(axis=1)
    light = np.abs(weight[entries]).astype(np.float64) < cuts.max_abs_weight
    answers = [
        (_TWO_JETS, clean),
        (_CLEAN, enough_tracks(pairs.n_trk[:, 0], pairs.n_trk[:, 1], cuts)),
        (_N_TRK, labelled),
    ]
    answers += [(_LABEL, inside), (_ETA, light)]
    last = np.where(trigger, _TRIGGER, _ALL)
    last[entries] = np.select(
        [~passed for _, passed in answers],
        [np.full(len(entries), before) for before, _ in answers],
        _WEIGHT + pt_cuts_passed(high, low, cuts),
    )
    near = pt_cuts_passed(high * (1 - margin), low * (1 + margin), cuts) == PT_CUTS
    chosen = clean & labelled & inside & light & enough_tracks(pairs.most_trk[:, 0], pairs.most_trk[:, 1], cuts) & near
    events, sums = np.zeros(_N_CUTS, np.int64), np.zeros(_N_CUTS, np.int64)
    np.add.at(events, last, 1)
    np.add.at(sums, last, units(weight.astype(np.float64) * scale))
    return np.flatnonzero(chosen), np.cumsum(events[::-1])[::-1].copy(), np.cumsum(sums[::-1])[::-1].copy()
