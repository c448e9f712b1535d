"""A pipeline as six Triton models, one per step, chained by Triton: for comparison with the same pipeline in one model.

    embed        FEATURES                              -> POSITION, EMBEDDING
    frnn         POSITION, EMBEDDING                   -> EDGE_INDEX, DISTANCE2
    filter       POSITION, EDGE_INDEX, DISTANCE2       -> EDGE_LOGIT
    applyfilter  POSITION, EDGE_INDEX, EDGE_LOGIT      -> KEPT_INDEX, PAIR_FEATURES
    gnn          POSITION, KEPT_INDEX, PAIR_FEATURES   -> EDGE_SCORE
    wcc          POSITION, KEPT_INDEX, EDGE_SCORE      -> LABELS

Each step runs a stage of the one-model pipeline; the difference is that the data between steps pass through the server.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final, TypeVar

import numpy as np
from numpy import ndarray

from beampipe.errors import ConfigError, TooLargeError
from beampipe.events import Hits, scale_named
from beampipe.serving import contract
from beampipe.serving.contract import FEATURES, LABELS
from beampipe.serving.tracking_model import load_for, small_event
from beampipe.tracking import kernels, stages
from beampipe.tracking.pipeline import wrap_phi
from beampipe.triton.model.contract import Instance, ModelAnswer, ModelRequest, TensorSpec

_Kind = TypeVar("_Kind")


POSITION: Final = TensorSpec("POSITION", "FP32", np.float32, (-1, 3))
EMBEDDING: Final = TensorSpec("EMBEDDING", "FP32", np.float32, (-1, 16))
EDGE_INDEX: Final = TensorSpec("EDGE_INDEX", "INT64", np.int64, (2, -1))
DISTANCE2: Final = TensorSpec("DISTANCE2", "FP32", np.float32, (-1,))
EDGE_LOGIT: Final = TensorSpec("EDGE_LOGIT", "FP32", np.float32, (-1,))
KEPT_INDEX: Final = TensorSpec("KEPT_INDEX", "INT64", np.int64, (2, -1))
PAIR_FEATURES: Final = TensorSpec("PAIR_FEATURES", "FP32", np.float32, (-1, 6))
EDGE_SCORE: Final = TensorSpec("EDGE_SCORE", "FP32", np.float32, (-1,))


class _Step(ABC):
    """One step of the pipeline as a model; `step` processes one event."""

    inputs: ClassVar[tuple[TensorSpec, ...]] = ()
    outputs: ClassVar[tuple[TensorSpec, ...]] = ()

    def __init__(self, instance: Instance) -> None:
        settings = instance.parameters
        self.scale = scale_named(settings.get(contract.FEATURE_SCALE, "mm"))
        self.max_hits = int(settings[contract.MAX_HITS])
        self.pipeline = load_for(instance)

    def run(self, requests: Sequence[ModelRequest], /) -> list[ModelAnswer]:
        """One answer each."""
        return [self.step(request) for request in requests]

    @abstractmethod
    def step(self, request: ModelRequest) -> dict[str, ndarray]:
        """The outputs for one event."""

    def stage(self, kind: type[_Kind]) -> _Kind:
        """The pipeline's stage of that kind."""
        for _, stage in self.pipeline.stages:
            if isinstance(stage, kind):
                return stage
        raise ConfigError(
            f"{self.pipeline.name}: got no stage {kind.__name__}, expected one; ensembles run on the cpu"
            " and have neighbours, filter, network and components"
        )

    @classmethod
    def example(cls) -> ModelRequest:
        """A shipped event without pile-up, in mm: the canary of the chain."""
        return {FEATURES.name: small_event().position}


class EmbedModel(_Step):
    """Hits to embedding; the only step that reads the client's input."""

    inputs = (FEATURES,)
    outputs = (POSITION, EMBEDDING)

    def step(self, request: ModelRequest) -> dict[str, ndarray]:
        features = request[FEATURES.name]
        if len(features) > self.max_hits:
            raise TooLargeError(
                f"hits: got {len(features)}, expected at most {self.max_hits}; cut the event into regions"
            )
        hits = Hits(features if self.scale.name == "mm" else self.scale.to_mm(features))
        self.pipeline.check_hits([hits])
        position = wrap_phi(self.pipeline.beam_spot.relative_to(hits.position))
        (embedding,) = self.stage(stages.EmbedHits)(position)
        return {POSITION.name: position, EMBEDDING.name: embedding}


class NeighbourModel(_Step):
    """Embedding to edges."""

    inputs = (POSITION, EMBEDDING)
    outputs = (EDGE_INDEX, DISTANCE2)

    def step(self, request: ModelRequest) -> dict[str, ndarray]:
        find = self.stage(stages.FindNeighbours)
        edge_index, distance2 = find(request[POSITION.name], request[EMBEDDING.name], offsets=None)
        return {EDGE_INDEX.name: edge_index, DISTANCE2.name: distance2}


class FilterModel(_Step):
    """Edges to logits of the filter network: the first half of `FilterEdges`."""

    inputs = (POSITION, EDGE_INDEX, DISTANCE2)
    outputs = (EDGE_LOGIT,)

    def step(self, request: ModelRequest) -> dict[str, ndarray]:
        stage = self.stage(stages.FilterEdges)
        edges = (request[EDGE_INDEX.name], request[DISTANCE2.name])
        logit = kernels.filter_logits(request[POSITION.name], *edges, stage.network, stage.threads)
        return {EDGE_LOGIT.name: logit}


class ApplyFilterModel(_Step):
    """Edges that pass the filter and have a partner, and features of the pairs."""

    inputs = (POSITION, EDGE_INDEX, EDGE_LOGIT)
    outputs = (KEPT_INDEX, PAIR_FEATURES)

    def step(self, request: ModelRequest) -> dict[str, ndarray]:
        cut = kernels.logit_of(self.stage(stages.FilterEdges).cut)
        passed = np.ascontiguousarray(request[EDGE_INDEX.name][:, request[EDGE_LOGIT.name] >= cut])
        edge_index, _, _, features = self.stage(stages.PairEdges)(request[POSITION.name], passed)
        return {KEPT_INDEX.name: edge_index, PAIR_FEATURES.name: features}


class ScoreModel(_Step):
    """Edges to scores, by the interaction network."""

    inputs = (POSITION, KEPT_INDEX, PAIR_FEATURES)
    outputs = (EDGE_SCORE,)

    def step(self, request: ModelRequest) -> dict[str, ndarray]:
        arrays = (request[POSITION.name], request[KEPT_INDEX.name], request[PAIR_FEATURES.name])
        score, _ = self.stage(stages.ScoreEdges)(*arrays)
        return {EDGE_SCORE.name: score}


class LabelModel(_Step):
    """Scores to labels, by connected components."""

    inputs = (POSITION, KEPT_INDEX, EDGE_SCORE)
    outputs = (LABELS,)

    def step(self, request: ModelRequest) -> dict[str, ndarray]:
        arrays = (request[POSITION.name], request[KEPT_INDEX.name], request[EDGE_SCORE.name])
        (track_id,) = self.stage(stages.ConnectComponents)(*arrays)
        return {LABELS.name: track_id}


STEPS: Final[dict[str, type[Any]]] = {
    "embed": EmbedModel,
    "frnn": NeighbourModel,
    "filter": FilterModel,
    "applyfilter": ApplyFilterModel,
    "gnn": ScoreModel,
    "wcc": LabelModel,
}
"""Name of each step -> its model, in the order of the chain."""
