"""The network of the constituents of jets: numpy against torch, and its training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import FileError
from beampipe.jets.network import JetNetwork, constituent_features, jet_features
from beampipe.jets.substructure import JetConstituents
from tests.jets.random_constituents import random_constituents, random_network

JETS = np.random.default_rng(2).uniform([500, 0], [2000, 2.1], (40, 2)).astype(np.float32)


def scores_of(network: JetNetwork, jets: JetConstituents, features: np.ndarray = JETS) -> np.ndarray:
    described = network.describe(constituent_features(jets), np.diff(jets.offset))
    return network.scores(described, features)


@pytest.mark.parametrize("blocks", [0, 2])
def test_numpy_is_torch(tmp_path: Path, blocks: int) -> None:
    torch = pytest.importorskip("torch")
    from beampipe.jets.network_training import Network, NetworkRecipe

    path, jets = random_network(tmp_path / "net.safetensors", blocks=blocks), random_constituents(40, 3)
    weights = {name: torch.from_numpy(each) for name, each in JetNetwork(path).weights.items()}
    network = Network(NetworkRecipe(width=16, blocks=blocks, heads=4))
    network.load_state_dict({name: each for name, each in weights.items() if name not in ("heads", "blocks")})
    counts = np.diff(jets.offset)
    place = np.arange(counts.max())
    present = torch.from_numpy(place < counts[:, None])
    features = torch.from_numpy(constituent_features(jets))
    rows = torch.from_numpy(np.minimum(jets.offset[:-1, None] + place, len(features) - 1))
    some = counts > 0  # attention to nothing is not a number in torch
    with torch.no_grad():
        want = torch.sigmoid(network(features[rows], present, torch.from_numpy(jet_features(JETS)))).numpy()
    np.testing.assert_allclose(scores_of(JetNetwork(path), jets)[some], want[some], atol=2e-6)


def test_a_score_depends_on_no_other_jet(tmp_path: Path) -> None:
    network, jets = JetNetwork(random_network(tmp_path / "net.safetensors", blocks=2)), random_constituents(40, 4)
    every = scores_of(network, jets)
    assert np.isfinite(every).all()
    assert every.std() > 0.01
    for row in range(40):
        alone = scores_of(network, jets.take(np.array([row])), JETS[row : row + 1])
        assert alone.tobytes() == every[row : row + 1].tobytes()
    assert scores_of(network, jets.take(np.empty(0, np.int64)), JETS[:0]).shape == (0,)


def test_training_learns_and_is_reproducible(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from beampipe.jets.network_training import NetworkRecipe, train_network

    rng = np.random.default_rng(1)
    gluon = rng.random(600) < 0.5
    counts = np.where(gluon, 30, 15) + rng.integers(0, 10, 600)
    n = int(counts.sum())
    jets = JetConstituents(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        1 + rng.exponential(10, n),
        rng.normal(0, 0.1, n),
        rng.normal(0, 0.1, n),
        rng.random(n) < 0.6,
        np.zeros(n, np.uint8),
    )
    features = rng.uniform([500, 0], [2000, 2.1], (600, 2)).astype(np.float32)
    files, losses = [], list[float]()
    for name in ("one", "other"):
        recipe = NetworkRecipe(width=16, blocks=1, epochs=12, batch=32)
        train_network(jets, features, gluon, np.ones(600), tmp_path / name, 1, recipe, losses.append)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    assert len(losses) == 2 * recipe.epochs
    assert losses[-1] < 0.7 * losses[0]
    scores = scores_of(JetNetwork(tmp_path / "one"), jets, features)
    assert scores[gluon].mean() > scores[~gluon].mean() + 0.3


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = random_network(tmp_path / "net.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileError, match=r"net\.safetensors: got no tagger of constituents \("):
        JetNetwork(path)
    with pytest.raises(FileError, match=r"none\.safetensors: got no tagger of constituents"):
        JetNetwork(tmp_path / "none.safetensors")
