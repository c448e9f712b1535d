"""Each stage on small toy graphs: what it adds, what it drops, and that no edges are a result like any other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy import ndarray

from beampipe.tracking import kernels, stages
from beampipe.tracking.events import NO_TRACK
from beampipe.tracking.kernels import module_map, reference
from beampipe.tracking.stages import Graph, Stage
from beampipe.tracking.windows import Windows

from .kernels import toy
from .kernels.toy_map import helix_hits, toy_windows


@pytest.fixture(scope="module")
def windows() -> Windows:
    return toy_windows(known=1.0)


@pytest.fixture(scope="module")
def built(windows: Windows) -> Graph:
    """Hits of particles, their edges, triplets and pair features."""
    graph = stages.BuildFromWindows(windows, 1)(Graph(helix_hits(80)))
    graph = stages.PairEdges(windows, features=True, threads=1)(graph)
    assert graph.triplets is not None
    assert graph.triplets.shape[1] > 100
    return graph


def edges_of(graph: Graph) -> ndarray:
    assert graph.edge_index is not None
    return graph.edge_index


def column(n: int, seed: int = 0) -> ndarray:
    return np.random.default_rng(seed).random(n).astype(np.float32)


def test_keeping_edges_is_as_if_the_others_had_never_been(built: Graph, windows: Windows) -> None:
    edge_index = edges_of(built)
    n_edges = edge_index.shape[1]
    graph = replace(built, edge_score=column(n_edges), edge_logit=column(n_edges, 1), distance2=column(n_edges, 2))
    kept = column(n_edges, 3) < np.float32(0.7)
    part = graph.keep_edges(kept)
    np.testing.assert_array_equal(edges_of(part), edge_index[:, kept])
    for name in ("edge_score", "edge_logit", "distance2", "pair_features"):
        np.testing.assert_array_equal(getattr(part, name), getattr(graph, name)[kept])
    triplets, chi2 = module_map.triplets(built.position, edges_of(part), windows)
    assert part.triplets is not None
    assert built.triplets is not None
    assert 0 < part.triplets.shape[1] < built.triplets.shape[1]
    np.testing.assert_array_equal(part.triplets, triplets)
    np.testing.assert_array_equal(part.chi2, chi2)


def test_edges_without_a_partner_are_dropped(built: Graph, windows: Windows) -> None:
    lonely = np.random.default_rng(0).integers(0, len(built.position), (2, 50))
    edge_index = np.unique(np.concatenate([edges_of(built), lonely], axis=1), axis=1)
    bare = Graph(built.position, edge_index=edge_index)
    paired = stages.PairEdges(windows, features=True, threads=1)(bare)
    assert edges_of(built).shape[1] <= edges_of(paired).shape[1] < edge_index.shape[1]
    assert paired.triplets is not None
    assert paired.pair_features is not None
    np.testing.assert_array_equal(np.unique(paired.triplets), np.arange(edges_of(paired).shape[1]))
    assert (paired.pair_features[:, :2].min(axis=1) < 1).all()
    untouched = stages.PairEdges(windows, features=False, threads=1)(bare)
    np.testing.assert_array_equal(edges_of(untouched), edge_index)
    assert untouched.pair_features is None


def test_components_join_by_score() -> None:
    # 0-1-2-3 in one piece at the lower cut, 0-1 and 2-3 at the higher.
    edge_index = np.array([[0, 1, 2], [1, 2, 3]])
    score = np.array([0.9, 0.5, 0.9], np.float32)
    graph = Graph(np.zeros((5, 3), np.float32), edge_index=edge_index, edge_score=score)

    def labels(cut: float, min_hits: int) -> list[int]:
        track_id = stages.ConnectComponents(cut, min_hits)(graph).track_id
        assert track_id is not None
        return list(track_id)

    assert labels(0.5, 2) == [0, 0, 0, 0, NO_TRACK]
    assert labels(0.6, 2) == [0, 0, 1, 1, NO_TRACK]
    assert labels(0.6, 3) == [NO_TRACK] * 5
    assert labels(1.0, 2) == [NO_TRACK] * 5


def test_walk_follows_chi2_without_scores(built: Graph, windows: Windows) -> None:
    track_id = stages.WalkThrough(windows, 0.5, 3, 0.5, 1)(built).track_id
    assert track_id is not None
    found, first = np.unique(track_id[track_id >= 0], return_index=True)
    assert len(found) > 20
    np.testing.assert_array_equal(found, np.arange(len(found)))
    assert (np.diff(first) > 0).all()


def test_walk_follows_the_scores(built: Graph, windows: Windows) -> None:
    n_edges = edges_of(built).shape[1]
    walk = stages.WalkThrough(windows, 0.0, 3, 0.5, 1)
    likely = replace(built, edge_logit=np.full(n_edges, 3, np.float32))
    unlikely = replace(built, edge_logit=np.full(n_edges, -3, np.float32))
    same = walk(likely).track_id
    assert same is not None
    np.testing.assert_array_equal(same, walk(built).track_id)  # equal weights, whatever they are
    nothing = walk(unlikely).track_id
    assert nothing is not None
    assert nothing.max() == NO_TRACK
    # The cut is where an edge is as good as none: below the logits' probability there are tracks, above there are none.
    assert stages.WalkThrough(windows, 0.0, 3, 0.9, 1)(likely).track_id.max() > 0  # type: ignore[union-attr]
    assert stages.WalkThrough(windows, 0.0, 3, 0.97, 1)(likely).track_id.max() == NO_TRACK  # type: ignore[union-attr]


def test_filter_keeps_what_scores_enough(built: Graph) -> None:
    network = toy.mlp(np.random.default_rng(0), 13, 64, 1)
    edge_index = edges_of(built)
    distance2 = column(edge_index.shape[1])
    graph = Graph(built.position, edge_index=edge_index, distance2=distance2)
    score = reference.sigmoid(kernels.filter_logits(graph.position, edge_index, distance2, network))
    low, high = np.sort(score)[len(score) // 2 :][:2]
    assert low < high
    filtered = stages.FilterEdges(network, float(low + high) / 2, 1)(graph)
    np.testing.assert_array_equal(edges_of(filtered), edge_index[:, score > low])
    assert filtered.distance2 is None
    np.testing.assert_array_equal(edges_of(stages.FilterEdges(network, 0.0, 1)(graph)), edge_index)


@pytest.mark.parametrize("cut", [0.0, 1e-4, 0.3, 0.9999, 1.0])
def test_cuts_on_logits_are_those_of_the_filter(built: Graph, cut: float) -> None:
    network = toy.mlp(np.random.default_rng(0), 13, 64, 1, scale=4.0)
    edge_index = edges_of(built)
    distance2 = column(edge_index.shape[1])
    logit = kernels.filter_logits(built.position, edge_index, distance2, network)
    assert 0.1 < np.mean(logit > 0) < 0.9
    kept = edge_index[:, logit >= kernels.logit_of(cut)]
    assert kept.shape[1] == {0.0: edge_index.shape[1], 1.0: 0}.get(cut, kept.shape[1])
    got = kernels.filter_kept(built.position, edge_index, distance2, network, cut)
    np.testing.assert_array_equal(got, kept)


@pytest.mark.parametrize("cut", [0.0, 1.0])
def test_walk_at_the_ends_of_its_cut(built: Graph, windows: Windows, cut: float) -> None:
    logit = np.linspace(-20, 20, edges_of(built).shape[1], dtype=np.float32)
    logit[::9] = np.nan  # as networks answer absurd hits
    track_id = stages.WalkThrough(windows, 0.0, 3, cut, 1)(replace(built, edge_logit=logit)).track_id
    assert track_id is not None
    assert (track_id.max() >= 0) == (cut == 0.0)


def test_scores_are_probabilities_of_the_logits(built: Graph) -> None:
    for n_pair in (6, 0):
        scored = stages.ScoreEdges(toy.gnn(np.random.default_rng(0), n_pair=n_pair), 1)(built)
        assert scored.edge_score is not None
        assert scored.edge_logit is not None
        assert scored.edge_logit.std() > 0
        np.testing.assert_allclose(
            scored.edge_score, 1 / (1 + np.exp(-scored.edge_logit.astype(np.float64))), rtol=1e-5, atol=1e-7
        )


def test_scores_of_far_outputs_are_numbers(built: Graph) -> None:
    # SiLU of inputs beyond +-88, where exp leaves the range of float32.
    native = kernels.native()
    if native is None:
        pytest.skip("no native kernels")
    network = toy.gnn(np.random.default_rng(0))
    for mlp in (network.node_encoder, network.edge_encoder):
        mlp.layers[0].weight[:] *= 1000
    assert built.pair_features is not None
    want = reference.gnn_logits(built.position, edges_of(built), built.pair_features, network)
    assert np.isfinite(want).all()
    before = native.isa()
    try:
        for isa in native.supported_isas():
            native.use_isa(isa)
            logit = stages.ScoreEdges(network, 1)(built).edge_logit
            assert logit is not None
            np.testing.assert_allclose(logit, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())
    finally:
        native.use_isa(before)


def all_stages(windows: Windows) -> list[Stage]:
    rng = np.random.default_rng(0)
    return [
        stages.EmbedHits(toy.embedding(rng), 1),
        stages.FindNeighbours(0.5, 10, 1e-3, 200.0, 1),
        stages.FilterEdges(toy.mlp(rng, 13, 64, 1), 0.1, 1),
        stages.PairEdges(windows, features=True, threads=1),
        stages.ScoreEdges(toy.gnn(rng), 1),
        stages.WalkThrough(windows, 0.5, 3, 0.5, 1),
        stages.ConnectComponents(0.5, 3),
    ]


@pytest.mark.parametrize("n_hits", [0, 1, 3])
def test_no_edges_go_through_every_stage(windows: Windows, n_hits: int) -> None:
    graph = Graph(np.full((n_hits, 3), 5000, np.float32))
    for stage in all_stages(windows):
        graph = stage(graph)
    assert edges_of(graph).shape == (2, 0)
    assert graph.track_id is not None
    assert graph.track_id.tolist() == [NO_TRACK] * n_hits


def test_a_stage_leaves_its_input_as_it_was(windows: Windows) -> None:
    graph = Graph(helix_hits(40))
    for stage in all_stages(windows):
        before = {name: None if array is None else array.copy() for name, array in vars(graph).items()}
        after = stage(graph)
        for name, array in before.items():
            np.testing.assert_array_equal(getattr(graph, name), array)
        graph = after
