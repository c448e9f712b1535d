"""Write trained networks: one safetensors file, and beside it a JSON card that says what they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.files import write_whole
from beampipe.tracking.networks import write_card
from beampipe.tracking.training.graphs import Building
from beampipe.tracking.training.networks import Embedding, FilterNetwork, InteractionNetwork

__all__ = ["tensors", "write_weights"]


def tensors(
    embedding: Embedding | None, network: FilterNetwork | None, gnn: InteractionNetwork | None
) -> dict[str, Float32[ndarray, ...]]:
    """All weights by their name in the file."""
    named = {}
    for prefix, module in (("embedding", embedding), ("filter", network), ("gnn", gnn)):
        if module is not None:
            for key, value in module.state_dict().items():
                named[f"{prefix}.{key}"] = np.ascontiguousarray(value.detach().cpu().numpy(), np.float32)
    return named


def write_weights(
    path: Path,
    embedding: Embedding | None,
    network: FilterNetwork | None,
    gnn: InteractionNetwork | None,
    building: Building,
    score_cut: float,
    *,
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> None:
    """Write `path` (.safetensors) and its card (.json), each replaced in one go.

    Args:
        path: safetensors file to write; the card lies beside it.
        embedding: trained embedding; None leaves it out.
        network: trained filter; None leaves it out.
        gnn: trained interaction network; None leaves it out.
        building: radius, windows and filter cut that the networks go with.
        score_cut: lowest score of an edge that joins two hits.
        training: data, seeds, command and configurations, for the card.
        metrics: measured on validation events, for the card.
    """
    from safetensors.numpy import save

    payload = save(tensors(embedding, network, gnn))
    config = {
        "embedding_hidden": None if embedding is None else embedding[0].out_features,
        "filter_hidden": None if network is None else network[0].out_features,
        "gnn_hidden": None if gnn is None else gnn.hidden,
        "gnn_steps": None if gnn is None else len(gnn.edge),
        "pair_features": None if gnn is None else gnn.pair_features,
        "radius": building.radius,
        "max_neighbours": building.max_neighbours,
        "kappa_max": building.windows.kappa_max,
        "z0_max": building.windows.z0_max,
        "filter_cut": building.filter_cut,
        "score_cut": score_cut,
    }
    write_whole(path, lambda part: part.write_bytes(payload))
    write_card(path, config, training, metrics)
