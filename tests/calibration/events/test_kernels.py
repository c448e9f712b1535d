"""The loops in numpy against loops in Python, on random events that pass and fail every cut.

The compiled filler is compared with numpy in `test_fill`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from beampipe.calibration.config import DijetSelection
from beampipe.calibration.events import fill, select, variations
from beampipe.calibration.events.dijets import CUT_NAMES, FLAVOURS, LARGEST_SHIFT, WeightUnits
from beampipe.calibration.events.histograms import Axes, TaggerBins
from beampipe.simulation.random_numbers import mix
from tests.calibration.events import reference

BITS = 36
SCALE = 2.0**BITS
CUTS = DijetSelection()
MAX_WEIGHT = 100.0

words = st.integers(0, 2**64 - 1)


def random_events(seed: int, n: int = 400) -> dict[str, Any]:
    """Events near every cut, with 0 to 5 jets in no order, some of equal pT."""
    rng = np.random.default_rng(seed)
    counts = rng.choice([0, 1, 2, 3, 5], n, p=[0.02, 0.05, 0.5, 0.25, 0.18])
    jets = int(counts.sum())
    return {
        "trigger": rng.random(n) < 0.95,
        "offsets": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        "pt": rng.choice(np.linspace(440, 2100, 60), jets, p=np.arange(60, 0, -1) / 1830).astype(np.float32),
    }


def random_pairs(seed: int, *, labelled: bool = True) -> dict[str, Any]:
    """What `choose_pairs` is told of such events."""
    events = random_events(seed)
    entries, places = select.leading_pairs(*events.values())
    rng, shape = np.random.default_rng(seed + 100), places.shape
    n_trk = rng.integers(0, 40, shape).astype(np.uint16)
    flavour = rng.choice([-1, 0, 1, 2, 3], shape, p=[0.03, 0.4, 0.1, 0.07, 0.4]).astype(np.int8)
    n = len(events["trigger"])
    return {
        "trigger": events["trigger"],
        "weight": (rng.choice([1, -1], n, p=[0.9, 0.1]) * rng.lognormal(0, 2.2, n)).astype(np.float32),
        "entries": entries,
        "pairs": select.PairColumns(
            pt=events["pt"][places],
            eta=rng.normal(0, 1.0, shape).astype(np.float32),
            clean=rng.random(shape) < 0.98,
            n_trk=n_trk,
            flavour=flavour if labelled else np.empty((0, 2), np.int8),
        ),
    }


@pytest.mark.parametrize("seed", range(4))
def test_leading_pairs(seed: int) -> None:
    columns = random_events(seed)
    events, places = select.leading_pairs(*columns.values())
    want_events, want_places = reference.leading_pairs(*columns.values())
    assert 0.5 < len(events) / len(columns["trigger"]) < 0.95
    assert (np.diff(places, axis=1) < 0).any(), "jets need not come in order"
    assert (np.diff(columns["pt"][places], axis=1) == 0).any(), "some are equal"
    assert events.tolist() == want_events
    assert [tuple(pair) for pair in places.tolist()] == want_places


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_choose_pairs(seed: int, labelled: bool) -> None:
    columns = random_pairs(seed, labelled=labelled)
    rows, counts, sums = select.choose_pairs(
        **columns, cuts=CUTS, max_weight=MAX_WEIGHT, margin=LARGEST_SHIFT, scale=SCALE
    )
    want, passed, weights = reference.choose_pairs(
        **columns, cuts=CUTS, max_weight=MAX_WEIGHT, margin=LARGEST_SHIFT, bits=BITS
    )
    lost = -np.diff(counts)
    assert ((lost > 0) | ((np.array(CUT_NAMES[1:]) == "label") & (not labelled))).all(), "each cut loses some"
    assert counts[-1] > 5, "and some are left"
    assert len(rows) > counts[-1], "some only for a variation"
    assert rows.tolist() == want
    assert counts.tolist() == list(passed.values())
    assert sums.tolist() == list(weights.values())


@pytest.mark.parametrize("seed", range(3))
def test_no_scaling_within_the_margin_selects_an_event_that_is_lost(seed: int) -> None:
    """Each jet is scaled by a factor of its own, half of them by as much as is allowed."""
    columns = random_pairs(seed)
    rows, _, _ = select.choose_pairs(**columns, cuts=CUTS, max_weight=MAX_WEIGHT, margin=LARGEST_SHIFT, scale=SCALE)
    everything, _, _ = select.choose_pairs(**columns, cuts=CUTS, max_weight=MAX_WEIGHT, margin=0.9, scale=SCALE)
    lost = ~np.isin(everything, rows)
    assert lost.sum() > 20
    rng, nominal, new = np.random.default_rng(seed), columns["pairs"].pt[everything], 0
    for _ in range(30):
        factors = np.clip(rng.uniform(0.8, 1.2, nominal.shape), 1 - LARGEST_SHIFT, 1 + LARGEST_SHIFT)
        high, low = (nominal * factors).max(axis=1), (nominal * factors).min(axis=1)
        selected = (low > CUTS.min_subleading_pt) & (high < CUTS.max_leading_pt) & (high < CUTS.max_pt_ratio * low)
        assert not selected[lost].any()
        new += int((selected & (nominal.min(axis=1) <= CUTS.min_subleading_pt)).sum())
    assert new > 10


@pytest.mark.parametrize("seed", range(3))
def test_histogram_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, edges = 500, np.array([520.0, 700.0, 1000.0, 1800.0])
    pt = rng.choice([480, 500, 519, 520, 699, 700, 750, 999, 1000, 1400, 1799, 1800, 1999, 2000], (n, 2))
    n_trk, region = rng.integers(0, 12, (n, 2)), rng.integers(-1, 2, (n, 2))
    columns = (pt.astype(np.float32), n_trk.astype(np.uint16), region.astype(np.int8))
    flavour = rng.integers(0, 4, (n, 2)).astype(np.int8)
    axes = Axes(tuple(edges.tolist()), FLAVOURS, (TaggerBins("n_trk", 30),))
    rows = fill.histogram_rows(*columns, flavour, np.zeros((n, 2), np.float32), axes, CUTS)
    want = reference.histogram_rows(*columns, flavour, edges, CUTS, 4, 30)
    assert 50 < (rows >= 0).sum() < 2 * n - 50
    assert len(np.unique(rows[rows >= 0])) == 3 * 2 * 4, "every cell is met"
    assert ((rows[:, 0] >= 0) != (rows[:, 1] >= 0)).any(), "one jet of a pair may count without the other"
    assert [tuple(row) for row in rows.tolist()] == want


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20), st.integers(1, 40))
def test_quantise_rounds_as_fractions_do(weights: list[float], bits: int) -> None:
    """The square of a float32 is exact in float64, and so is its product with a power of two."""
    weight = np.array(weights, np.float32)
    first, second = fill.quantise(weight, WeightUnits(bits))
    assert (first.tolist(), second.tolist()) == reference.quantise(weight, bits)


@settings(max_examples=60, deadline=None)
@given(st.integers(-50, 50), st.integers(1, 120), st.integers(2, 130), st.sampled_from([0, 7]))
def test_tagger_bins_of_whole_numbers_are_exact(low: int, width: int, n_bins: int, offset: int) -> None:
    x = np.arange(low - 10 if low > 10 else 0, 130).astype(np.uint16)
    pairs_of_x = np.stack([x, x[::-1]], axis=1)
    out = np.empty(pairs_of_x.shape, np.int64)
    fill.tagger_bins(pairs_of_x, float(low), float(low + width), n_bins, offset, out)
    want = reference.tagger_bins(pairs_of_x, float(low), float(low + width), n_bins, offset)
    np.testing.assert_array_equal(out, want)


def test_tagger_bins_of_scores() -> None:
    """Beyond both ends of the axis, on its edges, and anywhere."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.uniform(-1, 2, 500), [-1e30, 1e30, 0, 1, 0.25, 0.5, 0.75, -0.0]]).astype(np.float32)
    x = np.stack([x, rng.permutation(x)], axis=1)
    out = np.empty(x.shape, np.int64)
    fill.tagger_bins(x, 0.0, 1.0, 20, 5, out)
    np.testing.assert_array_equal(out, reference.tagger_bins(x, 0.0, 1.0, 20, 5))
    assert np.unique(out).tolist() == list(range(5, 25))


