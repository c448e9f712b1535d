"""Labels of jets."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.simulation.jets import particle_jets, parton_labels
from beampipe.simulation.pythia import Collisions


def test_label_is_that_of_the_parton_with_the_highest_energy_nearby() -> None:
    result = parton_labels(
        np.array([0, 0, 1]),
        np.array([0.0, 2.0, 0.0]),
        np.array([np.pi - 0.1, 0.0, 0.0]),
        np.array([0, 4, 5]),
        np.array([0.1, 0.0, 0.0, 2.0, 0.0]),
        np.array([np.pi - 0.1, -np.pi + 0.1, np.pi - 0.6, 0.5, 0.1]),
        np.array([300.0, 500.0, 900.0, 400.0, 50.0]),
        np.array([21, 4, 1, 2, 5]),
    )
    # The first takes 500 GeV across the seam and not 900 GeV at 0.5; the second has nothing within 0.4.
    assert result.tolist() == [4, 0, 5]


def test_clusters_what_is_close_and_keeps_charged_tracks_only() -> None:
    # Two hard particles 0.2 apart, a soft charged one beside them, and one opposite; all massless at eta 0.
    pt, phi = np.array([300.0, 200.0, 0.4, 500.0]), np.array([0.0, 0.2, 0.1, np.pi])
    momentum = np.stack([pt * np.cos(phi), pt * np.sin(phi), 0 * pt, pt], axis=1)
    collisions = Collisions(
        0,
        np.array([0, 4]),
        momentum,
        np.array([True, False, True, True]),
        np.array([0, 1]),
        momentum[3:],
        np.array([21]),
        np.ones((1, 1)),
        np.array([211, 22, -211, 211], np.int32),
    )
    jets = particle_jets(collisions, 100.0, 4.5)
    assert jets.label.tolist() == [21, 0]
    assert jets.number.tolist() == [0, 1]
    assert jets.pt == pytest.approx([500, np.hypot(*momentum[:3, :2].sum(axis=0))], rel=1e-9)
    assert jets.offset.tolist() == [0, 1, 2]
    assert jets.track_number.tolist() == [3, 0]
    assert jets.track_pt == pytest.approx([500, 300])
