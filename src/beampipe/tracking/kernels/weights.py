"""The trained networks: their weights, the cuts in their JSON card, and how both are read from files.

The kernels read weights packed into one row of floats, which C++ does once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.errors import ConfigError, DtypeError, FileError, ShapeError, UnknownNameError, look_up
from beampipe.files import write_whole
from beampipe.settings import build
from beampipe.tracking.kernels.features import EDGE_FEATURES, EMBEDDING_SIZE, FILTER_INPUTS, HIT_FEATURES, PAIR_FEATURES
from beampipe.tracking.kernels.loading import native


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
        """All layers, matrices not transposed: the filter kernel vectorises over edges, not outputs."""
        return self._packed(by_output=True)

    def _packed(self, *, by_output: bool) -> Float32[ndarray, " size"]:
        weights, biases = zip(*((layer.weight, layer.bias) for layer in self.layers), strict=True)
        return np.asarray(native().packed(weights, biases, by_output))


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


@dataclass(frozen=True)
class NetworksConfig:
    """The cuts that belong to one set of weights.

    Attributes:
        radius: largest distance of an edge's source and target vector.
        max_neighbours: most outgoing edges of a hit before the filter.
        kappa_max: largest |curvature| of an edge [1/mm].
        z0_max: largest |z| of an edge's line at the beam line [mm].
        filter_cut: lowest score by the filter of an edge that stays.
        score_cut: lowest score by the interaction network of an edge that joins hits.

    Raises:
        ConfigError: a value is impossible.
    """

    radius: float
    max_neighbours: int
    kappa_max: float
    z0_max: float
    filter_cut: float
    score_cut: float

    def __post_init__(self) -> None:
        for name in ("radius", "max_neighbours", "kappa_max", "z0_max"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}: got {getattr(self, name)}, expected a number above 0")
        for name in ("filter_cut", "score_cut"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: got {getattr(self, name)}, expected a number in [0, 1]")


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of one weight file, packed for the kernels when first used.

    Attributes:
        config: cuts that belong to the weights.
        embedding: weights of the embedding.
        filter: weights of the filter.
        gnn: weights of the interaction network.

    Raises:
        ConfigError: a network has other inputs or outputs than the kernels.
    """

    config: NetworksConfig
    embedding: Mlp
    filter: Mlp
    gnn: GnnWeights

    def __post_init__(self) -> None:
        _check_widths("embedding", self.embedding, len(HIT_FEATURES), 2 * EMBEDDING_SIZE)
        _check_widths("filter", self.filter, FILTER_INPUTS, 1)
        if len(self.filter.layers) != 2:
            raise ConfigError(f"filter: got {len(self.filter.layers)} layers, expected 2")
        inputs = (len(EDGE_FEATURES), len(EDGE_FEATURES) + len(PAIR_FEATURES))
        if self.gnn.edge_encoder.widths[0] not in inputs:
            raise ConfigError(
                f"gnn.edge_encoder: got {self.gnn.edge_encoder.widths[0]} inputs,"
                f" expected {inputs[0]} or {inputs[1]} (with pair features)"
            )
        if self.gnn.hidden % 16:
            raise ConfigError(f"gnn: got {self.gnn.hidden} hidden units, expected a multiple of 16")


def card_path(path: Path) -> Path:
    """Path of the card of the weights at `path`."""
    return path.with_suffix(".json")


