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
    from beampipe.serving.finders import DirectTrackFinder, FallbackTrackFinder, TritonTrackFinder
    from beampipe.serving.models import ServingSettings, named_models
    from beampipe.serving.server import TrackingServer, serve
    from beampipe.serving.variants import DEFAULT_MODELS, MODELS, ServedVariant
    from beampipe.triton.model.repository import export_repository

__all__ = [
    "DEFAULT_MODELS",
    "MODELS",
    "DirectTrackFinder",
    "FallbackTrackFinder",
    "ServedVariant",
    "ServingSettings",
    "TrackingServer",
    "TritonTrackFinder",
    "export_repository",
    "named_models",
    "serve",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "beampipe.triton.model.repository": ["export_repository"],
        "finders": ["DirectTrackFinder", "FallbackTrackFinder", "TritonTrackFinder"],
        "models": ["ServingSettings", "named_models"],
        "server": ["TrackingServer", "serve"],
        "variants": ["DEFAULT_MODELS", "MODELS", "ServedVariant"],
    },
)
