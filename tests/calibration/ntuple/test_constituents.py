"""Number, width and C1 of the constituents of jets."""

from __future__ import annotations

from itertools import pairwise
from math import hypot, pi

import numpy as np
import pytest
from numpy import ndarray

from beampipe.jets.substructure import observables


def by_hand(
    offset: ndarray, pt: ndarray, eta: ndarray, phi: ndarray, jet_eta: ndarray, jet_phi: ndarray
) -> tuple[ndarray, ...]:
    """The same by loops over jets, constituents and pairs."""

    def apart(one: float, around: float, other: float, other_around: float) -> float:
        turn = abs(around - other_around) % (2 * pi)
        return hypot(one - other, min(turn, 2 * pi - turn))

    numbers, widths, c1s = [], [], []
    for j, (first, last) in enumerate(pairwise(offset)):
        of_jet = range(first, last)
        total = sum(pt[i] for i in of_jet)
        moment = sum(pt[i] * apart(eta[i], phi[i], jet_eta[j], jet_phi[j]) for i in of_jet)
        pairs = sum(
            pt[i] * pt[k] * apart(eta[i], phi[i], eta[k], phi[k]) ** 0.2 for i in of_jet for k in range(i + 1, last)
        )
        numbers.append(len(of_jet))
        widths.append(moment / total if total else 0.0)
        c1s.append(pairs / total**2 if total else 0.0)
    return np.array(numbers), np.array(widths), np.array(c1s)


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


def test_observables_are_those_of_a_loop() -> None:
    jets = random_jets(200)
    assert (np.abs(jets[3]) > 3.1).any(), "no track near the seam of phi"
    offset, pt, eta, phi, jet_eta, jet_phi = jets
    for fast, slow in zip(observables(offset, pt, eta, phi, jet_eta, jet_phi, 0.2), by_hand(*jets), strict=True):
        np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=1e-15)


def test_jet_made_by_hand() -> None:
    # Tracks of 1, 2 and 1 GeV at 0, 0.1 and 0.3 in phi from the axis, across the seam.
    n_trk, width, c1 = observables(
        np.array([0, 3]),
        np.array([1.0, 2.0, 1.0]),
        np.array([0.5, 0.5, 0.5]),
        np.array([np.pi - 0.05, -np.pi + 0.05, -np.pi + 0.25]),
        np.array([0.5]),
        np.array([np.pi - 0.05]),
        0.2,
    )
    assert n_trk.tolist() == [3]
    assert width[0] == pytest.approx((2 * 0.1 + 1 * 0.3) / 4)
    assert c1[0] == pytest.approx((2 * 0.1**0.2 + 1 * 0.3**0.2 + 2 * 0.2**0.2) / 16)


def test_a_jet_does_not_depend_on_those_beside_it() -> None:
    offset, pt, eta, phi, jet_eta, jet_phi = random_jets(50)
    together = observables(offset, pt, eta, phi, jet_eta, jet_phi, 0.2)
    for j in range(50):
        own = slice(offset[j], offset[j + 1])
        n = np.array([0, offset[j + 1] - offset[j]])
        alone = observables(n, pt[own], eta[own], phi[own], jet_eta[j : j + 1], jet_phi[j : j + 1], 0.2)
        assert [each[0] for each in alone] == [each[j] for each in together]
