"""A named pipeline as one call of C++, which Triton's native backend makes, too (`kernels/native/pipelines`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from beampipe.tracking import kernels
from beampipe.tracking.beam_spot import ON_AXIS, BeamSpot
from beampipe.tracking.events import Hits, Tracks
from beampipe.tracking.pipelines.specs import PipelineSpec

if TYPE_CHECKING:
    from beampipe.tracking.kernels._native import Pipeline as NativePipeline

__all__ = ["Composed"]


@dataclass(frozen=True, eq=False)
class Composed:
    """The stages of a spec, composed in C++: the same tracks as the line of stages in Python, without its overhead.

    Attributes:
        spec: what the pipeline is made of.
        weights: folder of the weight files, which C++ reads by itself.
        threads: number of threads for one call.
        beam_spot: beam line that is expected.

    Raises:
        ConfigError: the parts of the spec make no pipeline, or the weights do not fit.
        FileError: weights are missing or damaged.
    """

    spec: PipelineSpec
    weights: Path
    threads: int
    beam_spot: BeamSpot = ON_AXIS
    _native: NativePipeline = field(init=False, repr=False)

    def __post_init__(self) -> None:
        native = kernels.native()
        assert native is not None, "ask kernels.native() first"
        object.__setattr__(self, "_native", native.Pipeline(self.spec.to_json(), str(self.weights)))

    def __reduce__(self) -> tuple[type[Composed], tuple[PipelineSpec, Path, int, BeamSpot]]:
        return Composed, (self.spec, self.weights, self.threads, self.beam_spot)

    def __call__(self, events: Sequence[Hits], between: Callable[[], None] | None) -> list[Tracks]:
        """Tracks of one or more events, found together; an event's `seconds` are its share by number of hits.

        Args:
            events: hits of each event.
            between: called before each stage, if given; what it raises ends the work.

        Raises:
            TooLargeError: the events would need too much memory or time.
        """
        positions = [hits.position for hits in events]
        sizes = [len(position) for position in positions]
        position = positions[0] if len(events) == 1 else np.concatenate(positions)
        offsets = np.array([0, *sizes], np.int64).cumsum()
        track_id, seconds, edges, triplets, beam_lines = self._native.find(
            position, offsets, astuple(self.beam_spot), self.threads, between
        )
        # Of several events, the answer for one keeps no other's labels alive.
        parts = [track_id] if len(events) == 1 else [part.copy() for part in np.split(track_id, offsets[1:-1])]
        n_hits = max(len(position), 1)
        return [
            Tracks(
                label,
                {step: taken * (size / n_hits) for step, taken in zip(self._native.steps, seconds, strict=True)},
                {"hits": size, "edges": n_edges, "triplets": n_triplets},
                beam_spot=BeamSpot(*beam_line),
            )
            for label, size, n_edges, n_triplets, beam_line in zip(
                parts, sizes, edges, triplets, beam_lines, strict=True
            )
        ]
