"""The metric of ColliderML's tracking task, against loops over its definition, and against its package if installed."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from beampipe.events import NO_TRACK, Event, Hits, Particles, Tracks, Truth
from beampipe.tracking.evaluation.colliderml import ColliderMLCounts, ColliderMLScore, colliderml_counts
from beampipe.tracking.evaluation.matching import Candidates
from beampipe.tracking.evaluation.report import require_metric
from beampipe.tracking.evaluation.scoring import compare
from beampipe.tracking.truth import contributions

Rows = list[tuple[int, int]]
"""Hit and track of each submitted row."""


def event_of(particle_id: list[int], event_id: int = 0) -> Event:
    """Hits of these particles; the pT of particle k is k / 2 GeV, and every third one is no primary."""
    ids = np.unique(particle_id)
    ids = ids[ids != 0]
    momentum = np.zeros((len(ids), 3), np.float32)
    momentum[:, 0] = ids / 2
    n = len(ids)
    particles = Particles(
        ids, np.full(n, 211, np.int32), np.ones(n, np.float32), momentum, np.zeros((n, 3), np.float32), ids % 3 != 0
    )
    rng = np.random.default_rng(len(particle_id))
    hits = Hits(rng.uniform(1, 3, (len(particle_id), 3)).astype(np.float32))
    none = np.empty(0, np.int64)
    return Event(event_id, hits, Truth(np.array(particle_id, np.int64), particles, none, none))


def score(events: list[Event], candidates: list[Candidates]) -> ColliderMLScore:
    total = Counter[str]()
    for event, tracks in zip(events, candidates, strict=True):
        assert event.truth is not None
        total.update(vars(colliderml_counts(event, tracks, contributions(event.truth))))
    return ColliderMLScore.of(ColliderMLCounts(**total))


def by_loops(event: Event, rows: Rows) -> tuple[float, float, float]:
    """Efficiency, fakes and duplicates of one event, row by row."""
    assert event.truth is not None
    of_hit = event.truth.particle_id.tolist()
    size, members, tracks_of = Counter(of_hit), defaultdict[int, list[int]](list), defaultdict[int, set[int]](set)
    for hit, track in rows:
        members[track].append(of_hit[hit])
        tracks_of[of_hit[hit]].add(track)
    good = fakes = 0
    for particles in members.values():
        particle, n = Counter(particles).most_common(1)[0]
        fakes += 2 * n < len(particles)
        good += n if 2 * n >= len(particles) and 2 * n >= size[particle] else 0
    duplicates = sum(len(tracks) > 1 for tracks in tracks_of.values())
    return good / len(rows), fakes / len(members), duplicates / len(tracks_of)


def random_events() -> tuple[list[Event], list[Rows], list[Candidates]]:
    rng = np.random.default_rng(7)
    events, rows, candidates = [], [], []
    for number in range(40):
        n_hits = int(rng.integers(5, 60))
        events.append(event_of(rng.integers(0, 8, n_hits).tolist(), number))
        lists = [rng.permutation(n_hits)[: rng.integers(1, 9)] for _ in range(6)]
        candidates.append(Candidates.from_lists(lists, n_hits))
        rows.append(list(zip(candidates[-1].hit.tolist(), candidates[-1].track.tolist(), strict=True)))
    return events, rows, candidates


def test_as_the_definition_in_loops() -> None:
    for event, rows, tracks in zip(*random_events(), strict=True):
        result = score([event], [tracks])
        assert (result.trackml_eff, result.fake_rate, result.dup_rate) == pytest.approx(by_loops(event, rows))


def test_its_efficiency_is_the_purity_of_what_is_submitted() -> None:
    event = event_of([1] * 10 + [2] * 10 + [4] * 15)
    one = np.full(35, NO_TRACK, np.int64)
    one[:10] = 0
    result = score([event], [Candidates.from_labels(one)])
    assert result == ColliderMLScore(1.0, 10 / 35, 0.0, 0.0, 0.0)
    # Only the last one has more than 1 GeV.
    every = np.repeat([0, 1, 2], [10, 10, 15])
    assert score([event], [Candidates.from_labels(every)]).physics_eff_pt1 == 1.0
    # Two halves are both good: no efficiency is lost, and the particle is a duplicate.
    halves = np.repeat([0, 1, 2, 3], [5, 5, 10, 15])
    result = score([event], [Candidates.from_labels(halves)])
    assert [result.trackml_eff, result.of_all_hits, result.dup_rate] == pytest.approx([1.0, 1.0, 1 / 3])


def test_nothing_submitted() -> None:
    event = event_of([0, 1, 1])
    nothing = Candidates.from_labels(np.full(3, NO_TRACK, np.int64))
    assert score([event], [nothing]) == ColliderMLScore(0.0, 0.0, 0.0, 0.0, 0.0)


def test_an_evaluation_has_it() -> None:
    event = event_of([1] * 8 + [5] * 8)
    labels = np.repeat([0, 1], 8)
    labels[7] = 1
    (result,) = compare(Tracks(labels), event).finders
    assert result.colliderml.trackml_eff == pytest.approx(15 / 16)
    assert result.colliderml.dup_rate == 0.5
    with pytest.raises(Exception, match="colliderml"):
        require_metric("trackml")
