"""Matching against a twin in plain Python, and hand-made cases for each clause of the definitions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from beampipe.errors import InputError
from beampipe.events import Particles, Truth
from beampipe.tracking.evaluation.matching import Candidates, Matches, match
from beampipe.tracking.truth import contributions


def truth_of(particle_id: list[int], shared: list[tuple[int, int]] | None = None) -> Truth:
    nothing = np.empty(0)
    particles = Particles(
        nothing.astype(np.int64),
        nothing.astype(np.int32),
        nothing.astype(np.float32),
        np.empty((0, 3), np.float32),
        np.empty((0, 3), np.float32),
        nothing.astype(np.bool_),
    )
    pairs = np.array(shared or np.empty((0, 2)), np.int64)
    return Truth(np.array(particle_id, np.int64), particles, pairs[:, 0], pairs[:, 1])


Row = tuple[int, int, int, int, bool, bool]


def brute_match(tracks: list[list[int]], truth: Truth, min_track_hits: int) -> list[Row]:
    """(track, hits, particle id or 0, its hits on the track, single, double) of each candidate."""
    owners: list[set[int]] = [{int(p)} - {0} for p in truth.particle_id]
    for hit, particle in zip(truth.shared_hit.tolist(), truth.shared_particle.tolist(), strict=True):
        owners[hit] |= {particle} - {0}
    size = Counter(particle for owner in owners for particle in owner)
    rows: list[Row] = []
    for number, listed in enumerate(tracks):
        hits = set(listed)
        if len(hits) < min_track_hits:
            continue
        on_track = Counter(particle for hit in hits for particle in owners[hit])
        best = min(on_track, key=lambda particle: (-on_track[particle], particle), default=0)
        n = on_track[best] if best else 0
        single = n / len(hits) > 0.5
        double = single and n / size[best] > 0.5
        rows.append((number, len(hits), best, n, single, double))
    return rows


def rows_of(matches: Matches, particle_id: ndarray) -> list[Row]:
    ids = np.append(particle_id, 0)[matches.particle]
    columns = (matches.track, matches.n_hits, ids, matches.n_shared, matches.single, matches.double)
    return list(zip(*(column.tolist() for column in columns), strict=True))


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int]], list[list[int]], int]:
    n = draw(st.integers(1, 30))
    ids = st.sampled_from([0, 3, 5, 2**60 + 1, 2**60 + 2])
    particle_id = draw(st.lists(ids, min_size=n, max_size=n))
    hit = st.integers(0, n - 1)
    shared = draw(st.lists(st.tuples(hit, ids), max_size=8))
    tracks = draw(st.lists(st.lists(hit, max_size=12), max_size=6))
    return particle_id, shared, tracks, draw(st.integers(1, 4))


@settings(max_examples=300, deadline=None)
@given(problems())
def test_lists_equal_brute_force(problem: tuple[list[int], list[tuple[int, int]], list[list[int]], int]) -> None:
    particle_id, shared, tracks, min_track_hits = problem
    truth = truth_of(particle_id, shared)
    known = contributions(truth)
    candidates = Candidates.from_lists([np.array(track, np.int64) for track in tracks], len(particle_id))
    matches = match(candidates, known, min_track_hits)
    expected = brute_match(tracks, truth, min_track_hits)
    assert rows_of(matches, known.particle_id) == expected
    for double in (False, True):
        matched = [row[2] for row in expected if row[5 if double else 4]]
        result = matches.found_double if double else matches.found_single
        assert set(known.particle_id[result].tolist()) == set(matched)
        assert matches.n_fakes(double) == len(expected) - len(matched)
        assert matches.n_duplicates(double) == len(matched) - len(set(matched))


@settings(max_examples=100, deadline=None)
@given(problems(), st.integers(0, 10**6))
def test_labels_equal_brute_force(
    problem: tuple[list[int], list[tuple[int, int]], list[list[int]], int], seed: int
) -> None:
    particle_id, shared, _, min_track_hits = problem
    truth = truth_of(particle_id, shared)
    known = contributions(truth)
    label = np.random.default_rng(seed).integers(-1, max(1, len(particle_id) // 5), len(particle_id))
    tracks = [np.flatnonzero(label == track).tolist() for track in range(label.max() + 1)]
    matches = match(Candidates.from_labels(label), known, min_track_hits)
    assert rows_of(matches, known.particle_id) == brute_match(tracks, truth, min_track_hits)


def one_track(particle_id: list[int], shared: list[tuple[int, int]], hits: list[int]) -> tuple[int, bool, bool]:
    known = contributions(truth_of(particle_id, shared))
    matches = match(Candidates.from_lists([np.array(hits, np.int64)], len(particle_id)), known, 1)
    row = int(matches.particle[0])
    return (int(known.particle_id[row]) if row >= 0 else 0), bool(matches.single[0]), bool(matches.double[0])


def test_exactly_half_is_no_majority() -> None:
    assert one_track([1, 1, 2, 2], [], [0, 1, 2, 3]) == (1, False, False)
    assert one_track([1, 1, 1, 2], [], [0, 1, 2, 3]) == (1, True, True)


def test_merged_hits_count_for_each_particle() -> None:
    # Particle 2 leads on one hit and contributes to two more: three of five, and of its three hits.
    assert one_track([1, 1, 2, 3, 3], [(0, 2), (1, 2)], [0, 1, 2, 3, 4]) == (2, True, True)
    # Repeating the leading particle adds nothing: two of four is no majority.
    assert one_track([1, 1, 2, 3], [(0, 1), (0, 1)], [0, 1, 2, 3]) == (1, False, False)


def test_tracks_that_share_hits_are_duplicates_even_by_double_majority() -> None:
    known = contributions(truth_of([1] * 8 + [2] * 8))
    lists = [np.arange(8), np.arange(7), np.arange(8, 16), np.array([0, 8, 1, 9, 2, 10, 3, 11]), np.arange(5)]
    matches = match(Candidates.from_lists(lists, 16), known)
    assert matches.track.tolist() == [0, 1, 2, 3]  # five hits make no candidate
    assert (matches.n_fakes(False), matches.n_duplicates(False)) == (1, 1)
    assert (matches.n_fakes(True), matches.n_duplicates(True)) == (1, 1)


def test_no_tracks_and_no_hits() -> None:
    known = contributions(truth_of([1, 1, 0]))
    nothing = match(Candidates.from_labels(np.full(3, -1, np.int64)), known)
    assert len(nothing) == 0
    assert nothing.found_single.tolist() == [False]
    empty = match(Candidates.from_lists([], 0), contributions(truth_of([])))
    assert (len(empty), empty.n_fakes(True), empty.n_duplicates(True)) == (0, 0, 0)


def test_refusals() -> None:
    with pytest.raises(InputError, match="number tracks densely"):
        Candidates.from_labels(np.array([0, 7], np.int64))
    with pytest.raises(InputError, match="got hit 5"):
        Candidates.from_lists([np.array([0, 5])], 5)
    with pytest.raises(InputError, match="got hit -1"):
        Candidates.from_lists([np.array([-1, 0])], 5)
    with pytest.raises(InputError, match="expected 2"):
        match(Candidates.from_labels(np.array([0], np.int64)), contributions(truth_of([1, 1])))