def random_places(seed: int, n: int = 150) -> tuple[ndarray, ndarray, ndarray, int]:
    """Rows and bins of two taggers, weights, and the number of rows."""
    rng = np.random.default_rng(seed)
    cells, width = 6, 9
    rows = rng.integers(-2, cells, (n, 2)) * width
    bins = np.stack([rng.integers(0, 5, (n, 2)), rng.integers(5, 9, (n, 2))], axis=-1)
    weight = rng.normal(0, 3, (n, 4)).astype(np.float32)
    assert (rows < 0).all(axis=1).any()
    assert ((rows < 0).sum(axis=1) == 1).any()
    return np.where(rows < 0, -1, rows), bins, weight, cells * width


def dense(sums: Counter[Any], shape: tuple[int, ...]) -> ndarray:
    out = np.zeros(shape, np.int64)
    for place, value in sums.items():
        out[place] = value
    return out


@pytest.mark.parametrize("seed", range(3))
def test_every_weight_is_added(seed: int) -> None:
    rows, bins, weight, n_rows = random_places(seed)
    sumw, sumw2 = np.ones((2, n_rows, 4), np.int64)
    for added, values in zip((sumw, sumw2), fill.quantise(weight, WeightUnits(BITS)), strict=True):
        fill.Cells(rows, bins).add(added, values)
    sums, squares = reference.fill_weights(rows, bins, weight, BITS)
    np.testing.assert_array_equal(sumw - 1, dense(sums, sumw.shape))
    np.testing.assert_array_equal(sumw2 - 1, dense(squares, sumw.shape))
    assert (sumw2 > 1).any(axis=0).all()


