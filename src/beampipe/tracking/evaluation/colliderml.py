"""The metric of ColliderML's tracking task, from its definition.

Source: ``colliderml/tasks/tracking/metrics.py``, version 0.4.2 (https://github.com/OpenDataDetector/ColliderML). A row
is a hit on a track; hits on no track are not submitted. The particle of a track is the one with most rows on it (ties:
the one with the first row); hits of no particle are all of one particle.

- ``trackml_eff``: rows of the particles of good tracks on these / all rows. A track is good if at least half of its
  rows are of its particle, and at least half of the hits of the particle on the track. The name misleads: it is a
  purity of what is submitted. One perfect track alone gets 1. So `ColliderMLScore` also has the same sum over all hits
  of the events, ``of_all_hits``.
- ``fake_rate``: tracks whose particle has less than half of the rows / tracks.
- ``dup_rate``: particles with rows on more than one track / particles with rows. One wrong hit on a second track is
  enough.
- ``physics_eff_pt1``: primary particles above 1 GeV that are the particle of a track / such particles. Here they have
  at least one hit, as simulated events list no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from beampipe.events import Event
from beampipe.tracking.evaluation.matching import Candidates
from beampipe.tracking.truth import Contributions, truth_of

_HALF: Final = 0.5

_MIN_PT: Final = 1.0
"""Lowest pT of the particles of ``physics_eff_pt1`` [GeV]."""


@dataclass(frozen=True)
class ColliderMLCounts:
    """Numbers behind the metric, which add up over events.

    Attributes:
        hits: hits of the events.
        rows: submitted rows.
        good: rows of the particles of good tracks on these.
        tracks: tracks with a row.
        fakes: tracks whose particle has less than half of the rows.
        particles: particles with a row.
        duplicates: particles with rows on more than one track.
        hard: primary particles above 1 GeV with a hit.
        hard_found: those that are the particle of a track.
    """

    hits: int = 0
    rows: int = 0
    good: int = 0
    tracks: int = 0
    fakes: int = 0
    particles: int = 0
    duplicates: int = 0
    hard: int = 0
    hard_found: int = 0


@dataclass(frozen=True)
class ColliderMLScore:
    """The metric; a share of nothing is 0, as in the definition.

    Attributes:
        trackml_eff: rows on good tracks / submitted rows.
        of_all_hits: rows on good tracks / hits of the events; not part of ColliderML's metric.
        fake_rate: tracks without a majority / tracks.
        dup_rate: particles on more than one track / particles on any.
        physics_eff_pt1: primaries above 1 GeV with a track / such primaries.
    """

    trackml_eff: float
    of_all_hits: float
    fake_rate: float
    dup_rate: float
    physics_eff_pt1: float

    @classmethod
    def of(cls, counts: ColliderMLCounts) -> ColliderMLScore:
        """The metric of the sums over events."""

        def share(part: int, whole: int) -> float:
            return part / whole if whole else 0.0

        return cls(
            share(counts.good, counts.rows),
            share(counts.good, counts.hits),
            share(counts.fakes, counts.tracks),
            share(counts.duplicates, counts.particles),
            share(counts.hard_found, counts.hard),
        )


def colliderml_counts(event: Event, candidates: Candidates, owners: Contributions) -> ColliderMLCounts:
    """The numbers of one event.

    Args:
        event: event with truth; a merged hit is of its leading particle alone.
        candidates: tracks, which may share hits.
        owners: `contributions` of the truth.
    """
    n_particles = len(owners.particle_id) + 1  # the last one made the hits of no particle
    leading = np.where(owners.leading < 0, n_particles - 1, owners.leading)
    pair, first, n_rows = np.unique(
        candidates.track * np.int64(n_particles) + leading[candidates.hit], return_index=True, return_counts=True
    )
    track, particle = np.divmod(pair, np.int64(n_particles))
    # The pairs of each track, most rows first.
    order = np.lexsort((first, -n_rows, track))
    tracks, start = np.unique(track[order], return_index=True)
    best = order[start]
    of_track = np.bincount(candidates.track, minlength=candidates.n_tracks)[tracks]
    of_particle = np.bincount(leading, minlength=n_particles)[particle[best]]
    has_majority = n_rows[best] >= _HALF * of_track
    is_good = has_majority & (n_rows[best] >= _HALF * of_particle)
    n_tracks_of = np.bincount(particle, minlength=n_particles)
    particles = truth_of(event).particles
    hard = owners.row(particles.particle_id[particles.primary & (particles.pt > _MIN_PT)])
    hard = hard[hard >= 0]
    return ColliderMLCounts(
        hits=len(leading),
        rows=len(candidates.hit),
        good=int(n_rows[best][is_good].sum()),
        tracks=len(tracks),
        fakes=int((~has_majority).sum()),
        particles=int((n_tracks_of > 0).sum()),
        duplicates=int((n_tracks_of > 1).sum()),
        hard=len(hard),
        hard_found=int(np.isin(hard, particle[best]).sum()),
    )
