"""Seeds of ACTS from a graph of layers."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.events import Event
from beampipe.tracking.acts import ACTS_GRAPH_FAST, ActsTrackFinder
from beampipe.tracking.acts.finder import acts_layers
from beampipe.tracking.acts.sequencer import detector
from beampipe.tracking.acts.settings import PIXEL_VOLUMES

acts = pytest.importorskip("acts")
pytestmark = pytest.mark.acts

MUONS = 30


@pytest.fixture(scope="module")
def event() -> Event:
    from tests.tracking.acts.gun import shoot

    return shoot(1, MUONS, seed=11)[0]


def test_the_graph_finds_the_muons(event: Event) -> None:
    assert event.truth is not None
    tracks = ActsTrackFinder(ACTS_GRAPH_FAST).find(event.hits)
    assert tracks.candidates is not None
    owners = [np.unique(event.truth.particle_id[rows]) for rows in tracks.candidates]
    muons = {int(who[0]) for who in owners if len(who) == 1}
    assert len(muons) >= MUONS - 1
    assert tracks.counts["seeds"] >= len(muons)


def test_layers_are_those_of_the_pixels() -> None:
    layers = acts_layers(detector(2.0), PIXEL_VOLUMES)
    barrel = [layer for layer in layers if layer.barrel]
    assert [round(layer.at) for layer in barrel] == [32, 72, 116, 172]
    assert all(layer.low == pytest.approx(-layer.high) for layer in barrel)
    discs = [layer for layer in layers if not layer.barrel]
    assert len(discs) == 14
    assert sorted(round(layer.at) for layer in discs if layer.at > 0) == [600, 700, 820, 960, 1100, 1300, 1500]
    assert len({layer.id for layer in layers}) == 18
