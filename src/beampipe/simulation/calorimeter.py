"""A parametrised calorimeter: energy of particles in cells of pseudorapidity and azimuth, smeared.

Particles go straight from the collision to their cell: the bending of charged particles, leakage and showers that
spread over several cells are not simulated.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64, UInt64
from beampipe.errors import ConfigError
from beampipe.random_numbers import keys, normal
from beampipe.simulation.pythia import PHOTON, Collisions

_ELECTRON: Final = 11

_CELL: Final = 5
"""Identifier of this stream of random numbers, see `keys`; the detector of jets uses 1 to 3, injections use 4."""


@dataclass(frozen=True)
class Calorimeter:
    """Cells and resolution: the energy of a cell has the relative error a / sqrt(E) (+) b, with E in GeV.

    Attributes:
        cell: width of a cell in pseudorapidity, and about in azimuth [rad].
        max_abs_eta: particles beyond this absolute pseudorapidity are not measured.
        electron_stochastic: a of electrons and photons.
        electron_constant: b of electrons and photons.
        hadron_stochastic: a of hadrons.
        hadron_constant: b of hadrons.
        hadron_response: mean measured energy of a hadron, in units of its energy; that of electrons and photons is 1.
        min_pt: towers below this transverse momentum are left out [GeV].
    """

    cell: float = 0.1
    max_abs_eta: float = 4.9
    electron_stochastic: float = 0.10
    electron_constant: float = 0.01
    hadron_stochastic: float = 0.60
    hadron_constant: float = 0.05
    hadron_response: float = 0.80
    min_pt: float = 0.3

    def __post_init__(self) -> None:
        if not (0.01 <= self.cell <= 1 and 0 < self.max_abs_eta <= 6 and 0 < self.hadron_response <= 2):
            raise ConfigError(
                f"calorimeter: got cell {self.cell}, max_abs_eta {self.max_abs_eta}, hadron_response"
                f" {self.hadron_response}, expected 0.01 to 1, up to 6, and up to 2"
            )
        names = ("electron_stochastic", "electron_constant", "hadron_stochastic", "hadron_constant", "min_pt")
        for name in names:
            if getattr(self, name) < 0:
                raise ConfigError(f"calorimeter: got {name} {getattr(self, name)}, expected 0 or more")


@dataclass(frozen=True, eq=False)
class Towers:
    """Massless towers of some events.

    Attributes:
        offset: (n_events + 1,) int64, first tower of each event.
        pt: (n,) float64, transverse momentum [GeV].
        eta: (n,) float64, pseudorapidity of the middle of the cell.
        phi: (n,) float64, azimuth of the middle of the cell [rad].
    """

    offset: Int64[ndarray, " n_events_1"]
    pt: Float64[ndarray, " n"]
    eta: Float64[ndarray, " n"]
    phi: Float64[ndarray, " n"]


def measured_towers(
    collisions: Collisions, calorimeter: Calorimeter, event_key: UInt64[ndarray, " n_events"]
) -> Towers:
    """Towers of the visible particles.

    Args:
        collisions: the collisions at particle level.
        calorimeter: cells and resolution.
        event_key: (n_events,) uint64, keys of the collisions; all random numbers follow from them.
    """
    momentum = collisions.momentum
    event = np.repeat(np.arange(len(collisions)), np.diff(collisions.offset))
    eta = np.arcsinh(momentum[:, 2] / np.maximum(np.hypot(momentum[:, 0], momentum[:, 1]), 1e-9))
    phi = np.arctan2(momentum[:, 1], momentum[:, 0])
    n_eta, n_phi = round(2 * calorimeter.max_abs_eta / calorimeter.cell), round(2 * pi / calorimeter.cell)
    row = np.floor((eta + calorimeter.max_abs_eta) / calorimeter.cell).astype(np.int64)
    column = np.floor((phi + pi) / (2 * pi) * n_phi).astype(np.int64) % n_phi
    inside = (row >= 0) & (row < n_eta)
    cell = (event * n_eta + row) * n_phi + column
    light = np.isin(np.abs(collisions.pdg), (_ELECTRON, PHOTON))

    cells, place = np.unique(cell[inside], return_inverse=True)
    owner = cells // (n_eta * n_phi)
    total = np.zeros(len(cells))
    kinds = (
        (light, 1.0, calorimeter.electron_stochastic, calorimeter.electron_constant),
        (~light, calorimeter.hadron_response, calorimeter.hadron_stochastic, calorimeter.hadron_constant),
    )
    for kind, (chosen, response, stochastic, constant) in enumerate(kinds):
        energy = np.bincount(place, np.where(chosen, momentum[:, 3], 0.0)[inside], len(cells))
        deviation = normal(keys(event_key[owner], _CELL, kind, cells % (n_eta * n_phi)), 0)
        total += response * np.maximum(
            energy + deviation * np.hypot(stochastic * np.sqrt(energy), constant * energy), 0
        )

    tower_eta = ((cells // n_phi) % n_eta + 0.5) * calorimeter.cell - calorimeter.max_abs_eta
    tower_phi = (cells % n_phi + 0.5) * 2 * pi / n_phi - pi
    pt = total / np.cosh(tower_eta)
    kept = (pt > 0) & (pt >= calorimeter.min_pt)
    offset = np.searchsorted(owner[kept], np.arange(len(collisions) + 1)).astype(np.int64)
    return Towers(offset, pt[kept], tower_eta[kept], tower_phi[kept])
