"""The stage `tracks`: hits are lost and added, tracks found and fitted, and matched to particles.

With pile-up, vertices are found by the tracks. The one whose tracks have the largest sum of squared pT is taken for
that of the hard collision, and only tracks near it count.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int8
from beampipe.chain.collisions import hard_momenta
from beampipe.chain.settings import DetectorSettings, TrackSettings
from beampipe.chain.tables import (
    DUPLICATE,
    FAKE,
    PRIMARY,
    SECONDARY,
    UNKNOWN,
    EventTable,
    ParticleTable,
    TrackEvents,
    TrackTable,
    joined,
)
from beampipe.chain.telemetry import note, span
from beampipe.errors import ConfigError
from beampipe.events import Event, Particles, Tracks
from beampipe.identity import digest_of
from beampipe.plugins import plugin_digest, plugin_names
from beampipe.simulation.degradation import Degradation, degrade
from beampipe.simulation.detector import Detector, DetectorLayout, detector_modules
from beampipe.tracking.acts.layouts import detector_for_acts
from beampipe.tracking.acts.vertices import find_vertices
from beampipe.tracking.evaluation.matching import Candidates, match
from beampipe.tracking.finder import TrackFinder, hits_of
from beampipe.tracking.finder_names import named_finder
from beampipe.tracking.fitting.fitter import FittedFinder
from beampipe.tracking.formats.parquet import read_events
from beampipe.tracking.loading import load_track_fitter
from beampipe.tracking.truth import Selection, contributions, select_particles, truth_of

if TYPE_CHECKING:
    from beampipe.serving.finders import TritonTrackFinder

_SAME: Final = 1e-4
"""Largest difference of the momenta of one particle before and after ACTS, over its largest component."""

_MIN_LAYERS: Final = 7
"""Layers with hits that make a particle reconstructable."""


def find_tracks(
    path: Path,
    hits: Path,
    record: Path | None,
    detector: DetectorSettings,
    degradation: Degradation | None,
    settings: TrackSettings,
    seed: int,
    run_seed: int,
    digest: str,
    *,
    pileup: bool,
) -> None:
    """Find the tracks of events, and write those that pass the cuts, and the particles that they should show.

    Events without truth have tracks of the kind `UNKNOWN`, and no particles; so have events with pile-up and no record,
    as their particles of the hard collision cannot be told from others.

    Args:
        path: file to write.
        hits: file of `beampipe.chain.collisions.simulate`.
        record: file of `beampipe.chain.collisions.generate` if there is pile-up and it is known, else None.
        detector: the tracker.
        degradation: lost hits, dead modules and noise; None for hits that are taken as they are.
        settings: finder and cuts.
        seed: seed of losses and noise.
        run_seed: seed of the dead modules, which all events of a sample share.
        digest: that of the finder, as by `finder_digest`; servers must state it.
        pileup: whether only tracks near the vertex of the hard collision count.

    Raises:
        MismatchError: a server states another one.
    """
    layout = detector.read()
    finder = opened_finder(settings, layout, digest)
    modules, field = detector_modules(layout), Detector().field if layout is None else layout.field_T
    momenta = None if record is None else hard_momenta(record)
    tracks, particles, counts, dz = [], [], [], []
    for number, clean in enumerate(read_events(hits)):
        with span("event", number=number):
            event = clean
            if degradation is not None:
                event = degrade(clean, degradation, seed, run_seed=run_seed, modules=modules)
            if pileup and momenta is None:
                event = replace(event, truth=None)
            with span("find", hits=len(event.hits)):
                result = finder.find(event)
                note(tracks=len(result))
            of_hard, vertex, n_vertices, distance = None, None, 0, np.nan
            if pileup:
                vertex, n_vertices = _hard_vertex(result, settings, field)
            if momenta is not None:
                of_hard = _of_collision(truth_of(event).particles, momenta[number])
                distance = (np.nan if vertex is None else vertex) - _true_z(truth_of(event).particles, of_hard)
            near = (np.inf if vertex is None else vertex) if pileup else None
            table, targets, unfitted = _tables(event, result, settings, number, of_hard, near)
        tracks.append(table)
        particles.append(targets)
        counts.append((len(result), unfitted, n_vertices))
        dz.append(distance)
    n_found, n_unfitted, n_vertex = np.array(counts, np.int64).reshape(-1, 3).T
    events = EventTable(np.ones(len(counts)), n_found, n_unfitted, n_vertex, np.array(dz, np.float64))
    TrackEvents(joined(TrackTable, tracks), joined(ParticleTable, particles), events).save(path)


def _of_collision(particles: Particles, momenta: Float64[ndarray, "n 3"]) -> Bool[ndarray, " n_particles"]:
    """Particles of the generator that have one of these momenta, up to the rounding of ACTS."""
    out = particles.primary.copy()
    if len(momenta) == 0:
        return np.zeros_like(out)
    rows = np.flatnonzero(out)
    order = np.argsort(momenta[:, 2])
    for row, momentum in zip(rows.tolist(), particles.momentum[rows].astype(np.float64), strict=True):
        margin = _SAME * np.abs(momentum).max()
        first, last = np.searchsorted(momenta[order, 2], [momentum[2] - margin, momentum[2] + margin])
        out[row] = (np.abs(momenta[order[first:last]] - momentum) <= margin).all(axis=1).any()
    return out


def _true_z(particles: Particles, chosen: Bool[ndarray, " n_particles"]) -> float:
    """Where the collision was, of which these particles are: where most of them start [mm]; nan without particles."""
    z, n = np.unique(particles.vertex[chosen, 2], return_counts=True)
    return float(z[np.argmax(n)]) if len(z) else np.nan


def _hard_vertex(tracks: Tracks, settings: TrackSettings, field: float) -> tuple[float | None, int]:
    """The z of the vertex whose tracks have the largest sum of squared pT [mm], and the number of vertices."""
    fit = tracks.parameters
    assert fit is not None
    usable = fit.fitted & (fit.pt > settings.min_pt) & (np.abs(fit.values[:, 0]) < settings.max_d0)
    values, pt = fit.values[usable], fit.pt[usable]
    vertices = find_vertices(values, fit.covariance[usable], field, tracks.beam_spot)
    if len(vertices) == 0:
        return None, 0
    apart = np.abs(values[:, 1, None] - vertices[:, 2]) * np.sin(values[:, 3])[:, None]
    nearest = np.argmin(apart, axis=1)
    near = apart[np.arange(len(pt)), nearest] < settings.max_dz
    sums = np.bincount(nearest[near], pt[near] ** 2, len(vertices))
    return float(vertices[np.argmax(sums), 2]), len(vertices)


def local_finder(settings: TrackSettings, layout: DetectorLayout | None) -> TrackFinder:
    """The finder in this process, without a fit.

    Args:
        settings: name of the finder, and tracker model.
        layout: detector that ACTS finds tracks in; None for its Generic one. Other finders do not need it.

    Raises:
        BeampipeError: any error of `named_finder`, or of `detector_for_acts`.
    """
    where = detector_for_acts(layout, (settings.finder,))
    return named_finder(settings.finder, where, model=settings.model, threads=1)


@lru_cache(maxsize=8)
def finder_digest(settings: TrackSettings, layout: DetectorLayout | None) -> str:
    """Digest of the finder without the fit, from which the keys of tracks follow; its name does not count.

    A finder of a plug-in may state in an attribute `digest` what its package does not show, such as weights elsewhere.

    Raises:
        ConfigError: the finder is of this package, and states no digest.
        BeampipeError: any error of `local_finder`.
    """
    if settings.identity:
        return settings.identity
    with local_finder(settings, layout) as finder:
        stated = getattr(finder, "digest", "")
    if settings.finder in plugin_names("finders"):
        return digest_of([plugin_digest("finders", settings.finder), stated])
    return str(stated)


def served_finder(settings: TrackSettings, digest: str) -> TritonTrackFinder:
    """The finder on servers, which must state this digest, or none if an `identity` stands for it."""
    from beampipe.serving.finders import TritonTrackFinder

    required = digest if re.fullmatch("[0-9a-f]{40}", digest) else ""
    return TritonTrackFinder(
        settings.servers, settings.finder, digest=required, on_failure=lambda error: note(repeated=str(error))
    )


@lru_cache(maxsize=2)  # once per worker, not per chunk
def opened_finder(settings: TrackSettings, layout: DetectorLayout | None, digest: str) -> FittedFinder:
    """The finder, here or on servers, with a fit in this process; arguments as of `finder_digest` and its result."""
    finder = served_finder(settings, digest) if settings.servers else local_finder(settings, layout)
    return FittedFinder(_WithoutSharedHits(settings.finder, finder), load_track_fitter(settings.model, threads=1))


class _WithoutSharedHits:
    """A finder whose tracks share no hits: of those of ACTS, only the labels are used."""

    def __init__(self, name: str, finder: TrackFinder) -> None:
        self._name, self._finder = name, finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find(self, hits: Any) -> Tracks:
        """The tracks of one event."""
        tracks = self._finder.find(hits)
        if not isinstance(tracks, Tracks) or len(tracks.track_id) != len(hits_of(hits)):
            got = f"{len(tracks.track_id)} labels" if isinstance(tracks, Tracks) else type(tracks).__name__
            raise ConfigError(f"finder {self._name}: got {got}, expected Tracks with a label of each hit")
        return Tracks(
            tracks.track_id,
            tracks.seconds,
            tracks.counts,
            beam_spot=tracks.beam_spot,
            magnetic_field=tracks.magnetic_field,
            min_hits=tracks.min_hits,
        )


def _tables(
    event: Event,
    tracks: Tracks,
    settings: TrackSettings,
    number: int,
    of_hard: Bool[ndarray, " n_particles"] | None,
    near: float | None,
) -> tuple[TrackTable, ParticleTable, int]:
    """Tracks and particles of one event that pass the cuts, and the number of tracks without a fit.

    With pile-up only particles of the hard collision count, and only tracks near this z of the vertex [mm]; infinity
    stands for no vertex, and None for no such cut.
    """
    fit = tracks.parameters
    assert fit is not None
    kind, targets = np.full(len(tracks), UNKNOWN, np.int8), ParticleTable.empty()
    if event.truth is not None:
        kind, targets = _compared(event, tracks, settings, number, of_hard)
    d0, z0, phi, theta, _ = fit.values.T
    with np.errstate(invalid="ignore", divide="ignore"):
        eta, pt = -np.log(np.tan(theta / 2)), fit.pt
        kept = fit.fitted & (pt > settings.min_pt) & (np.abs(eta) < settings.max_abs_eta)
        kept &= np.abs(d0) < settings.max_d0
        if near is not None:
            kept &= np.abs(z0 - near) * np.sin(theta) < settings.max_dz
    table = TrackTable(np.full(int(kept.sum()), number), pt[kept], eta[kept], phi[kept], kind[kept])
    return table, targets, int(np.count_nonzero(~fit.fitted))


def _compared(
    event: Event, tracks: Tracks, settings: TrackSettings, number: int, of_hard: Bool[ndarray, " n_particles"] | None
) -> tuple[Int8[ndarray, " n_tracks"], ParticleTable]:
    """Kinds of the tracks of an event with truth, and its particles that count."""
    truth = truth_of(event)
    owners = contributions(truth)
    matches = match(Candidates.of(tracks), owners, min_track_hits=1)
    charged = Selection(settings.min_pt, settings.max_abs_eta, 1)
    wanted = select_particles(event, charged, owners)
    reconstructable = select_particles(event, Selection(settings.min_pt, settings.max_abs_eta, _MIN_LAYERS), owners)
    if of_hard is not None:
        wanted, reconstructable = wanted & of_hard, reconstructable & of_hard
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
    return kind, targets
