"""The stage `jets`: jets of towers with the tracks and particles that belong to them, labels and true momenta."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64
from beampipe.chain.collisions import read_collisions, read_towers
from beampipe.chain.settings import JetSettings
from beampipe.chain.tables import JetEvents, JetTable, Owners, TrackEvents, TrackTable
from beampipe.simulation.calorimeter import Towers
from beampipe.simulation.jets import ParticleJets, TowerJets, distance, jet_labels, particle_jets, tower_jets
from beampipe.simulation.pythia import PHOTON, Collisions

_MATCHED: Final = 0.3
"""Largest distance between the axes of a jet of towers and of its jet of particles, or its photon."""

_ISOLATED: Final = 0.8
"""Smallest share of a jet's pT that the photon of the hard process has."""


def make_jets(
    path: Path,
    record: Path | None,
    towers: Path | None,
    tracks: Path,
    settings: JetSettings,
    *,
    with_photon: bool = False,
) -> None:
    """Cluster towers, associate tracks and particles as ghosts, and write the jets.

    Args:
        path: file to write.
        record: file of `beampipe.chain.collisions.generate`; None for jets without label and true momentum.
        towers: file of `beampipe.chain.collisions.measure_towers`; None for jets of tracks.
        tracks: file of `beampipe.chain.tracks.find_tracks`.
        settings: cuts on the jets.
        with_photon: whether one of the jets is the photon of the hard process, which is labelled then.
    """
    found = TrackEvents.load(tracks)
    track, particle, events = found.tracks, found.particles, found.events
    result = tower_jets(
        _as_towers(track, len(events)) if towers is None else read_towers(towers),
        np.concatenate([track.event, particle.event]),
        np.concatenate([track.eta, particle.eta]),
        np.concatenate([track.phi, particle.phi]),
        settings.min_pt,
        settings.max_abs_eta,
    )
    label, true_pt = np.zeros(len(result), np.int64), np.full(len(result), np.nan)
    if record is not None:
        collisions = read_collisions(record)
        truth = particle_jets(collisions, settings.min_pt / 2, settings.max_abs_eta + _MATCHED)
        label, true_pt = jet_labels(collisions, result.event, result.eta, result.phi), _true_pt(result, truth)
        if with_photon:
            photon = _photons(result, collisions)
            label, true_pt = np.where(photon, PHOTON, label), np.where(photon, np.nan, true_pt)
        events = replace(events, weight=collisions.weights[:, 0])
    jets = JetTable(result.event, result.pt, result.eta, result.phi, label, true_pt)
    n_tracks = len(track.event)
    JetEvents(events, jets, track, particle, Owners(result.owner[:n_tracks], result.owner[n_tracks:])).save(path)


def _as_towers(tracks: TrackTable, n_events: int) -> Towers:
    """Tracks in place of towers, each with its momentum."""
    order = np.argsort(tracks.event, kind="stable")
    offset = np.searchsorted(tracks.event[order], np.arange(n_events + 1)).astype(np.int64)
    return Towers(offset, tracks.pt[order], tracks.eta[order], tracks.phi[order])


def _photons(jets: TowerJets, collisions: Collisions) -> Bool[ndarray, " n"]:
    """Jets around the hardest photon of their event that have little else in them."""
    out = np.zeros(len(jets), bool)
    for row, event in enumerate(jets.event.tolist()):
        own = slice(int(collisions.offset[event]), int(collisions.offset[event + 1]))
        px, py, pz, _ = collisions.momentum[own].T
        pt = np.where(collisions.pdg[own] == PHOTON, np.hypot(px, py), 0.0)
        if pt.max(initial=0.0) > _ISOLATED * jets.pt[row]:
            hardest = int(np.argmax(pt))
            eta, phi = np.arcsinh(pz[hardest] / pt[hardest]), np.arctan2(py[hardest], px[hardest])
            out[row] = distance(jets.eta[row : row + 1], jets.phi[row : row + 1], eta, phi)[0] < _MATCHED
    return out


def _true_pt(jets: TowerJets, truth: ParticleJets) -> Float64[ndarray, " n"]:
    """Transverse momentum of the nearest jet of particles in the same event [GeV]; nan if none is near."""
    out = np.full(len(jets), np.nan)
    begin, end = (np.searchsorted(truth.event, jets.event, side) for side in ("left", "right"))
    for row, (first, last) in enumerate(zip(begin.tolist(), end.tolist(), strict=True)):
        if first == last:
            continue
        apart = distance(truth.eta[first:last], truth.phi[first:last], jets.eta[row], jets.phi[row])
        nearest = int(np.argmin(apart))
        if apart[nearest] < _MATCHED:
            out[row] = truth.pt[first + nearest]
    return out
