"""The stages of `beampipe.tracking.stages` on tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray
from torch import Tensor

from beampipe.tracking import stages as host
from beampipe.tracking.cuda import graphs, networks
from beampipe.tracking.kernels import logit_of
from beampipe.tracking.networks import EMBEDDING_SIZE

__all__ = [
    "DeviceGraph",
    "DeviceStage",
    "build_from_windows",
    "connect_components",
    "embed_hits",
    "filter_edges",
    "find_neighbours",
    "pair_edges",
    "score_edges",
    "walk_through",
]


@dataclass(frozen=True, eq=False)
class DeviceGraph:
    """`beampipe.tracking.stages.Graph` with tensors of one device; only the labels are on the host."""

    position: Float32[Tensor, "n_hits 3"]
    embedding: Float32[Tensor, "n_hits d"] | None = None
    edge_index: Int64[Tensor, "2 n_edges"] | None = None
    distance2: Float32[Tensor, " n_edges"] | None = None
    triplets: Int64[Tensor, "2 n_triplets"] | None = None
    chi2: Float32[Tensor, " n_triplets"] | None = None
    pair_features: Float32[Tensor, "n_edges 6"] | None = None
    edge_score: Float32[Tensor, " n_edges"] | None = None
    edge_logit: Float32[Tensor, " n_edges"] | None = None
    track_id: Int64[ndarray, " n_hits"] | None = None

    def keep_edges(self, kept: Bool[Tensor, " n_edges"]) -> DeviceGraph:
        """The graph without the other edges, nor the triplets that need them."""
        assert self.edge_index is not None

        def part(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[kept]

        triplets, chi2 = self.triplets, self.chi2
        if triplets is not None and chi2 is not None:
            whole = kept[triplets[0]] & kept[triplets[1]]
            triplets, chi2 = (torch.cumsum(kept, 0) - 1)[triplets[:, whole]], chi2[whole]
        return replace(
            self,
            edge_index=self.edge_index[:, kept],
            distance2=part(self.distance2),
            triplets=triplets,
            chi2=chi2,
            pair_features=part(self.pair_features),
            edge_score=part(self.edge_score),
            edge_logit=part(self.edge_logit),
        )

    def on_host(self) -> host.Graph:
        """What labelling by paths needs, copied."""

        def copied(values: Tensor | None) -> ndarray | None:
            return None if values is None else values.cpu().numpy()

        return host.Graph(
            self.position.cpu().numpy(),
            edge_index=copied(self.edge_index),
            triplets=copied(self.triplets),
            chi2=copied(self.chi2),
            edge_logit=copied(self.edge_logit),
        )


DeviceStage = Callable[[DeviceGraph], DeviceGraph]


def embed_hits(graph: DeviceGraph, network: networks.DeviceMlp) -> DeviceGraph:
    """Adds `embedding`."""
    return replace(graph, embedding=networks.embed(graph.position, network))


def find_neighbours(graph: DeviceGraph, settings: host.FindNeighbours) -> DeviceGraph:
    """Turns `embedding` into `edge_index`: all pairs within the radius and inside the kinematic windows."""
    assert graph.embedding is not None
    edge_index, distance2 = graphs.radius_edges(
        graph.embedding[:, :EMBEDDING_SIZE],
        graph.embedding[:, EMBEDDING_SIZE:],
        graph.position,
        settings.radius,
        settings.max_neighbours,
        settings.kappa_max,
        settings.z0_max,
    )
    return replace(graph, embedding=None, edge_index=edge_index, distance2=distance2)


def filter_edges(graph: DeviceGraph, network: networks.DeviceMlp, cut: float) -> DeviceGraph:
    """Drops edges that the filter network scores below `cut`."""
    assert graph.edge_index is not None
    assert graph.distance2 is not None
    logit = networks.filter_logits(graph.position, graph.edge_index, graph.distance2, network)
    return replace(graph.keep_edges(logit >= float(logit_of(cut))), distance2=None)


def build_from_windows(graph: DeviceGraph, windows: graphs.DeviceWindows) -> DeviceGraph:
    """Adds `edge_index`: doublets and triplets inside learned windows."""
    return replace(graph, edge_index=graphs.module_map_edges(graph.position, windows))


def pair_edges(graph: DeviceGraph, windows: graphs.DeviceWindows, features: bool) -> DeviceGraph:
    """Adds `triplets` and, if wanted, `pair_features`, dropping the edges that have no partner."""
    assert graph.edge_index is not None
    triplets, chi2 = graphs.triplets(graph.position, graph.edge_index, windows)
    graph = replace(graph, triplets=triplets, chi2=chi2)
    if not features:
        return graph
    assert graph.edge_index is not None
    partnered = torch.zeros_like(graph.edge_index[0], dtype=torch.bool)
    partnered[triplets.reshape(-1)] = True
    values = graphs.pair_features(graph.position, graph.edge_index, triplets, chi2)
    return replace(graph, pair_features=values).keep_edges(partnered)


def score_edges(graph: DeviceGraph, network: networks.DeviceGnn) -> DeviceGraph:
    """Adds `edge_score` by the interaction network."""
    assert graph.edge_index is not None
    assert graph.pair_features is not None
    logit = networks.gnn_logits(graph.position, graph.edge_index, graph.pair_features, network)
    return replace(graph, edge_score=networks.sigmoid(logit), edge_logit=logit)


def connect_components(graph: DeviceGraph, score_cut: float, min_hits: int) -> DeviceGraph:
    """Tracks are the connected components of the edges with a score of at least `score_cut`."""
    assert graph.edge_index is not None
    assert graph.edge_score is not None
    kept = graph.edge_index[:, graph.edge_score >= score_cut]
    label = graphs.connected_components(len(graph.position), kept, min_hits)
    return replace(graph, track_id=label.cpu().numpy())


def walk_through(graph: DeviceGraph, stage: host.WalkThrough) -> DeviceGraph:
    """Tracks are the best paths, by the CPU stage on the host."""
    return replace(graph, track_id=stage(graph.on_host()).track_id)
