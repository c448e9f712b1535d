"""Match tracks to particles, and the score of the TrackML challenge.

Single majority: more than half of the track's hits are the particle's. Double majority: also, more than half of the
particle's hits are on the track. The particle of a track is the one with most hits on it (ties: lowest id); a merged
hit counts for each of its particles. Only tracks with at least `min_track_hits` hits are candidates.

A *fake* is a candidate that matches no particle at all. A candidate that matches a particle outside the selection
is neither fake nor counted in the efficiency. A *duplicate* is a candidate whose particle another one matches too:
there are (matched candidates) - (particles matched) of them.

The TrackML score is the weight of the hits that lie on tracks of their own particle. Source: S. Amrouche et al., "The
Tracking Machine Learning challenge: accuracy phase", arXiv:1904.06778; the numbers are those of the challenge's library
(github.com/LAL/trackml-library, ``weights.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int64
from beampipe.errors import ConfigError, InputError
from beampipe.events import NO_TRACK, NOISE, Event, Tracks, distance_squared
from beampipe.tracking.truth import Contributions, contributions, truth_of

MIN_TRACK_HITS: Final = 7

_NO_PARTICLE: Final = -1


@dataclass(frozen=True, eq=False)
class Candidates:
    """Track candidates of one event as pairs (track, hit), each pair once. Tracks may share hits.

    Attributes:
        track: (n_pairs,) int64, 0 .. n_tracks - 1.
        hit: (n_pairs,) int64, 0 .. n_hits - 1.
        n_tracks: number of tracks of the event.
        n_hits: number of hits of the event.
    """

    track: Int64[ndarray, " n_pairs"]
    hit: Int64[ndarray, " n_pairs"]
    n_tracks: int
    n_hits: int

    @classmethod
    def of(cls, tracks: Tracks) -> Candidates:
        """Candidates from tracks: from their hit lists if there are any, else from their labels.

        Raises:
            InputError: labels or lists do not belong to the hits.
        """
        if tracks.candidates is None:
            return cls.from_labels(tracks.track_id)
        return cls.from_lists(tracks.candidates, len(tracks.track_id))

    @classmethod
    def from_labels(cls, track_id: Int64[ndarray, " n_hits"]) -> Candidates:
        """Candidates of one label per hit; any negative label is no track.

        Raises:
            InputError: a label is not below the number of hits.
        """
        largest = int(track_id.max(initial=NO_TRACK))
        if largest >= len(track_id):
            raise InputError(
                f"track_id: got {largest} for {len(track_id)} hits, expected 0 .. n_tracks - 1; number tracks densely"
            )
        hit = np.flatnonzero(track_id >= 0)
        return cls(track_id[hit], hit, largest + 1, len(track_id))

    @classmethod
    def from_lists(cls, lists: Sequence[Int64[ndarray, " _"]], n_hits: int) -> Candidates:
        """Candidates of one array of hit indices per track; a hit listed twice on a track counts once.

        Raises:
            InputError: an index is not a hit of the event.
        """
        track = np.repeat(np.arange(len(lists), dtype=np.int64), [len(hits) for hits in lists])
        hit = np.concatenate([np.empty(0, np.int64), *lists]).astype(np.int64)
        if len(hit) and (hit.min() < 0 or hit.max() >= n_hits):
            bad = int(hit.min()) if hit.min() < 0 else int(hit.max())
            raise InputError(f"candidates: got hit {bad}, expected 0 .. {n_hits - 1}; lists and hits of other events?")
        track, hit = np.divmod(np.unique(track * np.int64(n_hits) + hit), np.int64(max(n_hits, 1)))
        return cls(track, hit, len(lists), n_hits)


@dataclass(frozen=True, eq=False)
class Matches:
    """The particle that each candidate matches. Particles are rows of `Contributions.particle_id`.

    Attributes:
        track: (n_candidates,) int64, index of the track among those given.
        n_hits: (n_candidates,) int64, hits on it.
        particle: (n_candidates,) int64, the particle with most hits on it, -1 if it is all noise.
        n_shared: (n_candidates,) int64, hits of that particle on it.
        single: (n_candidates,) bool, matched by single majority.
        double: (n_candidates,) bool, matched by double majority.
        found_single: (n_particles,) bool, some candidate matches the particle by single majority.
        found_double: (n_particles,) bool, the same by double majority.
    """

    track: Int64[ndarray, " n_candidates"]
    n_hits: Int64[ndarray, " n_candidates"]
    particle: Int64[ndarray, " n_candidates"]
    n_shared: Int64[ndarray, " n_candidates"]
    single: Bool[ndarray, " n_candidates"]
    double: Bool[ndarray, " n_candidates"]
    found_single: Bool[ndarray, " n_particles"]
    found_double: Bool[ndarray, " n_particles"]

    def __len__(self) -> int:
        return len(self.track)

    def n_fakes(self, double: bool) -> int:
        """Candidates that match no particle."""
        return int(np.count_nonzero(~(self.double if double else self.single)))

    def n_duplicates(self, double: bool) -> int:
        """Matched candidates beyond the first of their particle."""
        matched, found_particles = (self.double, self.found_double) if double else (self.single, self.found_single)
        return int(np.count_nonzero(matched) - np.count_nonzero(found_particles))


def match(candidates: Candidates, owners: Contributions, min_track_hits: int = MIN_TRACK_HITS) -> Matches:
    """Match candidates to particles.

    Args:
        candidates: tracks that are matched.
        owners: particles that made each hit.
        min_track_hits: shorter tracks are no candidates.

    Raises:
        ConfigError: `min_track_hits` is below 1.
        InputError: tracks and truth are of events with different numbers of hits.
    """
    if min_track_hits < 1:
        raise ConfigError(f"min_track_hits: got {min_track_hits}, expected 1 or more")
    if candidates.n_hits != len(owners.leading):
        raise InputError(
            f"matching: got tracks on {candidates.n_hits} hits, expected {len(owners.leading)}, one label per hit"
        )
    n_hits = np.bincount(candidates.track, minlength=candidates.n_tracks).astype(np.int64)
    particle, n_shared = _most_hits(candidates, owners)
    counted = np.flatnonzero(n_hits >= min_track_hits)
    n_hits, particle, n_shared = n_hits[counted], particle[counted], n_shared[counted]
    of_particle = np.append(owners.n_hits, 0)[particle]  # row -1 reads the appended 0
    single = 2 * n_shared > n_hits
    double = single & (2 * n_shared > of_particle)
    found_particles = np.zeros((2, len(owners.particle_id)), np.bool_)
    found_particles[0, particle[single]] = True
    found_particles[1, particle[double]] = True
    return Matches(counted, n_hits, particle, n_shared, single, double, found_particles[0], found_particles[1])


def matched_particles(event: Event, tracks: Tracks) -> Int64[ndarray, " n_tracks"]:
    """The number of the particle that each track matches by double majority, `NOISE` for none.

    Args:
        event: event that the tracks were found in.
        tracks: the tracks.

    Raises:
        InputError: the event has no truth.
    """
    owners = contributions(truth_of(event))
    matches = match(Candidates.of(tracks), owners, 1)
    return np.where(matches.double, np.append(owners.particle_id, NOISE)[matches.particle], NOISE)


def fake_tracks(
    event: Event, tracks: Tracks, min_track_hits: int = MIN_TRACK_HITS
) -> Bool[ndarray, " n_tracks"] | None:
    """Which tracks match no particle by double majority; tracks too short to be candidates are not called fake.

    Args:
        event: event that the tracks were found in.
        tracks: the tracks.
        min_track_hits: hits from which a track is a candidate, as in `evaluate`.

    Returns:
        (n_tracks,) or None for an event without truth.
    """
    if event.truth is None:
        return None
    matches = match(Candidates.of(tracks), contributions(event.truth), min_track_hits)
    fake = np.zeros(len(tracks), np.bool_)
    fake[matches.track[~matches.double]] = True
    return fake


def _most_hits(
    candidates: Candidates, owners: Contributions
) -> tuple[Int64[ndarray, " n_tracks"], Int64[ndarray, " n_tracks"]]:
    """Particle with most hits on each track (-1 for none, ties to the lowest id) and that number of hits."""
    leading = owners.leading[candidates.hit]
    has_particle = leading != _NO_PARTICLE
    track, particle = candidates.track[has_particle], leading[has_particle]
    if len(owners.extra_hit):
        begin = np.searchsorted(owners.extra_hit, candidates.hit, side="left")
        n_extra = np.searchsorted(owners.extra_hit, candidates.hit, side="right") - begin
        entry = np.repeat(np.arange(len(begin)), n_extra)
        which = begin[entry] + np.arange(len(entry)) - np.repeat(np.cumsum(n_extra) - n_extra, n_extra)
        track = np.concatenate([track, candidates.track[entry]])
        particle = np.concatenate([particle, owners.extra_particle[which]])

    best = np.full(candidates.n_tracks, _NO_PARTICLE, np.int64)
    most = np.zeros(candidates.n_tracks, np.int64)
    if len(track) == 0:
        return best, most
    n_particles = np.int64(len(owners.particle_id))
    pair, count = np.unique(track * n_particles + particle, return_counts=True)
    track, particle = np.divmod(pair, n_particles)
    # One number sorts by hits, then by the lowest id: rows are in the order of `particle_id`.
    rank = count * n_particles + (n_particles - 1 - particle)
    start = np.flatnonzero(np.append(True, track[1:] != track[:-1]))
    most_of, low_of = np.divmod(np.maximum.reduceat(rank, start), n_particles)
    most[track[start]] = most_of
    best[track[start]] = n_particles - 1 - low_of
    return best, most


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

    The nine weights of the challenge are stretched over the particle's hits, at most its first 20; others weigh 0.
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
    """The weights of all hits of selected particles in one event; a merged hit has one for each of them.

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


