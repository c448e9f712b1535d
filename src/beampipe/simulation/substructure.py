"""Jet substructure: number, width and C1 of the constituents of jets, which distinguish quark from gluon jets."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64

C1_BETA: Final = 0.2
"""Exponent of the distance in C1."""


def observables(
    offsets: Int64[ndarray, " n_1"],
    pt: Float64[ndarray, " m"],
    eta: Float64[ndarray, " m"],
    phi: Float64[ndarray, " m"],
    jet_eta: Float64[ndarray, " n"],
    jet_phi: Float64[ndarray, " n"],
    beta: float,
) -> tuple[Int64[ndarray, " n"], Float64[ndarray, " n"], Float64[ndarray, " n"]]:
    """Number, width and C1 of the constituents of each jet.

    width = sum(pT dR) / sum(pT) with dR the distance to the jet in eta and phi, and
    C1 = sum over pairs(pT_i pT_j dR_ij^beta) / sum(pT)^2, after A. J. Larkoski, G. P. Salam, J. Thaler, JHEP 06 (2013)
    108. Both are 0 without constituents. The values of a jet do not depend on the other jets.

    Args:
        offsets: first constituent of each jet.
        pt: transverse momenta of constituents, in any unit.
        eta: pseudorapidities of constituents.
        phi: azimuths of constituents [rad].
        jet_eta: pseudorapidities of jets.
        jet_phi: azimuths of jets [rad].
        beta: exponent of the distance in C1.
    """
    n_trk = np.diff(offsets)
    owner = np.repeat(np.arange(len(n_trk)), n_trk)
    total = np.bincount(owner, pt, len(n_trk))
    distance = _distance(eta - jet_eta[owner], phi - jet_phi[owner])
    moment, pairs = np.bincount(owner, pt * distance, len(n_trk)), np.zeros(len(n_trk))
    for step in range(1, int(n_trk.max(initial=0))):  # pairs (i, i + step), in all jets at once
        first = np.flatnonzero(owner[:-step] == owner[step:])
        second = first + step
        terms = pt[first] * pt[second] * _distance(eta[first] - eta[second], phi[first] - phi[second]) ** beta
        pairs += np.bincount(owner[first], terms, len(n_trk))
    some = total > 0
    width = np.divide(moment, total, out=np.zeros(len(total)), where=some)
    return n_trk, width, np.divide(pairs, total**2, out=np.zeros(len(total)), where=some)


def _distance(eta: Float64[ndarray, " m"], phi: Float64[ndarray, " m"]) -> Float64[ndarray, " m"]:
    """Distance in eta and phi."""
    distance: ndarray = np.hypot(eta, (phi + np.pi) % (2 * np.pi) - np.pi)
    return distance
