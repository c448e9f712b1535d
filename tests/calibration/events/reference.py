"""Histograms filled in plain Python, one jet at a time: what the compiled filler is compared with."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Float64, Int8, Int64, UInt16, UInt32, UInt64
from beampipe.calibration.config import DijetSelection
from beampipe.calibration.events.dijets import CUT_NAMES
from beampipe.calibration.events.select import PairColumns

__all__ = [
    "choose_pairs",
    "event_keys",
    "fill_replicas",
    "fill_single",
    "fill_weights",
    "histogram_rows",
    "leading_pairs",
    "mix",
    "poisson_numbers",
    "quantise",
    "tagger_bins",
]

_WORD = 2**64


def mix(key: int) -> int:
    """A 64-bit number with all bits of `key` in each of its own."""
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9 % _WORD
    key = (key ^ (key >> 27)) * 0x94D049BB133111EB % _WORD
    return key ^ (key >> 31)


def event_keys(dataset: int, run: UInt32[ndarray, " n"], event: UInt64[ndarray, " n"]) -> list[int]:
    """One key per event, from its dataset, run and number."""
    return [
        mix((mix((dataset + one_run) % _WORD) + one_event) % _WORD)
        for one_run, one_event in zip(run.tolist(), event.tolist(), strict=True)
    ]


def poisson_numbers(key: int, seed: int, table: Sequence[int], n_replicas: int) -> list[int]:
    """How often an event is in each replica: one 64-bit number for four replicas, 16 bits for each."""
    words = [mix((key + mix((seed + replica // 4) % _WORD)) % _WORD) for replica in range(n_replicas)]
    return [int(table[(word >> (16 * (replica % 4))) % 65536]) for replica, word in enumerate(words)]


def rounded(weight: float, bits: int, power: int = 1) -> int:
    """A weight, or a power of it, as a multiple of 2**-bits; halves go to the even one."""
    exact: Fraction = Fraction(weight) ** power * 2**bits
    return round(exact)


def quantise(weight: Float32[ndarray, " n"], bits: int) -> tuple[list[int], list[int]]:
    """Weights and their squares as multiples of 2**-bits."""
    return [rounded(w, bits) for w in weight.tolist()], [rounded(w, bits, 2) for w in weight.tolist()]


def leading_pairs(
    trigger: Bool[ndarray, " n"], offsets: Int64[ndarray, " n_1"], pt: Float32[ndarray, " j"]
) -> tuple[list[int], list[tuple[int, int]]]:
    """Triggered events with two jets, and the places of their two hardest; of equal jets the first comes first."""
    events: list[int] = []
    places: list[tuple[int, int]] = []
    for i in np.flatnonzero(trigger).tolist():
        jets = sorted(range(int(offsets[i]), int(offsets[i + 1])), key=lambda jet: (-float(pt[jet]), jet))
        if len(jets) >= 2:
            events.append(i)
            places.append((jets[0], jets[1]))
    return events, places


def choose_pairs(
    trigger: Bool[ndarray, " n"],
    weight: Float32[ndarray, " n"],
    entries: Int64[ndarray, " m"],
    pairs: PairColumns,
    cuts: DijetSelection,
    max_weight: float,
    margin: float,
    bits: int,
) -> tuple[list[int], dict[str, int], dict[str, int]]:
    """Rows of `entries` that some variation may select, and events and weights after each of `CUT_NAMES`.

    Every cut is a question about an event; an event passes the cuts up to the first that says no.
    """
    row_of = {event: row for row, event in enumerate(entries.tolist())}
    chosen: list[int] = []
    passed: Counter[str] = Counter(dict.fromkeys(CUT_NAMES, 0))
    sums: Counter[str] = Counter(dict.fromkeys(CUT_NAMES, 0))
    for i in range(len(trigger)):
        answers = {"all": True, "trigger": bool(trigger[i]), "two jets": i in row_of}
        row = row_of.get(i, 0)
        if answers["two jets"]:
            high, low = pairs.pt[row].tolist()
            answers |= {
                "clean": bool(pairs.clean[row].all()),
                "n_trk": min(pairs.n_trk[row].tolist()) >= cuts.min_n_trk,
                "label": len(pairs.flavour) == 0 or min(pairs.flavour[row].tolist()) >= 0,
                "eta": max(abs(item) for item in pairs.eta[row].tolist()) < cuts.max_abs_eta,
                "weight": abs(float(weight[i])) < max_weight,
                **_pt_answers(high, low, cuts),
            }
        for cut in CUT_NAMES:
            if not answers[cut]:
                break
            passed[cut] += 1
            sums[cut] += rounded(float(weight[i]), bits)
        if answers["two jets"]:
            answers |= _pt_answers(high * (1 - margin), low * (1 + margin), cuts)
            answers["n_trk"] = True
            if all(answers.values()):
                chosen.append(row)
    return chosen, dict(passed), dict(sums)


def _pt_answers(high: float, low: float, cuts: DijetSelection) -> dict[str, bool]:
    """Whether a pair passes each cut on pT, by the name of the cut."""
    return {
        "subleading pt": low > cuts.min_subleading_pt,
        "leading pt": high < cuts.max_leading_pt,
        "pt ratio": high < cuts.max_pt_ratio * low,
    }


def histogram_rows(
    pt: Float32[ndarray, "n 2"],
    n_trk: UInt16[ndarray, "n 2"],
    region: Int8[ndarray, "n 2"],
    flavour: Int8[ndarray, "n 2"],
    edges: Float64[ndarray, " e"],
    cuts: DijetSelection,
    n_flavours: int,
    width: int,
) -> list[tuple[int, int]]:
    """First row of the cell of each jet, -1 if it does not count."""
    out: list[tuple[int, int]] = []
    for both_pt, both_trk, both_regions, both_flavours in zip(
        pt.tolist(), n_trk.tolist(), region.tolist(), flavour.tolist(), strict=True
    ):
        selected = all(_pt_answers(max(both_pt), min(both_pt), cuts).values()) and min(both_trk) >= cuts.min_n_trk
        rows = []
        for one_pt, one_region, one_flavour in zip(both_pt, both_regions, both_flavours, strict=True):
            inside = selected and one_region >= 0 and edges[0] <= one_pt < edges[-1]
            cell = (bisect_right(edges.tolist(), one_pt) - 1, one_region, one_flavour)
            rows.append(((cell[0] * 2 + cell[1]) * n_flavours + cell[2]) * width if inside else -1)
        out.append((rows[0], rows[1]))
    return out


def tagger_bins(x: ndarray, low: float, high: float, n_bins: int, offset: int) -> list[list[int]]:
    """Bins of a tagger, by fractions."""
    out: list[list[int]] = []
    for pair in x.tolist():
        places = [(Fraction(item) - Fraction(low)) * n_bins / (Fraction(high) - Fraction(low)) for item in pair]
        out.append([min(max(place.__floor__(), 0), n_bins - 1) + offset for place in places])
    return out


def fill_weights(
    rows: Int64[ndarray, "n 2"],
    bins: Int64[ndarray, "n 2 t"],
    weight: Float32[ndarray, "n w"],
    bits: int,
) -> tuple[Counter[tuple[int, int]], Counter[tuple[int, int]]]:
    """Sums of weights and of squares by (row, number of the weight)."""
    sums: Counter[tuple[int, int]] = Counter()
    squares: Counter[tuple[int, int]] = Counter()
    for i, row in _jets(rows, bins):
        for k, w in enumerate(weight[i].tolist()):
            sums[row, k] += rounded(w, bits)
            squares[row, k] += rounded(w, bits, 2)
    return sums, squares


def fill_replicas(
    rows: Int64[ndarray, "n 2"],
    bins: Int64[ndarray, "n 2 t"],
    first: Sequence[int],
    keys: Sequence[int],
    seed: int,
    table: Sequence[int],
    n_replicas: int,
) -> Counter[tuple[int, int]]:
    """Sums of weights by (row, replica), each event as often as it is in the replica."""
    sums: Counter[tuple[int, int]] = Counter()
    for i, row in _jets(rows, bins):
        for replica, times in enumerate(poisson_numbers(keys[i], seed, table, n_replicas)):
            sums[row, replica] += times * first[i]
    return sums


def _jets(rows: Int64[ndarray, "n 2"], bins: Int64[ndarray, "n 2 t"]) -> list[tuple[int, int]]:
    """(event, row) of every jet that counts, for every tagger."""
    return [
        (i, int(rows[i, j]) + int(place))
        for i in range(len(rows))
        for j in range(2)
        if rows[i, j] >= 0
        for place in bins[i, j]
    ]
