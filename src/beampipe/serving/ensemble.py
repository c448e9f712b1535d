"""The same pipeline as six Triton models, one for each step: what `exatrkx_ensemble` chains, and is compared with.

    embed        FEATURES                              -> POSITION, EMBEDDING
    frnn         POSITION, EMBEDDING                   -> EDGE_INDEX, DISTANCE2
    filter       POSITION, EDGE_INDEX, DISTANCE2       -> EDGE_LOGIT
    applyfilter  POSITION, EDGE_INDEX, EDGE_LOGIT      -> KEPT_INDEX, PAIR_FEATURES
    gnn          POSITION, KEPT_INDEX, PAIR_FEATURES   -> EDGE_SCORE
    wcc          POSITION, KEPT_INDEX, EDGE_SCORE      -> LABELS

Each step runs the stage of the one-model pipeline; what differs is that the data between steps goes through the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np
from numpy import ndarray

from beampipe.errors import InputError, TooLargeError
from beampipe.serving import contract
from beampipe.serving.contract import FEATURES, LABELS
from beampipe.serving.tracking_model import small_event
from beampipe.tracking import kernels, stages
from beampipe.tracking.events import Hits
from beampipe.tracking.formats.scale import scale_named
from beampipe.tracking.pipeline import load_pipeline, turned
from beampipe.tracking.stages import Graph, Stage
from beampipe.triton.model.contract import TensorSpec
from beampipe.triton.model.served_model import Instance, ModelAnswer, ModelRequest

__all__ = ["STEPS", "ApplyFilter", "Embed", "Filter", "FindNeighbours", "Label", "Score"]

POSITION: Final = TensorSpec("POSITION", "FP32", np.float32, (-1, 3))
EMBEDDING: Final = TensorSpec("EMBEDDING", "FP32", np.float32, (-1, 16))
EDGE_INDEX: Final = TensorSpec("EDGE_INDEX", "INT64", np.int64, (2, -1))
DISTANCE2: Final = TensorSpec("DISTANCE2", "FP32", np.float32, (-1,))
EDGE_LOGIT: Final = TensorSpec("EDGE_LOGIT", "FP32", np.float32, (-1,))
KEPT_INDEX: Final = TensorSpec("KEPT_INDEX", "INT64", np.int64, (2, -1))
PAIR_FEATURES: Final = TensorSpec("PAIR_FEATURES", "FP32", np.float32, (-1, 6))
EDGE_SCORE: Final = TensorSpec("EDGE_SCORE", "FP32", np.float32, (-1,))


class _Step:
    """One step of the pipeline as a model; `step` says what it does to one event."""

    inputs: ClassVar[tuple[TensorSpec, ...]] = ()
    outputs: ClassVar[tuple[TensorSpec, ...]] = ()

    def __init__(self, instance: Instance) -> None:
        settings = instance.parameters
        self.scale = scale_named(settings.get(contract.FEATURE_SCALE, "mm"))
        self.max_hits = int(settings[contract.MAX_HITS])
        pipeline = load_pipeline(
            settings[contract.PIPELINE], device=instance.device, threads=instance.threads, weights=instance.weights
        )
        self.stages = {type(stage): stage for _, stage in pipeline.stages}

    def run(self, requests: Sequence[ModelRequest], /) -> list[ModelAnswer]:
        """One answer each."""
        return [self._one(request) for request in requests]

    def _one(self, request: ModelRequest) -> ModelAnswer:
        try:
            return self.step(request)
        except InputError as error:
            return error

    def step(self, request: ModelRequest) -> dict[str, ndarray]:
        raise NotImplementedError

    def through(self, kind: type, graph: Graph) -> Graph:
        """The graph after the stage of that kind."""
        stage: Stage = self.stages[kind]
        return stage(graph)

    def filter_stage(self) -> stages.FilterEdges:
        """The one stage that the chain splits in two."""
        stage = self.stages[stages.FilterEdges]
        assert isinstance(stage, stages.FilterEdges)
        return stage

    @classmethod
    def example(cls) -> ModelRequest:
        """A shipped event without pile-up, in mm: what the chain is asked."""
        return {FEATURES.name: small_event().position}


class Embed(_Step):
    """Hits to embedding; the chain's only look at what the client sent."""

    inputs = (FEATURES,)
    outputs = (POSITION, EMBEDDING)

    def step(self, request: ModelRequest) -> dict[str, ndarray]:
        features = request[FEATURES.name]
        if len(features) > self.max_hits:
            raise TooLargeError(
                f"hits: got {len(features)}, expected at most {self.max_hits}; cut the event into regions"
            )
        position = turned(Hits(features if self.scale.name == "mm" else self.scale.to_mm(features)).position)
        graph = self.through(stages.EmbedHits, Graph(position))
        return _given({POSITION.name: position, EMBEDDING.name: graph.embedding})


