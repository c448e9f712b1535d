"""Score a trained model on independent events, and write its validation page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypedDict

import numpy as np

from beampipe.errors import LayoutError
from beampipe.events import NO_TRACK, ON_AXIS, Event, FitStatus, Hits, Tracks
from beampipe.figures import drawing, html_templates, png_base64
from beampipe.files import MARK, write_whole
from beampipe.simulation.degradation import Degradation, degrade
from beampipe.simulation.detector import Modules
from beampipe.tracking.evaluation.report import plot_efficiency, plot_stages
from beampipe.tracking.evaluation.results import Evaluation, evaluation_body
from beampipe.tracking.evaluation.scoring import evaluate, tracks_of
from beampipe.tracking.finder import InOneThread, TrackFinder
from beampipe.tracking.fitting.fitter import TrackFitter
from beampipe.tracking.fitting.tables import layer_of
from beampipe.tracking.input_checks import ExpectedTracks, measure
from beampipe.tracking.loading import load_pipeline, load_track_fitter
from beampipe.tracking.models import (
    FEWEST_TO_TELL,
    FIT_STEM,
    BinnedEfficiency,
    Performance,
    TrackerGeometry,
    TrackerModel,
)
from beampipe.tracking.models.card import HEADINGS, pipeline_rows, pt_floors
from beampipe.tracking.training.detector import SPLIT
from beampipe.tracking.training.samples import TrainingDegradation, degraded_event
from beampipe.tracking.truth import HEADLINE

DAMAGE: Final = TrainingDegradation(hit_loss=0.02, dead_modules=0.01, noise=0.05)
"""Losses and noise of the events of the report."""

_SOFTEST: Final = 0.3
"""Lowest pT of the curve by pT [GeV]."""

_FEWEST_ON_LAYERS: Final = 0.5
"""Smallest share of hits on the layers of the model in events of its detector."""

_CLOSE: Final = 0.0101
"""Distance to the nearest particle below which it counts as dense."""


class FitQuality(TypedDict, total=False):
    """Entries of a `Performance` that come from fits of the tracks; see there."""

    chi2: tuple[float, float]
    good_fits: float | None


@dataclass(frozen=True)
class Validation:
    """Scores of all pipelines of a model, and of settings of ACTS if these were given.

    Attributes:
        headline: reconstructable particles above 1 GeV.
        soft: the same tracks, scored for particles above 0.3 GeV.
        tracks: what is usual of the tracks, by pipeline.
        layers: share of the hits of each layer that are on tracks, by pipeline.
        fits: quality of the fits, by pipeline; none if none were fitted.
        jets: the same pipelines on events with hard jets, if there were some.
    """

    headline: Evaluation
    soft: Evaluation
    tracks: Mapping[str, ExpectedTracks]
    layers: Mapping[str, tuple[float, ...]]
    fits: Mapping[str, FitQuality]
    jets: Evaluation | None = None

    def written_to(self, model: TrackerModel) -> TrackerModel:
        """The model with these numbers on its card."""
        measured = {}
        for hard, soft in zip(self.headline.finders, self.soft.finders, strict=True):
            quality, distance, tracks = hard.double, hard.curve("distance"), self.tracks[hard.name]
            curves = {name: hard.curve(name) for name in ("eta", "vertex_z", "origin", "distance")}
            curves["pt"] = soft.curve("pt")
            if self.jets is not None:
                curves["jets"] = self.jets[hard.name].curve("distance")
            timed = [event.cpu for event in hard.events if event.error is None]
            close = int(np.searchsorted(distance.edges, _CLOSE)) - 1  # number of bins
            measured[hard.name] = Performance(
                sample=self.headline.sample,
                events=self.headline.n_events,
                hits=round(float(np.mean([event.n_hits for event in hard.events])), 1),
                efficiency=_rate(quality.efficiency.passed, quality.efficiency.total),
                fakes=_rate(quality.fakes.passed, quality.fakes.total),
                hits_on_tracks=round(tracks.share, 4),
                milliseconds=round(1e3 * float(np.median(timed)), 2) if timed else 0.0,
                curves={
                    name: BinnedEfficiency(
                        tuple(float(f"{edge:.4g}") for edge in curve.edges), curve.total, curve.double
                    )
                    for name, curve in curves.items()
                },
                displaced=_rate(quality.displaced.passed, quality.displaced.total, FEWEST_TO_TELL),
                dense=_rate(sum(distance.double[:close]), sum(distance.total[:close]), FEWEST_TO_TELL),
                counted=self.headline.counted,
                hits_per_track=_rounded(tracks.per_track, 3),
                residual=_rounded(tracks.residual, 5),
                origin_z=_rounded(tracks.origin_z, 1),
                origin_spread=_rounded(tracks.origin_spread, 1),
                holes=_rounded(tracks.holes, 4),
                layers=self.layers[hard.name],
                **self.fits.get(hard.name, {}),
            )
        pipelines = {name: measured.pop(name) for name in model.pipelines}
        return replace(model, performance=pipelines, acts=measured or model.acts)


def validate(
    model: TrackerModel,
    events: Sequence[Event],
    sample: str,
    *,
    jets: Sequence[Event] = (),
    min_layers: int | None = None,
    min_hits: int | None = None,
    has_modules: bool = True,
    modules: Modules | None = None,
    acts: Mapping[str, TrackFinder] = MappingProxyType({}),
) -> Validation:
    """Run all pipelines of a model on one thread and score them.

    Args:
        model: the model.
        events: clean events that it was not learned from, relative to its beam line (`inspect_events`), or with
            `modules` as they were read; they are degraded as `DAMAGE` says.
        sample: description of these events.
        jets: other such events with hard jets, for the efficiency by distance in these; none is scored if not given.
        min_layers: fewest layers of a reconstructable particle; that of the model if not given.
        min_hits: fewest hits of a track that is scored; as many as `min_layers` if not given.
        has_modules: whether hits have modules, so that some can be switched off.
        modules: modules of the detector that noise lies on, as ACTS requires; by default noise copies r and z of hits.
        acts: finders of ACTS by name, which are scored beside the pipelines.

    Raises:
        InputError: there is no event.
        LayoutError: the events are of another detector.
    """
    if modules is None:
        model = replace(model, layout=replace(model.layout, beam_spot=ON_AXIS))
    at, boxes = model.layout.beam_spot, model.layout.boxes
    on_layers = [layer_of(at.relative_to(event.hits.position), boxes) >= 0 for event in events]
    if on_layers and (share := np.concatenate(on_layers).mean()) < _FEWEST_ON_LAYERS:
        raise LayoutError(f"layout: got {share:.0%} of the hits on the layers of {model.name}, expected most of them")
    damage = DAMAGE if has_modules else replace(DAMAGE, dead_modules=0.0)

    def degrade_all(clean: Sequence[Event]) -> list[Event]:
        if modules is None:
            return [degraded_event(event, damage, seed) for seed, event in enumerate(clean)]
        level = Degradation(damage.hit_loss, damage.dead_modules, damage.noise)
        return [degrade(event, level, k, run_seed=k, modules=modules) for k, event in enumerate(clean)]

    degraded, degraded_jets = degrade_all(events), degrade_all(jets)
    description = (
        f"{sample}; {damage.hit_loss:.0%} of hits, {damage.dead_modules:.0%} of modules lost, {damage.noise:.0%} noise"
    )
    pipelines = {name: load_pipeline(name, threads=1, model=model, check=False) for name in model.pipelines}
    finders = {name: _RememberingFinder(finder) for name, finder in {**pipelines, **acts}.items()}
    hard = replace(HEADLINE, min_layers=model.crossing.min_layers if min_layers is None else min_layers)
    softer = replace(hard, min_pt=_SOFTEST)
    fewest = hard.min_layers if min_hits is None else min_hits
    headline = evaluate(finders, degraded, sample=description, selection=hard, min_track_hits=fewest)
    soft = evaluate(finders, degraded, sample=description, selection=softer, min_track_hits=fewest, warm_up=0)
    found = {name: list(finder.found.values()) for name, finder in finders.items()}
    tracks = {name: measure(pairs, boxes.astype(np.float64)) for name, pairs in found.items()}
    layers = {name: _shares_by_layer(pairs, model.layout) for name, pairs in found.items()}
    fits: dict[str, FitQuality] = {}
    if FIT_STEM in model.weights:
        fitter = load_track_fitter(model, threads=1)
        fits = {name: _fit_quality(pairs, fitter) for name, pairs in found.items()}
    in_jets = None
    if degraded_jets:
        in_jets = evaluate(finders, degraded_jets, sample="hard jets", selection=hard, min_track_hits=fewest)
    return Validation(headline, soft, tracks, layers, fits, in_jets)


def _shares_by_layer(pairs: Iterable[tuple[Hits, Tracks]], layout: TrackerGeometry) -> tuple[float, ...]:
    """Share of the hits of each layer that are on tracks."""
    counts = np.zeros((2, len(layout.layers)), np.int64)
    for hits, tracks in pairs:
        layer = layer_of(layout.beam_spot.relative_to(hits.position), layout.boxes)
        for row, chosen in enumerate((layer >= 0, (layer >= 0) & (tracks.track_id != NO_TRACK))):
            counts[row] += np.bincount(layer[chosen], minlength=counts.shape[1])
    return tuple(np.round(counts[1] / np.maximum(counts[0], 1), 4).tolist())


def _fit_quality(pairs: Iterable[tuple[Hits, Tracks]], fitter: TrackFitter) -> FitQuality:
    """The chi2 of fits that are not suspect, and their share of all tracks."""
    reduced, n_tracks = [np.empty(0)], 0
    for hits, tracks in pairs:
        fits = fitter(replace(hits, position=tracks.beam_spot.relative_to(hits.position)), tracks)
        reduced.append((fits.chi2 / np.maximum(fits.ndf, 1))[fits.status == FitStatus.FITTED])
        n_tracks += len(fits.status)
    every = np.concatenate(reduced)
    if not len(every):
        return {}
    chi2 = (round(float(np.median(every)), 3), round(float(every.mean()), 3))
    return {"chi2": chi2, "good_fits": _rate(len(every), n_tracks)}


class _RememberingFinder(InOneThread):
    """A finder with a cache, so that two selections are scored on the same tracks."""

    def __init__(self, finder: TrackFinder) -> None:
        self._finder = finder
        self.found: dict[int, tuple[Hits, Tracks]] = {}

    def find(self, hits: Hits, /) -> Tracks:
        """The tracks: found anew during warm-up on the first event, then from the cache."""
        if id(hits) in self.found and len(self.found) > 1:
            return self.found[id(hits)][1]
        tracks = tracks_of(self._finder, hits)
        self.found[id(hits)] = (hits, tracks)  # keeping the hits alive keeps their id unique
        return tracks


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _rate(passed: int, total: int, fewest: int = 1) -> float | None:
    return round(passed / total, 4) if total >= fewest else None


REPORT: Final = "validation.json"
"""Name of the JSON file with all scores."""

PAGE: Final = "validation.html"
"""Name of the HTML page that shows them."""


def write_report(model: TrackerModel, validation: Validation, folder: Path) -> None:
    """Write `REPORT` and `PAGE`.

    Args:
        model: the model, with its performance.
        validation: scores of the pipelines.
        folder: folder of both files.
    """
    evaluations = {"headline": validation.headline, "soft": validation.soft, "jets": validation.jets}
    body = {name: evaluation_body(each) for name, each in evaluations.items() if each is not None}
    shares = {name: tracks.share for name, tracks in validation.tracks.items()}
    text = json.dumps({**body, "hits_on_tracks": shares}, indent=1, allow_nan=False) + "\n"
    write_whole(folder / REPORT, lambda part: part.write_text(text, encoding="utf-8"))
    page = _page(model, validation)
    write_whole(folder / PAGE, lambda part: part.write_text(page, encoding="utf-8"))


def _page(model: TrackerModel, validation: Validation) -> str:
    from jinja2 import PackageLoader

    def efficiency(evaluation: Evaluation, variable: str) -> str:
        with drawing():
            return png_base64(plot_efficiency(evaluation, [variable]))

    with drawing():
        times = png_base64(plot_stages(validation.headline))
    templates = html_templates(PackageLoader("beampipe.tracking.training", ""))
    return templates.get_template("validation_page.html").render(
        mark=MARK,
        model=model,
        validation=validation,
        pt_floors=pt_floors(model),
        split=SPLIT,
        headings=HEADINGS,
        pipelines=pipeline_rows(model),
        variables=[curve.variable for curve in validation.headline.finders[0].curves if curve.variable != "pt"],
        efficiency=efficiency,
        times=times,
    )
