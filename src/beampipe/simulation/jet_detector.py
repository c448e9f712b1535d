"""A parametrised detector: lost and fake tracks, neutral constituents, energy of jets, and variations of the tracking.

The numbers describe no real detector, but are typical of trackers and calorimeters. What matters is their shape:
tracking gets worse away from the centre, so that forward jets of one flavour differ from central ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int64, UInt64
from beampipe.jets.substructure import (
    C1_BETA,
    IN_ALL,
    NEUTRAL_PT,
    NOT_IN_EFFICIENCY,
    ONLY_IN_FAKES,
    TRACK_PT,
    JetConstituents,
    observables,
)
from beampipe.random_numbers import keys, normal, poisson, uniform
from beampipe.simulation.calorimeter import Calorimeter
from beampipe.simulation.jets import RADIUS, ParticleJets, distance

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

PHOTON_CELL: Final = 0.025
"""Width in pseudorapidity and azimuth of a cell; photons in the same cell are one constituent."""

_CALORIMETER: Final = Calorimeter()
"""The resolution, and the cells of neutral hadrons."""

# Kinds of random numbers, mixed into their keys; see `keys`. Injections use 4, and the calorimeter 5.
_JET, _TRACK, _FAKE, _NEUTRAL = 1, 2, 3, 6


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
    every = _tracks(jets, event_key)
    tracks = every.only(every.variation != ONLY_IN_FAKES)
    n_trk, width, c1 = observables(tracks.offset, tracks.pt, tracks.eta, tracks.phi, jets.eta, jets.phi, C1_BETA)
    n_less = np.diff(every.only(every.variation == IN_ALL).offset)
    return Reconstructed(pt, uniform(own, 4) > NOT_CLEAN, n_trk, width, c1, n_less, np.diff(every.offset))


def jet_constituents(jets: ParticleJets, event_key: UInt64[ndarray, " n_events"]) -> JetConstituents:
    """Tracks and neutral constituents of jets, by falling pT within each jet.

    The tracks are those that `reconstruct` counts. Neutral particles are added up in cells, which are smaller for
    photons than for hadrons, and smeared; the mean response is 1.

    Args:
        jets: the jets at particle level.
        event_key: as of `reconstruct`.
    """
    tracks, neutrals = _tracks(jets, event_key), _neutrals(jets, event_key)
    numbers = np.arange(len(jets))
    owner = np.concatenate([np.repeat(numbers, np.diff(part.offset)) for part in (tracks, neutrals)])
    columns = map(np.concatenate, zip(tracks.columns, neutrals.columns, strict=True))
    return _by_jet(len(jets), owner, *columns, by_pt=True)


def _by_jet(n_jets: int, owner: ndarray, pt: ndarray, *columns: ndarray, by_pt: bool = False) -> JetConstituents:
    """Constituents sorted by their jet, given by its number, and within it by falling pT or as they were."""
    order = np.lexsort((-pt, owner)) if by_pt else np.argsort(owner, kind="stable")
    offset = np.searchsorted(owner[order], np.arange(n_jets + 1)).astype(np.int64)
    return JetConstituents(offset, pt[order], *(column[order] for column in columns))


def _tracks(jets: ParticleJets, event_key: UInt64[ndarray, " n_events"]) -> JetConstituents:
    """Tracks of jets, fakes last, with those of all variations."""
    jet = np.repeat(np.arange(len(jets)), np.diff(jets.offset))
    chance = uniform(keys(event_key[jets.event[jet]], _TRACK, jets.track_number), 0)
    from_axis = distance(jets.track_eta, jets.track_phi, jets.eta[jet], jets.phi[jet])
    found_chance = efficiency(jets.track_eta, from_axis, jets.pt[jet])
    kept = chance < found_chance
    lost = chance >= found_chance * (1 - LESS_EFFICIENT)

    own = keys(event_key[jets.event], _JET, jets.number)
    mean = fakes(jets.eta, jets.pt)
    n_fake = poisson(uniform(own, 2), mean)
    n_every = n_fake + poisson(uniform(own, 3), mean * MORE_FAKES)
    fake_jet = np.repeat(np.arange(len(jets)), n_every)
    fake_number = np.arange(len(fake_jet)) - np.repeat(np.cumsum(n_every) - n_every, n_every)
    fake_key = keys(own[fake_jet], _FAKE, fake_number)
    angle = 2 * np.pi * uniform(fake_key, 1)
    off = RADIUS * np.sqrt(uniform(fake_key, 2))
    of_kept = np.where(lost[kept], NOT_IN_EFFICIENCY, IN_ALL)
    of_fakes = np.where(fake_number < n_fake[fake_jet], IN_ALL, ONLY_IN_FAKES)
    owner = np.concatenate([jet[kept], fake_jet])
    return _by_jet(
        len(jets),
        owner,
        np.concatenate([jets.track_pt[kept], TRACK_PT - np.log(uniform(fake_key, 0))]),
        np.concatenate([jets.track_eta[kept], jets.eta[fake_jet] + off * np.cos(angle)]),
        np.concatenate([jets.track_phi[kept], jets.phi[fake_jet] + off * np.sin(angle)]),
        np.ones(len(owner), bool),
        np.concatenate([of_kept, of_fakes]).astype(np.uint8),
    )


def _neutrals(jets: ParticleJets, event_key: UInt64[ndarray, " n_events"]) -> JetConstituents:
    """Neutral constituents of jets: smeared sums of photons, or of neutral hadrons, in a cell."""
    jet = np.repeat(np.arange(len(jets)), np.diff(jets.neutral_offset))
    width = np.where(jets.photon, PHOTON_CELL, _CALORIMETER.cell)
    n = 1024  # cells along each axis, of both signs
    row, column = (np.floor(angle / width).astype(np.int64) + n // 2 for angle in (jets.neutral_eta, jets.neutral_phi))
    cells, cell_of = np.unique(((jet * 2 + jets.photon) * n + row) * n + column, return_inverse=True)
    jet, photon = cells // (2 * n * n), (cells // (n * n) % 2).astype(bool)
    width = np.where(photon, PHOTON_CELL, _CALORIMETER.cell)
    eta, phi = ((each % n - n // 2 + 0.5) * width for each in (cells // n, cells))
    energy = np.bincount(cell_of, jets.neutral_pt * np.cosh(jets.neutral_eta), len(cells))
    stochastic = np.where(photon, _CALORIMETER.electron_stochastic, _CALORIMETER.hadron_stochastic)
    constant = np.where(photon, _CALORIMETER.electron_constant, _CALORIMETER.hadron_constant)
    deviation = normal(keys(event_key[jets.event[jet]], _NEUTRAL, jets.number[jet], cells % (2 * n * n)), 0)
    pt = (energy + deviation * np.hypot(stochastic * np.sqrt(energy), constant * energy)) / np.cosh(eta)
    neutral, unvaried = np.zeros(len(cells), bool), np.full(len(cells), IN_ALL, np.uint8)
    return _by_jet(len(jets), jet, pt, eta, phi, neutral, unvaried).only(pt > NEUTRAL_PT)
