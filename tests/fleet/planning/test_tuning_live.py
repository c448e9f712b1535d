"""A real Triton: it runs what is to be measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.errors import ConfigError, FileError
from beampipe.fleet.planning.tuning import Choices, Configuration, LiveBenchmark, Trial, configured, tune
from beampipe.triton import EnsembleSettings, ModelClient, ModelSettings, ServerSettings, export_repository
from beampipe.triton.engine import Engine
from beampipe.triton.server.management import model_config
from tests.fleet.planning.sleeper import Sleeper

SLEEPER = ModelSettings("sleeper", f"{Path(__file__).with_name('sleeper.py')}:Sleeper")


@pytest.fixture(scope="module")
def settings(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> ServerSettings:
    folder = tmp_path_factory.mktemp("tuning") / "models"
    chain = EnsembleSettings("chain", (SLEEPER,), Sleeper.inputs, Sleeper.outputs)
    export_repository(folder, [chain])
    return ServerSettings(folder, triton=engine.folder)


@pytest.fixture(scope="module")
def bench(settings: ServerSettings) -> Iterator[LiveBenchmark]:
    with LiveBenchmark(settings, "sleeper", clients=4) as result:
        yield result


def test_the_server_runs_what_is_measured(bench: LiveBenchmark) -> None:
    measured = bench(Configuration(2, 3, 4, "http"), 0.3)
    assert measured.throughput > 0
    assert 0.004 < measured.p95 < 10
    config = model_config(bench.http_url, "sleeper")
    assert config["instance_group"][0]["count"] == 2
    assert config["max_batch_size"] == 4
    with ModelClient(f"http://{bench.http_url}", "sleeper") as client:
        assert client.infer({"X": np.zeros(5, np.float32)})["THREADS"].tolist() == [3]


def test_the_search_measures_every_configuration_there(bench: LiveBenchmark) -> None:
    """Which is best is a matter of times; that the best is found is tested on a surface that is known."""
    progress: list[Trial] = []
    every = Choices(instances=(1, 2), batch=(0, 4), protocol=("grpc",)).all()
    result = tune(bench, every, 100.0, seconds=0.6, factor=4, progress=progress.append)
    assert [trial.configuration for trial in progress[:4]] == every
    assert all(trial.measurement is not None and trial.measurement.throughput > 0 for trial in progress)
    assert (
        progress[4].configuration
        == result[0].configuration
        == max(progress[:4], key=lambda item: item.rank(100.0)).configuration
    )


def test_a_change_back_leaves_no_batches() -> None:
    config: dict[str, Any] = {
        "name": "m",
        "input": [{"name": "X"}],
        "instance_group": [{"count": 1, "kind": "KIND_GPU", "gpus": [0]}],
    }
    batched = configured(config, Configuration(3, 1, 8, "grpc"))
    assert batched["dynamic_batching"] == {}
    assert batched["instance_group"] == [{"count": 3, "kind": "KIND_GPU", "gpus": [0]}]
    single = configured(batched, Configuration(1, 2, 0, "grpc"))
    assert "dynamic_batching" not in single
    assert single["max_batch_size"] == 0
    assert single["input"] == [{"name": "X", "allow_ragged_batch": False}]
    assert config["instance_group"][0]["count"] == 1, "its own is left alone"


def test_an_ensemble_has_no_instances(settings: ServerSettings) -> None:
    with pytest.raises(ConfigError, match="ensemble"), LiveBenchmark(settings, "chain"):
        pass


def test_a_model_without_a_canary_needs_requests(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    with pytest.raises(FileError, match="canary"):
        LiveBenchmark(ServerSettings(tmp_path), "m")
    with pytest.raises(ConfigError, match="clients"):
        LiveBenchmark(ServerSettings(tmp_path), "m", clients=0)