@pytest.mark.parametrize("n_replicas", [1, 3, 4, 5, 8, 11])
def test_fill_replicas(n_replicas: int) -> None:
    rows, bins, weight, n_rows = random_places(n_replicas)
    first, _ = fill.quantise(weight[:, 0].copy(), WeightUnits(BITS))
    keys = np.random.default_rng(8).integers(0, 2**64, len(rows), np.uint64)
    replicas = np.zeros((n_rows, n_replicas), np.int64)
    fill.fill_replicas(fill.Cells(rows, bins), first, keys, np.uint64(5 << 32), variations.POISSON, replicas)
    want = reference.fill_replicas(
        rows, bins, first.tolist(), keys.tolist(), 5 << 32, variations.POISSON.tolist(), n_replicas
    )
    np.testing.assert_array_equal(replicas, dense(want, replicas.shape))
    assert replicas.any(axis=0).all()


@given(words)
def test_mix(key: int) -> None:
    assert int(mix(np.array([key], np.uint64))[0]) == reference.mix(key)


@settings(max_examples=50)
@given(words, st.lists(st.tuples(st.integers(0, 2**32 - 1), words), max_size=10))
def test_event_keys(dataset: int, numbers: list[tuple[int, int]]) -> None:
    run = np.array([item for item, _ in numbers], np.uint32)
    event = np.array([other for _, other in numbers], np.uint64)
    assert variations.event_keys(np.uint64(dataset), run, event).tolist() == reference.event_keys(dataset, run, event)


@pytest.mark.parametrize("size", [1e3, 3e4, 1e6, 1e13, 1e30])
def test_large_weights_round_alike(size: float) -> None:
    """Beyond 2**63 there is no whole number."""
    rng = np.random.default_rng(9)
    weight = (size * rng.normal(0, 1, (50, 7))).astype(np.float32)
    rows, bins = np.zeros((50, 2), np.int64), np.tile(np.arange(50)[:, None, None], (1, 2, 1))
    rows[:, 1] = -1
    sums = np.zeros((2, 50, 7), np.int64)
    for added, values in zip(sums, fill.quantise(weight, WeightUnits(BITS)), strict=True):
        fill.Cells(rows, bins).add(added, values)
    np.testing.assert_array_equal(sums, fill.quantise(weight, WeightUnits(BITS)))
    assert (np.abs(weight.astype(np.float64)) * SCALE > 2**51).any() == (size > 1e3)


def test_jets_whose_pt_is_no_number_are_passed_over_alike() -> None:
    pt = np.array([np.nan, 600, 700, 500, np.nan, 550, 800, 700, np.nan], np.float32)
    events, places = select.leading_pairs(np.ones(3, bool), np.array([0, 3, 6, 9], np.int64), pt)
    assert events.tolist() == [0, 1, 2]
    assert places.tolist() == [[0, 2], [5, 3], [6, 7]]


def test_mix_is_that_of_splitmix64() -> None:
    """Its first numbers for the seed 0, as Java's SplittableRandom gives them: it adds the golden ratio before each."""
    golden = 0x9E3779B97F4A7C15
    assert reference.mix(golden) == 0xE220A8397B1DCDAF
    assert reference.mix(2 * golden % 2**64) == 0x6E789E6AA1B965F4