def write_card(path: Path, config: Mapping[str, Any], training: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """Write the card of the weights in `path` beside them.

    Args:
        path: file of weights, which is there.
        config: cuts and sizes that a pipeline needs to use the weights.
        training: data, seeds, command and configurations.
        metrics: performance measured with the weights.
    """
    card = {
        "name": path.stem,
        "config": config,
        "training": training,
        "metrics": metrics,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    text = json.dumps(card, indent=2, default=_plain) + "\n"
    write_whole(card_path(path), lambda part: part.write_text(text, encoding="utf-8"))


def load_networks(path: Path | str) -> Networks:
    """Read weights and card.

    Args:
        path: safetensors file of the weights; its card has the same name with the suffix .json.

    Raises:
        FileError: a file is missing, damaged, or the weights are not those that the card describes.
        ConfigError: the card's configuration is refused, or does not fit the weights.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(path)
    data, text = _read_weights(path), _read_weights(card_path(path))
    try:
        card = json.loads(text)
        config = card["config"]
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(f"{card_path(path)}: got no card ({error}), expected JSON with an entry 'config'") from None
    digest = hashlib.sha256(data).hexdigest()
    if card.get("sha256", digest) != digest:
        raise FileError(
            f"{path}: got sha256 {digest[:12]}..., expected {str(card['sha256'])[:12]}... as in its card;"
            " take weights and card from the same training"
        )
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise FileError(f"{path}: got a damaged file ({error}), expected safetensors") from None
    return networks_from(tensors, config, str(card_path(path)))


def networks_from(tensors: Mapping[str, ndarray], config: Mapping[str, object], where: str = "card") -> Networks:
    """Build the networks from tensors named as in the weight file and the card's `config`.

    Args:
        tensors: weights and biases by their names.
        config: the fields of `NetworksConfig`, and sizes that are compared with those of the weights.
        where: the file of the card, for messages.

    Raises:
        FileError: one of the networks is missing.
        UnknownNameError: a tensor is missing.
        ConfigError: a key of `config` is unknown or missing, or a value is impossible.
    """
    # For readers of the card.
    stated = ("embedding_hidden", "filter_hidden", "gnn_hidden", "gnn_steps", "pair_features")
    cuts = {key: value for key, value in config.items() if key not in stated} if isinstance(config, Mapping) else config
    networks_config = build(NetworksConfig, cuts, where)
    if not {"embedding", "filter", "gnn"} <= {key.split(".")[0] for key in tensors}:
        raise FileError(f"{where}: got only some networks, expected embedding, filter and gnn; train the others")
    embedding, edge_filter = _mlp(tensors, "embedding"), _mlp(tensors, "filter")
    steps = len({key.split(".")[2] for key in tensors if key.startswith("gnn.edge.")})
    gnn = GnnWeights(
        _mlp(tensors, "gnn.node_encoder"),
        _mlp(tensors, "gnn.edge_encoder"),
        tuple(_mlp(tensors, f"gnn.edge.{s}") for s in range(steps)),
        tuple(_mlp(tensors, f"gnn.node.{s}") for s in range(steps)),
        _mlp(tensors, "gnn.classifier"),
    )
    networks = Networks(networks_config, embedding, edge_filter, gnn)
    sizes = (embedding.widths[1], edge_filter.widths[1], gnn.hidden, len(gnn.edge), gnn.n_pair_features > 0)
    for key, size in zip(stated, sizes, strict=True):
        if config.get(key, size) != size:
            raise ConfigError(f"{key}: got {config[key]} in the card, expected {size} as in the weights")
    return networks


def _mlp(tensors: Mapping[str, ndarray], name: str) -> Mlp:
    numbers = sorted({int(key.split(".")[-2]) for key in tensors if key.rsplit(".", 2)[0] == name})
    keys = ([f"{name}.{k}.{what}" for what in ("weight", "bias")] for k in numbers)
    layers = [Layer(*(np.ascontiguousarray(look_up("tensor", key, tensors)) for key in pair)) for pair in keys]
    if not layers:
        raise UnknownNameError("tensor", f"{name}.0.weight", tensors)
    return Mlp(tuple(layers))


def _check_widths(name: str, mlp: Mlp, n_in: int, n_out: int) -> None:
    if (mlp.widths[0], mlp.widths[-1]) != (n_in, n_out):
        raise ConfigError(
            f"{name}: got {mlp.widths[0]} inputs and {mlp.widths[-1]} outputs, expected {n_in} and {n_out}"
        )
    if any(width % 16 for width in mlp.widths[1:-1]):
        raise ConfigError(f"{name}: got hidden layers {mlp.widths[1:-1]}, expected multiples of 16")


def _read_weights(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"{path}: got {error.strerror}, expected network weights beside their card") from None


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, np.generic):
        return value.item()
    return str(value)
