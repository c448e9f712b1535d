"""The tensor pipelines: on the CPU against kernels and references, on CUDA (marker `gpu`) against the CPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import ConfigError, MissingExtraError
from beampipe.events import NO_TRACK, Hits, Tracks
from beampipe.tracking import kernels
from beampipe.tracking.catalogue import PIPELINES
from beampipe.tracking.data import shipped_events
from beampipe.tracking.kernels.geometry import doublet
from beampipe.tracking.loading import DEFAULT_MODEL_FOLDER, load_pipeline
from beampipe.tracking.models import weight_file
from beampipe.tracking.windows import Windows, load_windows
from tests.tracking.kernels import reference

from .kernels import toy

torch = pytest.importorskip("torch")
from beampipe.tracking.cuda import cuda_device, graphs, networks, translate  # noqa: E402 - they need it

CPU = torch.device("cpu")
NAMES = ("exatrkx", "exatrkx_walk", "module_map", "module_map_soft")


@cache
def _hits() -> tuple[Hits, ...]:
    """Two single collisions, and a slice of one with pile-up across phi = pi."""
    soft = [event.hits for event in shipped_events(0)]
    busy = shipped_events(60)[0].hits
    return soft[0], soft[2], busy.take(np.abs(busy.position[:, 1]) > np.pi - 0.2)


@cache
def _windows(name: str) -> Windows:
    return load_windows(weight_file(DEFAULT_MODEL_FOLDER, PIPELINES[name].windows))


def _tensor(array: ndarray) -> Any:
    return torch.tensor(array)


def _sets(tracks: Tracks) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(tracks.track_id == k).tolist()) for k in range(tracks.n_tracks)}


def _compare(name: str, device: Any) -> None:
    # A score within rounding of a cut may fall on the other side, hence not every track.
    cpu = load_pipeline(name, threads=1)
    there = translate(cpu, device)
    n_tracks = n_common = 0
    for hits in _hits():
        expected, got = cpu.find(hits), there.find(hits)
        assert got.track_id.dtype == np.int64
        assert list(got.seconds) == list(expected.seconds)
        assert got.counts["triplets"] == pytest.approx(expected.counts["triplets"], rel=0.01)
        n_tracks += max(expected.n_tracks, got.n_tracks)
        n_common += len(_sets(expected) & _sets(got))
    np.testing.assert_array_equal(there.find(_hits()[0]).track_id, there.find(_hits()[0]).track_id)
    assert n_tracks > 100
    assert n_common >= 0.98 * n_tracks


@pytest.mark.parametrize("name", NAMES)
def test_pipelines(name: str) -> None:
    _compare(name, CPU)


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_pipelines_on_cuda(name: str) -> None:
    _compare(name, cuda_device("cuda"))


@pytest.mark.gpu
def test_load_on_cuda() -> None:
    hits = _hits()[0]
    assert load_pipeline("module_map", device="cuda:0").submit(hits).result().n_tracks > 10


@pytest.mark.parametrize("name", NAMES)
def test_hardly_any_hits(name: str) -> None:
    finder = translate(load_pipeline(name, threads=1), CPU)
    for n in range(4):
        assert finder.find(_hits()[0].take(np.arange(n))).track_id.tolist() == [NO_TRACK] * n


@pytest.mark.parametrize("kappa_max", [2e-4, 8e-4, 1.0])
def test_radius_edges(kappa_max: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # Random vectors bring together hits on both sides of the beam line, which the search must not lose.
    monkeypatch.setattr(graphs, "_DISTANCES", 50 * 1500)
    rng = np.random.default_rng(1)
    position = _hits()[1].position[:1500]
    source, target = rng.normal(size=(2, 1500, 8)).astype(np.float32)
    cuts = (2.4, 6, kappa_max, 150.0)
    expected, distance2 = reference.radius_edges(source, target, position, *cuts)
    got, got2 = graphs.radius_edges(_tensor(source), _tensor(target), _tensor(position), *cuts)
    np.testing.assert_array_equal(got.numpy(), expected)
    np.testing.assert_allclose(got2.numpy(), distance2, rtol=1e-6)
    dphi = np.abs(doublet(position, expected)[-1])
    assert (dphi > 2).any()
    assert (dphi < 1).any()
    assert np.bincount(expected[0]).max() == 6 or kappa_max < 1


@pytest.mark.parametrize("name", ["module_map", "module_map_soft"])
def test_edges_and_triplets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "_CANDIDATES", 1000)
    position, windows = _hits()[0].position[:1200], _windows(name)
    there = graphs.windows_to_device(windows, CPU, 2, 0.1)
    expected = reference.module_map_edges(position, windows, None, 2, 0.1)
    edges = graphs.module_map_edges(_tensor(position), there)
    np.testing.assert_array_equal(edges.numpy(), expected)
    assert expected.shape[1] > 300
    pairs, chi2 = reference.triplets(position, expected, windows)
    got, got2 = graphs.triplets(_tensor(position), edges, there)
    np.testing.assert_array_equal(got.numpy(), pairs)
    np.testing.assert_allclose(got2.numpy(), chi2, rtol=1e-3, atol=1e-5)
    layer = graphs.assign_layers(_tensor(position), there)
    np.testing.assert_array_equal(layer.numpy(), reference.assign_layers(position, windows))


def test_pair_features() -> None:
    position, windows = _hits()[2].position, _windows("module_map_soft")
    edges = kernels.module_map_edges(position, windows)
    pairs, chi2 = kernels.triplets(position, edges, windows)
    got = graphs.pair_features(_tensor(position), _tensor(edges), _tensor(pairs), _tensor(chi2))
    expected = kernels.pair_features(pairs, chi2, edges.shape[1])
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6, atol=1e-7)
    assert expected[:, 4].max() > 0.5  # chains of more than four links
    inner, outer = (position[edges] ** 2)[..., [0, 2]].sum(axis=-1)
    assert (outer < inner).any()  # edges that lead back towards the origin


def test_networks() -> None:
    rng = np.random.default_rng(2)
    position = _hits()[0].position[:300]
    inner, outer = rng.integers(0, 300, size=(2, 2000))
    edges = np.stack([inner, outer])[:, np.lexsort((outer, inner))]
    distance2 = rng.random(2000, dtype=np.float32)
    pairs = rng.random((2000, 6), dtype=np.float32)
    x, e = _tensor(position), _tensor(edges)

    embedding = toy.embedding(rng)
    got = networks.embed(x, networks.mlp_to_device(embedding, CPU))
    np.testing.assert_allclose(got.numpy(), reference.embed(position, embedding), atol=2e-5)

    mlp = toy.mlp(rng, 13, 64, 1)
    got = networks.filter_logits(x, e, _tensor(distance2), networks.mlp_to_device(mlp, CPU))
    np.testing.assert_allclose(got.numpy(), reference.filter_logits(position, edges, distance2, mlp), atol=1e-4)

    gnn = toy.gnn(rng, steps=2)
    expected = reference.gnn_logits(position, edges, pairs, gnn)
    got = networks.gnn_logits(x, e, _tensor(pairs), networks.gnn_to_device(gnn, CPU))
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-3 * np.abs(expected).max())
    assert expected.std() > 0.01


@pytest.mark.parametrize("min_hits", [2, 4])
def test_connected_components(min_hits: int) -> None:
    rng = np.random.default_rng(4)
    scattered = rng.integers(0, 1000, size=(2, 450))
    order = rng.permutation(np.arange(1000, 1500))  # one long chain, its hits in any order
    edges = np.concatenate([scattered, np.stack([order[:-1], order[1:]])], axis=1)
    expected = reference.connected_components(1600, edges, min_hits)
    np.testing.assert_array_equal(graphs.connected_components(1600, _tensor(edges), min_hits).numpy(), expected)
    assert expected.max() > 20
    none = graphs.connected_components(3, torch.empty((2, 0), dtype=torch.int64), min_hits)
    assert none.tolist() == [-1, -1, -1]


def test_precision_is_put_back() -> None:
    torch.set_float32_matmul_precision("high")
    try:
        translate(load_pipeline("exatrkx", threads=1), CPU).find(_hits()[0])
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"got 'cuda:1', but torch .* sees no CUDA device"):
        load_pipeline("module_map", device="cuda:1")


def test_device_out_of_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda k: f"card {k}")
    with pytest.raises(ConfigError, match=r"got 'cuda:2', .* sees 2: cuda:0 \(card 0\), cuda:1 \(card 1\)"):
        load_pipeline("module_map", device="cuda:2")
    assert cuda_device("cuda") == torch.device("cuda", 1)
    assert cuda_device("cuda:0") == torch.device("cuda", 0)


def test_no_torch(monkeypatch: pytest.MonkeyPatch, hide: Callable[[str], None]) -> None:
    for module in [name for name in sys.modules if name.startswith("beampipe.tracking.cuda")]:
        monkeypatch.delitem(sys.modules, module)
    hide("torch")
    with pytest.raises(MissingExtraError, match=r"torch, which is not installed: pip install 'beampipe\[train\]'"):
        load_pipeline("module_map", device="cuda")


def test_unknown_stage() -> None:
    class Mine:
        needs = ("position",)
        makes = ("edge_index", "track_id")

        def __call__(self, position: ndarray) -> tuple[ndarray, ndarray]:
            return np.empty((2, 0), np.int64), np.full(len(position), NO_TRACK, np.int64)

    pipeline = load_pipeline("module_map", threads=1, check=False).with_stages((("mine", Mine()),))
    assert pipeline.find(_hits()[0]).n_tracks == 0
    with pytest.raises(ConfigError, match="got Mine, which has no CUDA counterpart"):
        translate(pipeline, CPU)


def test_cpu_inference_does_without_torch() -> None:
    code = (
        "import sys, numpy as np\n"
        "from beampipe.events import Hits\n"
        "from beampipe.tracking import load_pipeline\n"
        "load_pipeline('exatrkx', threads=1).find(Hits(np.ones((9, 3), np.float32)))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
