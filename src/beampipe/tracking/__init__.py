"""Track finding: hits in, tracks out.

from beampipe.tracking import Hits, load_pipeline

tracks = load_pipeline("module_map").find(Hits(position))  # (n_hits, 3) float32: r [mm], phi [rad], z [mm]
tracks.track_id  # (n_hits,) int64, -1 for a hit on no track
"""

from beampipe.tracking.events import Event, Hits, Particles, Tracks, Truth
from beampipe.tracking.pipeline import PIPELINES, Pipeline, TrackFinder, load_pipeline, pipeline_weights

__all__ = [
    "PIPELINES",
    "Event",
    "Hits",
    "Particles",
    "Pipeline",
    "TrackFinder",
    "Tracks",
    "Truth",
    "load_pipeline",
    "pipeline_weights",
]
