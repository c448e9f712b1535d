"""The stages of track finding: each takes the graph of one event and gives it back with one thing more.

No stage knows its neighbours; a pipeline is a list of them (`beampipe.tracking.pipeline`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray

from beampipe.tracking import kernels
from beampipe.tracking.kernels import module_map
from beampipe.tracking.networks import EMBEDDING_SIZE
from beampipe.tracking.windows import Windows

__all__ = [
    "BuildFromWindows",
    "ConnectComponents",
    "EmbedHits",
    "FilterEdges",
    "FindNeighbours",
    "Graph",
    "PairEdges",
    "ScoreEdges",
    "Stage",
    "WalkThrough",
]


@dataclass(frozen=True, eq=False)
class Graph:
    """One event, or several side by side, on the way from hits to tracks. No edge joins two events.

    Attributes:
        position: (n_hits, 3) float32: r [mm], phi [rad], z [mm].
        embedding: (n_hits, 16) float32, source then target vector, while it is needed.
        edge_index: (2, n_edges) int64, inner hit, outer hit, sorted by both.
        distance2: (n_edges,) float32 squared embedding distance, while it is needed.
        triplets: (2, n_triplets) int64 pairs of edges (in, out) that share a hit, from the beam outwards.
        chi2: (n_triplets,) float32, in units of the window.
        pair_features: (n_edges, 6) float32.
        edge_score: (n_edges,) float32 in [0, 1].
        edge_logit: (n_edges,) float32, tells apart scores that round to 1.
        track_id: (n_hits,) int64.
        offsets: (n_events + 1,) int64 first hit of each event, and the end; None for one event.
    """

    position: Float32[ndarray, "n_hits 3"]
    embedding: Float32[ndarray, "n_hits d"] | None = None
    edge_index: Int64[ndarray, "2 n_edges"] | None = None
    distance2: Float32[ndarray, " n_edges"] | None = None
    triplets: Int64[ndarray, "2 n_triplets"] | None = None
    chi2: Float32[ndarray, " n_triplets"] | None = None
    pair_features: Float32[ndarray, "n_edges 6"] | None = None
    edge_score: Float32[ndarray, " n_edges"] | None = None
    edge_logit: Float32[ndarray, " n_edges"] | None = None
    track_id: Int64[ndarray, " n_hits"] | None = None
    offsets: Int64[ndarray, " n_events_and_1"] | None = None

    def keep_edges(self, kept: Bool[ndarray, " n_edges"]) -> Graph:
        """The graph without the other edges, nor the triplets that need them."""
        assert self.edge_index is not None

        def part(values: ndarray | None) -> ndarray | None:
            return None if values is None else values[kept]

        triplets, chi2 = self.triplets, self.chi2
        if triplets is not None and chi2 is not None:
            whole = kept[triplets[0]] & kept[triplets[1]]
            triplets, chi2 = (np.cumsum(kept) - 1)[triplets[:, whole]], chi2[whole]
        return replace(
            self,
            edge_index=np.ascontiguousarray(self.edge_index[:, kept]),
            distance2=part(self.distance2),
            triplets=triplets,
            chi2=chi2,
            pair_features=part(self.pair_features),
            edge_score=part(self.edge_score),
            edge_logit=part(self.edge_logit),
        )


Stage = Callable[[Graph], Graph]


@dataclass(frozen=True, eq=False)
class EmbedHits:
    """Adds `embedding`: hits of one particle that follow each other come close."""

    network: kernels.Mlp
    threads: int

    def __call__(self, graph: Graph) -> Graph:
        return replace(graph, embedding=kernels.embed(graph.position, self.network, self.threads))


@dataclass(frozen=True, eq=False)
class FindNeighbours:
    """Turns `embedding` into `edge_index`: all pairs within `radius` and inside the kinematic windows."""

    radius: float
    max_neighbours: int
    kappa_max: float
    z0_max: float
    threads: int

    def __call__(self, graph: Graph) -> Graph:
        assert graph.embedding is not None
        edge_index, distance2 = kernels.radius_edges(
            graph.embedding[:, :EMBEDDING_SIZE],
            graph.embedding[:, EMBEDDING_SIZE:],
            graph.position,
            self.radius,
            self.max_neighbours,
            self.kappa_max,
            self.z0_max,
            self.threads,
            graph.offsets,
        )
        return replace(graph, embedding=None, edge_index=edge_index, distance2=distance2)


@dataclass(frozen=True, eq=False)
class FilterEdges:
    """Drops edges that the filter network scores below `cut`."""

    network: kernels.Mlp
    cut: float
    threads: int

    def __call__(self, graph: Graph) -> Graph:
        assert graph.edge_index is not None
        assert graph.distance2 is not None
        kept = kernels.filter_kept(
            graph.position, graph.edge_index, graph.distance2, self.network, self.cut, self.threads
        )
        return replace(graph, edge_index=kept, distance2=None)


@dataclass(frozen=True, eq=False)
class BuildFromWindows:
    """Adds `edge_index`: doublets and triplets inside learned windows."""

    windows: Windows
    threads: int

    def __call__(self, graph: Graph) -> Graph:
        edge_index = module_map.module_map_edges(graph.position, self.windows, self.threads, graph.offsets)
        return replace(graph, edge_index=edge_index)


@dataclass(frozen=True, eq=False)
class PairEdges:
    """Adds `triplets` and, if wanted, `pair_features`, dropping the edges that have no partner."""

    windows: Windows
    features: bool
    threads: int

    def __call__(self, graph: Graph) -> Graph:
        assert graph.edge_index is not None
        n_edges = graph.edge_index.shape[1]
        triplets, chi2 = module_map.triplets(graph.position, graph.edge_index, self.windows, self.threads)
        graph = replace(graph, triplets=triplets, chi2=chi2)
        if not self.features:
            return graph
        features = module_map.pair_features(triplets, chi2, n_edges)
        partnered = np.zeros(n_edges, np.bool_)
        partnered[triplets.ravel()] = True
        return replace(graph, pair_features=features).keep_edges(partnered)


@dataclass(frozen=True, eq=False)
class ScoreEdges:
    """Adds `edge_score` by the interaction network."""

    network: kernels.GnnWeights
    threads: int

    def __call__(self, graph: Graph) -> Graph:
        assert graph.edge_index is not None
        assert graph.pair_features is not None
        pairs = graph.pair_features if self.network.n_pair_features else graph.pair_features[:, :0]
        score, logit = kernels.gnn_scores(graph.position, graph.edge_index, pairs, self.network, self.threads)
        return replace(graph, edge_score=score, edge_logit=logit)


@dataclass(frozen=True, eq=False)
class ConnectComponents:
    """Tracks are the connected components of the edges with a score of at least `score_cut`."""

    score_cut: float
    min_hits: int

    def __call__(self, graph: Graph) -> Graph:
        assert graph.edge_index is not None
        assert graph.edge_score is not None
        kept = np.ascontiguousarray(graph.edge_index[:, graph.edge_score >= self.score_cut])
        return replace(graph, track_id=kernels.connected_components(len(graph.position), kept, self.min_hits))


@dataclass(frozen=True, eq=False)
class WalkThrough:
    """Tracks are the best paths, by length and chi2, or by the network's score where there is one.

    With scores the weight of an edge is its logit less that of `score_cut`, clipped, so that a likely edge lengthens
    a path and an unlikely one costs.

    Attributes:
        windows: whose layers tell overlap hits.
        penalty: cost of a triplet at the edge of its window, in units of one edge.
        min_hits: shorter paths are dropped.
        score_cut: with scores: where an edge is as good as none.
        threads: for the layers.
    """

    windows: Windows
    penalty: float
    min_hits: int
    score_cut: float
    threads: int

    def __call__(self, graph: Graph) -> Graph:
        assert graph.edge_index is not None
        assert graph.triplets is not None
        assert graph.chi2 is not None
        if graph.edge_logit is None:
            weight = np.ones(graph.edge_index.shape[1], np.float32)
        else:
            weight = np.clip(
                graph.edge_logit - kernels.logit_of(self.score_cut), np.float32(-8), np.float32(8)
            ) * np.float32(0.25)
        layer = module_map.assign_layers(graph.position, self.windows, self.threads)
        track_id = module_map.walk(
            len(graph.position),
            graph.edge_index,
            graph.triplets,
            graph.chi2,
            weight,
            layer,
            self.penalty,
            self.min_hits,
        )
        return replace(graph, track_id=track_id)
