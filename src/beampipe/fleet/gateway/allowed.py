"""What clients may ask for. Whatever is not listed is refused, so that no spelling of anything else gets through."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["HTTP_PATHS", "INFER", "RPCS"]

_SERVICE: Final = "/inference.GRPCInferenceService/"

INFER: Final = f"{_SERVICE}ModelInfer"
"""Path of the call that sends an event."""

RPCS: Final = (
    INFER,
    *(
        _SERVICE + name
        for name in (
            "ServerLive",
            "ServerReady",
            "ServerMetadata",
            "ModelReady",
            "ModelMetadata",
            "ModelConfig",
            "ModelStatistics",
            "RepositoryIndex",
        )
    ),
)
"""Paths of the nine calls over gRPC. Loading, unloading, shared memory, tracing, logging, streams and reflection are
not among them. CMS's client begins with ``RepositoryIndex``, which Triton answers only with the servers' secret."""

_MODEL: Final = "/v2/models/[A-Za-z0-9_.+-]+(/versions/[0-9]+)?"

HTTP_PATHS: Final = (
    re.compile("^/v2(/health/(live|ready)|/models/stats)?$"),
    re.compile(f"^{_MODEL}(/(ready|config|stats|infer))?$"),
)
"""Paths over HTTP, as HAProxy matches them: as they were sent, before any decoding."""
