"""The native kernels of the networks against the numpy truth, for every instruction set that this CPU has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.tracking import kernels
from beampipe.tracking.kernels.geometry import doublet
from tests.tracking.kernels import reference

from . import toy


@pytest.mark.parametrize(("n_tracks", "hidden"), [(30, 64), (1, 96), (7, 128), (0, 64)])
def test_embed(isa: str, n_tracks: int, hidden: int) -> None:
    weights = toy.embedding(np.random.default_rng(hidden), hidden)
    position = toy.hits(n_tracks, 1)
    want = reference.embed(position, weights)
    got = kernels.embed(position, weights, threads=2)
    assert got.shape == (len(position), 16)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-5)


def _margin(
    position: ndarray,
    source: ndarray,
    target: ndarray,
    edge_index: ndarray,
    radius: float,
    kappa_max: float,
    z0_max: float,
) -> float:
    """How close any pair comes to a cut, relatively: rounding may decide those."""
    inner, outer = edge_index
    dist2 = ((source[inner].astype(float) - target[outer]) ** 2).sum(axis=1)
    kappa, _, z0, *_ = doublet(position, edge_index)
    cuts = (dist2 / radius**2, np.abs(kappa) / kappa_max, np.abs(z0) / z0_max)
    return min(float(np.abs(c - 1).min()) for c in cuts)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("max_neighbours", [1000, 3])
def test_radius_edges(isa: str, seed: int, max_neighbours: int) -> None:
    position = toy.hits(80, seed)
    vectors = reference.embed(position, toy.embedding(np.random.default_rng(seed)))
    source, target = vectors[:, :8], vectors[:, 8:]
    cuts: dict[str, Any] = {"radius": 0.6, "kappa_max": 2e-3, "z0_max": 400.0}
    everything = np.stack(np.nonzero(np.ones((len(position), len(position)))))
    assert _margin(position, source, target, everything, **cuts) > 3e-7
    want, want2 = reference.radius_edges(source, target, position, max_neighbours=max_neighbours, **cuts)
    assert want.shape[1] > 500
    assert (np.bincount(want[0]).max() == 3) == (max_neighbours == 3)
    for threads in (1, 2):
        got, got2 = kernels.radius_edges(
            source, target, position, max_neighbours=max_neighbours, threads=threads, **cuts
        )
        np.testing.assert_array_equal(got, want)
        np.testing.assert_allclose(got2, want2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_edges", [0, 1, 47, 1000])
def test_filter_logits(isa: str, n_edges: int) -> None:
    rng = np.random.default_rng(n_edges)
    position = toy.hits(50, 2)
    edge_index = toy.graph(position, n_edges, 3)
    dist2 = rng.random(n_edges, np.float32)
    weights = toy.mlp(rng, 13, 64, 1, scale=2.0)
    want = reference.filter_logits(position, edge_index, dist2, weights)
    one, two = (kernels.filter_logits(position, edge_index, dist2, weights, threads=t) for t in (1, 2))
    np.testing.assert_allclose(one, want, atol=1e-5)
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("n_edges", "hidden", "steps", "n_pair"),
    [(0, 32, 3, 6), (1, 32, 3, 6), (700, 32, 3, 6), (300, 48, 1, 0), (99, 16, 0, 6)],
)
def test_gnn_scores(isa: str, n_edges: int, hidden: int, steps: int, n_pair: int) -> None:
    rng = np.random.default_rng(n_edges)
    position = toy.hits(60, 4)
    edge_index = toy.graph(position, n_edges, 5)
    pair_features = rng.random((n_edges, n_pair), np.float32)
    weights = toy.gnn(rng, hidden, steps, n_pair)
    want = reference.gnn_logits(position, edge_index, pair_features, weights)
    score, logit = kernels.gnn_scores(position, edge_index, pair_features, weights, threads=1)
    np.testing.assert_allclose(logit, want, atol=2e-5, rtol=1e-5)
    np.testing.assert_allclose(score, kernels.sigmoid(want), atol=1e-5)
    np.testing.assert_array_equal(kernels.gnn_scores(position, edge_index, pair_features, weights, threads=2)[1], logit)
