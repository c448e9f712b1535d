"""Interactions of charged hadrons with the nuclei of the detector, with final states by Pythia's cascade model.

Fatras as bound to Python has no nuclear interactions. Here a hadron that crosses a layer interacts with probability
``thickness / cos(incidence) * n * sigma(species, momentum)``, where n is the number density of silicon nuclei and
sigma the inelastic hadron-silicon cross section of PythiaCascade (Sjostrand and Utheim, arXiv:2108.03481). Final
states are drawn from a table of collisions on a grid of momenta, so that an event needs no Pythia and depends only
on its seed. Limits: products do not interact again, neutral hadrons are dropped, and hadrons do not interact in the
beam pipe and the support tube (0.8 and 1.8 mm of beryllium).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Float64, Int32, Int64
from beampipe.simulation.pythia import CollisionPool

HADRONS: Final = (211, -211, 321, -321, 2212, -2212)
"""PDG codes of the hadrons that interact."""

SILICON_DENSITY: Final = 4.995e-6
"""Nuclei per mm of path and mb of cross section: 4.995e22 / cm^3 * 1e-27 cm^2 / mb * 0.1 cm / mm."""

MOMENTA: Final = np.geomspace(0.4, 200.0, 24)
"""Momenta of the grid [GeV]."""

PER_POINT: Final = 100
"""Collisions per species and momentum."""


@dataclass(frozen=True, eq=False)
class Products:
    """Outgoing particles of the interactions of one event, in the detector's frame.

    Attributes:
        parent: (n,) int64 row of the interaction that made each particle.
        pdg: (n,) int32 PDG code of each particle.
        charge: (n,) float32 charge of each particle [e].
        mass: (n,) float32 mass of each particle [GeV].
        momentum: (n, 3) float64 x, y, z of each momentum [GeV].
        displacement: (n, 4) float64 x, y, z, t of each particle's start, from the interaction [mm].
    """

    parent: Int64[ndarray, " n"]
    pdg: Int32[ndarray, " n"]
    charge: Float32[ndarray, " n"]
    mass: Float32[ndarray, " n"]
    momentum: Float64[ndarray, "n 3"]
    displacement: Float64[ndarray, "n 4"]


@dataclass(frozen=True, eq=False)
class Interactions:
    """Cross sections and final states on the grid; hadrons run along z.

    Attributes:
        sigma: (n_species, n_momenta) float64 inelastic cross section with silicon [mb].
        collisions: final states; collision ``(species * n_momenta + momentum) * 100 + k``.
    """

    sigma: Float64[ndarray, "n_species n_momenta"]
    collisions: CollisionPool

    def cross_section(self, species: Int64[ndarray, " n"], momentum: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        """Inelastic cross section [mb], interpolated in log(p); `species` are rows of `HADRONS`."""
        out = np.zeros(len(species))
        for row, sigma in enumerate(self.sigma):
            mine = species == row
            out[mine] = np.interp(np.log(momentum[mine]), np.log(MOMENTA), sigma, left=0.0)
        return out

    def draw(
        self, species: Int64[ndarray, " n"], momentum: Float64[ndarray, "n 3"], rng: np.random.Generator
    ) -> Products:
        """Final states for hadrons of these momenta [GeV]."""
        p = np.linalg.norm(momentum, axis=1)
        at = np.clip(np.interp(np.log(p), np.log(MOMENTA), np.arange(len(MOMENTA))), 0, len(MOMENTA) - 1)
        # A neighbouring point of the grid, the nearer one more often: interpolation between final states.
        point = np.floor(at + rng.random(len(p))).astype(np.int64)
        # Below the threshold of the model a point has no final states.
        point = np.where(self.sigma[species, point] > 0, point, np.minimum(point + 1, len(MOMENTA) - 1))
        row = (species * len(MOMENTA) + point) * PER_POINT + rng.integers(PER_POINT, size=len(p))
        start, count = self.collisions.offset[row], np.diff(self.collisions.offset)[row]
        parent = np.repeat(np.arange(len(p)), count)
        take = np.repeat(start - np.cumsum(count) + count, count) + np.arange(len(parent))
        pool = self.collisions
        # Rotations that take z to the direction of the hadron, after a turn around z by a random angle.
        axis = momentum / p[:, None]
        angle = rng.uniform(0, 2 * np.pi, len(p))
        away = np.where(np.abs(axis[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
        u = np.cross(away, axis)
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        v = np.cross(axis, u)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        turn = np.stack([cos * u + sin * v, cos * v - sin * u, axis], axis=2)[parent]
        scale = np.minimum(p / MOMENTA[point], 1.3)[parent, None]
        displacement = np.einsum("nij,nj->ni", turn, pool.vertex[take, :3].astype(np.float64))
        return Products(
            parent,
            pool.pdg[take],
            pool.charge[take],
            pool.mass[take],
            np.einsum("nij,nj->ni", turn, pool.momentum[take].astype(np.float64)) * scale,
            np.column_stack([displacement, pool.vertex[take, 3].astype(np.float64)]),
        )


@lru_cache(maxsize=1)
def interaction_table() -> Interactions:
    """The table that comes with the package; `tools/hadronic_interactions.py` makes it."""
    with as_file(files("beampipe.simulation") / "interactions.npz") as path, np.load(path) as arrays:
        columns = dict(arrays)
    return Interactions(columns.pop("sigma"), CollisionPool(**columns))
