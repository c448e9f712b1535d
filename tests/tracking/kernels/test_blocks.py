"""Events side by side in one graph: no edge joins two of them, and each has the edges that it has alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import TooLargeError
from beampipe.tracking import kernels
from tests.tracking.kernels import reference

from . import toy
from .toy_map import toy_hits, toy_windows

SIZES = (0, 170, 1, 30, 0, 0, 400, 2, 16)
OFFSETS = np.cumsum([0, *SIZES])
CUTS = (0.6, 1000, 2e-3, 400.0)


def crossing(edge_index: ndarray) -> int:
    event = reference.event_of(sum(SIZES), OFFSETS)
    return int((event[edge_index[0]] != event[edge_index[1]]).sum())


@pytest.mark.parametrize("threads", [1, 2])
def test_radius_edges(isa: str, threads: int) -> None:
    position = toy.hits(-(-sum(SIZES) // 10), 3)[: sum(SIZES)]
    vectors = reference.embed(position, toy.embedding(np.random.default_rng(3)))
    source, target = vectors[:, :8], vectors[:, 8:]
    everything, _ = reference.radius_edges(source, target, position, *CUTS)
    assert crossing(everything) > 100
    want, want2 = reference.radius_edges(source, target, position, *CUTS, OFFSETS)
    assert crossing(want) == 0
    assert want.shape[1] > 500
    got, got2 = kernels.radius_edges(source, target, position, *CUTS, threads, OFFSETS)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_allclose(got2, want2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_module_map_edges(isa: str, threads: int) -> None:
    position, windows = toy_hits(sum(SIZES), 1), toy_windows(1)
    assert crossing(reference.module_map_edges(position, windows)) > 50
    want = reference.module_map_edges(position, windows, OFFSETS)
    assert crossing(want) == 0
    assert want.shape[1] > 50
    np.testing.assert_array_equal(kernels.module_map_edges(position, windows, threads, OFFSETS), want)


@pytest.mark.parametrize("n", [5000])
def test_radius_edges_of_many_hits(isa: str, n: int) -> None:
    """Above some thousand hits sources and targets are ordered otherwise; hits with no number in them match none."""
    position = toy.hits(n // 10, 7)
    vectors = np.random.default_rng(n).normal(size=(n, 8)).astype(np.float32)
    vectors[::7, 0] *= 1e20
    vectors[::50, 3] = np.nan
    vectors[::60, 1] = np.inf
    with np.errstate(invalid="ignore", over="ignore"):
        want, _ = reference.radius_edges(vectors, vectors, position, 0.9, 20, 1e9, 1e9)
    assert want.shape[1] > 500
    got, _ = kernels.radius_edges(vectors, vectors, position, 0.9, 20, 1e9, 1e9, 2)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("phi", [np.pi, -4.0, -1e10, np.nan])
def test_phi_beyond_its_range_harms_nothing(isa: str, phi: float) -> None:
    position, windows = toy_hits(600, 2), toy_windows()
    want = kernels.module_map_edges(position, windows)
    assert want.shape[1] > 50
    more = np.concatenate([position, position])
    more[len(position) :, 1] = phi
    more[len(position) :, 2] *= 1 + np.arange(len(position)) % 3
    got = kernels.module_map_edges(more, windows, 2)
    assert got.max() < len(more)
    whole = got[:, (got < len(position)).all(axis=0)]
    assert set(map(tuple, want.T.tolist())) <= set(map(tuple, whole.T.tolist()))


def test_too_many_pairs_of_edges_are_refused() -> None:
    n = 32_000  # hits on the first and on the third layer, all joined to one hit between
    position = np.tile(np.array([32, 0.1, 0], np.float32), (2 * n + 1, 1))
    position[n], position[n + 1 :, 0] = (72, 0.1, 0), 116
    middle = np.full(n, n)
    edge_index = np.stack([np.concatenate([np.arange(n), middle]), np.concatenate([middle, np.arange(n) + n + 1])])
    with pytest.raises(
        TooLargeError, match="got at least 1024 million pairs of edges to look at, expected at most 1000"
    ):
        kernels.triplets(position, edge_index, toy_windows(known=1.0))


def test_too_many_hits_at_one_point_are_refused() -> None:
    n = 18_000
    position, vectors = np.tile(np.array([100, 0.5, 20], np.float32), (n, 1)), np.ones((n, 8), np.float32)
    with pytest.raises(TooLargeError, match="million pairs of hits within the radius, expected at most 150"):
        kernels.radius_edges(vectors, vectors, position, 0.1, 64, 1.0, 1e3, 2)
