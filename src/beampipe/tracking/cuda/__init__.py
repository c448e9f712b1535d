"""The named pipelines on a CUDA device, in PyTorch: hits go there once, labels come back.

Cuts and weights are those of the CPU pipeline, which is read and translated stage by stage. Every sum runs in a fixed
order, so the same hits give the same labels; against the CPU kernels, scores differ in the last digits of a float32.

The last step of the ``walk`` and ``module_map`` pipelines runs on the host, as the paths claim their hits one after the
other: edges, triplets and logits (a few MB) are copied to the CPU stage. So does the completion after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from numpy import ndarray
from torch import Tensor

from beampipe.arrays import Float32, Int64
from beampipe.errors import ConfigError
from beampipe.tracking import stages as host
from beampipe.tracking.cuda import graphs, networks
from beampipe.tracking.cuda.graphs import (
    Chi2Tensor,
    EdgeTensor,
    EdgeValueTensor,
    PairTensor,
    PositionTensor,
    TripletTensor,
    windows_to_device,
)
from beampipe.tracking.cuda.networks import gnn_to_device, mlp_to_device
from beampipe.tracking.kernels import logit_of
from beampipe.tracking.kernels.features import EMBEDDING_SIZE
from beampipe.tracking.pipeline import Pipeline

__all__ = ["cuda_device", "translate"]


def cuda_device(device: str) -> torch.device:
    """The device of that name, after a check that torch sees it.

    Raises:
        ConfigError: torch does not see the device.
    """
    build = f"torch {torch.__version__} (built for CUDA {torch.version.cuda or 'none: install a CUDA build'})"
    if not torch.cuda.is_available():
        raise ConfigError(f"device: got {device!r}, but {build} sees no CUDA device; check nvidia-smi, or use 'cpu'")
    chosen, count = torch.device(device), torch.cuda.device_count()
    number = torch.cuda.current_device() if chosen.index is None else chosen.index
    if number >= count:
        names = ", ".join(f"cuda:{k} ({torch.cuda.get_device_name(k)})" for k in range(count))
        raise ConfigError(f"device: got {device!r}, but {build} sees {count}: {names}; use one of these")
    return torch.device("cuda", number)


def translate(pipeline: Pipeline, device: torch.device) -> Pipeline:
    """A CPU pipeline with its stages on `device` (any device of torch, including the CPU).

    Raises:
        ConfigError: a stage has no counterpart.
    """
    with on_device(device):
        lines = tuple(tuple(_translated(line, device)) for line in pipeline.passes)
    return replace(pipeline, own_stages=lines, in_blocks=False)


def _translated(line: host.Line, device: torch.device) -> Iterator[tuple[str, host.Stage]]:
    """The steps on the device, those that copy arrays to it and back among them."""
    copied = ("position",)
    yield line[0][0], DeviceStage(copied, copied, partial(to_device, device), device)
    for name, stage in line:
        if isinstance(stage, host.WalkByChi2 | host.WalkByScore):
            yield name, DeviceStage(stage.needs, stage.needs, to_host, device)
            yield name, stage
        elif isinstance(stage, host.CompleteTracks):  # the walk before it has left the arrays on the host
            yield name, stage
        else:
            yield name, DeviceStage(stage.needs, stage.makes, _work(stage, device), device)


def _work(stage: host.Stage, device: torch.device) -> Callable[..., tuple[Any, ...]]:
    """The function of a stage, with its weights and tables on the device."""
    match stage:
        case host.EmbedHits(network=network):
            return partial(embed_hits, network=mlp_to_device(network, device))
        case host.FindNeighbours():
            return partial(find_neighbours, settings=stage)
        case host.FilterEdges(network=network, cut=cut):
            return partial(filter_edges, network=mlp_to_device(network, device), cut=cut)
        case host.BuildFromWindows(windows=windows, seed_depth=depth, least_curvature=least):
            return partial(build_from_windows, windows=windows_to_device(windows, device, depth, least))
        case host.KeepNeighbours(radius=radius):
            return partial(keep_neighbours, radius=radius)
        case host.FindTriplets(windows=windows):
            return partial(find_triplets, windows=windows_to_device(windows, device))
        case host.PairEdges(windows=windows, min_hits=min_hits):
            return partial(pair_edges, windows=windows_to_device(windows, device), min_hits=min_hits)
        case host.ScoreEdges(network=gnn):
            return partial(classify_edges, network=gnn_to_device(gnn, device))
        case host.ConnectComponents(score_cut=score_cut, min_hits=min_hits):
            return partial(connect_components, score_cut=score_cut, min_hits=min_hits)
    raise ConfigError(f"stage: got {type(stage).__name__}, which has no CUDA counterpart; run this pipeline on the cpu")


@dataclass(frozen=True, eq=False)
class DeviceStage:
    """A stage whose arrays are tensors on a device; the call returns when the device has finished.

    Attributes:
        needs: names of the arrays that the stage is called with.
        makes: names of the arrays that the stage returns.
        work: function that makes them.
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


def keep_neighbours(
    embedding: Float32[Tensor, "n_hits d"], edge_index: EdgeTensor, *, radius: float
) -> tuple[Int64[Tensor, "2 n_kept"], Float32[Tensor, " n_kept"]]:
    """`KeepNeighbours` on tensors."""
    inner, outer = edge_index
    distance2 = (embedding[outer, EMBEDDING_SIZE:] - embedding[inner, :EMBEDDING_SIZE]).square().sum(1)
    near = distance2 < radius * radius
    return edge_index[:, near], distance2[near]


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
