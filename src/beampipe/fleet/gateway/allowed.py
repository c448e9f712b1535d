"""What clients may ask for. Whatever is not listed is refused, so that no spelling of anything else gets through."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["HTTP_PATHS", "INDEX", "INFER", "RPCS"]

_SERVICE: Final = "/inference.GRPCInferenceService/"

INFER: Final = f"{_SERVICE}ModelInfer"
"""Path of the call that sends an event."""
INDEX: Final = f"{_SERVICE}RepositoryIndex"
"""Path of the call with which CMS's client begins; Triton answers it only with the servers' secret."""

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
        )
    ),
    INDEX,
)
"""Paths of the nine calls over gRPC. Loading, unloading, shared memory, tracing, logging, streams and reflection are
not among them."""

_MODEL: Final = "/v2/models/[A-Za-z0-9_.+-]+(/versions/[0-9]+)?"

HTTP_PATHS: Final = (
    re.compile("^/v2(/health/(live|ready)|/models/stats)?$"),
    re.compile(f"^{_MODEL}(/(ready|config|stats|infer))?$"),
)
"""Paths over HTTP, as HAProxy matches them: as they were sent, before any decoding."""
