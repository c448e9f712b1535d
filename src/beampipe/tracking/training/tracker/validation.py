"""Scores every pipeline of a fresh tracker model on events that it was not learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from beampipe.tracking.evaluation.results import Evaluation, FinderResult
from beampipe.tracking.evaluation.scoring import evaluate, tracks_of
from beampipe.tracking.events import NO_TRACK, Event, Hits, Tracks
from beampipe.tracking.finder import InOneThread, TrackFinder
from beampipe.tracking.loading import load_pipeline
from beampipe.tracking.models import Performance, TrackerModel
from beampipe.tracking.training.samples import Degrading
from beampipe.tracking.training.tracker.damage import damaged
from beampipe.tracking.truth import HEADLINE

__all__ = ["DAMAGE", "Validation", "validate"]

DAMAGE: Final = Degrading(hit_loss=0.02, dead_modules=0.01, noise=0.05)
"""What the events of the report have lost and gained."""

_SOFTEST: Final = 0.3
"""Lowest pT of the curve by pT [GeV]."""

_CLOSE: Final = 0.0101
"""Distance to the nearest particle below which it counts as dense."""


@dataclass(frozen=True)
class Validation:
    """What was measured of all pipelines.

    Attributes:
        headline: reconstructable particles above 1 GeV.
        soft: the same tracks, scored for particles above 0.3 GeV.
        hits_on_tracks: share of the hits that are on tracks, by pipeline.
    """

    headline: Evaluation
    soft: Evaluation
    hits_on_tracks: Mapping[str, float]

    def performance(self) -> dict[str, Performance]:
        """The numbers that the card of the model carries, by pipeline."""
        softs = {finder.name: finder for finder in self.soft.finders}
        return {finder.name: _performance(self, finder, softs[finder.name]) for finder in self.headline.finders}


def validate(
    model: TrackerModel,
    events: Sequence[Event],
    sample: str,
    *,
    min_layers: int | None = None,
    min_hits: int | None = None,
    has_modules: bool = True,
) -> Validation:
    """Run all pipelines of a model on one thread and score them.

    Args:
        model: the model.
        events: clean events that it was not learned from; they are degraded as `DAMAGE` says.
        sample: description of these events.
        min_layers: fewest layers of a reconstructable particle; that of the model if not given.
        min_hits: fewest hits of a track that is scored; as many as `min_layers` if not given.
        has_modules: whether modules are known, so that some can be switched off.

    Raises:
        InputError: there is no event.
    """
    damage = DAMAGE if has_modules else replace(DAMAGE, dead_modules=0.0)
    seen = [damaged(event, damage, seed) for seed, event in enumerate(events)]
    told = (
        f"{sample}; {damage.hit_loss:.0%} of hits, {damage.dead_modules:.0%} of modules lost, {damage.noise:.0%} noise"
    )
    finders = {name: _Once(load_pipeline(name, threads=1, model=model, check=False)) for name in model.pipelines}
    hard = replace(HEADLINE, min_layers=model.crossing.min_layers if min_layers is None else min_layers)
    softer = replace(hard, min_pt=_SOFTEST)
    fewest = hard.min_layers if min_hits is None else min_hits
    headline = evaluate(finders, seen, sample=told, selection=hard, min_track_hits=fewest)
    soft = evaluate(finders, seen, sample=told, selection=softer, min_track_hits=fewest, warm_up=0)
    return Validation(headline, soft, {name: finder.share for name, finder in finders.items()})


class _Once(InOneThread):
    """A finder that remembers: two selections are scored on the same tracks."""

    def __init__(self, finder: TrackFinder) -> None:
        self._finder = finder
        self._found: dict[int, tuple[Hits, Tracks]] = {}

    def find(self, hits: Hits, /) -> Tracks:
        """The tracks, found again for as long as the first event warms up."""
        if id(hits) in self._found and len(self._found) > 1:
            return self._found[id(hits)][1]
        tracks = tracks_of(self._finder, hits)
        self._found[id(hits)] = (hits, tracks)  # the hits, too: their id must stay theirs
        return tracks

    @property
    def share(self) -> float:
        """Share of the hits of all events that are on tracks."""
        labels = np.concatenate([tracks.track_id for _, tracks in self._found.values()] or [np.empty(0, np.int64)])
        return float((labels != NO_TRACK).mean()) if len(labels) else 0.0


def _performance(validation: Validation, hard: FinderResult, soft: FinderResult) -> Performance:
    by_pt = soft.curve("pt")
    total, found = np.array(by_pt.total), np.array(by_pt.double)
    timed = [event.total for event in hard.events if event.error is None]
    quality = hard.double
    return Performance(
        sample=validation.headline.sample,
        events=validation.headline.n_events,
        hits=round(float(np.mean([event.n_hits for event in hard.events])), 1),
        efficiency=_rate(quality.efficiency.passed, quality.efficiency.total),
        fakes=_rate(quality.fakes.passed, quality.fakes.total),
        hits_on_tracks=round(validation.hits_on_tracks[hard.name], 4),
        milliseconds=round(1e3 * float(np.median(timed)), 2) if timed else 0.0,
        pt_edges=tuple(float(edge) for edge in by_pt.edges),
        by_pt=tuple(_rate(int(k), int(n)) for k, n in zip(found, total, strict=True)),
        displaced=_rate(quality.displaced.passed, quality.displaced.total),
        dense=_dense(hard),
        counted=validation.headline.counted,
    )


def _dense(result: FinderResult) -> float | None:
    """Efficiency of particles close to another one; None where that was not looked at."""
    curve = next((curve for curve in result.curves if curve.variable == "distance"), None)
    if curve is None:
        return None
    close = np.array(curve.edges[1:]) < _CLOSE
    return _rate(int(np.array(curve.double)[close].sum()), int(np.array(curve.total)[close].sum()))


def _rate(passed: int, total: int) -> float | None:
    return round(passed / total, 4) if total else None
