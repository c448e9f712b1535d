"""Diagnostics of a finder: edges after each stage, pulls of fits, and checks that need no other program.

A *pull* is a residual over its fitted error: with correct errors it has mean 0 and width 1. The width
of a core is half of the range that holds the middle 68 % of the values: for a normal distribution its standard
deviation, and hardly sensitive to tails.

Suspect a leak of truth behind any result that is too good: hits often come in the order of particles or
modules, and truth may slip into an input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Final

import numpy as np
from numpy import ndarray
from rich.table import Table

from beampipe.arrays import Bool, Float32, Float64, Int64
from beampipe.errors import InputError, ShapeError
from beampipe.events import NO_TRACK, Event, Hits, Particles, TrackParameters, Tracks
from beampipe.terminal import make_table
from beampipe.tracking.evaluation.matching import Candidates, match
from beampipe.tracking.evaluation.report import text_with_error
from beampipe.tracking.evaluation.results import Proportion
from beampipe.tracking.evaluation.scoring import tracks_of
from beampipe.tracking.finder import InOneThread, TrackFinder
from beampipe.tracking.fitting.helix import perigee_of
from beampipe.tracking.kernels.reference import number_by_first_hit
from beampipe.tracking.truth import (
    HEADLINE,
    Contributions,
    Selection,
    contributions,
    select_particles,
    true_edges,
    truth_of,
)


@dataclass(frozen=True)
class EdgeScore:
    """A graph against the true edges of the selected particles (`true_edges`). Add scores to pool events.

    Attributes:
        n_edges: number of distinct edges of the graph, whichever way round.
        n_true: number of true edges.
        n_found: number of true edges that are in the graph.
        n_same: number of edges that join two hits of one particle without being a true edge: of a particle
            outside the selection, between twins, or past a layer.
    """

    n_edges: int = 0
    n_true: int = 0
    n_found: int = 0
    n_same: int = 0

    def __add__(self, other: EdgeScore) -> EdgeScore:
        return EdgeScore(*(count + more for count, more in zip(astuple(self), astuple(other), strict=True)))

    @property
    def efficiency(self) -> Proportion:
        """True edges found / true edges."""
        return Proportion(self.n_found, self.n_true)

    @property
    def purity(self) -> Proportion:
        """True edges found / edges of the graph."""
        return Proportion(self.n_found, self.n_edges)

    @property
    def purity_without_same(self) -> Proportion:
        """The same without other edges along one particle in the denominator, as they are no mistakes."""
        return Proportion(self.n_found, self.n_edges - self.n_same)


def edge_labels(
    edge_index: Int64[ndarray, "2 n_edges"], true_edge_index: Int64[ndarray, "2 n_true"], n_hits: int
) -> Bool[ndarray, " n_edges"]:
    """Which edges are among the true ones, whichever way round they are given."""
    if edge_index.shape[1] and (edge_index.min() < 0 or edge_index.max() >= n_hits):
        raise ShapeError(
            f"edge_index: got hits {edge_index.min()} to {edge_index.max()}, expected 0 to {n_hits - 1};"
            " edges and hits are of different events"
        )
    true = np.sort(_pair_key(true_edge_index, n_hits))
    if len(true) == 0:
        return np.zeros(edge_index.shape[1], np.bool_)
    key = _pair_key(edge_index, n_hits)
    nearest = np.minimum(np.searchsorted(true, key), len(true) - 1)
    label: Bool[ndarray, " n_edges"] = true[nearest] == key
    return label


def _pair_key(edge_index: Int64[ndarray, "2 n"], n_hits: int) -> Int64[ndarray, " n"]:
    """One number per unordered pair of hits."""
    low, high = np.minimum(*edge_index), np.maximum(*edge_index)
    key: Int64[ndarray, " n"] = low * np.int64(n_hits) + high
    return key


def score_edges(
    event: Event,
    edge_index: Int64[ndarray, "2 n_edges"],
    selection: Selection = HEADLINE,
    true_edge_index: Int64[ndarray, "2 n_true"] | None = None,
    owners: Contributions | None = None,
) -> EdgeScore:
    """Score one graph.

    Args:
        event: event with truth.
        edge_index: edges of the graph; repeated and reversed ones count once.
        selection: particles whose edges count.
        true_edge_index: `true_edges(event, selection)`, if already computed.
        owners: `contributions(event.truth)`, if already computed.

    Raises:
        InputError: the event has no truth.
        ShapeError: an edge ends at a hit that the event does not have.
    """
    truth, n_hits = truth_of(event), len(event.hits)
    owners = contributions(truth) if owners is None else owners
    if true_edge_index is None:
        true_edge_index = true_edges(event, selection)
    # Sorting keys is several times faster than np.unique with indices, and graphs have millions of edges.
    key = np.sort(np.minimum(*edge_index) * np.int64(n_hits) + np.maximum(*edge_index))
    distinct = np.stack(np.divmod(key[np.append(True, key[1:] != key[:-1])[: len(key)]], np.int64(max(n_hits, 1))))
    label = edge_labels(distinct, true_edge_index, n_hits)
    return EdgeScore(
        n_edges=distinct.shape[1],
        n_true=true_edge_index.shape[1],
        n_found=int(np.count_nonzero(label)),
        n_same=int(np.count_nonzero(_same_particle(distinct, owners) & ~label)),
    )


def score_stages(
    event: Event, graphs: Mapping[str, Int64[ndarray, "2 _"]], selection: Selection = HEADLINE
) -> dict[str, EdgeScore]:
    """Score the graph after each stage, e.g. ``{"building": ..., "filtering": ..., "gnn": ...}``."""
    true = true_edges(event, selection)
    owners = contributions(truth_of(event))
    return {stage: score_edges(event, edge_index, selection, true, owners) for stage, edge_index in graphs.items()}


def _same_particle(edge_index: Int64[ndarray, "2 n_edges"], owners: Contributions) -> Bool[ndarray, " n_edges"]:
    """Which edges join two hits with a particle in common, merged hits included."""
    inner, outer = edge_index
    same: Bool[ndarray, " n_edges"] = (owners.leading[inner] == owners.leading[outer]) & (owners.leading[inner] >= 0)
    merged = np.zeros(len(owners.leading), np.bool_)
    merged[owners.extra_hit] = True
    of_hit: dict[int, set[int]] = {}
    for hit, particle in zip(owners.extra_hit.tolist(), owners.extra_particle.tolist(), strict=True):
        of_hit.setdefault(hit, set()).add(particle)

    def particles_of(hit: int) -> set[int]:
        return (of_hit.get(hit, set()) | {int(owners.leading[hit])}) - {-1}

    # Few hits are merged: a loop over their edges costs little.
    for edge in np.flatnonzero((merged[inner] | merged[outer]) & ~same).tolist():
        same[edge] = bool(particles_of(int(inner[edge])) & particles_of(int(outer[edge])))
    return same


def edge_table(scores: Mapping[str, EdgeScore]) -> Table:
    """Edges after each stage: how many, how many of the true ones, how pure."""
    columns = ("edges", "efficiency", "purity", "purity*")
    caption = "purity*: other edges along one particle left out"
    table = make_table("graph after each stage", ("stage",), columns, caption=caption)
    for stage, score in scores.items():
        proportions = (score.efficiency, score.purity, score.purity_without_same)
        table.add_row(stage, f"{score.n_edges}", *(text_with_error(proportion) for proportion in proportions))
    return table


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
    def pull_mean(self) -> Float64[ndarray, " 5"]:
        """Mean pull of each parameter, those beyond 5 counted as 5."""
        return np.asarray(np.clip(self.pull[self.fitted], -_MOST_SIGMAS, _MOST_SIGMAS).mean(axis=0))

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


@dataclass(frozen=True)
class PermutationCheck:
    """Whether the order of the hits changed the tracks.

    Attributes:
        n_hits: number of hits of the event.
        n_tracks: tracks in the order given.
        n_tracks_permuted: number of tracks after the permutation.
        n_changed: hits whose label differs once both are back in one order and numbered alike.
    """

    n_hits: int
    n_tracks: int
    n_tracks_permuted: int
    n_changed: int

    @property
    def same(self) -> bool:
        """No hit changed its track."""
        return self.n_changed == 0


def permuted_hits_check(finder: TrackFinder, hits: Hits, seed: int = 0) -> PermutationCheck:
    """Find tracks of the hits as given and in a random order, and compare.

    Kernels break ties by index, so equal distances may be resolved the other way: a finder that computes in floating
    point may have a few hits in `n_changed`.
    """
    order = np.random.default_rng(seed).permutation(len(hits))
    given = tracks_of(finder, hits)
    permuted = tracks_of(finder, hits.take(order))
    back = np.empty_like(permuted.track_id)
    back[order] = permuted.track_id
    changed = number_by_first_hit(given.track_id) != number_by_first_hit(back)
    return PermutationCheck(
        n_hits=len(hits),
        n_tracks=len(np.unique(given.track_id[given.track_id >= 0])),
        n_tracks_permuted=len(np.unique(back[back >= 0])),
        n_changed=hits_apart(given.track_id, back) if changed.any() else 0,
    )


def scrambled_truth(event: Event, seed: int = 0) -> Event:
    """The same hits with shuffled particles: the score of any finder should then be about zero.

    Raises:
        InputError: the event has no truth.
    """
    if event.truth is None:
        raise InputError(f"event {event.event_id}: got no truth, expected a simulated event; there is none to scramble")
    order = np.random.default_rng(seed).permutation(len(event.hits))
    none = np.empty(0, np.int64)
    truth = replace(event.truth, particle_id=event.truth.particle_id[order], shared_hit=none, shared_particle=none)
    return replace(event, truth=truth)


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


def hits_apart(first: Int64[ndarray, " n_hits"], second: Int64[ndarray, " n_hits"]) -> int:
    """Number of hits on tracks that only one of two labellings has; tracks are equal if all their hits are.

    Comparing track numbers would not do: one additional track renumbers all that follow.
    """
    a, b = number_by_first_hit(first), number_by_first_hit(second)
    size_a, size_b = np.bincount(a + 1), np.bincount(b + 1)
    size_a[0] = size_b[0] = 0
    _, which, n_both = np.unique((a + 1) * np.int64(len(b) + 1) + b + 1, return_inverse=True, return_counts=True)
    both_free = (a < 0) & (b < 0)
    # A pair (track of one, track of the other) is the same track when neither has a hit outside of it.
    same = (a >= 0) & (b >= 0) & (n_both[which] == size_a[a + 1]) & (n_both[which] == size_b[b + 1])
    return int(np.count_nonzero(~(same | both_free)))
