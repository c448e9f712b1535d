"""Variations of jets: their names, and the pT and n_trk that each gives the jets of an event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, UInt16, UInt64
from beampipe.calibration.config.configuration import Energy
from beampipe.calibration.jets.dijets import Dijets
from beampipe.calibration.jets.energy import energy_factors, energy_names
from beampipe.calibration.jets.hashing import event_keys
from beampipe.calibration.ntuple.columns import VARIED_N_TRK
from beampipe.calibration.variations import NOMINAL, wanted

__all__ = ["Kinematics", "changed", "dataset_key", "kinematics_of", "known_kinematics", "wanted_kinematics"]


@dataclass(frozen=True, eq=False)
class Kinematics:
    """What a variation makes of the jets.

    Attributes:
        pt: (n, 2) float32, transverse momentum of each jet [GeV].
        n_trk: (n, 2) uint16, number of tracks of each jet.
    """

    pt: Float32[ndarray, "n 2"]
    n_trk: UInt16[ndarray, "n 2"]


def known_kinematics(energy: Energy) -> tuple[str, ...]:
    """Names of all variations of jets that there are."""
    return (*VARIED_N_TRK, *energy_names(energy))


def wanted_kinematics(energy: Energy, patterns: Sequence[str]) -> tuple[str, ...]:
    """The variations of jets that systematics ask for.

    Args:
        energy: number of parameters of the jet energy.
        patterns: patterns of names, e.g. ``jes_*``.

    Raises:
        UnknownNameError: a pattern matches none.
    """
    return wanted("variation of jets", known_kinematics(energy), patterns)


def dataset_key(dataset: str, seed: int = 0) -> int:
    """A 64-bit number of a dataset's name, the part of an event's key that tells datasets apart."""
    return int.from_bytes(sha256(f"{seed}:{dataset}".encode()).digest()[:8], "little")


def kinematics_of(name: str, dijets: Dijets, energy: Energy) -> Kinematics:
    """pT and n_trk of the jets under a variation, or as they are for `NOMINAL`.

    Args:
        name: name of the variation.
        dijets: events with the nominal jets.
        energy: number of nuisance parameters of the jet energy.

    Raises:
        UnknownNameError: there is no such variation.
    """
    if name == NOMINAL:
        return Kinematics(dijets.pt, dijets.n_trk)
    if name in dijets.varied_n_trk:
        return Kinematics(dijets.pt, dijets.varied_n_trk[name])
    factors = energy_factors(name, energy, dijets.pt, dijets.eta, noise_keys(dijets))
    return Kinematics((dijets.pt * factors).astype(np.float32), dijets.n_trk)


def noise_keys(dijets: Dijets) -> UInt64[ndarray, " n"]:
    """Keys of the random numbers of each event, the same in every dataset."""
    return event_keys(0, dijets.run, dijets.event)


def changed(one: Kinematics, other: Kinematics) -> Sequence[ndarray]:
    """Places (event, jet) of the jets in which two variations differ."""
    return np.nonzero((one.pt != other.pt) | (one.n_trk != other.n_trk))
