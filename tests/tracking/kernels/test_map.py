"""The native kernels of the learned windows against the numpy truth, for every instruction set that this CPU has."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy import ndarray

from beampipe.arrays import Float32, Int16, Int64
from beampipe.tracking import kernels
from beampipe.tracking.kernels.features import NO_PARTNER
from beampipe.tracking.windows import Windows
from tests.tracking.kernels import reference

from .toy_map import helix_hits, toy_hits, toy_windows

N_HITS = 900
MOST_DIFFERENT = 0.005
"""Fraction of edges that rounding may move across the border of a window."""


class Case:
    """Hits and what the reference finds among them."""

    def __init__(self, position: Float32[ndarray, "n 3"], windows: Windows) -> None:
        self.position, self.windows = position, windows
        self.layer = reference.assign_layers(position, windows)
        self.edge_index = reference.module_map_edges(position, windows)
        self.triplets, self.chi2 = reference.triplets(position, self.edge_index, windows)
        assert self.n_edges > 100
        assert len(self.chi2) > 100

    @property
    def n_edges(self) -> int:
        return len(self.edge_index.T)

    def walk(
        self, weight: Float32[ndarray, " n_edges"], layer: Int16[ndarray, " n"], penalty: float, min_hits: int
    ) -> tuple[Int64[ndarray, " n"], Int64[ndarray, " n"]]:
        """Labels by the native kernel and by the reference."""
        graph = kernels.TripletGraph(self.edge_index, self.triplets, self.chi2)
        return (
            kernels.walk(graph, weight, layer, penalty, min_hits),
            reference.walk(graph, weight, layer, penalty, min_hits),
        )


def random_case(seed: int) -> Case:
    """Random hits, among which there are all kinds of edges."""
    return Case(toy_hits(N_HITS, seed), toy_windows(seed))


def track_case(seed: int) -> Case:
    """Hits of particles, some with a second hit on a layer."""
    return Case(helix_hits(60, seed), toy_windows(seed, known=1.0))


@pytest.fixture(scope="module", params=range(2))
def case(request: pytest.FixtureRequest) -> Case:
    return random_case(request.param)


@pytest.fixture(scope="module", params=range(2))
def tracks(request: pytest.FixtureRequest) -> Case:
    return track_case(request.param)


def different(got: Int64[ndarray, "2 n"], want: Int64[ndarray, "2 m"]) -> int:
    return len(set(map(tuple, got.T.tolist())) ^ set(map(tuple, want.T.tolist())))


def test_layers(isa: str, case: Case) -> None:
    got = kernels.assign_layers(case.position, case.windows, threads=2)
    np.testing.assert_array_equal(got, case.layer)
    assert set(got) == set(range(-1, len(case.windows.layers)))  # every layer, and none, was seen


@pytest.mark.parametrize("threads", [1, 3])
def test_edges(isa: str, case: Case, threads: int) -> None:
    got = kernels.module_map_edges(case.position, case.windows, threads)
    assert different(got, case.edge_index) <= MOST_DIFFERENT * case.n_edges
    np.testing.assert_array_equal(got, np.unique(got, axis=1))  # sorted by both hits, each edge once


@pytest.mark.parametrize("threads", [1, 3])
def test_triplets(isa: str, case: Case, threads: int) -> None:
    got, chi2 = kernels.triplets(case.position, case.edge_index, case.windows, threads)
    np.testing.assert_array_equal(got, case.triplets)
    np.testing.assert_allclose(chi2, case.chi2, rtol=1e-3, atol=1e-5)
    assert (chi2 < 1).all()
    np.testing.assert_array_equal(case.edge_index[1, got[0]], case.edge_index[0, got[1]])  # they share a hit


def test_triplets_among_any_edges(isa: str, case: Case) -> None:
    # Edges as a network makes them: between layers that no window joins, inwards, twice.
    edge_index = np.random.default_rng(1).integers(0, N_HITS, (2, 20_000))
    edge_index = edge_index[:, np.argsort(edge_index[0], kind="stable")]
    want, chi2 = reference.triplets(case.position, edge_index, case.windows)
    assert len(chi2) > 20
    got, got_chi2 = kernels.triplets(case.position, edge_index, case.windows, 2)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_allclose(got_chi2, chi2, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("make", "longest"), [(random_case, 1), (track_case, 2)])
@pytest.mark.parametrize("seed", range(2))
def test_pair_features(isa: str, make: Callable[[int], Case], longest: int, seed: int) -> None:
    case = make(seed)
    want = reference.pair_features(case.triplets, case.chi2, case.n_edges)
    assert want[:, 4:].max() >= longest / 8  # chains of so many edges beyond the first
    assert (want[:, :2] == NO_PARTNER).any()
    got = kernels.pair_features(case.triplets, case.chi2, case.n_edges)
    exact = [0, 1, 4, 5]  # columns 2 and 3 are logarithms
    np.testing.assert_array_equal(got[:, exact], want[:, exact])
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("by_score", [False, True])
def test_walk_among_random_hits(isa: str, case: Case, by_score: bool) -> None:
    score = np.random.default_rng(2).normal(size=case.n_edges)
    weight = (score if by_score else np.ones(case.n_edges)).astype(np.float32)
    got, want = case.walk(weight, case.layer, 0.3, 3)
    assert want.max() > 10
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("min_hits", [3, 4])
def test_walk_along_tracks(isa: str, tracks: Case, min_hits: int) -> None:
    got, want = tracks.walk(np.ones(tracks.n_edges, np.float32), tracks.layer, 0.5, min_hits)
    assert want.max() > 10
    np.testing.assert_array_equal(got, want)


def test_nothing_gives_nothing(isa: str) -> None:
    windows, position = toy_windows(), np.empty((0, 3), np.float32)
    assert kernels.assign_layers(position, windows).shape == (0,)
    edge_index = kernels.module_map_edges(position, windows)
    assert edge_index.shape == (2, 0)
    triplets, chi2 = kernels.triplets(position, edge_index, windows)
    assert triplets.shape == (2, 0)
    assert kernels.pair_features(triplets, chi2, 0).shape == (0, 6)
    nothing = np.empty(0, np.float32)
    graph = kernels.TripletGraph(edge_index, triplets, chi2)
    assert len(kernels.walk(graph, nothing, np.empty(0, np.int16), 1.0, 3)) == 0


@pytest.mark.parametrize("what", ["curvature", "dip"])
def test_chi2_is_the_formula(isa: str, what: str) -> None:
    # The inner doublet is straight, so the terms in b and d vanish and each part can be worked out by hand.
    a, c = 1e-6, 2.5e-3
    windows = toy_windows()
    windows.triplet_windows[:] = np.array([a, 0, c, 0], np.float32)
    dphi, dz = (6e-4, 0.0) if what == "curvature" else (0.0, 1.1)
    position = np.array([[32, 0.1, 0], [72, 0.1, 0], [116, 0.1 + dphi, dz]], np.float32)
    kappa = 2 * math.sin(dphi) / math.hypot(44, 2 * math.sqrt(72 * 116) * math.sin(dphi / 2))
    want = kappa**2 / (a * (1 / 40**2 + 1 / 44**2)) + (dz / 44) ** 2 / c
    assert 0.1 < want < 0.9
    got, chi2 = kernels.triplets(position, np.array([[0, 1], [1, 2]]), windows)
    np.testing.assert_array_equal(got, [[0], [1]])
    np.testing.assert_allclose(chi2, [want], rtol=1e-4)
