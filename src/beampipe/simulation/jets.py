"""Anti-kt jets of particles or of calorimeter towers, labelled by their initial parton.

Anti-kt: M. Cacciari, G. P. Salam, G. Soyez, JHEP 04 (2008) 063, by their FastJet, Eur. Phys. J. C 72 (2012) 1896.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, no_type_check

import numpy as np
from numba import njit
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int64
from beampipe.jets.substructure import TRACK_PT
from beampipe.simulation.calorimeter import Towers
from beampipe.simulation.pythia import PHOTON, Collisions

RADIUS: Final = 0.4
"""Radius of the anti-kt algorithm, and the largest distance of a jet's axis from the parton that labels it."""

PARTON_PT: Final = 0.1
"""Partons below this transverse momentum [GeV] label no jet."""


@dataclass(frozen=True, eq=False)
class ParticleJets:
    """Jets of some collisions, by event and falling pT, with their particles.

    Attributes:
        event: (n_jets,) int64, which of the collisions a jet belongs to.
        number: (n_jets,) int64, position of the jet in its event, from 0.
        pt: (n_jets,) float64, transverse momentum [GeV].
        eta: (n_jets,) float64, pseudorapidity.
        phi: (n_jets,) float64, azimuth [rad].
        label: (n_jets,) int64, PDG number of the parton that initiated the jet, see `parton_labels`.
        offset: (n_jets + 1,) int64, first charged particle of each jet.
        track_pt: (n,) float64, transverse momentum of the charged particles [GeV].
        track_eta: (n,) float64, pseudorapidity of the charged particles.
        track_phi: (n,) float64, azimuth of the charged particles [rad].
        track_number: (n,) int64, index of the charged particles among all particles of their event.
        neutral_offset: (n_jets + 1,) int64, first neutral particle of each jet.
        neutral_pt: (m,) float64, transverse momentum of the neutral particles [GeV].
        neutral_eta: (m,) float64, pseudorapidity of the neutral particles.
        neutral_phi: (m,) float64, azimuth of the neutral particles [rad].
        photon: (m,) bool, whether a neutral particle is a photon.
    """

    event: Int64[ndarray, " n_jets"]
    number: Int64[ndarray, " n_jets"]
    pt: Float64[ndarray, " n_jets"]
    eta: Float64[ndarray, " n_jets"]
    phi: Float64[ndarray, " n_jets"]
    label: Int64[ndarray, " n_jets"]
    offset: Int64[ndarray, " n_jets_1"]
    track_pt: Float64[ndarray, " n"]
    track_eta: Float64[ndarray, " n"]
    track_phi: Float64[ndarray, " n"]
    track_number: Int64[ndarray, " n"]
    neutral_offset: Int64[ndarray, " n_jets_1"]
    neutral_pt: Float64[ndarray, " m"]
    neutral_eta: Float64[ndarray, " m"]
    neutral_phi: Float64[ndarray, " m"]
    photon: Bool[ndarray, " m"]

    def __len__(self) -> int:
        return len(self.event)


def particle_jets(collisions: Collisions, pt_min: float, eta_max: float) -> ParticleJets:
    """Anti-kt jets of the visible particles, with their charged particles above `TRACK_PT` and all neutral ones.

    Args:
        collisions: the collisions whose particles are clustered.
        pt_min: transverse momentum of the softest jet kept [GeV].
        eta_max: largest absolute pseudorapidity of the jets kept.
    """
    clusters = _clustered(collisions.momentum, collisions.offset, pt_min, eta_max)
    event, row = clusters.event, clusters.member
    jet = np.repeat(np.arange(len(event)), np.diff(clusters.offset))
    pt, eta, phi = _pt_eta_phi(collisions.momentum[row, :3])
    neutral = ~collisions.charged[row]
    track = ~neutral & (pt > TRACK_PT)
    jets = np.arange(len(event) + 1)
    return ParticleJets(
        event,
        np.arange(len(event), dtype=np.int64) - np.searchsorted(event, event),
        clusters.pt,
        clusters.eta,
        clusters.phi,
        jet_labels(collisions, event, clusters.eta, clusters.phi),
        np.searchsorted(jet[track], jets).astype(np.int64),
        pt[track],
        eta[track],
        phi[track],
        (row - collisions.offset[event[jet]])[track],
        np.searchsorted(jet[neutral], jets).astype(np.int64),
        pt[neutral],
        eta[neutral],
        phi[neutral],
        collisions.pdg[row[neutral]] == PHOTON,
    )


