"""Exported networks give the scores of the numpy reference in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy import ndarray

from beampipe.arrays import Float32, Int64
from beampipe.errors import ConfigError, UnknownNameError
from beampipe.events import Hits
from beampipe.tracking import kernels, load_model, load_pipeline, shipped_events
from beampipe.tracking.kernels.weights import Networks
from beampipe.tracking.models import weight_file
from beampipe.tracking.network_export import export_networks, networks_of
from beampipe.tracking.windows import load_windows
from tests.tracking.kernels import reference

Run = Callable[..., ndarray]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks") / "new"
    paths = list(export_networks(load_model(), "exatrkx_walk", folder))
    assert sorted(paths) == sorted(folder.iterdir())
    assert len(paths) == 4
    return folder


@pytest.fixture(scope="module")
def networks() -> Networks:
    return networks_of(load_model(), "exatrkx_walk")[1]


class Graph:
    """Hits of a part of an event as other programs describe them, and the edges of both networks."""

    def __init__(self) -> None:
        position = shipped_events(60)[0].hits.position
        position = position[np.abs(position[:, 1]) < 0.4]
        eta = np.arcsinh(position[:, 2] / position[:, 0])
        unit = np.array([1000, np.pi, 1000], np.float32)
        rest = np.full((len(position), 8), 7.0)  # features of clusters, which other networks read
        self.x: Float32[ndarray, "n 12"] = np.column_stack([position / unit, eta, rest]).astype(np.float32)
        self.position: Float32[ndarray, "n 3"] = self.x[:, :3] * unit
        arrays: dict[str, Any] = {}
        stages = load_pipeline("exatrkx_walk", threads=1, check=False).staged()
        stages.find(Hits(self.position), hook=lambda step, now: arrays.setdefault(step, dict(now or {})))
        self.edges: Int64[ndarray, "2 m"] = arrays["building"]["edge_index"]
        self.likely_edges: Int64[ndarray, "2 k"] = arrays["gnn"]["edge_index"]
        windows = load_windows(weight_file(load_model().path, "module_map"))
        pairs = kernels.triplets(self.position, self.likely_edges, windows)
        self.pair_features = kernels.pair_features(*pairs, self.likely_edges.shape[1])


@pytest.fixture(scope="module")
def graph() -> Graph:
    return Graph()


def in_onnx(path: Path) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    assert names == ["x", "edge_index", "edge_attributes"][: len(names)]

    def run(*arguments: ndarray) -> ndarray:
        (result,) = session.run(None, dict(zip(names, arguments, strict=True)))
        assert isinstance(result, ndarray)
        return result

    return run


@pytest.fixture
def opened(folder: Path) -> Callable[[str], Run]:
    return lambda part: in_onnx(folder / f"exatrkx_{part}.onnx")


def test_the_embedding(opened: Callable[[str], Run], graph: Graph, networks: Networks) -> None:
    assert networks.embedding is not None
    want = reference.embed(graph.position, networks.embedding)
    np.testing.assert_allclose(opened("embedding")(graph.x), want, rtol=1e-5, atol=1e-5)


def test_the_filter_finds_distances_itself(opened: Callable[[str], Run], graph: Graph, networks: Networks) -> None:
    assert networks.embedding is not None
    assert networks.filter is not None
    inner, outer = graph.edges
    assert len(inner) > 3000
    vectors = reference.embed(graph.position, networks.embedding)
    distance2 = np.square(vectors[inner, :8] - vectors[outer, 8:]).sum(1)
    want = reference.filter_logits(graph.position, graph.edges, distance2, networks.filter)
    # What ACTS passes for edges is of no effect.
    attributes = np.random.default_rng(1).normal(0, 100, (len(inner), 6)).astype(np.float32)
    logit = opened("filter")(graph.x, graph.edges, attributes)
    assert logit.shape == want.shape
    np.testing.assert_allclose(kernels.sigmoid(logit), kernels.sigmoid(want), rtol=0, atol=1e-5)
    by_kernel = kernels.filter_logits(graph.position, graph.edges, distance2, networks.filter)
    np.testing.assert_allclose(logit, by_kernel, rtol=0, atol=1e-3)


def test_the_interaction_network(opened: Callable[[str], Run], graph: Graph, networks: Networks) -> None:
    """Many edges end in one hit there, which the older exporter of torch sums wrongly."""
    assert networks.gnn is not None
    assert np.bincount(graph.likely_edges[1]).max() > 3
    want = reference.gnn_logits(graph.position, graph.likely_edges, graph.pair_features, networks.gnn)
    logit = opened("gnn")(graph.x, graph.likely_edges, graph.pair_features)
    assert logit.shape == want.shape
    np.testing.assert_allclose(kernels.sigmoid(logit), kernels.sigmoid(want), rtol=0, atol=1e-5)
    scores, _ = kernels.gnn_scores(graph.position, graph.likely_edges, graph.pair_features, networks.gnn)
    np.testing.assert_allclose(kernels.sigmoid(logit), scores, rtol=0, atol=1e-4)
    assert not np.allclose(opened("gnn")(graph.x, graph.likely_edges, 0 * graph.pair_features), logit, atol=0.1)


@pytest.mark.parametrize(
    ("pipeline", "model", "error", "message"),
    [
        ("module_map", "generic", ConfigError, "got a pipeline without networks, expected one such as exatrkx"),
        ("exatrkx_soft", "odd", ConfigError, "got no exatrkx_soft"),
        ("exatrk", "generic", UnknownNameError, "did you mean 'exatrkx'"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    pipeline: str, model: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        list(export_networks(load_model(model), pipeline, tmp_path / "new"))
    assert not (tmp_path / "new").exists()
