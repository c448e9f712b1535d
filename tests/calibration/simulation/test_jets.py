"""Observables and labels of jets."""

from __future__ import annotations

import numpy as np
import pytest
from numpy import ndarray

from beampipe.calibration.simulation.jets import features, features_reference, particle_jets, parton_labels
from beampipe.calibration.simulation.pythia import Collisions


def random_jets(n_jets: int) -> tuple[ndarray, ...]:
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 40, n_jets)
    counts[:3] = 0, 1, 2
    offset = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    n = int(offset[-1])
    jet_eta, jet_phi = rng.uniform(-2, 2, n_jets), rng.uniform(-np.pi, np.pi, n_jets)
    owner = np.repeat(np.arange(n_jets), counts)
    eta = jet_eta[owner] + rng.normal(0, 0.1, n)
    phi = (jet_phi[owner] + rng.normal(0, 0.1, n) + np.pi) % (2 * np.pi) - np.pi
    return offset, rng.exponential(5, n) + 0.5, eta, phi, jet_eta, jet_phi


def test_kernel_agrees_with_its_slow_twin() -> None:
    jets = random_jets(200)
    assert (np.abs(jets[3]) > 3.1).any(), "no track near the seam of phi"
    for fast, slow in zip(features(*jets), features_reference(*jets), strict=True):
        np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=1e-15)


def test_jet_made_by_hand() -> None:
    # Tracks of 1, 2 and 1 GeV at 0, 0.1 and 0.3 in phi from the axis, across the seam.
    n_trk, width, c1 = features(
        np.array([0, 3]),
        np.array([1.0, 2.0, 1.0]),
        np.array([0.5, 0.5, 0.5]),
        np.array([np.pi - 0.05, -np.pi + 0.05, -np.pi + 0.25]),
        np.array([0.5]),
        np.array([np.pi - 0.05]),
    )
    assert n_trk.tolist() == [3]
    assert width[0] == pytest.approx((2 * 0.1 + 1 * 0.3) / 4)
    assert c1[0] == pytest.approx((2 * 0.1**0.2 + 1 * 0.3**0.2 + 2 * 0.2**0.2) / 16)


def test_label_is_that_of_the_parton_with_the_highest_energy_nearby() -> None:
    found = parton_labels(
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
    assert found.tolist() == [4, 0, 5]


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
    )
    jets = particle_jets(collisions, 100.0, 4.5)
    assert jets.label.tolist() == [21, 0]
    assert jets.number.tolist() == [0, 1]
    assert jets.pt == pytest.approx([500, np.hypot(*momentum[:3, :2].sum(axis=0))], rel=1e-9)
    assert jets.offset.tolist() == [0, 1, 2]
    assert jets.track_number.tolist() == [3, 0]
    assert jets.track_pt == pytest.approx([500, 300])
