"""Edge efficiency and purity against sets in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beampipe.errors import InputError, ShapeError
from beampipe.events import Event, Hits
from beampipe.tracking.truth import HEADLINE, true_edges
from tests.tracking.diagnostics import EdgeScore, score_edges, score_stages

from .toy import toy_event


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n_random=st.integers(0, 300))
def test_counts_equal_sets(seed: int, n_random: int) -> None:
    event = toy_event(25, seed=seed, merged=20)
    assert event.truth is not None
    random = np.random.default_rng(seed)
    true = true_edges(event, HEADLINE)
    kept = true[:, random.random(true.shape[1]) < 0.8]
    graph = np.concatenate([kept, kept[::-1, ::3], random.integers(0, len(event.hits), (2, n_random))], axis=1)
    graph = graph[:, graph[0] != graph[1]]

    owners = [{int(p)} - {0} for p in event.truth.particle_id]
    for hit, particle in zip(event.truth.shared_hit, event.truth.shared_particle, strict=True):
        owners[int(hit)].add(int(particle))
    edges = {frozenset(edge) for edge in graph.T.tolist()}
    wanted = {frozenset(edge) for edge in true.T.tolist()}
    same = {edge for edge in edges - wanted if set.intersection(*(owners[hit] for hit in edge))}
    assert score_edges(event, graph) == EdgeScore(len(edges), len(wanted), len(edges & wanted), len(same))


def test_the_true_graph_is_perfect_and_stages_share_the_truth() -> None:
    event = toy_event(40, seed=3)
    true = true_edges(event, HEADLINE)
    scores = score_stages(event, {"building": true, "gnn": true[:, ::2], "nothing": true[:, :0]})
    assert (scores["building"].efficiency.value, scores["building"].purity.value) == (1.0, 1.0)
    assert scores["gnn"].efficiency.value == pytest.approx(0.5, abs=0.01)
    assert scores["gnn"].purity_without_same.value == 1.0
    assert scores["nothing"] == EdgeScore(0, true.shape[1], 0, 0)
    assert (scores["gnn"] + scores["nothing"]).efficiency.total == 2 * true.shape[1]


def test_refusals() -> None:
    event = toy_event(5)
    with pytest.raises(ShapeError, match="different events"):
        score_edges(event, np.array([[0], [10**6]], np.int64))
    with pytest.raises(InputError, match="no truth"):
        score_edges(Event(0, Hits(np.zeros((1, 3), np.float32))), np.empty((2, 0), np.int64))
