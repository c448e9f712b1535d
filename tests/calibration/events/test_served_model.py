"""The boosted tagger behind a real Triton gives the scores of the local model, byte for byte."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from beampipe.calibration.taggers import SHIPPED_MODELS, Tagger, local_scores
from beampipe.errors import ConfigError, ServiceError, ServiceUnavailableError, ShapeError
from beampipe.triton.client.model_client import ModelClient
from beampipe.triton.engine import install_engine
from beampipe.triton.model.contract import ModelSettings
from beampipe.triton.model.repository import export_repository
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer
from tests.jets.random_constituents import random_constituents, random_network


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    folder = tmp_path_factory.mktemp("taggers")
    served, network = "beampipe.calibration.taggers", random_network(folder / "network.safetensors")
    models = [ModelSettings("gbdt", f"{served}:GluonTagger", weights=(SHIPPED_MODELS["shipped"],))]
    models.append(ModelSettings("network", f"{served}:ConstituentTagger", weights=(network,)))
    export_repository(folder / "models", models)
    settings = ServerSettings(folder / "models", triton=install_engine().folder, supervise=False)
    with TritonServer(settings) as server:
        yield server
        server.kill()


def jets(n: int, seed: int = 3) -> ndarray:
    random = np.random.default_rng(seed)
    return random.uniform([2, 0, 0, 500, 0], [80, 0.4, 0.5, 2000, 2.1], (n, 5)).astype(np.float32)


def served_scores(url: str, n: int) -> np.ndarray:
    """Scores of jets by the served tagger at an address."""
    model = Tagger("gbdt", 50, 0.0, 1.0, url).open()
    return model(lambda: pytest.fail("it takes no constituents"))(np.arange(n), jets(n))


@pytest.mark.parametrize("n", [0, 1, 17, 60_000])
def test_served_scores_are_the_local_ones(server: TritonServer, n: int) -> None:
    here = local_scores(SHIPPED_MODELS["shipped"])(jets(n))
    for url in (f"grpc://{server.grpc_url}/gbdt", f"http://{server.http_url}/gbdt"):
        there = served_scores(url, n)
        assert there.dtype == np.float32
        assert there.tobytes() == here.tobytes()
    if n > 1:
        assert here.std() > 0.1


@pytest.mark.parametrize("n", [0, 1, 300])
def test_served_scores_of_constituents_are_the_local_ones(server: TritonServer, n: int, tmp_path: Path) -> None:
    every, rows = random_constituents(400, 5), np.random.default_rng(1).permutation(400)[:n]
    models = (str(random_network(tmp_path / "network.safetensors")), f"grpc://{server.grpc_url}/network")
    taggers = [Tagger("network", 50, 0.0, 1.0, model, constituents=True) for model in models]
    here, there = (tagger.open()(lambda: every)(rows, jets(n)) for tagger in taggers)
    assert there.dtype == np.float32
    assert there.tobytes() == here.tobytes()
    assert n < 300 or here.std() > 0.01


def test_numbers_of_constituents_must_fit(server: TritonServer) -> None:
    features, counts = np.zeros((3, 6), np.float32), np.array([1, 1], np.int64)
    with ModelClient(f"http://{server.http_url}", "network") as client, pytest.raises(ShapeError, match="got 2 jets"):
        client.infer({"JETS": jets(2), "CONSTITUENTS": features, "COUNTS": counts})


def test_a_model_that_is_not_there(server: TritonServer) -> None:
    with pytest.raises(ServiceError, match="gdbt"):
        served_scores(f"http://{server.http_url}/gdbt", 2)


def test_no_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beampipe.calibration.taggers._RETRIES", 0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(ServiceUnavailableError) as caught:
            served_scores(f"http://127.0.0.1:{port}/gbdt", 2)
        assert (caught.value.url, caught.value.model) == (f"http://127.0.0.1:{port}", "gbdt")


@pytest.mark.parametrize("url", ["grpc://127.0.0.1:8001", "http://"])
def test_an_address_without_a_model(url: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        served_scores(url, 2)
