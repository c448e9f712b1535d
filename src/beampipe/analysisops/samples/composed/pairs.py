"""Events with two objects whose invariant mass is given; what is measured of them, and where a detector loses them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.collisions import decay, isotropic, parents, polar
from beampipe.analysisops.samples.dataset import Events, Objects
from beampipe.arrays import Bool, Float64, Int64

_ETA: Final = 2.5
"""Objects are recorded within this pseudorapidity."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Events with two objects each.

    Attributes:
        mass: (n,) invariant mass as measured [GeV].
        pt: (n, 2) transverse momenta [GeV].
        eta: (n, 2) pseudorapidities.
        phi: (n, 2) azimuths.
        block: (n,) luminosity block.
        passed: (n,) whether the second object is identified, or the trigger has fired.
        number: (n,) number of the event; a copy of an event has the same.
    """

    mass: Float64[ndarray, " n"]
    pt: Float64[ndarray, "n 2"]
    eta: Float64[ndarray, "n 2"]
    phi: Float64[ndarray, "n 2"]
    block: Int64[ndarray, " n"]
    passed: Bool[ndarray, " n"]
    number: Int64[ndarray, " n"]

    def __len__(self) -> int:
        return len(self.mass)

    def where(self, kept: ndarray) -> Pairs:
        """Only some of the events, by a mask or by rows."""
        return Pairs(**{field.name: getattr(self, field.name)[kept] for field in fields(self)})

    def with_energies(self, factor: Float64[ndarray, " n"]) -> Pairs:
        """The same events with all energies multiplied."""
        return replace(self, mass=self.mass * factor, pt=self.pt * factor[:, None])

    def inside(self, region: tuple[float, float, float, float]) -> Bool[ndarray, " n"]:
        """Whether an object is in a region: lowest and highest eta, lowest and highest phi."""
        low, high, start, end = region
        hit = (self.eta > low) & (self.eta < high) & (self.phi > start) & (self.phi < end)
        return np.asarray(hit.any(axis=1))

    def events(self, collection: str, extra: dict[str, ndarray]) -> Events:
        """As events to be written.

        Args:
            collection: prefix of the objects.
            extra: further columns, one value per event.
        """
        row = np.repeat(np.arange(len(self)), 2)
        pt, eta, phi = self.pt.ravel(), self.eta.ravel(), self.phi.ravel()
        objects: dict[str, ndarray] = {"pt": pt, "eta": eta, "phi": phi, "e": pt * np.cosh(eta)}
        if collection == "lep":
            charge = np.where(self.number % 2 == 0, 1, -1)
            objects["charge"] = np.stack([charge, -charge], axis=1).ravel().astype(np.int32)
        return Events(len(self), {"eventNumber": self.number, **extra}, {collection: Objects(row, objects)})


def joined_pairs(parts: list[Pairs]) -> Pairs:
    """Concatenate events."""
    joined: dict[str, Any] = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Pairs)
    }
    return Pairs(**joined)


def decays(
    generator: np.random.Generator, mass: Float64[ndarray, " n"], fires: Callable[[ndarray], ndarray] | None = None
) -> Pairs:
    """Isotropic decays to two massless objects, both within the acceptance; the masses stay as they are.

    Args:
        generator: random numbers.
        mass: invariant masses [GeV].
        fires: efficiency of a trigger for a largest pt [GeV]: a decay that it rejects is drawn again.
    """
    pt, eta, phi = np.empty((3, len(mass), 2))
    rows = np.arange(len(mass))
    while len(rows):
        frame = parents(generator, mass[rows], pt=generator.exponential(0.15 * mass[rows]))
        for side, momenta in enumerate(decay(frame, isotropic(generator, len(rows)))):
            pt[rows, side], eta[rows, side], phi[rows, side], _ = polar(momenta)
        missed = (np.abs(eta[rows]) > _ETA).any(axis=1)
        if fires is not None:
            missed |= generator.uniform(size=len(rows)) > fires(pt[rows].max(axis=1))
        rows = rows[missed]
    n = len(mass)
    return Pairs(mass, pt, eta, phi, np.zeros(n, np.int64), np.ones(n, bool), np.arange(n))
