from __future__ import annotations

import itertools

import numpy as np

from beampipe.events import Event, Truth
from beampipe.tracking.training.samples import (
    TrainingDegradation,
    clean_events,
    degraded,
    label,
)
from beampipe.tracking.truth import Selection, true_edges
from tests.tracking.training.toy import toy_event


def slow_edges(sample, pt_min: float) -> set[tuple[int, int]]:  # type: ignore[no-untyped-def]
    """True edges by a loop over particles and their layers."""
    layer = sample.geometry_id >> np.uint64(36)
    rho = sample.position[:, 0] ** 2 + sample.position[:, 2] ** 2
    edges = set()
    for particle in np.unique(sample.particle[(sample.particle >= 0) & (sample.pt > pt_min)]):
        hits = np.flatnonzero(sample.particle == particle)
        groups: dict[int, list[int]] = {}
        for hit in hits[np.argsort(rho[hits], kind="stable")]:
            groups.setdefault(int(layer[hit]), []).append(int(hit))
        ordered = list(groups.values())
        for here, there in itertools.pairwise(ordered):
            for a in here:
                for b in there:
                    edges.add((a, b) if (rho[a], a) <= (rho[b], b) else (b, a))
    return edges


def test_labels_are_consecutive_layers_with_all_twins() -> None:
    (sample,) = clean_events([toy_event(40, 1)])
    broken = degraded(sample, np.random.default_rng(0), TrainingDegradation(0.05, 0.0, 0.1))
    assert 0 < (broken.particle < 0).sum() < 0.2 * len(broken)
    result = label(broken, 0.5, eta_max=9.0).edge_index
    expected = slow_edges(broken, 0.5)
    assert len(expected) > 100
    assert {(int(a), int(b)) for a, b in result.T} == expected


def test_labels_are_the_true_edges_that_finders_are_scored_by() -> None:
    event = toy_event(60, 8)
    assert event.truth is not None
    order = np.argsort(event.hits.position[:, 1], kind="stable")
    by_phi = Event(8, event.hits.take(order), Truth(event.truth.particle_id[order], event.truth.particles))
    expected = true_edges(by_phi, Selection(min_pt=0.5, max_abs_eta=9.0, min_layers=1))
    assert expected.shape[1] > 300
    (sample,) = clean_events([event])
    result = label(sample, 0.5, eta_max=99.0).edge_index
    assert {(int(a), int(b)) for a, b in result.T} == {(int(a), int(b)) for a, b in expected.T}


def test_loss_noise_and_dead_modules_have_their_sizes() -> None:
    (sample,) = clean_events([toy_event(800, 2)])
    rng = np.random.default_rng(1)
    assert abs(len(degraded(sample, rng, TrainingDegradation(0.1, 0.0, 0.0))) / len(sample) - 0.9) < 0.02
    assert abs(len(degraded(sample, rng, TrainingDegradation(0.0, 0.0, 0.1))) / len(sample) - 1.1) < 0.02
    gone = np.setdiff1d(sample.geometry_id, degraded(sample, rng, TrainingDegradation(0.0, 0.2, 0.0)).geometry_id)
    assert abs(len(gone) / len(np.unique(sample.geometry_id)) - 0.2) < 0.04
