"""The stage `tracks`: hits are lost and added, tracks found and fitted, and matched to particles."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from beampipe.chain.settings import DetectorSettings, TrackSettings
from beampipe.chain.tables import DUPLICATE, FAKE, PRIMARY, SECONDARY, EventTable, ParticleTable, TrackTable, joined
from beampipe.events import Event, Tracks
from beampipe.simulation.degradation import Degradation, degrade
from beampipe.simulation.detector import detector_modules, read_layout
from beampipe.tables import save_tables
from beampipe.tracking.evaluation.matching import Candidates, match
from beampipe.tracking.finder import TrackFinder
from beampipe.tracking.finders import named_finder
from beampipe.tracking.fitting.fitter import FittedFinder
from beampipe.tracking.formats.parquet import read_events
from beampipe.tracking.loading import load_track_fitter
from beampipe.tracking.truth import Selection, contributions, select_particles, truth_of

_MIN_LAYERS: Final = 7
"""Layers with hits that make a particle reconstructable."""


def find_tracks(
    path: Path,
    hits: Path,
    detector: DetectorSettings,
    degradation: Degradation,
    settings: TrackSettings,
    seed: int,
    run_seed: int,
) -> None:
    """Find the tracks of simulated events, and write those that pass the cuts, and the particles that they should show.

    Args:
        path: file to write.
        hits: file of `beampipe.chain.collisions.simulate`.
        detector: the tracker.
        degradation: lost hits, dead modules and noise.
        settings: finder and cuts.
        seed: seed of losses and noise.
        run_seed: seed of the dead modules, which all events of a sample share.
    """
    finder = _finder(settings)
    modules = detector_modules(None if detector.layout is None else read_layout(detector.layout))
    tracks, particles, counts = [], [], []
    for number, clean in enumerate(read_events(hits)):
        event = degrade(clean, degradation, seed, run_seed=run_seed, modules=modules)
        result = finder.find(event)
        table, targets, unfitted = _tables(event, result, settings, number)
        tracks.append(table)
        particles.append(targets)
        counts.append((len(result), unfitted))
    n_found, n_unfitted = np.array(counts, np.int64).reshape(-1, 2).T
    save_tables(
        path,
        tracks=joined(TrackTable, tracks),
        particles=joined(ParticleTable, particles),
        events=EventTable(np.ones(len(counts)), n_found, n_unfitted),
    )


@lru_cache(maxsize=2)  # once per worker, not per chunk
def _finder(settings: TrackSettings) -> FittedFinder:
    """The finder, here or on servers, with a fit in this process."""
    finder: TrackFinder
    if settings.servers:
        from beampipe.serving.finders import TritonTrackFinder

        finder = TritonTrackFinder(settings.servers, settings.finder)
    else:
        finder = named_finder(settings.finder, model=settings.model, threads=1)
    return FittedFinder(_WithoutSharedHits(finder), load_track_fitter(settings.model, threads=1))


class _WithoutSharedHits:
    """A finder whose tracks share no hits: of those of ACTS, only the labels are used."""

    def __init__(self, finder: TrackFinder) -> None:
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find(self, hits: Any) -> Tracks:
        """The tracks of one event."""
        tracks = self._finder.find(hits)
        return Tracks(tracks.track_id, tracks.seconds, tracks.counts, beam_spot=tracks.beam_spot)


def _tables(
    event: Event, tracks: Tracks, settings: TrackSettings, number: int
) -> tuple[TrackTable, ParticleTable, int]:
    """Tracks and particles of one event that pass the cuts, and the number of tracks without a fit."""
    truth, fit = truth_of(event), tracks.parameters
    assert fit is not None
    owners = contributions(truth)
    matches = match(Candidates.of(tracks), owners, min_track_hits=1)
    charged = Selection(settings.min_pt, settings.max_abs_eta, 1)
    wanted = select_particles(event, charged, owners)
    reconstructable = select_particles(event, Selection(settings.min_pt, settings.max_abs_eta, _MIN_LAYERS), owners)
    row = owners.row(truth.particles.particle_id)
    is_wanted = np.zeros(len(owners.particle_id) + 1, bool)  # the last for particles without hits
    is_wanted[row[wanted]] = True

    kind = np.full(len(tracks), FAKE, np.int8)
    kind[matches.track[matches.single]] = SECONDARY
    kind[matches.track[matches.single & is_wanted[matches.particle]]] = PRIMARY
    order = np.lexsort((-matches.n_shared, matches.particle))
    order = order[matches.single[order]]
    further = np.append(False, matches.particle[order][1:] == matches.particle[order][:-1])[: len(order)]
    kind[matches.track[order[further]]] = DUPLICATE

    d0, _, phi, theta, _ = fit.values.T
    with np.errstate(invalid="ignore", divide="ignore"):
        eta, pt = -np.log(np.tan(theta / 2)), fit.pt
        kept = fit.fitted & (pt > settings.min_pt) & (np.abs(eta) < settings.max_abs_eta)
        kept &= np.abs(d0) < settings.max_d0
    table = TrackTable(np.full(int(kept.sum()), number), pt[kept], eta[kept], phi[kept], kind[kept])

    particles = truth.particles.take(wanted)
    result = np.append(matches.found_double, False)[row[wanted]]
    angle = np.arctan2(particles.momentum[:, 1], particles.momentum[:, 0])
    targets = ParticleTable(
        np.full(len(particles), number),
        particles.pt.astype(np.float64),
        particles.eta.astype(np.float64),
        angle.astype(np.float64),
        result,
        reconstructable[wanted],
    )
    return table, targets, int(np.count_nonzero(~fit.fitted))
