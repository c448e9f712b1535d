"""An instance of the Python backend: its device, threads, weights, canary and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.errors import ConfigError
from beampipe.triton.model import canary, contract
from beampipe.triton.model.contract import Instance, ModelAnswer, ModelRequest
from tests.triton.model.standin import (
    Serve,
    Triton,
    sent,
    sums,
)


@pytest.mark.parametrize(
    ("changes", "device", "threads"),
    [
        ({}, "cpu", 12),
        ({"instance_group": [{"count": 4}]}, "cpu", 3),
        ({"instance_group": [{"count": 2}, {"count": 1}]}, "cpu", 4),
        ({"instance_group": [{"count": 100}]}, "cpu", 1),
        ({"instance_group": [{"count": 2, "gpus": [0, 1]}]}, "cpu", 3),
        ({"instance_group": [{"count": 1}], "parameters": {contract.THREADS: "7"}}, "cpu", 7),
        ({"parameters": {contract.THREADS: "auto"}}, "cpu", 12),
        ({"model_instance_kind": "GPU", "model_instance_device_id": "3"}, "cuda:3", 12),
        ({"model_instance_kind": "MODEL", "model_instance_device_id": "3"}, "cpu", 12),
    ],
)
def test_an_instance_knows_its_place(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], device: str, threads: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(12)))
    instance = serve(sums, **changes).model.instance
    assert (instance.device, instance.threads) == (device, threads)
    assert instance.name == "fake_0_0"


def test_weights_are_where_the_configuration_says(serve: Serve, tmp_path: Path) -> None:
    path = f"{contract.MODEL_DIRECTORY}/weights"
    relative = serve(sums, parameters={contract.EXECUTION_MODEL_PATH: path}).model.instance
    elsewhere = serve(sums, parameters={contract.EXECUTION_MODEL_PATH: "/data"}).model.instance
    assert relative.weights == tmp_path / "weights"
    assert elsewhere.weights == Path("/data")


def test_a_model_that_answers_its_canary_wrongly_is_not_served(serve: Serve, tmp_path: Path) -> None:
    request = {"X": np.ones((3, 2), np.float32)}
    canary.write_canary(tmp_path / "1", request, {"Z": np.full(3, 2, np.float32)})
    serve(sums)
    canary.write_canary(tmp_path / "1", request, {"Z": np.full(3, 2.0000002, np.float32)})
    with pytest.raises(ConfigError, match="another Z"):
        serve(sums)


def test_what_a_model_observes_becomes_metrics_at_the_end(serve: Serve, triton: Triton, tmp_path: Path) -> None:
    def observed(instance: Instance, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        instance.observe("hits", 5, "")
        instance.observe("stage_seconds", 0.5, "gnn")
        return sums(instance, requests)

    canary.write_canary(tmp_path / "1", {"X": np.ones((3, 2), np.float32)}, {"Z": np.full(3, 2, np.float32)})
    served = serve(observed)
    families = served.metrics._families
    served.execute([sent((1, 2))])
    served.execute([sent((1, 2))])
    served.metrics.stop()
    # The canary's hits are not among them.
    assert families["hits"].metrics == [({"model": "fake", "instance": "fake_0_0"}, [10])]
    assert families["stage_seconds"].metrics[0][0]["stage"] == "gnn"
