"""Track finding: hits in, tracks out.

from beampipe import load_pipeline, open_events

events = open_events("events.parquet")  # len(events), events[0], events[10:20]
finder = load_pipeline()
for event in events:
    tracks = finder.find(event)
    tracks.track_id  # (n_hits,) int64, -1 for a hit on no track
    tracks[0]  # rows of the hits of the first of len(tracks) tracks
    tracks.pt()  # (n_tracks,) float32 [GeV]

Without a file: Hits.from_xyz(x, y, z) in mm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.events import NO_TRACK, Event, Events, FitStatus, Hits, Particles, TrackParameters, Tracks, Truth
    from beampipe.tracking.batch import track_files
    from beampipe.tracking.catalogue import DEFAULT_PIPELINE, PIPELINES, Components, PipelineSpec, Walk, shipped_models
    from beampipe.tracking.data import shipped_events
    from beampipe.tracking.display.figure import draw_event
    from beampipe.tracking.display.page import write_html, write_phoenix
    from beampipe.tracking.evaluation.report import print_evaluation
    from beampipe.tracking.evaluation.results import Evaluation
    from beampipe.tracking.evaluation.scoring import compare, evaluate
    from beampipe.tracking.finder import InOneThread, TrackFinder
    from beampipe.tracking.finders import named_finders
    from beampipe.tracking.fitting.fitter import FittedFinder, TrackFitter
    from beampipe.tracking.formats.parquet import write_events
    from beampipe.tracking.formats.registry import open_events, write_tracks
    from beampipe.tracking.loading import build_pipeline, load_pipeline, load_track_fitter, pipeline_weights
    from beampipe.tracking.models import TrackerModel, load_model
    from beampipe.tracking.pipeline import Pipeline
    from beampipe.tracking.stages import Stage
    from beampipe.tracking.truth import Selection

__all__ = [
    "DEFAULT_PIPELINE",
    "NO_TRACK",
    "PIPELINES",
    "Components",
    "Evaluation",
    "Event",
    "Events",
    "FitStatus",
    "FittedFinder",
    "Hits",
    "InOneThread",
    "Particles",
    "Pipeline",
    "PipelineSpec",
    "Selection",
    "Stage",
    "TrackFinder",
    "TrackFitter",
    "TrackParameters",
    "TrackerModel",
    "Tracks",
    "Truth",
    "Walk",
    "build_pipeline",
    "compare",
    "draw_event",
    "evaluate",
    "load_model",
    "load_pipeline",
    "load_track_fitter",
    "named_finders",
    "open_events",
    "pipeline_weights",
    "print_evaluation",
    "shipped_events",
    "shipped_models",
    "track_files",
    "write_events",
    "write_html",
    "write_phoenix",
    "write_tracks",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "batch": ["track_files"],
        "beampipe.events": [
            "Event",
            "Events",
            "FitStatus",
            "Hits",
            "NO_TRACK",
            "Particles",
            "TrackParameters",
            "Tracks",
            "Truth",
        ],
        "catalogue": ["Components", "DEFAULT_PIPELINE", "PIPELINES", "PipelineSpec", "Walk", "shipped_models"],
        "data": ["shipped_events"],
        "display.figure": ["draw_event"],
        "display.page": ["write_html", "write_phoenix"],
        "evaluation.report": ["print_evaluation"],
        "evaluation.results": ["Evaluation"],
        "evaluation.scoring": ["compare", "evaluate"],
        "finder": ["InOneThread", "TrackFinder"],
        "finders": ["named_finders"],
        "fitting.fitter": ["FittedFinder", "TrackFitter"],
        "formats.parquet": ["write_events"],
        "formats.registry": ["open_events", "write_tracks"],
        "loading": ["build_pipeline", "load_pipeline", "load_track_fitter", "pipeline_weights"],
        "models": ["TrackerModel", "load_model"],
        "pipeline": ["Pipeline"],
        "stages": ["Stage"],
        "truth": ["Selection"],
    },
)
