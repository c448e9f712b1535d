"""Rounding, bins and random numbers in numpy against exact arithmetic; `test_fill` compares the compiled filler."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from beampipe.arrays import Float32, UInt32, UInt64
from beampipe.calibration.events import fill, variations
from beampipe.calibration.events.dijets import WeightUnits
from beampipe.random_numbers import mix

words = st.integers(0, 2**64 - 1)
_WORD = 2**64


def exact_mix(key: int) -> int:
    """A 64-bit number with all bits of `key` in each of its own."""
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9 % _WORD
    key = (key ^ (key >> 27)) * 0x94D049BB133111EB % _WORD
    return key ^ (key >> 31)


def exact_event_keys(dataset: int, run: UInt32[ndarray, " n"], event: UInt64[ndarray, " n"]) -> list[int]:
    """One key per event, from its dataset, run and number."""
    return [
        exact_mix((exact_mix((dataset + one_run) % _WORD) + one_event) % _WORD)
        for one_run, one_event in zip(run.tolist(), event.tolist(), strict=True)
    ]


def rounded(weight: float, bits: int, power: int = 1) -> int:
    """A weight, or a power of it, as a multiple of 2**-bits; halves go to the even one."""
    exact: Fraction = Fraction(weight) ** power * 2**bits
    return round(exact)


def exact_quantise(weight: Float32[ndarray, " n"], bits: int) -> tuple[list[int], list[int]]:
    """Weights and their squares as multiples of 2**-bits."""
    return [rounded(w, bits) for w in weight.tolist()], [rounded(w, bits, 2) for w in weight.tolist()]


def exact_tagger_bins(x: ndarray, low: float, high: float, n_bins: int, offset: int) -> list[list[int]]:
    """Bins of a tagger, by fractions."""
    out: list[list[int]] = []
    for pair in x.tolist():
        places = [(Fraction(item) - Fraction(low)) * n_bins / (Fraction(high) - Fraction(low)) for item in pair]
        out.append([min(max(place.__floor__(), 0), n_bins - 1) + offset for place in places])
    return out


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20), st.integers(1, 40))
def test_quantise_rounds_as_fractions_do(weights: list[float], bits: int) -> None:
    """The square of a float32 is exact in float64, and so is its product with a power of two."""
    weight = np.array(weights, np.float32)
    first, second = fill.quantise(weight, WeightUnits(bits))
    assert (first.tolist(), second.tolist()) == exact_quantise(weight, bits)


@settings(max_examples=60, deadline=None)
@given(st.integers(-50, 50), st.integers(1, 120), st.integers(2, 130), st.sampled_from([0, 7]))
def test_tagger_bins_of_whole_numbers_are_exact(low: int, width: int, n_bins: int, offset: int) -> None:
    x = np.arange(low - 10 if low > 10 else 0, 130).astype(np.uint16)
    pairs_of_x = np.stack([x, x[::-1]], axis=1)
    out = np.empty(pairs_of_x.shape, np.int64)
    fill.tagger_bins(pairs_of_x, float(low), float(low + width), n_bins, offset, out)
    want = exact_tagger_bins(pairs_of_x, float(low), float(low + width), n_bins, offset)
    np.testing.assert_array_equal(out, want)


def test_tagger_bins_of_scores() -> None:
    """Beyond both ends of the axis, on its edges, and anywhere."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.uniform(-1, 2, 500), [-1e30, 1e30, 0, 1, 0.25, 0.5, 0.75, -0.0]]).astype(np.float32)
    x = np.stack([x, rng.permutation(x)], axis=1)
    out = np.empty(x.shape, np.int64)
    fill.tagger_bins(x, 0.0, 1.0, 20, 5, out)
    np.testing.assert_array_equal(out, exact_tagger_bins(x, 0.0, 1.0, 20, 5))
    assert np.unique(out).tolist() == list(range(5, 25))


@given(words)
def test_mix(key: int) -> None:
    assert int(mix(np.array([key], np.uint64))[0]) == exact_mix(key)


@settings(max_examples=50)
@given(words, st.lists(st.tuples(st.integers(0, 2**32 - 1), words), max_size=10))
def test_event_keys(dataset: int, numbers: list[tuple[int, int]]) -> None:
    run = np.array([item for item, _ in numbers], np.uint32)
    event = np.array([other for _, other in numbers], np.uint64)
    assert variations.event_keys(np.uint64(dataset), run, event).tolist() == exact_event_keys(dataset, run, event)


def test_mix_is_that_of_splitmix64() -> None:
    """Its first numbers for the seed 0, as Java's SplittableRandom gives them: it adds the golden ratio before each."""
    golden = 0x9E3779B97F4A7C15
    assert exact_mix(golden) == 0xE220A8397B1DCDAF
    assert exact_mix(2 * golden % 2**64) == 0x6E789E6AA1B965F4
