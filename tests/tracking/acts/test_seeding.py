"""The seedings of ACTS beside each other, and the layers that the graph-based one is told of."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.events import Event
from beampipe.tracking.acts import ACTS_EFFICIENT, ACTS_GRAPH, ACTS_GRAPH_FAST, ACTS_ORTHOGONAL, ActsTrackFinder
from beampipe.tracking.acts.finder import ActsLayer, acts_layers, connected_layers
from beampipe.tracking.acts.sequencer import detector
from beampipe.tracking.acts.settings import PIXEL_VOLUMES, ActsSettings

acts = pytest.importorskip("acts")
pytestmark = pytest.mark.acts

MUONS = 30


@pytest.fixture(scope="module")
def event() -> Event:
    from tests.tracking.acts.gun import shoot

    return shoot(1, MUONS, seed=11)[0]


def found(event: Event, settings: ActsSettings) -> tuple[set[int], int]:
    """Muons with a track of their own, and the number of seeds."""
    assert event.truth is not None
    tracks = ActsTrackFinder(settings).find(event.hits)
    assert tracks.candidates is not None
    owners = [np.unique(event.truth.particle_id[rows]) for rows in tracks.candidates]
    return {int(who[0]) for who in owners if len(who) == 1}, tracks.counts["seeds"]


@pytest.mark.parametrize("settings", [ACTS_ORTHOGONAL, ACTS_GRAPH, ACTS_GRAPH_FAST], ids=lambda item: item.seeding)
def test_each_seeding_finds_the_muons(event: Event, settings: ActsSettings) -> None:
    muons, seeds = found(event, settings)
    assert len(muons) >= MUONS - 1
    assert seeds >= len(muons)


def test_chains_in_a_graph_make_fewer_seeds_than_triplets(event: Event) -> None:
    assert found(event, ACTS_GRAPH)[1] < found(event, ACTS_EFFICIENT)[1]


def test_layers_are_those_of_the_pixels() -> None:
    layers = acts_layers(detector(2.0), PIXEL_VOLUMES)
    barrel = [layer for layer in layers if layer.barrel]
    assert [round(layer.at) for layer in barrel] == [32, 72, 116, 172]
    assert all(layer.low == pytest.approx(-layer.high) for layer in barrel)
    discs = [layer for layer in layers if not layer.barrel]
    assert len(discs) == 14
    assert sorted(round(layer.at) for layer in discs if layer.at > 0) == [600, 700, 820, 960, 1100, 1300, 1500]
    assert len({layer.id for layer in layers}) == 18


def test_layers_are_connected_as_straight_lines_cross_them() -> None:
    cylinders = tuple(ActsLayer(i + 1, 8, i, True, 30.0 * (i + 1), -400.0, 400.0) for i in range(4))
    disc = ActsLayer(9, 9, 2, False, 500.0, 20.0, 200.0)
    pairs = connected_layers((*cylinders, disc), 100.0)
    assert {(1, 2), (1, 3), (2, 3), (2, 4), (3, 4)} < set(pairs)
    assert (1, 4) not in pairs  # two layers between
    assert (1, 9) in pairs  # a steep line leaves the first cylinder through its end
    assert all(inner < outer for inner, outer in pairs)  # nothing comes back from the disc
