"""Selection, contributions and true edges, against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beampipe.errors import ConfigError, InputError
from beampipe.events import Event, Hits, Particles, Truth, distance_squared
from beampipe.tracking.truth import (
    DISPLACED,
    HEADLINE,
    Selection,
    contributions,
    layer_code,
    select_particles,
    true_edges,
)

from .toy import toy_event


def one_particle(radii: list[float], layers: list[int], *, pt: float = 2.0, origin: float = 0.0) -> Event:
    position = np.array([[r, 0.1, 0.5 * r] for r in radii], np.float32).reshape(-1, 3)
    geometry_id = np.array([(8 << 56) | (layer << 36) | (5 << 8) for layer in layers], np.uint64)
    particles = Particles(
        np.array([9], np.int64),
        np.array([13], np.int32),
        np.array([-1], np.float32),
        np.array([[pt, 0, 0]], np.float32),
        np.array([[origin, 0, 0]], np.float32),
        np.array([True]),
    )
    return Event(0, Hits(position, geometry_id), Truth(np.full(len(radii), 9, np.int64), particles))


def brute_pairs(event: Event) -> set[tuple[int, int]]:
    assert event.truth is not None
    pairs = {(hit, int(p)) for hit, p in enumerate(event.truth.particle_id) if p != 0}
    return pairs | {
        (int(h), int(p)) for h, p in zip(event.truth.shared_hit, event.truth.shared_particle, strict=True) if p != 0
    }


def brute_selected(event: Event, cut: Selection) -> list[int]:
    assert event.truth is not None
    code = layer_code(event.hits)
    assert code is not None
    pairs, particles, out = brute_pairs(event), event.truth.particles, []
    for row, particle in enumerate(particles.particle_id.tolist()):
        layers = {int(code[hit]) for hit, owner in pairs if owner == particle}
        if (
            particles.charge[row] != 0
            and particles.pt[row] > cut.min_pt
            and abs(particles.eta[row]) < cut.max_abs_eta
            and len(layers) >= cut.min_layers
            and cut.min_origin <= particles.origin_radius[row] < cut.max_origin
            and (particles.primary[row] or not cut.primary_only)
        ):
            out.append(particle)
    return out


def brute_edges(event: Event, cut: Selection) -> set[tuple[int, int]]:
    code, distance = layer_code(event.hits), distance_squared(event.hits.position)
    assert code is not None
    edges = set()
    for particle in brute_selected(event, cut):
        crossings: dict[int, list[int]] = {}
        for hit, owner in sorted(brute_pairs(event)):
            if owner == particle:
                crossings.setdefault(int(code[hit]), []).append(hit)
        along = sorted(crossings.values(), key=lambda group: min(distance[hit] for hit in group))
        for earlier, later in itertools.pairwise(along):
            for a, b in itertools.product(earlier, later):
                edges.add((a, b) if (distance[a], a) < (distance[b], b) else (b, a))
    return edges


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 30))
def test_contributions_selection_and_edges_equal_brute_force(seed: int, n: int) -> None:
    event = toy_event(n, seed=seed, merged=5 if n else 0)
    assert event.truth is not None
    known = contributions(event.truth)
    pairs = [(h, int(known.particle_id[p])) for h, p in zip(known.hit.tolist(), known.particle.tolist(), strict=True)]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == brute_pairs(event)
    assert np.all(np.diff(known.extra_hit) >= 0)
    for cut in (HEADLINE, DISPLACED, Selection(min_pt=0.3, min_layers=9, max_origin=500.0)):
        chosen = event.truth.particles.particle_id[select_particles(event, cut)]
        assert chosen.tolist() == brute_selected(event, cut)
    edges = true_edges(event, HEADLINE)
    assert edges.dtype == np.int64
    assert len(set(map(tuple, edges.T.tolist()))) == edges.shape[1]
    assert set(map(tuple, edges.T.tolist())) == brute_edges(event, HEADLINE)
    distance = distance_squared(event.hits.position)
    assert np.all(distance[edges[0]] <= distance[edges[1]])


def test_twins_give_all_combinations_and_are_not_joined() -> None:
    event = one_particle([30, 70, 71, 110, 170, 260, 360, 500], [1, 2, 2, 3, 4, 5, 6, 7])
    edges = set(map(tuple, true_edges(event, HEADLINE).T.tolist()))
    assert edges == {(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7)}


@pytest.mark.parametrize(
    ("radii", "layers", "pt", "origin", "expected"),
    [
        ([30, 70, 110, 170, 260, 360, 500], [1, 2, 3, 4, 5, 6, 7], 1.001, 1.99, True),
        ([30, 70, 110, 170, 260, 360, 361], [1, 2, 3, 4, 5, 6, 6], 1.001, 1.99, False),  # seven hits on six layers
        ([30, 70, 110, 170, 260, 360, 500], [1, 2, 3, 4, 5, 6, 7], 1.0, 1.99, False),
        ([30, 70, 110, 170, 260, 360, 500], [1, 2, 3, 4, 5, 6, 7], 1.001, 2.0, False),
    ],
)
def test_limits_of_the_headline(
    radii: list[float], layers: list[int], pt: float, origin: float, expected: bool
) -> None:
    event = one_particle(radii, layers, pt=pt, origin=origin)
    assert select_particles(event, HEADLINE).tolist() == [expected]
    assert select_particles(event, DISPLACED).tolist() == [origin == 2.0]


def test_without_geometry_each_hit_is_a_layer() -> None:
    event = one_particle([30, 70, 110, 170, 260, 360, 361], [1, 2, 3, 4, 5, 6, 6])
    bare = Event(0, Hits(event.hits.position), event.truth)
    assert select_particles(bare, HEADLINE).tolist() == [True]
    assert true_edges(bare, HEADLINE).T.tolist() == [[i, i + 1] for i in range(6)]


def test_refusals() -> None:
    with pytest.raises(InputError, match="no truth"):
        true_edges(Event(3, Hits(np.zeros((1, 3), np.float32))), HEADLINE)
    with pytest.raises(ConfigError, match="min_layers"):
        Selection(min_layers=0)
    with pytest.raises(ConfigError, match="origin"):
        Selection(min_origin=3.0)
