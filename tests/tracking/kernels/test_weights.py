from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray
from safetensors.numpy import save

from beampipe.errors import ConfigError, FileError, ShapeError, UnknownNameError
from beampipe.tracking.kernels.weights import card_path, load_networks, networks_from
from tests.tracking.kernels import toy

CUTS = {
    "radius": 1.2,
    "max_neighbours": 50,
    "kappa_max": 8e-4,
    "z0_max": 200.0,
    "filter_cut": 0.02,
    "score_cut": 0.8,
}


def _tensors() -> dict[str, ndarray]:
    rng = np.random.default_rng(0)
    gnn = toy.gnn(rng, steps=2)
    parts = {"embedding": toy.embedding(rng), "filter": toy.mlp(rng, 13, 64, 1)}
    parts |= {f"gnn.{name}": getattr(gnn, name) for name in ("node_encoder", "edge_encoder", "classifier")}
    parts |= {f"gnn.{kind}.{s}": mlp for kind in ("edge", "node") for s, mlp in enumerate(getattr(gnn, kind))}
    return {
        f"{name}.{k}.{what}": getattr(layer, what)
        for name, mlp in parts.items()
        for k, layer in enumerate(mlp.layers)
        for what in ("weight", "bias")
    }


def _write(path: Path, tensors: dict[str, ndarray], **card: object) -> Path:
    payload = save(tensors)
    path.write_bytes(payload)
    full = {"config": CUTS, "sha256": hashlib.sha256(payload).hexdigest()} | card
    card_path(path).write_text(json.dumps(full))
    return path


def test_load(tmp_path: Path) -> None:
    tensors = _tensors()
    networks = load_networks(_write(tmp_path / "w.safetensors", tensors))
    assert networks.config.radius == 1.2
    assert networks.config.max_neighbours == 50
    assert networks.embedding.widths == [5, 64, 64, 64, 16]
    assert (networks.gnn.hidden, len(networks.gnn.edge), networks.gnn.n_pair_features) == (32, 2, 6)
    np.testing.assert_array_equal(networks.gnn.node[1].layers[0].weight, tensors["gnn.node.1.0.weight"])


def test_missing_networks() -> None:
    only = {key: value for key, value in _tensors().items() if key.startswith("gnn")}
    with pytest.raises(FileError, match="only some networks"):
        networks_from(only, CUTS)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (CUTS | {"radiu": 1}, ConfigError, "did you mean 'radius'"),
        ({k: v for k, v in CUTS.items() if k != "radius"}, ConfigError, "missing radius"),
        (CUTS | {"radius": -1}, ConfigError, "radius: got -1"),
        (CUTS | {"score_cut": 2}, ConfigError, r"expected a number in \[0, 1\]"),
        (CUTS | {"gnn_hidden": 64}, ConfigError, "expected 32 as in the weights"),
    ],
)
def test_bad_config(config: dict[str, float], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        networks_from(_tensors(), config)


def test_missing_tensor() -> None:
    tensors = _tensors()
    del tensors["gnn.edge.1.1.bias"]
    with pytest.raises(UnknownNameError, match=r"gnn\.edge\.1\.1\.bias"):
        networks_from(tensors, CUTS)


def test_wrong_width() -> None:
    tensors = _tensors() | {"filter.1.weight": np.zeros((1, 60), np.float32)}
    with pytest.raises(ShapeError, match="expected 64"):
        networks_from(tensors, CUTS)


def test_damaged_files(tmp_path: Path) -> None:
    path = _write(tmp_path / "w.safetensors", _tensors())
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(FileError, match="sha256"):
        load_networks(path)
    _write(path, _tensors(), sha256=hashlib.sha256(whole[:-100]).hexdigest())
    path.write_bytes(whole[:-100])
    with pytest.raises(FileError, match="damaged"):
        load_networks(path)
    card_path(path).write_text("[]")
    with pytest.raises(FileError, match="got no card"):
        load_networks(path)
    path.unlink()
    with pytest.raises(FileError, match="No such file"):
        load_networks(path)
