"""The score of the TrackML challenge: the weight of the hits that lie on tracks of their own particle.

Source: S. Amrouche et al., "The Tracking Machine Learning challenge: accuracy phase", arXiv:1904.06778; the numbers
are those of the challenge's library (github.com/LAL/trackml-library, ``weights.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.tracking.evaluation.matching import Candidates, match
from beampipe.tracking.events import Event
from beampipe.tracking.truth import Contributions, distance_squared, truth_of

__all__ = ["FORMULA", "HitWeights", "hit_weights", "order_weights", "pt_weights", "weight_found"]

FORMULA: Final = (
    "TrackML score: weight of the hits of the particles on their double-majority tracks / weight of all their hits;"
    " weight: by order along the particle (first and last count most, each particle sums to 1) times pT"
    " (.2 below .5 GeV to 1 above 3 GeV)"
)
"""The formula of the score, to be printed beside it."""

_ORDER: Final = np.array([10.0, 8.0, 6.0, 5.0, 3.0, 3.0, 3.0, 5.0, 6.0])
_MIN_HITS: Final = 4
_MAX_HITS: Final = 20


def order_weights(n_hits: int) -> Float64[ndarray, " n_hits"]:
    """Weights of the hits of one particle, inside out; their sum is 1, or 0 for fewer than four hits.

    The nine numbers of the challenge are stretched to the particle's hits, as far as 20 of them; more weigh nothing.
    """
    weights = np.zeros(n_hits)
    if n_hits < _MIN_HITS:
        return weights
    counted = min(n_hits, _MAX_HITS)
    weights[:counted] = np.interp(np.linspace(0, len(_ORDER) - 1, counted), np.arange(len(_ORDER)), _ORDER)
    weights /= weights.sum()
    return weights


def pt_weights(pt: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
    """Weight of each particle by its pT [GeV]: .2 up to .5 GeV, then a straight line to 1 at 3 GeV."""
    return np.asarray(np.interp(pt, [0.5, 3.0], [0.2, 1.0]))


@dataclass(frozen=True, eq=False)
class HitWeights:
    """The weights of all hits of the particles asked for, in one event; a merged hit has one for each of them.

    Attributes:
        hit: (n,) int64 number of the hit.
        particle: (n,) int64 row of the particle in `Contributions`.
        weight: (n,) weight of the hit for that particle.
    """

    hit: Int64[ndarray, " n"]
    particle: Int64[ndarray, " n"]
    weight: Float64[ndarray, " n"]

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return float(self.weight.sum())


def hit_weights(event: Event, known: Contributions, row: Int64[ndarray, " n"]) -> HitWeights:
    """Weigh the hits of some particles.

    The order of the hits is by distance in z from the vertex in the challenge; here it is by distance from the beam
    axis and z together (r^2 + z^2), which agrees but for particles at right angles to the beam, where the challenge's
    order is that of chance.

    Args:
        event: event with truth.
        known: particles that made each hit.
        row: rows of the particles asked for in `known`.
    """
    particles = truth_of(event).particles
    asked, pt = np.zeros((2, len(known.particle_id)))
    of_truth = known.row(particles.particle_id)
    pt[of_truth[of_truth >= 0]] = particles.pt[of_truth >= 0]
    asked[row] = 1

    kept = asked[known.particle] > 0
    hit, particle = known.hit[kept], known.particle[kept]
    order = np.lexsort((distance_squared(event.hits)[hit], particle))
    hit, particle = hit[order], particle[order]
    sizes = np.bincount(particle)
    table = {int(size): order_weights(int(size)) for size in np.unique(sizes)}
    by_order = np.concatenate([np.empty(0), *(table[int(size)] for size in sizes)])
    return HitWeights(hit, particle, by_order * pt_weights(pt[particle]))


def weight_found(weights: HitWeights, known: Contributions, candidates: Candidates) -> float:
    """Weight of the hits that lie on double-majority tracks of their own particle.

    A hit counts once, however many of those tracks it is on; tracks may have any number of hits.

    Args:
        weights: `hit_weights` of the event.
        known: particles that made each hit.
        candidates: tracks of the event.
    """
    matches = match(candidates, known, min_track_hits=1)
    owner = np.full(candidates.n_tracks, -1, np.int64)
    owner[matches.track[matches.double]] = matches.particle[matches.double]
    owned = owner[candidates.track] >= 0
    n_hits = np.int64(candidates.n_hits)
    found = np.sort(owner[candidates.track[owned]] * n_hits + candidates.hit[owned])
    if len(found) == 0:
        return 0.0
    wanted = weights.particle * n_hits + weights.hit
    at = np.minimum(np.searchsorted(found, wanted), len(found) - 1)
    return float(weights.weight[found[at] == wanted].sum())
