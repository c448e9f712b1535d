"""The work of the stages of `beampipe.tracking.stages` on tensors: the same arrays in, the same out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from numpy import ndarray
from torch import Tensor

from beampipe.arrays import Float32, Int64
from beampipe.tracking import stages as host
from beampipe.tracking.cuda import graphs, networks
from beampipe.tracking.cuda.graphs import (
    Chi2Tensor,
    EdgeTensor,
    EdgeValueTensor,
    PairTensor,
    PositionTensor,
    TripletTensor,
)
from beampipe.tracking.kernels import logit_of
from beampipe.tracking.kernels.features import EMBEDDING_SIZE

__all__ = [
    "DeviceStage",
    "build_from_windows",
    "classify_edges",
    "connect_components",
    "embed_hits",
    "filter_edges",
    "find_neighbours",
    "find_triplets",
    "on_device",
    "pair_edges",
    "to_device",
    "to_host",
]


@dataclass(frozen=True, eq=False)
class DeviceStage:
    """A stage whose arrays are tensors on a device; it is done when it returns.

    Attributes:
        needs: names of the arrays that the stage is called with.
        makes: names of the arrays that the stage returns.
        work: what makes them.
        device: where the tensors are.
    """

    needs: tuple[str, ...]
    makes: tuple[str, ...]
    work: Callable[..., tuple[Any, ...]]
    device: torch.device

    def __call__(self, **arrays: Any) -> tuple[Any, ...]:
        with on_device(self.device):
            made = self.work(**arrays)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)  # so that the time of a stage is its own
        return made


@contextmanager
def on_device(device: torch.device) -> Iterator[None]:
    """Work on `device`, without gradients, with full float32 products (no TF32)."""
    precision = torch.get_float32_matmul_precision()
    if precision != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode(), torch.cuda.device(device if device.type == "cuda" else -1):
            yield
    finally:
        if precision != "highest":
            torch.set_float32_matmul_precision(precision)


def to_device(device: torch.device, **arrays: ndarray) -> tuple[Tensor, ...]:
    """The arrays, copied to a device."""
    return tuple(torch.tensor(array, device=device) for array in arrays.values())


def to_host(**tensors: Tensor) -> tuple[ndarray, ...]:
    """The tensors, copied to the host."""
    return tuple(tensor.cpu().numpy() for tensor in tensors.values())


def embed_hits(position: PositionTensor, *, network: networks.DeviceMlp) -> tuple[Float32[Tensor, "n_hits d"]]:
    """`EmbedHits` on tensors."""
    return (networks.embed(position, network),)


def find_neighbours(
    position: PositionTensor, embedding: Float32[Tensor, "n_hits d"], offsets: None, *, settings: host.FindNeighbours
) -> tuple[EdgeTensor, EdgeValueTensor]:
    """`FindNeighbours` on tensors, of one event."""
    return graphs.radius_edges(
        embedding[:, :EMBEDDING_SIZE],
        embedding[:, EMBEDDING_SIZE:],
        position,
        settings.radius,
        settings.max_neighbours,
        settings.kappa_max,
        settings.z0_max,
    )


def filter_edges(
    position: PositionTensor,
    edge_index: EdgeTensor,
    distance2: EdgeValueTensor,
    *,
    network: networks.DeviceMlp,
    cut: float,
) -> tuple[Int64[Tensor, "2 n_kept"]]:
    """`FilterEdges` on tensors."""
    logit = networks.filter_logits(position, edge_index, distance2, network)
    return (edge_index[:, logit >= float(logit_of(cut))],)


def build_from_windows(position: PositionTensor, offsets: None, *, windows: graphs.DeviceWindows) -> tuple[EdgeTensor]:
    """`BuildFromWindows` on tensors, of one event."""
    return (graphs.module_map_edges(position, windows),)


def find_triplets(
    position: PositionTensor, edge_index: EdgeTensor, *, windows: graphs.DeviceWindows
) -> tuple[TripletTensor, Chi2Tensor]:
    """`FindTriplets` on tensors."""
    return graphs.triplets(position, edge_index, windows)


def pair_edges(
    position: PositionTensor, edge_index: EdgeTensor, *, windows: graphs.DeviceWindows, min_hits: int
) -> tuple[Int64[Tensor, "2 n_kept"], TripletTensor, Chi2Tensor, Float32[Tensor, "n_kept 6"]]:
    """`PairEdges` on tensors."""
    triplets, chi2 = graphs.triplets(position, edge_index, windows)
    features = graphs.pair_features(position, edge_index, triplets, chi2)
    stays = graphs.on_chains(features, min_hits)
    both = stays[triplets].all(dim=0)
    return edge_index[:, stays], (torch.cumsum(stays, 0) - 1)[triplets[:, both]], chi2[both], features[stays]


def classify_edges(
    position: PositionTensor, edge_index: EdgeTensor, pair_features: PairTensor, *, network: networks.DeviceGnn
) -> tuple[EdgeValueTensor, EdgeValueTensor]:
    """`ScoreEdges` on tensors."""
    logit = networks.gnn_logits(position, edge_index, pair_features, network)
    return networks.sigmoid(logit), logit


def connect_components(
    position: PositionTensor, edge_index: EdgeTensor, edge_score: EdgeValueTensor, *, score_cut: float, min_hits: int
) -> tuple[Int64[ndarray, " n_hits"]]:
    """`ConnectComponents` on tensors; the labels are copied to the host."""
    kept = edge_index[:, edge_score >= score_cut]
    return (graphs.connected_components(len(position), kept, min_hits).cpu().numpy(),)
