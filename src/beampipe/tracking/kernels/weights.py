"""Weights of the networks as the kernels read them: plain numpy, packed once into one row of floats by C++."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.errors import DtypeError, ShapeError
from beampipe.tracking.kernels.loading import native

__all__ = ["GnnWeights", "Layer", "Mlp"]


@dataclass(frozen=True, eq=False)
class Layer:
    """One linear layer, y = W x + b.

    Attributes:
        weight: (out, in) float32 matrix.
        bias: (out,) float32 offset of each output.
    """

    weight: Float32[ndarray, "out in"]
    bias: Float32[ndarray, " out"]

    def __post_init__(self) -> None:
        if self.weight.dtype != np.float32 or self.bias.dtype != np.float32:
            raise DtypeError(
                f"layer: got dtypes {self.weight.dtype}, {self.bias.dtype}, expected float32; convert first"
            )
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ShapeError(
                f"layer: got weight {self.weight.shape} and bias {self.bias.shape}, expected (out, in) and (out,)"
            )


@dataclass(frozen=True, eq=False)
class Mlp:
    """Linear layers with SiLU between them and nothing after the last one."""

    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        for k, (a, b) in enumerate(pairwise(self.layers)):
            if len(a.bias) != b.weight.shape[1]:
                raise ShapeError(
                    f"layer {k + 1}: got {b.weight.shape[1]} inputs, expected {len(a.bias)}, the outputs of layer {k}"
                )

    @cached_property
    def widths(self) -> list[int]:
        """Lengths of the input and of each layer's output."""
        return [self.layers[0].weight.shape[1], *(len(layer.bias) for layer in self.layers)]

    @cached_property
    def packed(self) -> Float32[ndarray, " size"]:
        """All layers, matrices transposed so that outputs are neighbours in memory."""
        return self._packed(by_output=False)

    @cached_property
    def packed_by_output(self) -> Float32[ndarray, " size"]:
        """All layers, matrices as they are: the filter kernel keeps edges, not outputs, in its vectors."""
        return self._packed(by_output=True)

    def _packed(self, *, by_output: bool) -> Float32[ndarray, " size"]:
        kernels = native()
        assert kernels is not None, "only the native kernels read packed weights"
        weights, biases = zip(*((layer.weight, layer.bias) for layer in self.layers), strict=True)
        packed: Float32[ndarray, " size"] = kernels.packed(weights, biases, by_output)
        return packed


@dataclass(frozen=True, eq=False)
class GnnWeights:
    """The interaction network: encoders, one edge and one node network per step, classifier.

    Raises:
        ShapeError: a network's widths do not fit the others'.
    """

    node_encoder: Mlp
    edge_encoder: Mlp
    edge: tuple[Mlp, ...]
    node: tuple[Mlp, ...]
    classifier: Mlp

    def __post_init__(self) -> None:
        h = self.hidden
        expected = {
            "node_encoder": (self.node_encoder, [3, h, h]),
            "edge_encoder": (self.edge_encoder, [self.edge_encoder.widths[0], h, h]),
            "classifier": (self.classifier, [3 * h, h, 1]),
        }
        for kind, networks in (("edge", self.edge), ("node", self.node)):
            expected |= {f"{kind}.{s}": (mlp, [3 * h, h, h]) for s, mlp in enumerate(networks)}
        for name, (mlp, widths) in expected.items():
            if mlp.widths != widths:
                raise ShapeError(f"gnn.{name}: got widths {mlp.widths}, expected {widths}")
        if len(self.edge) != len(self.node):
            raise ShapeError(f"gnn: got {len(self.edge)} edge and {len(self.node)} node networks, expected as many")

    @property
    def hidden(self) -> int:
        """Length of the latent vectors."""
        return self.node_encoder.widths[-1]

    @property
    def n_pair_features(self) -> int:
        """Number of pair features per edge, 0 where the network uses none."""
        return self.edge_encoder.widths[0] - 6

    @cached_property
    def packed(self) -> Float32[ndarray, " size"]:
        """Encoders, then edge and node network of each step, then the classifier."""
        steps = [mlp for pair in zip(self.edge, self.node, strict=True) for mlp in pair]
        return np.concatenate([m.packed for m in (self.node_encoder, self.edge_encoder, *steps, self.classifier)])
