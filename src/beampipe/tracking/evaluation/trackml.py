"""The score of the TrackML challenge: the weight of the hits that lie on tracks of their own particle.

Source: S. Amrouche et al., "The Tracking Machine Learning challenge: accuracy phase", arXiv:1904.06778; the numbers
are those of the challenge's library (github.com/LAL/trackml-library, ``weights.py``).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from beampipe.tracking.evaluation.matching import Candidates, match
from beampipe.tracking.events import Event
from beampipe.tracking.truth import Contributions, truth_of

__all__ = ["FORMULA", "order_weights", "pt_weights", "trackml_weights"]

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


def trackml_weights(
    event: Event,
    known: Contributions,
    row: Int64[ndarray, " n"],
    candidates: Candidates,
) -> tuple[float, float]:
    """Weight of the hits found, and of all hits, of the particles asked for.

    A hit counts once, however many of the tracks it is on. The order of the hits is by distance in z from the vertex
    in the challenge; here it is by distance from the beam axis and z together (r^2 + z^2), which agrees but for
    particles at right angles to the beam, where the challenge's order is that of chance.

    Args:
        event: event with truth.
        known: particles that made each hit.
        row: rows of the particles asked for in `known`.
        candidates: tracks of the event; short ones count too.

    Returns:
        found: weight of the hits on double-majority tracks of their own particle.
        total: weight of all hits.
    """
    truth = truth_of(event)
    n_particles = len(known.particle_id)
    pt = np.zeros(n_particles)
    of_truth = known.row(truth.particles.particle_id)
    pt[of_truth[of_truth >= 0]] = truth.particles.pt[of_truth >= 0]
    asked = np.zeros(n_particles, np.bool_)
    asked[row] = True

    kept = asked[known.particle]
    hit, particle = known.hit[kept], known.particle[kept]
    position = event.hits.position.astype(np.float64)
    order = np.lexsort((np.hypot(position[hit, 0], position[hit, 2]), particle))
    hit, particle = hit[order], particle[order]
    start = np.flatnonzero(np.append(True, particle[1:] != particle[:-1])[: len(particle)])
    sizes = np.diff(np.append(start, len(particle)))
    table = {int(size): order_weights(int(size)) for size in np.unique(sizes)}
    weight = np.concatenate([np.empty(0), *(table[int(size)] for size in sizes)]) * pt_weights(pt[particle])
    return float(weight[_on_own_track(hit, particle, candidates, known)].sum()), float(weight.sum())


def _on_own_track(
    hit: Int64[ndarray, " n"], particle: Int64[ndarray, " n"], candidates: Candidates, known: Contributions
) -> ndarray:
    """Which pairs (hit, particle) lie on a double-majority track of that particle."""
    matches = match(candidates, known, min_track_hits=1)
    owner = np.full(candidates.n_tracks, -1, np.int64)
    owner[matches.track[matches.double]] = matches.particle[matches.double]
    owned = owner[candidates.track] >= 0
    found = owner[candidates.track[owned]] * np.int64(candidates.n_hits) + candidates.hit[owned]
    return np.isin(particle * np.int64(candidates.n_hits) + hit, found)
