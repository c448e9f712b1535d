"""Nuisance parameters of the jet energy: how each moves the pT of a jet.

The model is a stand-in for the uncertainties that an experiment publishes for its jets. Scale: each parameter moves
jets around one point in pT and |eta| by up to 1 %, as a product of two triangles; in quadrature all of them stay below
1 %. Resolution: each parameter widens the resolution around one pT by up to 10 %, by a random number of the event and
the jet; ``down`` moves a jet by as much the other way, as a resolution cannot be narrowed by adding noise.

No factor leaves 1 +- `LARGEST_SHIFT`. Only additions, products and one square root enter, so that every processor gives
the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Float64, UInt64
from beampipe.calibration.config.configuration import Energy
from beampipe.calibration.jets.hashing import mix
from beampipe.errors import UnknownNameError

__all__ = ["MODEL", "EnergyModel", "EnergyShift", "energy_factors", "energy_names", "energy_shifts", "eta_nodes"]


class EnergyModel(NamedTuple):
    """Numbers of the model of the jet energy.

    Attributes:
        scale: largest relative shift of the jet energy scale.
        resolution: relative resolution of the jet pT.
        widening: largest relative widening of the resolution.
        low_pt: pT of the first point [GeV].
        high_pt: pT of the last point [GeV].
        last_eta: \\|eta\\| of the last point; the first is at 0.
        pt_nodes: number of points in pT around which a parameter of the scale moves jets.
        noise_seed: added to the number of each random number.
    """

    scale: float
    resolution: float
    widening: float
    low_pt: float
    high_pt: float
    last_eta: float
    pt_nodes: int
    noise_seed: int


MODEL: Final = EnergyModel(0.01, 0.045, 0.1, 500.0, 2000.0, 2.1, 5, 0x5EED)
"""The model in use. Its sizes are chosen here, as it is a stand-in; the resolution is about that of the toy detector of
`simulation` at 500 GeV."""


class EnergyShift(NamedTuple):
    """One nuisance parameter of the jet energy, moved one way.

    Attributes:
        kind: ``jes`` for the scale, ``jer`` for the resolution.
        number: number of the parameter, from 0.
        way: direction of the shift, ``up`` or ``down``.
    """

    kind: Literal["jes", "jer"]
    number: int
    way: Literal["up", "down"]

    @property
    def name(self) -> str:
        """Name of the variation: ``jes_1_up`` for the first parameter of the scale."""
        return f"{self.kind}_{self.number + 1}_{self.way}"

    @property
    def sign(self) -> float:
        """1 for up, -1 for down."""
        return 1.0 if self.way == "up" else -1.0


def energy_names(energy: Energy) -> tuple[str, ...]:
    """Names of the variations: ``jes_1_up``, ``jes_1_down``, ... ``jer_1_up``, ..."""
    return tuple(shift.name for shift in energy_shifts(energy))


def energy_factors(
    name: str,
    energy: Energy,
    pt: Float32[ndarray, "n 2"],
    eta: Float32[ndarray, "n 2"],
    keys: UInt64[ndarray, " n"],
) -> Float64[ndarray, "n 2"]:
    """What a variation multiplies the pT of each jet by.

    Args:
        name: name of the variation.
        energy: number of parameters of scale and resolution.
        pt: (n, 2) transverse momentum of each jet [GeV].
        eta: (n, 2) pseudorapidity of each jet.
        keys: keys of the events, for random numbers.

    Raises:
        UnknownNameError: there is no such variation.
    """
    shift = {shift.name: shift for shift in energy_shifts(energy)}.get(name)
    if shift is None:
        raise UnknownNameError("variation of the jet energy", name, energy_names(energy))
    at = (pt.astype(np.float64) - MODEL.low_pt) / (MODEL.high_pt - MODEL.low_pt)
    if shift.kind == "jes":
        across = np.abs(eta.astype(np.float64)) / MODEL.last_eta
        in_pt = _triangle(at, shift.number % MODEL.pt_nodes, MODEL.pt_nodes)
        in_eta = _triangle(across, shift.number // MODEL.pt_nodes, eta_nodes(energy))
        scaled: ndarray = 1 + shift.sign * MODEL.scale * (in_pt * in_eta)
        return scaled
    widening = MODEL.widening * _triangle(at, shift.number, energy.resolution)
    noise = _noise(keys, shift.number)
    smeared: ndarray = 1 + shift.sign * MODEL.resolution * np.sqrt((1 + widening) ** 2 - 1) * noise
    return smeared


def eta_nodes(energy: Energy) -> int:
    """Number of points in \\|eta\\| around which a parameter of the scale moves jets."""
    return -(-energy.scale // MODEL.pt_nodes)


def energy_shifts(energy: Energy) -> Iterator[EnergyShift]:
    """Every parameter, up and down: first those of the scale, then those of the resolution."""
    ways: tuple[Literal["up", "down"], ...] = ("up", "down")
    yield from (EnergyShift("jes", number, way) for number in range(energy.scale) for way in ways)
    yield from (EnergyShift("jer", number, way) for number in range(energy.resolution) for way in ways)


def _triangle(x: Float64[ndarray, "n 2"], node: int, n_nodes: int) -> Float64[ndarray, "n 2"]:
    """1 at x = node / (n_nodes - 1), 0 from the next node on; x is kept in [0, 1]. All nodes add up to 1."""
    if n_nodes == 1:
        return np.ones_like(x)
    height: ndarray = np.maximum(0.0, 1 - np.abs(np.clip(x, 0, 1) * (n_nodes - 1) - node))
    return height


def _noise(keys: UInt64[ndarray, " n"], number: int) -> Float64[ndarray, "n 2"]:
    """Random numbers of mean 0, variance 1 and at most 3.5 in size: sums of four uniform ones."""
    out = np.empty((len(keys), 2))
    for jet in range(2):
        bits = mix(keys + mix(np.array([2 * number + jet + MODEL.noise_seed], np.uint64)))
        parts = sum(((bits >> np.uint64(16 * c)) & np.uint64(0xFFFF)).astype(np.float64) for c in range(4))
        out[:, jet] = (parts / 65536 - 2 + 2 / 65536) * 3**0.5
    return out
