from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.tracking.kernels import embed
from beampipe.tracking.kernels.features import hit_features
from beampipe.tracking.training.edge_networks import Building, FilterConfig, GnnConfig
from beampipe.tracking.training.embedding import EmbeddingConfig, neighbourhood, train_embedding
from beampipe.tracking.training.networks import Embedding, FilterNetwork, Log
from beampipe.tracking.training.recipe import (
    RECIPES,
    FirstNetworks,
    TrainingRecipe,
    recipe,
    train,
)
from beampipe.tracking.training.samples import KinematicWindows, clean_events, label
from beampipe.tracking.training.windows import learn_windows
from tests.tracking.training.toy import toy_event

TINY = TrainingRecipe(
    embedding=EmbeddingConfig(hidden=16, steps=12, sector=2.0, far_hits=100),
    edge_filter=FilterConfig(hidden=16, steps=40, batch=512),
    gnn=GnnConfig(hidden=16, message_steps=1, steps=30),
    radius_max=3.0,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    events = [toy_event(60, seed) for seed in range(4)]
    windows = learn_windows([toy_event(400, 90 + seed) for seed in range(4)])
    metrics = train(TINY, events[:3], events[3:], windows, out, log=out.with_suffix(".jsonl"))
    return out, metrics


def test_a_training_leaves_weights_and_a_card_that_agree(trained: tuple[Path, dict[str, object]]) -> None:
    out, metrics = trained
    stored, card = load_file(out), json.loads(out.with_suffix(".json").read_text())
    assert stored["embedding.0.weight"].shape == (16, 5)
    assert stored["filter.0.weight"].shape == (16, 13)
    assert stored["gnn.edge_encoder.0.weight"].shape == (16, 12)
    assert {"gnn.edge.0.0.weight", "gnn.node.0.1.bias", "gnn.classifier.1.bias"} <= set(stored)
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in stored.values())
    assert card["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    config = card["config"]
    assert 0 < config["radius"] <= 3.0
    assert 0 <= config["filter_cut"] < 1
    assert 0 < config["score_cut"] < 1
    assert config["gnn_steps"] == 1
    assert config["kappa_max"] == TINY.embedding.windows.kappa_max
    assert card["metrics"].keys() == metrics.keys()


def test_given_embedding_and_filter_are_kept(tmp_path: Path) -> None:
    torch.manual_seed(1)
    building = Building(1.0, 64, KinematicWindows(), 0.1)
    first = FirstNetworks(Embedding(16), FilterNetwork(16), building)
    out = tmp_path / "other.safetensors"
    events = [toy_event(60, seed) for seed in range(2)]
    windows = learn_windows([toy_event(400, 90 + seed) for seed in range(4)])
    config = replace(TINY, gnn=replace(TINY.gnn, pair_features=False, message_steps=0))
    train(config, events[:1], events[1:], windows, out, first=first)
    stored, card = load_file(out), json.loads(out.with_suffix(".json").read_text())
    for name, network in (("embedding", first.embedding), ("filter", first.edge_filter)):
        for key, value in network.state_dict().items():
            assert np.array_equal(stored[f"{name}.{key}"], value.numpy())
    assert (card["config"]["radius"], card["config"]["filter_cut"]) == (1.0, 0.1)
    assert stored["gnn.edge_encoder.0.weight"].shape == (16, 6)
    assert not any(key.startswith("gnn.node.") for key in stored)


def test_embedding_learns_and_repeats_exactly() -> None:
    torch.set_num_threads(1)
    events = clean_events([toy_event(150, seed) for seed in range(4)])
    check = [label(events[3], 0.85)]
    config = EmbeddingConfig(hidden=16, steps=60, sector=1.0, far_hits=200)
    runs = [train_embedding(config, events[:3], check, Log(None)) for _ in range(2)]
    weights = [torch.cat([p.flatten() for p in run.parameters()]) for run in runs]
    assert torch.equal(weights[0], weights[1])
    torch.manual_seed(config.seed)
    untrained = neighbourhood(Embedding(16), check, config.windows, 0.85, (0.9,))
    assert neighbourhood(runs[0], check, config.windows, 0.85, (0.9,))["kept_90"] < 0.8 * untrained["kept_90"]


def test_no_events_and_unknown_recipes_are_refused(tmp_path: Path) -> None:
    windows = learn_windows([toy_event(400, 90 + seed) for seed in range(4)])
    with pytest.raises(ConfigError, match="got 0 training"):
        train(TINY, [], [toy_event(5)], windows, tmp_path / "x.safetensors")
    with pytest.raises(UnknownNameError, match="exatrkx"):
        recipe("exatrk")
    assert {"exatrkx", "exatrkx_soft"} <= set(RECIPES)


def test_trained_weights_load_and_find(trained: tuple[Path, dict[str, object]]) -> None:
    from beampipe.tracking.kernels.weights import load_networks

    networks = load_networks(trained[0])
    position = toy_event(60, 3).hits.position
    with torch.no_grad():
        module = Embedding(16)
        stored = load_file(trained[0])
        module.load_state_dict(
            {k.removeprefix("embedding."): torch.from_numpy(v) for k, v in stored.items() if k.startswith("embedding")}
        )
        expected = module(torch.from_numpy(hit_features(position))).numpy()
    np.testing.assert_allclose(embed(position, networks.embedding), expected, atol=2e-3)