class FindNeighbours(_Step):
    """Embedding to edges."""

    inputs = (POSITION, EMBEDDING)
    outputs = (EDGE_INDEX, DISTANCE2)

    def step(self, request: ModelRequest) -> dict[str, ndarray]:
        graph = Graph(request[POSITION.name], embedding=request[EMBEDDING.name])
        graph = self.through(stages.FindNeighbours, graph)
        return _given({EDGE_INDEX.name: graph.edge_index, DISTANCE2.name: graph.distance2})


class Filter(_Step):
    """Edges to what the filter network says of each."""

    inputs = (POSITION, EDGE_INDEX, DISTANCE2)
    outputs = (EDGE_LOGIT,)

    def step(self, request: ModelRequest) -> dict[str, ndarray]:
        stage = self.filter_stage()
        edges = (request[EDGE_INDEX.name], request[DISTANCE2.name])
        logit = kernels.filter_logits(request[POSITION.name], *edges, stage.network, stage.threads)
        return {EDGE_LOGIT.name: logit}


class ApplyFilter(_Step):
    """Edges that pass the filter and have a partner, and what their partners say of them."""

    inputs = (POSITION, EDGE_INDEX, EDGE_LOGIT)
    outputs = (KEPT_INDEX, PAIR_FEATURES)

    def step(self, request: ModelRequest) -> dict[str, ndarray]:
        cut = kernels.logit_of(self.filter_stage().cut)
        kept = np.ascontiguousarray(request[EDGE_INDEX.name][:, request[EDGE_LOGIT.name] >= cut])
        graph = self.through(stages.PairEdges, Graph(request[POSITION.name], edge_index=kept))
        return _given({KEPT_INDEX.name: graph.edge_index, PAIR_FEATURES.name: graph.pair_features})


class Score(_Step):
    """Edges to scores, by the interaction network."""

    inputs = (POSITION, KEPT_INDEX, PAIR_FEATURES)
    outputs = (EDGE_SCORE,)

    def step(self, request: ModelRequest) -> dict[str, ndarray]:
        pairs = request[PAIR_FEATURES.name]
        graph = Graph(request[POSITION.name], edge_index=request[KEPT_INDEX.name], pair_features=pairs)
        return _given({EDGE_SCORE.name: self.through(stages.ScoreEdges, graph).edge_score})


class Label(_Step):
    """Scores to labels, by connected components."""

    inputs = (POSITION, KEPT_INDEX, EDGE_SCORE)
    outputs = (LABELS,)

    def step(self, request: ModelRequest) -> dict[str, ndarray]:
        score = request[EDGE_SCORE.name]
        graph = Graph(request[POSITION.name], edge_index=request[KEPT_INDEX.name], edge_score=score)
        return _given({LABELS.name: self.through(stages.ConnectComponents, graph).track_id})


def _given(arrays: dict[str, ndarray | None]) -> dict[str, ndarray]:
    """What a stage has added."""
    return {name: array for name, array in arrays.items() if array is not None}


STEPS: Final = {
    "embed": Embed,
    "frnn": FindNeighbours,
    "filter": Filter,
    "applyfilter": ApplyFilter,
    "gnn": Score,
    "wcc": Label,
}
"""The models of the chain, in order."""
