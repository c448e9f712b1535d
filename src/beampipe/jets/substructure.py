"""Jet substructure: constituents of jets, and their number, width and C1, which distinguish quark from gluon jets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int64, UInt8

C1_BETA: Final = 0.2
"""Exponent of the distance in C1."""


JET_FEATURES: Final = ("n_trk", "width", "c1", "pt", "abs_eta")
"""Features of a jet, float32, pT in GeV: the input of boosted taggers."""

TRACK_PT: Final = 0.5
"""Charged particles below this transverse momentum [GeV] leave no track."""

NEUTRAL_PT: Final = 1.0
"""Neutral constituents below this transverse momentum are not measured [GeV]."""

IN_ALL, NOT_IN_EFFICIENCY, ONLY_IN_FAKES = 0, 1, 2
"""Which variations have a constituent: all, all but that of the tracking efficiency, only that of the fakes."""


@dataclass(frozen=True, eq=False)
class JetConstituents:
    """Reconstructed constituents of jets.

    Attributes:
        offset: (n_jets + 1,) int64, first constituent of each jet.
        pt: (n,) float64, transverse momentum [GeV].
        eta: (n,) float64, pseudorapidity.
        phi: (n,) float64, azimuth [rad].
        charged: (n,) bool, whether it is a track.
        variation: (n,) uint8, which variations have it: `IN_ALL`, `NOT_IN_EFFICIENCY` or `ONLY_IN_FAKES`.
    """

    offset: Int64[ndarray, " n_jets_1"]
    pt: Float64[ndarray, " n"]
    eta: Float64[ndarray, " n"]
    phi: Float64[ndarray, " n"]
    charged: Bool[ndarray, " n"]
    variation: UInt8[ndarray, " n"]

    def __len__(self) -> int:
        return len(self.offset) - 1

    @property
    def columns(self) -> tuple[ndarray, ...]:
        """All columns of constituents, in the order of the attributes."""
        return self.pt, self.eta, self.phi, self.charged, self.variation

    def only(self, kept: Bool[ndarray, " n"]) -> JetConstituents:
        """Some of the constituents."""
        before = np.concatenate([[0], np.cumsum(kept)])
        return JetConstituents(before[self.offset], *(column[kept] for column in self.columns))

    @classmethod
    def join(cls, parts: Sequence[JetConstituents]) -> JetConstituents:
        """The jets of some parts one after the other."""
        offset = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(part.offset) for part in parts]))])
        columns = zip(*(part.columns for part in parts), strict=True)
        return cls(offset.astype(np.int64), *map(np.concatenate, columns))

    def of_variation(self, name: str) -> JetConstituents:
        """The constituents of a variation: those of ``trk_eff`` or ``trk_fake``; the nominal ones for another name."""
        if name == "trk_fake":
            return self
        return self.only(self.variation == IN_ALL if name == "trk_eff" else self.variation != ONLY_IN_FAKES)

    def take(self, jets: Int64[ndarray, " m"]) -> JetConstituents:
        """The constituents of some jets, which may be repeated."""
        counts = np.diff(self.offset)[jets]
        offset = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows = np.arange(offset[-1]) + np.repeat(self.offset[jets] - offset[:-1], counts)
        return JetConstituents(offset, *(column[rows] for column in self.columns))


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
