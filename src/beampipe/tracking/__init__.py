"""Track finding: hits in, tracks out.

from beampipe import load_pipeline, open_events

events = open_events("events.parquet")  # len(events), events[0], events[10:20]
finder = load_pipeline()
for event in events:
    tracks = finder.find(event)
    tracks.track_id  # (n_hits,) int64, -1 for a hit on no track
    tracks[0].hits  # of the first of len(tracks) tracks
    tracks.pt  # (n_tracks,) float32 [GeV]

Without a file: Hits.from_xyz(x, y, z) in mm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.events import NO_TRACK as NO_TRACK
    from beampipe.events import Event as Event
    from beampipe.events import Events as Events
    from beampipe.events import FitStatus as FitStatus
    from beampipe.events import Hit as Hit
    from beampipe.events import Hits as Hits
    from beampipe.events import Particle as Particle
    from beampipe.events import Particles as Particles
    from beampipe.events import Track as Track
    from beampipe.events import TrackParameters as TrackParameters
    from beampipe.events import Tracks as Tracks
    from beampipe.events import Truth as Truth
    from beampipe.tracking.batch import FoundTracks as FoundTracks
    from beampipe.tracking.batch import find_tracks as find_tracks
    from beampipe.tracking.batch import track_files as track_files
    from beampipe.tracking.catalogue import DEFAULT_PIPELINE as DEFAULT_PIPELINE
    from beampipe.tracking.catalogue import PIPELINES as PIPELINES
    from beampipe.tracking.catalogue import Components as Components
    from beampipe.tracking.catalogue import PipelineSpec as PipelineSpec
    from beampipe.tracking.catalogue import Walk as Walk
    from beampipe.tracking.catalogue import shipped_models as shipped_models
    from beampipe.tracking.data import shipped_events as shipped_events
    from beampipe.tracking.display.figure import compare_plot as compare_plot
    from beampipe.tracking.display.figure import draw_event as draw_event
    from beampipe.tracking.display.page import write_html as write_html
    from beampipe.tracking.display.page import write_phoenix as write_phoenix
    from beampipe.tracking.evaluation.report import print_evaluation as print_evaluation
    from beampipe.tracking.evaluation.results import Evaluation as Evaluation
    from beampipe.tracking.evaluation.scoring import compare as compare
    from beampipe.tracking.evaluation.scoring import evaluate as evaluate
    from beampipe.tracking.finder import InOneThread as InOneThread
    from beampipe.tracking.finder import TrackFinder as TrackFinder
    from beampipe.tracking.finder_names import named_finders as named_finders
    from beampipe.tracking.fitting.fitter import FittedFinder as FittedFinder
    from beampipe.tracking.fitting.fitter import TrackFitter as TrackFitter
    from beampipe.tracking.formats.parquet import write_events as write_events
    from beampipe.tracking.formats.registry import open_events as open_events
    from beampipe.tracking.formats.registry import open_tracks as open_tracks
    from beampipe.tracking.formats.registry import write_tracks as write_tracks
    from beampipe.tracking.loading import build_pipeline as build_pipeline
    from beampipe.tracking.loading import load_pipeline as load_pipeline
    from beampipe.tracking.loading import load_track_fitter as load_track_fitter
    from beampipe.tracking.loading import pipeline_weights as pipeline_weights
    from beampipe.tracking.models import TrackerModel as TrackerModel
    from beampipe.tracking.models import load_model as load_model
    from beampipe.tracking.pipeline import Pipeline as Pipeline
    from beampipe.tracking.stages import Stage as Stage
    from beampipe.tracking.truth import Selection as Selection

__getattr__, __dir__, __all__ = loader(__name__)
