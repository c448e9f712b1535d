"""Features and networks on tensors; the formulas are those of `beampipe.tracking.kernels` in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from beampipe.arrays import Float, Float32, Int64
from beampipe.tracking.cuda.graphs import MIN_DR, EdgeTensor, EdgeValueTensor, PositionTensor, doublet
from beampipe.tracking.kernels.features import (
    AXIAL_UNIT,
    DPHI_SCALE,
    EDGE_FEATURES,
    ETA_SCALE,
    FEATURE_MAX,
    KAPPA_SCALE,
    LENGTH_SCALE,
    NODE_FEATURES,
    RADIAL_UNIT,
)
from beampipe.tracking.kernels.weights import GnnWeights, Mlp

_CHUNK = 1 << 20  # edges whose hidden layer is held at a time: 256 MB with 64 units

DeviceMlp = tuple[tuple[Tensor, Tensor], ...]
"""Weight (out, in) and bias (out,) of each layer."""


@dataclass(frozen=True, eq=False)
class DeviceGnn:
    """`GnnWeights` on a device."""

    node_encoder: DeviceMlp
    edge_encoder: DeviceMlp
    edge: tuple[DeviceMlp, ...]
    node: tuple[DeviceMlp, ...]
    classifier: DeviceMlp
    n_pair_features: int


def mlp_to_device(mlp: Mlp, device: torch.device) -> DeviceMlp:
    """The weights on the device."""
    return tuple(
        (torch.tensor(layer.weight, device=device), torch.tensor(layer.bias, device=device)) for layer in mlp.layers
    )


def gnn_to_device(gnn: GnnWeights, device: torch.device) -> DeviceGnn:
    """The weights on the device."""
    return DeviceGnn(
        mlp_to_device(gnn.node_encoder, device),
        mlp_to_device(gnn.edge_encoder, device),
        tuple(mlp_to_device(mlp, device) for mlp in gnn.edge),
        tuple(mlp_to_device(mlp, device) for mlp in gnn.node),
        mlp_to_device(gnn.classifier, device),
        gnn.n_pair_features,
    )


def hit_features(position: PositionTensor) -> Float32[Tensor, "n_hits 5"]:
    """`beampipe.tracking.kernels.features.HIT_FEATURES` of each hit."""
    r, phi, z = position.T.contiguous()
    eta = torch.asinh(z / r.clamp(min=MIN_DR))
    columns = [r * LENGTH_SCALE, torch.cos(phi), torch.sin(phi), z * LENGTH_SCALE, eta * ETA_SCALE]
    return torch.stack(columns, dim=1)


def node_features(position: PositionTensor) -> Float32[Tensor, "n_hits 3"]:
    """`beampipe.tracking.kernels.features.NODE_FEATURES` of each hit."""
    return hit_features(position)[:, [0, 3, 4]]


def edge_features(position: PositionTensor, edge_index: EdgeTensor) -> Float32[Tensor, "n_edges 6"]:
    """`beampipe.tracking.kernels.features.EDGE_FEATURES` of each edge."""
    kappa, slope, z0, dr, dz, dphi = doublet(position, edge_index)
    scaled = [
        kappa * KAPPA_SCALE,
        torch.asinh(slope) * ETA_SCALE,
        z0 / RADIAL_UNIT,
        dr / RADIAL_UNIT,
        dz / AXIAL_UNIT,
        dphi * DPHI_SCALE,
    ]
    return torch.stack(scaled, dim=1).clamp(-FEATURE_MAX, FEATURE_MAX)


def sigmoid(logit: Float32[Tensor, " n"]) -> Float32[Tensor, " n"]:
    """1 / (1 + exp(-logit)), through float64."""
    return torch.sigmoid(logit.double()).float()


def apply(mlp: DeviceMlp, x: Float32[Tensor, "n in"]) -> Float32[Tensor, "n out"]:
    """Linear layers with SiLU between them."""
    return _after_first(mlp, F.linear(x, *mlp[0]))


def embed(position: PositionTensor, network: DeviceMlp) -> Float32[Tensor, "n_hits d"]:
    """Source and target vectors of the hits, side by side."""
    return apply(network, hit_features(position))


def filter_logits(
    position: PositionTensor, edge_index: EdgeTensor, distance2: EdgeValueTensor, network: DeviceMlp
) -> EdgeValueTensor:
    """Logit of each edge. The part of the first layer that reads a hit is done once per hit, not once per edge."""
    weight, bias = network[0]
    parts = [len(EDGE_FEATURES), len(NODE_FEATURES), len(NODE_FEATURES), 1]
    of_edge, of_inner, of_outer, of_distance = torch.split(weight, parts, dim=1)
    nodes = node_features(position)
    inner_part, outer_part = F.linear(nodes, of_inner, bias), F.linear(nodes, of_outer)
    logit = torch.empty_like(distance2)
    for part in _chunks(len(distance2)):
        ends = edge_index[:, part]
        x = F.linear(edge_features(position, ends), of_edge) + inner_part[ends[0]] + outer_part[ends[1]]
        x += distance2[part, None] * of_distance[:, 0]
        logit[part] = _after_first(network, x)[:, 0]
    return logit


def gnn_logits(
    position: PositionTensor, edge_index: EdgeTensor, pair_features: Float32[Tensor, "n_edges p"], weights: DeviceGnn
) -> EdgeValueTensor:
    """Logit of each edge: message passing over edges and hits (Battaglia et al. 2016, arXiv:1612.00222).

    Args:
        edge_index: inner hit and outer hit of each edge, sorted by inner hit.
    """
    inner, outer = edge_index
    by_outer = torch.argsort(outer, stable=True)
    n_starting = torch.bincount(inner, minlength=len(position))
    n_ending = torch.bincount(outer, minlength=len(position))
    x = apply(weights.node_encoder, node_features(position))
    features = torch.cat([edge_features(position, edge_index), pair_features[:, : weights.n_pair_features]], dim=1)
    e = torch.empty((len(inner), x.shape[1]), dtype=x.dtype, device=x.device)
    for part in _chunks(len(inner)):
        e[part] = apply(weights.edge_encoder, features[part])
    for edge, node in zip(weights.edge, weights.node, strict=True):
        e += _of_edges(edge, x, e, edge_index)
        ending, starting = segment_sum(e[by_outer], n_ending), segment_sum(e, n_starting)
        x = x + apply(node, torch.cat([x, ending, starting], dim=1))
    return _of_edges(weights.classifier, x, e, edge_index)[:, 0]


def segment_sum(values: Float32[Tensor, "n h"], lengths: Int64[Tensor, " m"]) -> Float32[Tensor, "m h"]:
    """Sums of consecutive rows, each added in order: unlike a scatter, the same on every run."""
    if len(values) == 0:
        return values.new_zeros((len(lengths), values.shape[1]))
    return torch.segment_reduce(values, "sum", lengths=lengths, axis=0, initial=0, unsafe=True)


def _of_edges(
    mlp: DeviceMlp, x: Float32[Tensor, "n h"], e: Float32[Tensor, "n_edges h"], edge_index: EdgeTensor
) -> Float32[Tensor, "n_edges out"]:
    """The network of [x_inner, x_outer, e], its first layer split as in `filter_logits`."""
    weight, bias = mlp[0]
    of_inner, of_outer, of_edge = weight.chunk(3, dim=1)
    inner_part, outer_part = F.linear(x, of_inner, bias), F.linear(x, of_outer)
    out = torch.empty((len(e), len(mlp[-1][1])), dtype=e.dtype, device=e.device)
    for part in _chunks(len(e)):
        inner, outer = edge_index[:, part]
        out[part] = _after_first(mlp, F.linear(e[part], of_edge) + inner_part[inner] + outer_part[outer])
    return out


def _after_first(mlp: DeviceMlp, x: Float[Tensor, "n hidden"]) -> Float[Tensor, "n out"]:
    """The layers after the first one."""
    for weight, bias in mlp[1:]:
        x = F.linear(F.silu(x), weight, bias)
    return x


def _chunks(n: int) -> Iterator[slice]:
    return (slice(first, min(first + _CHUNK, n)) for first in range(0, n, _CHUNK))
