"""The tracks of one event against its truth."""

from __future__ import annotations

from dataclasses import dataclass

from beampipe.tracking.evaluation.matching import MIN_TRACK_HITS
from beampipe.tracking.evaluation.results import Evaluation
from beampipe.tracking.evaluation.scoring import evaluate, require_labels
from beampipe.tracking.events import Event, Hits, Tracks
from beampipe.tracking.finder import InOneThread
from beampipe.tracking.truth import HEADLINE, Selection

__all__ = ["compare"]


@dataclass(frozen=True, eq=False, repr=False)
class _Found(InOneThread):
    """Finds what was found before."""

    tracks: Tracks

    def find(self, hits: Hits, /) -> Tracks:
        return self.tracks


def compare(
    event: Event,
    tracks: Tracks,
    *,
    selection: Selection = HEADLINE,
    min_track_hits: int = MIN_TRACK_HITS,
    name: str = "tracks",
) -> Evaluation:
    """Score the tracks of one event by its truth: efficiency, fakes and duplicates, as a notebook shows them.

    With few particles the errors are large, and one event tells nothing of the scatter between events: `evaluate`
    scores finders on many. Times are those that the tracks carry.

    Args:
        event: event with truth.
        tracks: tracks that were found in it.
        selection: particles that the efficiency counts; by default primary ones with pT > 1 GeV.
        min_track_hits: hits from which a track is a candidate.
        name: name of the finder in tables.

    Raises:
        InputError: the event has no truth.
        ShapeError: the tracks are of another number of hits.
    """
    require_labels(event.hits, tracks)
    return evaluate(
        {name: _Found(tracks)},
        [event],
        sample=f"event {event.event_id}",
        selection=selection,
        min_track_hits=min_track_hits,
        warm_up=0,
    )
