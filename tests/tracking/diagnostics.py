"""Pulls of fits against the truth, and a finder that reads the truth.

A *pull* is a residual over its fitted error: with correct errors it has mean 0 and width 1. The width
of a core is half of the range that holds the middle 68 % of the values: for a normal distribution its standard
deviation, and hardly sensitive to tails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Float64
from beampipe.errors import InputError
from beampipe.events import NO_TRACK, Event, Hits, Particles, TrackParameters, Tracks
from beampipe.tracking.evaluation.matching import Candidates, match
from beampipe.tracking.finder import InOneThread
from beampipe.tracking.fitting.helix import perigee_of
from beampipe.tracking.kernels import number_by_first_hit
from beampipe.tracking.truth import (
    HEADLINE,
    Selection,
    contributions,
    select_particles,
    truth_of,
)

PARAMETER_NAMES: Final = ("d0 [mm]", "z0 [mm]", "phi [rad]", "theta [rad]", "q/p [e/GeV]")
"""Parameters in the order of `TrackParameters.values`."""

_MOST_SIGMAS: Final = 5.0
"""Pulls beyond are counted as this many in a mean, so that one wrong hit does not decide it."""


@dataclass(frozen=True, eq=False)
class FitScores:
    """Fits of tracks that match selected particles by double majority.

    Attributes:
        residual: (n, 5) float64 fitted less true parameters, in the order and units of `PARAMETER_NAMES`.
        pull: (n, 5) float64 residuals over their errors.
        reduced_chi2: (n,) float64 chi2 per degree of freedom.
        pt: (n,) float32 true transverse momentum [GeV].
        eta: (n,) float32 true pseudorapidity.
        charge: (n,) float32 true charge [e].

    A track that matches and was not fitted has NaN in the first three.
    """

    residual: Float64[ndarray, "n 5"]
    pull: Float64[ndarray, "n 5"]
    reduced_chi2: Float64[ndarray, " n"]
    pt: Float32[ndarray, " n"]
    eta: Float32[ndarray, " n"]
    charge: Float32[ndarray, " n"]

    def __len__(self) -> int:
        return len(self.pt)

    def take(self, keep: Bool[ndarray, " n"]) -> FitScores:
        """The fits at a mask."""
        return FitScores(*(getattr(self, f.name)[keep] for f in fields(self)))

    @property
    def fitted(self) -> Bool[ndarray, " n"]:
        """Which of the tracks have parameters."""
        return np.asarray(np.isfinite(self.pull).all(axis=1))

    @property
    def momentum_pull(self) -> float:
        """Mean pull of abs(q/p): above 0 where momenta come out too low, which charges of both signs hide."""
        pulls = (self.pull[:, 4] * np.sign(self.charge))[self.fitted]
        return float(np.clip(pulls, -_MOST_SIGMAS, _MOST_SIGMAS).mean())


def core_width(values: Float64[ndarray, "n k"]) -> Float64[ndarray, " k"]:
    """Half of the range that holds the middle 68 % of each column; NaN without any value."""
    if len(values) == 0:
        return np.full(values.shape[1], np.nan)
    low, high = np.quantile(values, [0.16, 0.84], axis=0)
    return np.asarray((high - low) / 2)


def true_perigee(particles: Particles, field: float) -> Float64[ndarray, "n 5"]:
    """`perigee_of` simulated particles.

    Args:
        particles: particles of one event.
        field: magnetic field along z [T].
    """
    vertex, momentum = particles.vertex.astype(np.float64), particles.momentum.astype(np.float64)
    return perigee_of(vertex, momentum, particles.charge.astype(np.float64), field)


def score_fits(
    event: Event, tracks: Tracks, parameters: TrackParameters, field: float, selection: Selection = HEADLINE
) -> FitScores:
    """Compare the fits of one event with its particles.

    Args:
        event: an event with truth.
        tracks: tracks found in it.
        parameters: their fits, one for each track.
        field: magnetic field along z in which the particles were simulated [T].
        selection: particles that count.

    Raises:
        InputError: the event has no truth, or there are not as many fits as tracks.
    """
    truth = truth_of(event)
    candidates = Candidates.from_labels(tracks.track_id)
    if len(parameters) != tracks.n_tracks:
        raise InputError(f"event {event.event_id}: got {len(parameters)} fits, expected {tracks.n_tracks}, one a track")
    contributors = contributions(truth)
    matches = match(candidates, contributors)
    particles = truth.particles
    row = np.flatnonzero(select_particles(event, selection, contributors))
    row = row[np.argsort(particles.particle_id[row])]
    ids = particles.particle_id[row]
    matched = contributors.particle_id[matches.particle[matches.double]]
    index = np.searchsorted(ids, matched)
    is_selected = np.append(ids, -1)[index] == matched
    track, row = matches.track[matches.double][is_selected], row[index[is_selected]]
    residual = parameters.values[track] - true_perigee(particles, field)[row]
    residual[:, 2] -= 2 * np.pi * np.round(residual[:, 2] / (2 * np.pi))
    error = np.sqrt(np.diagonal(parameters.covariance[track], axis1=1, axis2=2))
    reduced = parameters.chi2[track] / np.maximum(parameters.ndf[track], 1)
    return FitScores(residual, residual / error, reduced, particles.pt[row], particles.eta[row], particles.charge[row])


def joined(scores: Sequence[FitScores]) -> FitScores:
    """The fits of several events as one; at least one event."""
    return FitScores(*(np.concatenate([getattr(score, f.name) for score in scores]) for f in fields(FitScores)))


class TruthFinder(InOneThread):
    """A finder that reads the truth: one track per particle. It is the upper limit for labels, and a finder for tests.

    It needs each event before its hits: ``for event in finder.watching(events): finder.find(event.hits)``.
    """

    def __init__(self) -> None:
        self._event: Event | None = None

    def watching(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass events through, remembering the current one."""
        for event in events:
            self._event = event
            yield event

    def find(self, hits: Hits, /) -> Tracks:
        """Label the hits of the current event by their leading particle.

        Raises:
            InputError: these are not the hits of the current event.
        """
        event = self._event
        if event is None or event.truth is None or event.hits is not hits:
            raise InputError(
                "truth finder: got hits of an unknown event, expected those of the event that passes; loop over"
                " `finder.watching(events)`"
            )
        label = np.where(event.truth.particle_id > 0, event.truth.particle_id, NO_TRACK)
        return Tracks(number_by_first_hit(label), counts={"hits": len(hits)})
