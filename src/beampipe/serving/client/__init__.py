"""Clients: find tracks here, on servers, or wherever they can be found.

with TritonTrackFinder("grpc://127.0.0.1:8001") as finder:
    tracks = finder.find(hits)
"""

from beampipe.serving.client.direct import DirectTrackFinder
from beampipe.serving.client.fallback import FallbackTrackFinder
from beampipe.serving.client.finder import TrackFinder
from beampipe.serving.client.triton import TritonTrackFinder

__all__ = ["DirectTrackFinder", "FallbackTrackFinder", "TrackFinder", "TritonTrackFinder"]
