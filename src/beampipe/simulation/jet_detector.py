"""A parametrised detector: lost and fake tracks, jet energy scale and resolution, and the variations of the tracking.

The numbers describe no real detector, but are typical of trackers and calorimeters. What matters is their shape:
tracking gets worse away from the centre, so that forward jets of one flavour differ from central ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int64, UInt64
from beampipe.simulation.jets import RADIUS, TRACK_PT, ParticleJets, distance
from beampipe.simulation.random_numbers import keys, normal, poisson, uniform
from beampipe.simulation.substructure import C1_BETA, observables

TRACKER_ETA: Final = 2.5
"""Largest |eta| of a track."""

CORE: Final = 0.03
"""Distance from the jet's axis within which tracks merge."""

LESS_EFFICIENT: Final = 0.03
"""Share of the found tracks that are lost in the variation of the tracking efficiency."""

MORE_FAKES: Final = 0.5
"""Fake tracks that are added in the variation of the fakes, relative to the nominal number."""

NOT_CLEAN: Final = 0.003
"""Share of jets that fail the cleaning."""

# Kinds of random numbers, mixed into their keys; see `keys`.
_JET, _TRACK, _FAKE = 1, 2, 3


@dataclass(frozen=True, eq=False)
class Reconstructed:
    """The reconstructed quantities of each particle jet, in the order of these jets.

    Attributes:
        pt: (n,) float64, calibrated transverse momentum [GeV].
        clean: (n,) bool, whether the jet passes the cleaning.
        n_trk: (n,) int64, number of tracks, fakes included.
        width: (n,) float64, track width.
        c1: (n,) float64, two-point energy correlation of the tracks.
        n_trk_eff: (n,) int64, number of tracks at a lower tracking efficiency.
        n_trk_fake: (n,) int64, number of tracks with more fakes.
    """

    pt: Float64[ndarray, " n"]
    clean: Bool[ndarray, " n"]
    n_trk: Int64[ndarray, " n"]
    width: Float64[ndarray, " n"]
    c1: Float64[ndarray, " n"]
    n_trk_eff: Int64[ndarray, " n"]
    n_trk_fake: Int64[ndarray, " n"]


def efficiency(
    eta: Float64[ndarray, " n"], from_axis: Float64[ndarray, " n"], jet_pt: Float64[ndarray, " n"]
) -> Float64[ndarray, " n"]:
    """Probability that the track of a charged particle is found.

    Args:
        eta: (n,) pseudorapidity of the particle.
        from_axis: (n,) distance of the particle from the axis of its jet.
        jet_pt: (n,) transverse momentum of its jet [GeV].
    """
    far = 0.93 - 0.022 * eta**2
    merged = 0.12 * np.minimum(jet_pt / 1500, 1.5) * np.exp(-0.5 * (from_axis / CORE) ** 2)
    return np.where(np.abs(eta) < TRACKER_ETA, far * (1 - merged), 0.0)


def fakes(eta: Float64[ndarray, " n"], jet_pt: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
    """Mean number of fake tracks in a jet, which grows with the jet's |eta| and pT [GeV]."""
    mean = 0.25 * (1 + 0.6 * eta**2) * np.sqrt(jet_pt / 500)
    return np.where(np.abs(eta) < TRACKER_ETA, mean, 0.0)


def response(eta: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
    """Mean of calibrated over true pT: 1 up to the non-closure of a simple calibration, at most half a per cent."""
    true = 0.965 - 0.008 * eta**2 + 0.01 * np.exp(-0.5 * ((np.abs(eta) - 1.4) / 0.2) ** 2)
    assumed = 0.968 - 0.008 * eta**2
    ratio: ndarray = true / assumed
    return ratio


def resolution(pt: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
    """Relative resolution of the pT of a jet, by its pT [GeV]: 4.4 % at 500 GeV."""
    relative: ndarray = np.hypot(0.6 / np.sqrt(pt), 0.035)
    return relative


def reconstruct(jets: ParticleJets, event_key: UInt64[ndarray, " n_events"]) -> Reconstructed:
    """Jets after the detector: smeared pT, cleaning, and track observables.

    Args:
        jets: the jets at particle level.
        event_key: (n_events,) uint64, keys of the collisions that the jets belong to; all random numbers follow from
            them.
    """
    own = keys(event_key[jets.event], _JET, jets.number)
    pt = jets.pt * response(jets.eta) * np.maximum(1 + resolution(jets.pt) * normal(own, 0), 0.1)

    jet = np.repeat(np.arange(len(jets)), np.diff(jets.offset))
    chance = uniform(keys(event_key[jets.event[jet]], _TRACK, jets.track_number), 0)
    from_axis = distance(jets.track_eta, jets.track_phi, jets.eta[jet], jets.phi[jet])
    found_chance = efficiency(jets.track_eta, from_axis, jets.pt[jet])
    kept = chance < found_chance
    kept_less = chance < found_chance * (1 - LESS_EFFICIENT)

    mean = fakes(jets.eta, jets.pt)
    n_fake = poisson(uniform(own, 2), mean)
    n_more = poisson(uniform(own, 3), mean * MORE_FAKES)
    fake_jet = np.repeat(np.arange(len(jets)), n_fake)
    fake_number = np.arange(len(fake_jet)) - np.repeat(np.cumsum(n_fake) - n_fake, n_fake)
    fake_key = keys(own[fake_jet], _FAKE, fake_number)
    angle = 2 * np.pi * uniform(fake_key, 1)
    off = RADIUS * np.sqrt(uniform(fake_key, 2))

    owner = np.concatenate([jet[kept], fake_jet])
    order = np.argsort(owner, kind="stable")
    n_trk, width, c1 = observables(
        np.searchsorted(owner[order], np.arange(len(jets) + 1)).astype(np.int64),
        np.concatenate([jets.track_pt[kept], TRACK_PT - np.log(uniform(fake_key, 0))])[order],
        np.concatenate([jets.track_eta[kept], jets.eta[fake_jet] + off * np.cos(angle)])[order],
        np.concatenate([jets.track_phi[kept], jets.phi[fake_jet] + off * np.sin(angle)])[order],
        jets.eta,
        jets.phi,
        C1_BETA,
    )
    n_less = np.bincount(jet[kept_less], minlength=len(jets)).astype(np.int64) + n_fake
    return Reconstructed(pt, uniform(own, 4) > NOT_CLEAN, n_trk, width, c1, n_less, n_trk + n_more)
