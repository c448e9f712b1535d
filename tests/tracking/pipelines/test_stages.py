"""Each stage on small toy graphs: what it adds, what it drops, and that no edges are a result like any other."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy import ndarray

from beampipe.events import NO_TRACK
from beampipe.tracking import kernels, stages
from beampipe.tracking.stages import Stage
from beampipe.tracking.windows import Windows
from tests.tracking.kernels import reference

from ..kernels import toy
from ..kernels.toy_map import helix_hits, toy_windows


@pytest.fixture(scope="module")
def windows() -> Windows:
    return toy_windows(known=1.0)


Arrays = dict[str, ndarray]


def after(stage: Stage, arrays: Arrays) -> Arrays:
    """The arrays and what the stage makes of them."""
    made = stage(**{name: arrays[name] for name in stage.needs})
    assert len(made) == len(stage.makes)
    return {**arrays, **dict(zip(stage.makes, made, strict=True))}


@pytest.fixture(scope="module")
def built(windows: Windows) -> Arrays:
    """Hits of particles, their edges, triplets and pair features."""
    arrays = after(stages.BuildFromWindows(windows, 1), given(helix_hits(80)))
    arrays = after(stages.PairEdges(windows, 3, 1), arrays)
    assert arrays["triplets"].shape[1] > 100
    return arrays


def given(position: ndarray) -> Arrays:
    return {"position": position, "offsets": None}  # type: ignore[dict-item]  # one event


def column(n: int, seed: int = 0) -> ndarray:
    return np.random.default_rng(seed).random(n).astype(np.float32)


@pytest.mark.parametrize("kind", stages.STAGE_KINDS)
def test_every_array_is_described(kind: type[Stage]) -> None:
    needs, makes = cast(tuple[str, ...], kind.needs), cast(tuple[str, ...], kind.makes)
    assert makes
    assert {*needs, *makes} <= set(stages.ARRAYS)
    assert set(inspect.signature(kind.__call__).parameters) == {"self", *needs}


def test_the_documentation_has_every_array_and_stage() -> None:
    page = (Path(__file__).parents[3] / "docs" / "stage.md").read_text(encoding="utf-8")
    for name, meaning in stages.ARRAYS.items():
        assert f"| `{name}` | {meaning} |" in page
    for kind in stages.STAGE_KINDS:
        needs, makes = (", ".join(f"`{name}`" for name in names) for names in (kind.needs, kind.makes))
        assert f"| `{kind.__name__}` | {needs} | {makes} |" in page


def test_edges_without_a_partner_are_dropped(built: Arrays, windows: Windows) -> None:
    lonely = np.random.default_rng(0).integers(0, len(built["position"]), (2, 50))
    edge_index = np.unique(np.concatenate([built["edge_index"], lonely], axis=1), axis=1)
    bare = {"position": built["position"], "edge_index": edge_index}
    paired = after(stages.PairEdges(windows, 3, 1), bare)
    assert built["edge_index"].shape[1] <= paired["edge_index"].shape[1] < edge_index.shape[1]
    np.testing.assert_array_equal(np.unique(paired["triplets"]), np.arange(paired["edge_index"].shape[1]))
    assert (paired["pair_features"][:, :2].min(axis=1) < 1).all()
    untouched = after(stages.FindTriplets(windows, 1), bare)
    np.testing.assert_array_equal(untouched["edge_index"], edge_index)
    assert "pair_features" not in untouched
    np.testing.assert_array_equal(untouched["chi2"], paired["chi2"])


def test_components_join_by_score() -> None:
    # 0-1-2-3 in one piece at the lower cut, 0-1 and 2-3 at the higher.
    edge_index = np.array([[0, 1, 2], [1, 2, 3]])
    score = np.array([0.9, 0.5, 0.9], np.float32)

    def labels(cut: float, min_hits: int) -> list[int]:
        (track_id,) = stages.ConnectComponents(cut, min_hits)(np.zeros((5, 3), np.float32), edge_index, score)
        return list(track_id)

    assert labels(0.5, 2) == [0, 0, 0, 0, NO_TRACK]
    assert labels(0.6, 2) == [0, 0, 1, 1, NO_TRACK]
    assert labels(0.6, 3) == [NO_TRACK] * 5
    assert labels(1.0, 2) == [NO_TRACK] * 5


def by_score(windows: Windows, score_cut: float) -> stages.WalkByScore:
    return stages.WalkByScore(windows, penalty=0.0, min_hits=3, score_cut=score_cut, threads=1)


def test_walk_follows_chi2_without_scores(built: Arrays, windows: Windows) -> None:
    track_id = after(stages.WalkByChi2(windows, penalty=0.5, min_hits=3, threads=1), built)["track_id"]
    result, first = np.unique(track_id[track_id >= 0], return_index=True)
    assert len(result) > 20
    np.testing.assert_array_equal(result, np.arange(len(result)))
    assert (np.diff(first) > 0).all()


def test_walk_follows_the_scores(built: Arrays, windows: Windows) -> None:
    n_edges = built["edge_index"].shape[1]
    likely = {**built, "edge_logit": np.full(n_edges, 3, np.float32)}
    unlikely = {**built, "edge_logit": np.full(n_edges, -3, np.float32)}
    same = after(by_score(windows, 0.5), likely)["track_id"]
    by_length = after(stages.WalkByChi2(windows, penalty=0.0, min_hits=3, threads=1), built)["track_id"]
    np.testing.assert_array_equal(same, by_length)  # equal weights, whatever they are
    assert after(by_score(windows, 0.5), unlikely)["track_id"].max() == NO_TRACK
    # The cut is where an edge is as good as none: below the logits' probability there are tracks, above there are none.
    assert after(by_score(windows, 0.9), likely)["track_id"].max() > 0
    assert after(by_score(windows, 0.97), likely)["track_id"].max() == NO_TRACK


def test_filter_keeps_what_scores_enough(built: Arrays) -> None:
    network = toy.mlp(np.random.default_rng(0), 13, 64, 1)
    edge_index = built["edge_index"]
    arrays = {**built, "distance2": column(edge_index.shape[1])}
    score = kernels.sigmoid(kernels.filter_logits(built["position"], edge_index, arrays["distance2"], network))
    low, high = np.sort(score)[len(score) // 2 :][:2]
    assert low < high
    filtered = after(stages.FilterEdges(network, float(low + high) / 2, 1), arrays)
    np.testing.assert_array_equal(filtered["edge_index"], edge_index[:, score > low])
    np.testing.assert_array_equal(after(stages.FilterEdges(network, 0.0, 1), arrays)["edge_index"], edge_index)


@pytest.mark.parametrize("cut", [0.0, 0.3, 1.0])
def test_cuts_on_logits_are_those_of_the_filter(built: Arrays, cut: float) -> None:
    network = toy.mlp(np.random.default_rng(0), 13, 64, 1, scale=4.0)
    edge_index = built["edge_index"]
    distance2 = column(edge_index.shape[1])
    logit = kernels.filter_logits(built["position"], edge_index, distance2, network)
    assert 0.1 < np.mean(logit > 0) < 0.9
    kept = edge_index[:, logit >= kernels.logit_of(cut)]
    assert kept.shape[1] == {0.0: edge_index.shape[1], 1.0: 0}.get(cut, kept.shape[1])
    got = kernels.filter_kept(built["position"], edge_index, distance2, network, cut)
    np.testing.assert_array_equal(got, kept)


def test_scores_are_probabilities_of_the_logits(built: Arrays) -> None:
    for n_pair in (6, 0):
        scored = after(stages.ScoreEdges(toy.gnn(np.random.default_rng(0), n_pair=n_pair), 1), built)
        score, logit = scored["edge_score"], scored["edge_logit"]
        assert logit.std() > 0
        np.testing.assert_allclose(score, 1 / (1 + np.exp(-logit.astype(np.float64))), rtol=1e-5, atol=1e-7)


def test_scores_of_far_outputs_are_numbers(built: Arrays) -> None:
    # SiLU of inputs beyond +-88, where exp leaves the range of float32.
    native = kernels.native()
    network = toy.gnn(np.random.default_rng(0))
    for mlp in (network.node_encoder, network.edge_encoder):
        mlp.layers[0].weight[:] *= 1000
    want = reference.gnn_logits(built["position"], built["edge_index"], built["pair_features"], network)
    assert np.isfinite(want).all()
    before = native.isa()
    try:
        for isa in native.supported_isas():
            native.use_isa(isa)
            logit = after(stages.ScoreEdges(network, 1), built)["edge_logit"]
            np.testing.assert_allclose(logit, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())
    finally:
        native.use_isa(before)


def all_stages(windows: Windows) -> list[Stage]:
    rng = np.random.default_rng(0)
    return [
        stages.EmbedHits(toy.embedding(rng), 1),
        stages.BuildFromWindows(windows, 1),
        stages.FindNeighbours(0.5, 10, 1e-3, 200.0, 1),
        stages.KeepNeighbours(1.0),
        stages.FilterEdges(toy.mlp(rng, 13, 64, 1), 0.1, 1),
        stages.FindTriplets(windows, 1),
        stages.PairEdges(windows, 3, 1),
        stages.ScoreEdges(toy.gnn(rng), 1),
        stages.WalkByChi2(windows, penalty=0.5, min_hits=3, threads=1),
        stages.WalkByScore(windows, penalty=0.5, min_hits=3, score_cut=0.5, threads=1),
        stages.ConnectComponents(0.5, 3),
        stages.CompleteTracks(windows, penalty=1.0, min_score=0.0, threads=1),
    ]


def test_the_stages_here_are_all_there_are(windows: Windows) -> None:
    assert {type(stage) for stage in all_stages(windows)} == set(stages.STAGE_KINDS)


@pytest.mark.parametrize("n_hits", [0, 3])
def test_no_edges_go_through_every_stage(windows: Windows, n_hits: int) -> None:
    arrays = given(np.full((n_hits, 3), 5000, np.float32))
    for stage in all_stages(windows):
        arrays = after(stage, arrays)
        if "track_id" in stage.makes:
            assert arrays["track_id"].tolist() == [NO_TRACK] * n_hits
    assert arrays["edge_index"].shape == (2, 0)


def test_a_stage_leaves_its_input_as_it_was(windows: Windows) -> None:
    arrays = given(helix_hits(40))
    for stage in all_stages(windows):
        before = {name: None if array is None else array.copy() for name, array in arrays.items()}
        made = after(stage, arrays)
        for name, array in before.items():
            np.testing.assert_array_equal(arrays[name], array)
        arrays = made
