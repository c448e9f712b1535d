"""The variables that efficiencies are binned in: one table for scoring, printing and drawing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy import ndarray
from scipy.spatial import cKDTree

from beampipe.arrays import Float
from beampipe.errors import UnknownNameError
from beampipe.tracking.events import Particles
from beampipe.tracking.truth import Selection

__all__ = ["VARIABLES", "Variable", "nearest_distance", "pt_edges", "require_variables"]

_ETA_BINS: Final = 12
_ORIGIN: Final = (0.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0, 75.0, 100.0, 150.0, 200.0)
_TURN: Final = 2 * np.pi


@dataclass(frozen=True)
class Variable:
    """A variable of particles. Values beyond an end are counted in the bin at that end.

    Attributes:
        name: name of the variable in results, tables and files.
        axis: label of the axis in pictures, with the unit.
        values: function from the selected particles of one event to one value per particle.
        edges: function from the selection of the headline to the bin edges.
        any_origin: whether particles of any origin are counted, not only those of the headline.
        logarithmic: whether the axis is logarithmic.
    """

    name: str
    axis: str
    values: Callable[[Particles], ndarray]
    edges: Callable[[Selection], tuple[float, ...]]
    any_origin: bool = False
    logarithmic: bool = False


def pt_edges(min_pt: float) -> tuple[float, ...]:
    """Bin edges of pT [GeV] that begin where the selection does; the last bin takes all above 20 GeV."""
    above = [edge for edge in (0.3, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0) if edge > min_pt * 1.001]
    return (min_pt, *above, float(max(50.0, 2 * min_pt)))


def nearest_distance(particles: Particles) -> Float[ndarray, " n_particles"]:
    """Distance of each particle to the nearest other one, sqrt(deta^2 + dphi^2); infinite for a single particle.

    Directions are those of production. In the core of a jet the distance is small, and clusters may merge.
    """
    if len(particles) < 2:
        return np.full(len(particles), np.inf)
    phi = np.arctan2(particles.momentum[:, 1], particles.momentum[:, 0]).astype(np.float64)
    direction = np.stack([particles.eta.astype(np.float64), np.mod(phi, _TURN) % _TURN], axis=1)
    # A period of 0 means an axis without end.
    distance, _ = cKDTree(direction, boxsize=np.array([0.0, _TURN])).query(direction, k=[2])
    return np.asarray(distance).reshape(-1)


def _even(low: float, high: float, n_bins: int) -> tuple[float, ...]:
    return tuple(np.linspace(low, high, n_bins + 1).tolist())


def _eta_edges(selection: Selection) -> tuple[float, ...]:
    return _even(-selection.max_abs_eta, selection.max_abs_eta, _ETA_BINS)


VARIABLES: Final[Mapping[str, Variable]] = MappingProxyType(
    {
        variable.name: variable
        for variable in (
            Variable("pt", "$p_T$ [GeV]", lambda of: of.pt, lambda cuts: pt_edges(cuts.min_pt), logarithmic=True),
            Variable("eta", r"$\eta$", lambda of: of.eta, _eta_edges),
            Variable("vertex_z", "vertex z [mm]", lambda of: of.vertex[:, 2], lambda _: _even(-240.0, 240.0, 12)),
            Variable(
                "distance",
                r"$\Delta R$ to the nearest track",
                nearest_distance,
                lambda _: tuple(np.geomspace(1e-3, 1.0, 13).tolist()),
                logarithmic=True,
            ),
            Variable(
                "origin", "radius of origin [mm]", lambda of: of.origin_radius, lambda _: _ORIGIN, any_origin=True
            ),
        )
    }
)
"""The variables by name: pT, pseudorapidity, vertex, distance to the nearest track, and radius of origin."""


def require_variables(names: Iterable[str]) -> None:
    """Refuse names that are none of `VARIABLES`.

    Raises:
        UnknownNameError: no variable of that name.
    """
    for name in names:
        if name not in VARIABLES:
            raise UnknownNameError("variable", name, VARIABLES)
