"""Nuisance parameters of the jet energy: how each moves the pT of a jet.

The model is a stand-in for the uncertainties that an experiment publishes for its jets. Scale: each parameter moves
jets around one point in pT and |eta| by up to 1 %, as a product of two triangles; in quadrature all of them stay below
1 %. Resolution: each parameter widens the resolution around one pT by up to 10 %, by a random number of the event and
the jet; ``down`` moves a jet by as much the other way, as a resolution cannot be narrowed by adding noise.

No factor leaves 1 +- `LARGEST_SHIFT`. Only additions, products and one square root enter, so that every processor gives
the same numbers.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from jaxtyping import Float32, Float64, UInt64
from numpy import ndarray

from beampipe.calibration.config import Energy
from beampipe.calibration.jets.hashing import mix
from beampipe.errors import UnknownNameError

__all__ = ["energy_factors", "energy_names"]

_PT_NODES: Final = 5
_SCALE: Final = 0.01
_RESOLUTION: Final = 0.045
_WIDENING: Final = 0.1
_NAME: Final = re.compile(r"(jes|jer)_(\d+)_(up|down)")


def energy_names(energy: Energy) -> tuple[str, ...]:
    """Names of the variations: ``jes_1_up``, ``jes_1_down``, ... ``jer_1_up``, ..."""
    parameters = [f"jes_{k + 1}" for k in range(energy.scale)] + [f"jer_{k + 1}" for k in range(energy.resolution)]
    return tuple(f"{name}_{way}" for name in parameters for way in ("up", "down"))


def energy_factors(
    name: str,
    energy: Energy,
    pt: Float32[ndarray, "n 2"],
    eta: Float32[ndarray, "n 2"],
    keys: UInt64[ndarray, " n"],
) -> Float64[ndarray, "n 2"]:
    """What the pT of each jet is multiplied by.

    Args:
        name: of the variation.
        energy: how many parameters there are.
        pt: [GeV].
        eta: pseudorapidity.
        keys: of the events, for random numbers.

    Raises:
        UnknownNameError: there is no such variation.
    """
    match = _NAME.fullmatch(name)
    if match is None or name not in energy_names(energy):
        raise UnknownNameError("variation of the jet energy", name, energy_names(energy))
    sign = 1.0 if match[3] == "up" else -1.0
    number = int(match[2]) - 1
    at = (pt.astype(np.float64) - 500) / 1500
    if match[1] == "jes":
        eta_nodes = -(-energy.scale // _PT_NODES)
        across = np.abs(eta.astype(np.float64)) / 2.1
        shape = _triangle(at, number % _PT_NODES, _PT_NODES) * _triangle(across, number // _PT_NODES, eta_nodes)
        scaled: ndarray = 1 + sign * _SCALE * shape
        return scaled
    widening = _WIDENING * _triangle(at, number, energy.resolution)
    noise = _noise(keys, number)
    smeared: ndarray = 1 + sign * _RESOLUTION * np.sqrt((1 + widening) ** 2 - 1) * noise
    return smeared


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
        bits = mix(keys + mix(np.array([2 * number + jet + 0x5EED], np.uint64)))
        parts = sum(((bits >> np.uint64(16 * c)) & np.uint64(0xFFFF)).astype(np.float64) for c in range(4))
        out[:, jet] = (parts / 65536 - 2 + 2 / 65536) * 3**0.5
    return out
