"""Track finding as a service: models behind NVIDIA Triton, and finders as clients.

from beampipe.serving import TritonTrackFinder, serve

with TritonTrackFinder("grpc://127.0.0.1:8001") as finder:
    tracks = finder.find(hits)

with serve("exatrkx") as server:  # a Triton of one's own
    tracks = server.finder().find(hits)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.serving.finders import DirectTrackFinder as DirectTrackFinder
    from beampipe.serving.finders import FallbackTrackFinder as FallbackTrackFinder
    from beampipe.serving.finders import TritonTrackFinder as TritonTrackFinder
    from beampipe.serving.models import ServingSettings as ServingSettings
    from beampipe.serving.models import named_models as named_models
    from beampipe.serving.server import TrackingServer as TrackingServer
    from beampipe.serving.server import serve as serve
    from beampipe.serving.variants import DEFAULT_MODELS as DEFAULT_MODELS
    from beampipe.serving.variants import MODELS as MODELS
    from beampipe.serving.variants import ServedVariant as ServedVariant
    from beampipe.triton.model.repository import export_repository as export_repository

__getattr__, __dir__, __all__ = loader(__name__)