def hit_weights(event: Event, owners: Contributions, row: Int64[ndarray, " n"]) -> HitWeights:
    """Weigh the hits of some particles.

    The challenge orders hits by their distance in z from the vertex; here they are ordered by r^2 + z^2. Both agree
    except for particles at right angles to the beam, where the order of the challenge is random.

    Args:
        event: event with truth.
        owners: particles that made each hit.
        row: rows of the selected particles in `owners`.
    """
    particles = truth_of(event).particles
    is_wanted, pt = np.zeros((2, len(owners.particle_id)))
    of_truth = owners.row(particles.particle_id)
    pt[of_truth[of_truth >= 0]] = particles.pt[of_truth >= 0]
    is_wanted[row] = 1

    kept = is_wanted[owners.particle] > 0
    hit, particle = owners.hit[kept], owners.particle[kept]
    order = np.lexsort((distance_squared(event.hits.position)[hit], particle))
    hit, particle = hit[order], particle[order]
    sizes = np.bincount(particle)
    table = {int(size): order_weights(int(size)) for size in np.unique(sizes)}
    by_order = np.concatenate([np.empty(0), *(table[int(size)] for size in sizes)])
    return HitWeights(hit, particle, by_order * pt_weights(pt[particle]))


def weight_found(weights: HitWeights, owners: Contributions, candidates: Candidates) -> float:
    """Weight of the hits that lie on double-majority tracks of their own particle.

    A hit counts once, however many of those tracks it is on; tracks may have any number of hits.

    Args:
        weights: `hit_weights` of the event.
        owners: particles that made each hit.
        candidates: tracks of the event.
    """
    matches = match(candidates, owners, min_track_hits=1)
    owner = np.full(candidates.n_tracks, -1, np.int64)
    owner[matches.track[matches.double]] = matches.particle[matches.double]
    owned = owner[candidates.track] >= 0
    n_hits = np.int64(candidates.n_hits)
    found_pairs = np.sort(owner[candidates.track[owned]] * n_hits + candidates.hit[owned])
    if len(found_pairs) == 0:
        return 0.0
    wanted_pairs = weights.particle * n_hits + weights.hit
    at = np.minimum(np.searchsorted(found_pairs, wanted_pairs), len(found_pairs) - 1)
    return float(weights.weight[found_pairs[at] == wanted_pairs].sum())