@dataclass(frozen=True, eq=False)
class _Clustered:
    """Jets by event and falling pT.

    Attributes:
        event: (n_jets,) which of the collisions a jet belongs to.
        pt: (n_jets,) transverse momentum [GeV].
        eta: (n_jets,) pseudorapidity.
        phi: (n_jets,) azimuth [rad].
        offset: (n_jets + 1,) first member of each jet.
        member: (n_members,) rows of the particles of the jets, jet by jet.
    """

    event: Int64[ndarray, " n_jets"]
    pt: Float64[ndarray, " n_jets"]
    eta: Float64[ndarray, " n_jets"]
    phi: Float64[ndarray, " n_jets"]
    offset: Int64[ndarray, " n_jets_1"]
    member: Int64[ndarray, " n_members"]


def _clustered(
    momentum: Float64[ndarray, "n 4"], offset: Int64[ndarray, " n_events_1"], pt_min: float, eta_max: float
) -> _Clustered:
    """Anti-kt jets by FastJet of px, py, pz, E [GeV] by event, above a transverse momentum [GeV], up to an |eta|."""
    import awkward as ak
    import fastjet

    # Without this each process prints a banner of 13 lines; the citation that it requests is in the docstring above.
    fastjet._swig.ClusterSequence.set_fastjet_banner_stream(None)
    columns = {name: momentum[:, k] for k, name in enumerate(("px", "py", "pz", "E"))}
    particles = ak.unflatten(ak.zip(columns, with_name="Momentum4D"), np.diff(offset))
    cluster = fastjet.ClusterSequence(particles, fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS))
    jets, members = cluster.inclusive_jets(pt_min), ak.flatten(cluster.constituent_index(pt_min))
    flat = ak.flatten(jets)
    event = np.repeat(np.arange(len(offset) - 1), ak.num(jets).to_numpy()).astype(np.int64)
    pt, eta, phi = _pt_eta_phi(np.stack([np.asarray(flat[axis]) for axis in ("px", "py", "pz")], axis=1))
    order = np.lexsort((-pt, event))
    order = order[np.abs(eta[order]) < eta_max]
    members = members[order]
    count = ak.num(members).to_numpy()
    first = np.repeat(offset[event[order]], count)
    ends = np.cumsum(np.append(0, count)).astype(np.int64)
    return _Clustered(event[order], pt[order], eta[order], phi[order], ends, first + ak.flatten(members).to_numpy())


_GHOST: Final = 1e-20
"""Factor on the momentum of ghosts: small enough to change no jet, and large enough for FastJet."""


@dataclass(frozen=True, eq=False)
class TowerJets:
    """Jets of calorimeter towers, by event and falling pT, and the jets that tracks or particles belong to.

    Attributes:
        event: (n_jets,) int64, event of a jet.
        pt: (n_jets,) float64, transverse momentum of the towers [GeV].
        eta: (n_jets,) float64, pseudorapidity.
        phi: (n_jets,) float64, azimuth [rad].
        owner: (n_ghosts,) int64, jet of each ghost; -1 for those in no jet.
    """

    event: Int64[ndarray, " n_jets"]
    pt: Float64[ndarray, " n_jets"]
    eta: Float64[ndarray, " n_jets"]
    phi: Float64[ndarray, " n_jets"]
    owner: Int64[ndarray, " n_ghosts"]

    def __len__(self) -> int:
        return len(self.event)


