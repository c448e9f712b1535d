"""What the hosts share: options, the pipeline, the wire (float32 [n_hits, 3] in, int64 [n_hits] out, as bytes)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from beampipe.tracking import Hits, load_pipeline

__all__ = ["MAX_BATCH", "PATH", "Hosted", "options"]

PATH = "/find"
MAX_BATCH = 64
"""Events in one batch at most, as in our own batching model."""


def options(about: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", default="exatrkx")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--replicas", type=int, default=2, help="processes that hold the pipeline, one thread each")
    parser.add_argument("--batching", action="store_true", help="the server's own dynamic batching")
    return parser.parse_args()


class Hosted:
    """A pipeline on one thread, from bytes to bytes."""

    def __init__(self, pipeline: str) -> None:
        self._pipeline = load_pipeline(pipeline, threads=1)

    def find(self, body: bytes) -> bytes:
        return self._pipeline.find(_hits(body)).track_id.tobytes()

    def find_many(self, bodies: Sequence[bytes]) -> list[bytes]:
        """Several events as one graph, where the pipeline can; the labels are those of `find`."""
        together = getattr(self._pipeline, "find_many", None)
        if together is None or len(bodies) == 1:
            return [self.find(body) for body in bodies]
        return [tracks.track_id.tobytes() for tracks in together([_hits(body) for body in bodies])]


def _hits(body: bytes) -> Hits:
    return Hits(np.frombuffer(body, "<f4").reshape(-1, 3))
