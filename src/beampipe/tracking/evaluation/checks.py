"""Checks of a finder, and of the scoring itself, that need no other program.

A result that is too good is a leak until these say otherwise: hits often come in the order of particles or modules,
and truth may slip into an input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import InputError
from beampipe.tracking.evaluation.scoring import tracks_of
from beampipe.tracking.events import NO_TRACK, Event, Hits, Tracks
from beampipe.tracking.finder import InOneThread, TrackFinder
from beampipe.tracking.kernels.reference import number_by_first_hit

__all__ = [
    "PermutationCheck",
    "TruthFinder",
    "hits_apart",
    "permuted_hits_check",
    "scrambled_truth",
]


@dataclass(frozen=True)
class PermutationCheck:
    """Did the order of the hits change the tracks?

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

    Kernels break ties by index, so that equal distances may be resolved the other way: judge `n_changed`, where a
    finder computes in floating point.
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
    """The same hits, their particles dealt out at random: an honest score of any finder is then about zero.

    Raises:
        InputError: the event has no truth.
    """
    if event.truth is None:
        raise InputError(f"event {event.event_id}: got no truth, expected a simulated event; there is none to scramble")
    order = np.random.default_rng(seed).permutation(len(event.hits))
    nobody = np.empty(0, np.int64)
    truth = replace(event.truth, particle_id=event.truth.particle_id[order], shared_hit=nobody, shared_particle=nobody)
    return replace(event, truth=truth)


class TruthFinder(InOneThread):
    """The finder that knows: one track per particle. It bounds what labels can reach, and tests whatever takes finders.

    It is told each event as it passes: ``for event in finder.watching(events): finder.find(event.hits)``.
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


def hits_apart(one: Int64[ndarray, " n_hits"], other: Int64[ndarray, " n_hits"]) -> int:
    """Hits on tracks (of either answer) that the other answer does not have, hit for hit.

    Comparing canonical numbers would not do: one track more at the front renumbers all that follow.
    """
    a, b = number_by_first_hit(one), number_by_first_hit(other)
    size_a, size_b = np.bincount(a + 1), np.bincount(b + 1)
    size_a[0] = size_b[0] = 0
    _, which, n_both = np.unique((a + 1) * np.int64(len(b) + 1) + b + 1, return_inverse=True, return_counts=True)
    both_free = (a < 0) & (b < 0)
    # A pair (track of one, track of the other) is the same track when neither has a hit outside of it.
    same = (a >= 0) & (b >= 0) & (n_both[which] == size_a[a + 1]) & (n_both[which] == size_b[b + 1])
    return int(np.count_nonzero(~(same | both_free)))