def tower_jets(
    towers: Towers,
    ghost_event: Int64[ndarray, " n_ghosts"],
    ghost_eta: Float64[ndarray, " n_ghosts"],
    ghost_phi: Float64[ndarray, " n_ghosts"],
    pt_min: float,
    eta_max: float,
) -> TowerJets:
    """Anti-kt jets of towers, and of ghosts: tracks or particles that are clustered without any momentum.

    Ghost association: M. Cacciari, G. P. Salam, Phys. Lett. B 659 (2008) 119.

    Args:
        towers: towers of some events.
        ghost_event: event of each ghost.
        ghost_eta: pseudorapidity of each ghost.
        ghost_phi: azimuth of each ghost [rad].
        pt_min: transverse momentum of the softest jet kept [GeV].
        eta_max: largest absolute pseudorapidity of the jets kept.
    """
    n_events, n_towers = len(towers.offset) - 1, len(towers.pt)
    tower_event = np.repeat(np.arange(n_events), np.diff(towers.offset))
    event = np.concatenate([tower_event, ghost_event])
    pt = np.concatenate([towers.pt, np.full(len(ghost_event), _GHOST)])
    eta, phi = np.concatenate([towers.eta, ghost_eta]), np.concatenate([towers.phi, ghost_phi])
    order = np.argsort(event, kind="stable")
    momentum = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)], axis=1)[order]
    offset = np.searchsorted(event[order], np.arange(n_events + 1)).astype(np.int64)

    jets = _clustered(momentum, offset, pt_min, eta_max)
    owner = np.full(len(event), -1, np.int64)
    owner[order[jets.member]] = np.repeat(np.arange(len(jets.event)), np.diff(jets.offset))
    return TowerJets(jets.event, jets.pt, jets.eta, jets.phi, owner[n_towers:])


def jet_labels(
    collisions: Collisions,
    event: Int64[ndarray, " n_jets"],
    eta: Float64[ndarray, " n_jets"],
    phi: Float64[ndarray, " n_jets"],
) -> Int64[ndarray, " n_jets"]:
    """`parton_labels` of jets; partons along the beam, which have no direction across it, do not count."""
    pt, parton_eta, parton_phi = _pt_eta_phi(collisions.parton[:, :3])
    energy = np.where(pt > PARTON_PT, collisions.parton[:, 3], 0.0)
    labels: Int64[ndarray, " n_jets"] = parton_labels(
        event, eta, phi, collisions.parton_offset, parton_eta, parton_phi, energy, collisions.parton_label
    )
    return labels


@njit(cache=True)
@no_type_check
def parton_labels(event, eta, phi, parton_offset, parton_eta, parton_phi, parton_energy, parton_label):
    """The label of each jet: that of the parton with the highest energy within `RADIUS` of its axis.

    Args:
        event: (n_jets,) int64, event of the jet.
        eta: (n_jets,) float64, pseudorapidity of the jet.
        phi: (n_jets,) float64, azimuth of the jet [rad].
        parton_offset: (n_events + 1,) int64, first parton of each event.
        parton_eta: (m,) float64, pseudorapidity of the parton.
        parton_phi: (m,) float64, azimuth of the parton [rad].
        parton_energy: (m,) float64, energy of the parton [GeV].
        parton_label: (m,) int64, label of the parton.

    Returns:
        (n_jets,) int64, the labels; 0 for a jet without a parton.
    """
    out = np.zeros(len(event), dtype=np.int64)
    for j in range(len(event)):
        best = 0.0
        for k in range(parton_offset[event[j]], parton_offset[event[j] + 1]):
            if parton_energy[k] <= best:
                continue
            d_eta = parton_eta[k] - eta[j]
            apart = abs(parton_phi[k] - phi[j])
            d_phi = min(apart, 2 * np.pi - apart)
            if d_eta * d_eta + d_phi * d_phi < RADIUS * RADIUS:
                best = parton_energy[k]
                out[j] = parton_label[k]
    return out


def distance(eta: Any, phi: Any, other_eta: Any, other_phi: Any) -> Any:
    """Distance in the plane of pseudorapidity and azimuth [rad], of numbers or arrays."""
    around = np.abs(phi - other_phi) % (2 * np.pi)
    return np.hypot(eta - other_eta, np.minimum(around, 2 * np.pi - around))


def _pt_eta_phi(momentum: Float64[ndarray, "n 3"]) -> tuple[ndarray, ndarray, ndarray]:
    """Transverse momentum, pseudorapidity and azimuth of momenta; the pseudorapidity is finite along the beam, too."""
    pt = np.hypot(momentum[:, 0], momentum[:, 1])
    eta = np.arcsinh(momentum[:, 2] / np.maximum(pt, 1e-9))
    return pt, eta, np.arctan2(momentum[:, 1], momentum[:, 0])
