"""Variables of particles and the TrackML score against closed forms and published numbers."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.events import Particles
from beampipe.tracking.evaluation.matching import Candidates, hit_weights, order_weights, pt_weights, weight_found
from beampipe.tracking.evaluation.scoring import nearest_distance
from beampipe.tracking.truth import HEADLINE, contributions, select_particles, truth_of
from tests.tracking.diagnostics import TruthFinder

from .toy import toy_event


def particles_at(eta: np.ndarray, phi: np.ndarray) -> Particles:
    n = len(eta)
    momentum = np.stack([np.cos(phi), np.sin(phi), np.sinh(eta)], axis=1).astype(np.float32)
    return Particles(
        np.arange(1, n + 1, dtype=np.int64),
        np.full(n, 211, np.int32),
        np.ones(n, np.float32),
        momentum,
        np.zeros((n, 3), np.float32),
        np.ones(n, np.bool_),
    )


def test_distance_to_the_nearest_equals_all_pairs() -> None:
    random = np.random.default_rng(3)
    eta, phi = random.uniform(-3, 3, 300), random.uniform(-np.pi, np.pi, 300)
    eta[:2], phi[:2] = 0.5, (np.pi - 1e-3, -np.pi + 1e-3)  # neighbours across the cut in phi
    turn = np.abs(phi[:, np.newaxis] - phi)
    apart = np.hypot(eta[:, np.newaxis] - eta, np.minimum(turn, 2 * np.pi - turn))
    np.fill_diagonal(apart, np.inf)
    got = nearest_distance(particles_at(eta, phi))
    assert got == pytest.approx(apart.min(axis=1), abs=1e-5)
    assert got[0] == pytest.approx(2e-3, rel=0.01)
    assert nearest_distance(particles_at(eta[:1], phi[:1])).tolist() == [np.inf]
    assert len(nearest_distance(particles_at(eta[:0], phi[:0]))) == 0


def test_order_weights_are_those_of_the_challenge() -> None:
    assert order_weights(9) == pytest.approx(np.array([10, 8, 6, 5, 3, 3, 3, 5, 6]) / 49)
    # Five hits take every second of the nine numbers; four hits lie a third of the way between them.
    assert order_weights(5) == pytest.approx(np.array([10, 6, 3, 3, 6]) / 28)
    assert order_weights(4) == pytest.approx(np.array([30, 16, 9, 18]) / 73)
    assert order_weights(3).tolist() == [0, 0, 0]
    assert order_weights(20).sum() == pytest.approx(1)
    assert np.count_nonzero(order_weights(25)) == 20
    assert pt_weights(np.array([0.1, 0.5, 1.75, 3.0, 50.0])).tolist() == pytest.approx([0.2, 0.2, 0.6, 1, 1])


def test_score_of_the_truth_is_one_and_of_half_tracks_is_theirs() -> None:
    event = toy_event(60, seed=1, merged=0)
    truth, known = truth_of(event), contributions(truth_of(event))
    chosen = select_particles(event, HEADLINE, known)
    row = known.row(truth.particles.particle_id[chosen])
    finder = TruthFinder()
    label = next(finder.find(item.hits) for item in finder.watching([event])).track_id
    weights = hit_weights(event, known, row)
    total = weights.total

    def found(candidates: Candidates) -> float:
        return weight_found(weights, known, candidates)

    assert total == pytest.approx(pt_weights(truth.particles.pt[chosen].astype(np.float64)).sum())
    assert found(Candidates.from_labels(label)) == pytest.approx(total)
    # Without the innermost layer each track loses the first of its weights; with four hits left it is no match.
    inner = np.where(event.hits.position[:, 0] < 40, -1, label)
    assert 0.7 * total < found(Candidates.from_labels(inner)) < 0.95 * total
    assert found(Candidates.from_labels(np.full(len(event.hits), -1, np.int64))) == 0.0
    doubled = Candidates.from_lists([np.flatnonzero(label == item) for item in [*range(60), *range(60)]], len(label))
    assert found(doubled) == pytest.approx(total)
