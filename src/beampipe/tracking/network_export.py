"""Networks for other programs: embedding, filter and interaction network as ONNX.

The form is that of the edge classifiers of ACTS's `Gnn` plug-in (acts-project/acts, Plugins/Gnn): inputs by position,
logits out. Each network computes its own features from r, phi and z, so the geometry is in the file.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from beampipe.arrays import Float32, Int64
from beampipe.errors import ConfigError
from beampipe.files import MARK, make_folder, replacing, write_whole
from beampipe.tracking.cuda.networks import apply, edge_features, embed, gnn_to_device, mlp_to_device, node_features
from beampipe.tracking.kernels.features import PAIR_FEATURES
from beampipe.tracking.kernels.weights import GnnWeights, Mlp, Networks, load_networks
from beampipe.tracking.models import TrackerModel, weight_file

NODE_SCALE: Final = (1000.0, torch.pi, 1000.0)
"""What r [mm], phi [rad] and z [mm] of a hit are divided by; as in the configuration of ACTS."""

_NODES: Final = ("r / 1000 mm", "phi / pi", "z / 1000 mm")

_CPU: Final = torch.device("cpu")

_WARNINGS_OF: Final = "torch.onnx._internal.exporter._registration"
"""Logger that reports each package which is not installed."""


def _positions(x: Float32[Tensor, "n_hits n_features"]) -> Float32[Tensor, "n_hits 3"]:
    """r [mm], phi [rad], z [mm] from the first three node features."""
    return torch.stack([x[:, column] * scale for column, scale in enumerate(NODE_SCALE)], dim=1)


class _Embedding(nn.Module):
    """Node features -> source and target vector of each hit, side by side."""

    def __init__(self, weights: Mlp) -> None:
        super().__init__()
        self.layers = mlp_to_device(weights, _CPU)

    def forward(self, x: Float32[Tensor, "n_hits f"]) -> Float32[Tensor, "n_hits 16"]:
        return embed(_positions(x), self.layers)


class _Filter(nn.Module):
    """Logit of each edge; `edge_attributes` are not used, but ACTS passes them."""

    def __init__(self, embedding: Mlp, weights: Mlp) -> None:
        super().__init__()
        self.embedding = mlp_to_device(embedding, _CPU)
        self.layers = mlp_to_device(weights, _CPU)

    def forward(
        self,
        x: Float32[Tensor, "n_hits f"],
        edge_index: Int64[Tensor, "2 n_edges"],
        edge_attributes: Float32[Tensor, "n_edges g"],
    ) -> Float32[Tensor, " n_edges"]:
        position = _positions(x)
        inner, outer = edge_index[0], edge_index[1]
        vectors, nodes = embed(position, self.embedding), node_features(position)
        source, target = vectors.chunk(2, dim=1)
        distance2 = (source[inner] - target[outer]).square().sum(1, keepdim=True)
        edges = edge_features(position, edge_index)
        return apply(self.layers, torch.cat([edges, nodes[inner], nodes[outer], distance2], dim=1))[:, 0]


class _Interaction(nn.Module):
    """Logit of each edge; `edge_attributes` are the pair features, if the network was trained with them."""

    def __init__(self, weights: GnnWeights) -> None:
        super().__init__()
        self.weights = gnn_to_device(weights, _CPU)

    def forward(
        self,
        x: Float32[Tensor, "n_hits f"],
        edge_index: Int64[Tensor, "2 n_edges"],
        edge_attributes: Float32[Tensor, "n_edges g"],
    ) -> Float32[Tensor, " n_edges"]:
        position, weights = _positions(x), self.weights
        inner, outer = edge_index[0], edge_index[1]
        features = edge_features(position, edge_index)
        if weights.n_pair_features:
            features = torch.cat([features, edge_attributes], dim=1)
        hits, edges = apply(weights.node_encoder, node_features(position)), apply(weights.edge_encoder, features)
        for edge, node in zip(weights.edge, weights.node, strict=True):
            edges = edges + apply(edge, torch.cat([hits[inner], hits[outer], edges], dim=1))
            ending, starting = (torch.zeros_like(hits).index_add(0, end, edges) for end in (outer, inner))
            hits = hits + apply(node, torch.cat([hits, ending, starting], dim=1))
        return apply(weights.classifier, torch.cat([hits[inner], hits[outer], edges], dim=1))[:, 0]


def networks_of(model: TrackerModel, pipeline: str) -> tuple[str, Networks]:
    """Stem and networks of a pipeline.

    Raises:
        ConfigError: the pipeline has no networks, or the model was not trained for it.
        FileError: weights are missing, damaged or others than the model was made with.
        UnknownNameError: no pipeline of that name.
    """
    spec = model.spec(pipeline)
    if spec.networks is None:
        raise ConfigError(f"{pipeline}: got a pipeline without networks, expected one such as exatrkx")
    model.require(spec)
    return spec.networks, load_networks(weight_file(model.path, spec.networks))


def file_names(stem: str) -> list[str]:
    """Names of the files that `export_networks` writes."""
    return [f"{stem}.json", *(f"{stem}_{part}.onnx" for part in ("embedding", "filter", "gnn"))]


def export_networks(model: TrackerModel, pipeline: str, folder: Path) -> Iterator[Path]:
    """Write the networks of a pipeline for other programs, and a card with their inputs and cuts.

    Args:
        model: tracker model whose weights are written.
        pipeline: name of a pipeline with networks.
        folder: folder to write to; it is made.

    Yields:
        Each file, when it is complete.

    Raises:
        ConfigError: the pipeline has no networks, or the model was not trained for it.
        FileError: weights are missing or damaged, or a file cannot be written.
        MissingExtraError: the packages that write ONNX are not installed.
        UnknownNameError: no pipeline of that name.
    """
    stem, networks = networks_of(model, pipeline)
    make_folder(folder)
    modules = {
        "embedding": _Embedding(networks.embedding),
        "filter": _Filter(networks.embedding, networks.filter),
        "gnn": _Interaction(networks.gnn),
    }
    for part, module in modules.items():
        path = folder / f"{stem}_{part}.onnx"
        with replacing(path) as unfinished, _quiet():
            _write_onnx(module.eval(), unfinished)
        yield path
    card = folder / f"{stem}.json"
    text = json.dumps(_card(model, stem, networks), indent=1) + "\n"
    write_whole(card, lambda part: part.write_text(text, encoding="utf-8"))
    yield card


def _card(model: TrackerModel, stem: str, networks: Networks) -> dict[str, object]:
    config = networks.config
    attributes = list(PAIR_FEATURES) if networks.gnn.n_pair_features else "not used"
    edges = {"x": [*_NODES, "any further"], "edge_index": "inner hit, outer hit; int64, (2, n_edges)"}
    return {
        "generator": MARK,
        "model": model.name,
        "weights": stem,
        "inputs_by_position": {
            "embedding": {"x": [*_NODES, "any further"]},
            "filter": {**edges, "edge_attributes": "not used; (n_edges, 6)"},
            "gnn": {**edges, "edge_attributes": attributes},
        },
        "outputs": {
            "embedding": "source vector, then target vector; (n_hits, 16)",
            "filter": "logits; (n_edges,)",
            "gnn": "logits; (n_edges,)",
        },
        "cuts": {
            "radius": config.radius,
            "max_neighbours": config.max_neighbours,
            "kappa_max_per_mm": config.kappa_max,
            "z0_max_mm": config.z0_max,
            "filter_score": config.filter_cut,
            "gnn_score": config.score_cut,
        },
    }


def _write_onnx(module: nn.Module, path: Path) -> None:
    import onnxscript  # noqa: F401 - torch.onnx needs it, and would not say how to install it

    n_hits, n_edges = torch.export.Dim("n_hits"), torch.export.Dim("n_edges")
    n_features = torch.export.Dim("n_features", min=len(NODE_SCALE))
    shapes: tuple[dict[int, Any], ...] = ({0: n_hits, 1: n_features}, {1: n_edges}, {0: n_edges})
    random = torch.Generator().manual_seed(1)
    arguments: tuple[Tensor, ...] = (torch.rand((20, 4), generator=random) + 0.1,)
    if not isinstance(module, _Embedding):
        edge_index = torch.randint(0, 20, (2, 30), generator=random)
        arguments += edge_index, torch.rand((30, len(PAIR_FEATURES)), generator=random)
    # The older exporter (dynamo=False) gives wrong sums where several edges end in one hit.
    program = torch.onnx.export(
        module,
        arguments,
        dynamo=True,
        dynamic_shapes=shapes[: len(arguments)],
        input_names=["x", "edge_index", "edge_attributes"][: len(arguments)],
        output_names=["vectors" if isinstance(module, _Embedding) else "logits"],
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props["generator"] = MARK
    program.save(str(path), external_data=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says about itself while it writes a network."""
    logger = logging.getLogger(_WARNINGS_OF)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
