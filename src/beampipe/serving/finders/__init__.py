"""Clients: find tracks here, on servers, or wherever they can be found.

with TritonTrackFinder("grpc://127.0.0.1:8001") as finder:
    tracks = finder.find(hits)
"""

from beampipe.serving.finders.direct import DirectTrackFinder
from beampipe.serving.finders.fallback import FallbackTrackFinder
from beampipe.serving.finders.triton import TritonTrackFinder
from beampipe.tracking.finder import TrackFinder

__all__ = ["DirectTrackFinder", "FallbackTrackFinder", "TrackFinder", "TritonTrackFinder"]
