"""Towers of the parametrised calorimeter, and jets of them with ghosts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import ConfigError
from beampipe.random_numbers import keys
from beampipe.simulation.calorimeter import Calorimeter, Towers, measured_towers
from beampipe.simulation.jets import tower_jets
from beampipe.simulation.pythia import Collisions

PERFECT = Calorimeter(
    electron_stochastic=0.0,
    electron_constant=0.0,
    hadron_stochastic=0.0,
    hadron_constant=0.0,
    hadron_response=0.8,
    min_pt=0.0,
)


def collisions(pt: ndarray, eta: ndarray, phi: ndarray, pdg: ndarray, events: int = 1) -> Collisions:
    momentum = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)], axis=1)
    n = len(pt) // events
    none = np.zeros(events + 1, np.int64)
    return Collisions(
        0,
        np.arange(events + 1) * n,
        momentum,
        np.abs(pdg) == 211,
        none,
        np.empty((0, 4)),
        np.empty(0, np.int64),
        np.ones((events, 1)),
        pdg.astype(np.int32),
    )


def test_response_of_photons_and_hadrons_differs() -> None:
    made = collisions(
        np.array([10.0, 20.0, 5.0]), np.array([0.05, 1.05, -6.0]), np.array([0.0, 2.0, 1.0]), np.array([22, 211, 211])
    )
    towers = measured_towers(made, PERFECT, keys(1, np.arange(1)))
    # The third particle is outside. Momenta are those of the middles of the cells.
    energy = towers.pt * np.cosh(towers.eta)
    assert sorted(energy.tolist()) == pytest.approx([10 * np.cosh(0.05), 0.8 * 20 * np.cosh(1.05)])
    assert sorted(towers.eta.tolist()) == pytest.approx([0.05, 1.05])
    assert towers.offset.tolist() == [0, 2]


def test_resolution_is_that_of_the_settings() -> None:
    n = 4000
    made = collisions(np.full(n, 100.0), np.full(n, 0.05), np.zeros(n), np.full(n, 211), events=n)
    towers = measured_towers(made, Calorimeter(), keys(1, np.arange(n)))
    relative = towers.pt * np.cosh(0.05) / (0.8 * 100 * np.cosh(0.05))
    assert relative.mean() == pytest.approx(1, abs=0.006)
    assert relative.std() == pytest.approx(np.hypot(0.6 / 10, 0.05), rel=0.05)


def test_towers_of_an_event_do_not_depend_on_the_other_events() -> None:
    rng = np.random.default_rng(1)
    pt, eta, phi = rng.exponential(5, 60), rng.uniform(-4, 4, 60), rng.uniform(-3, 3, 60)
    pdg = rng.choice([22, 211, -11, 130], 60)
    together = measured_towers(collisions(pt, eta, phi, pdg, events=3), Calorimeter(), keys(7, np.arange(3)))
    alone = measured_towers(collisions(pt[20:40], eta[20:40], phi[20:40], pdg[20:40]), Calorimeter(), keys(7, [1]))
    part = slice(*together.offset[1:3])
    assert together.pt[part].tolist() == alone.pt.tolist()
    assert (together.pt >= 0.3).all()


def test_impossible_cells_are_refused() -> None:
    with pytest.raises(ConfigError, match="cell 0"):
        replace(Calorimeter(), cell=0.0)
    with pytest.raises(ConfigError, match="hadron_constant -1"):
        replace(Calorimeter(), hadron_constant=-1.0)


def test_ghosts_find_their_jet_and_change_none() -> None:
    towers = Towers(
        np.array([0, 3, 5]),
        np.array([100.0, 40.0, 90.0, 200.0, 10.0]),
        np.array([0.0, 0.2, 1.5, -1.0, 3.0]),
        np.array([0.0, 0.1, 3.1, 1.0, -2.0]),
    )
    none = np.empty(0)
    plain = tower_jets(towers, none.astype(np.int64), none, none, 50.0, 2.5)
    event, eta, phi = np.array([1, 0, 0, 0]), np.array([-1.1, 0.1, 1.5, -2.0]), np.array([1.1, 0.0, -3.1, 0.0])
    jets = tower_jets(towers, event, eta, phi, 50.0, 2.5)
    assert jets.event.tolist() == [0, 0, 1]
    assert jets.pt.tolist() == plain.pt.tolist()
    assert jets.pt[0] == pytest.approx(np.hypot(100 + 40 * np.cos(0.1), 40 * np.sin(0.1)))
    # Across the seam in azimuth, too; the last ghost is in no jet.
    assert jets.owner.tolist() == [2, 0, 1, -1]
