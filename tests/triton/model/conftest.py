"""A stand-in for Triton, and models served by it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from beampipe.triton.model import backend, contract
from beampipe.triton.model.backend import TritonPythonModel
from beampipe.triton.model.contract import Instance, ModelAnswer, ModelRequest
from tests.triton.model.standin import Run, Serve, Triton, X, Y, Z, arguments


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> Triton:
    utilities = Triton()
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utilities)
    return utilities


@pytest.fixture
def serve(triton: Triton, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Serve]:
    """Makes a served model of a function."""
    made: list[TritonPythonModel] = []
    (tmp_path / "1").mkdir()

    def serve(run: Run, **changes: Any) -> TritonPythonModel:
        class Fake:
            inputs = (X,)
            outputs = (Y, Z)
            counters: ClassVar = {"hits": "Hits of the events answered."}

            def __init__(self, instance: Instance) -> None:
                self.instance = instance

            def run(self, requests: Sequence[ModelRequest], /) -> Sequence[ModelAnswer]:
                return run(self.instance, requests)

            @classmethod
            def example(cls) -> ModelRequest:
                return {}

        monkeypatch.setattr(contract, "model_class", lambda path, folder: Fake)
        served = TritonPythonModel()
        served.initialize(arguments(tmp_path, **changes))
        made.append(served)
        return served

    yield serve
    for served in made:
        served.finalize()


@pytest.fixture
def always_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every checkpoint asks, however quick the steps are."""
    monkeypatch.setattr(backend, "_POLL", 0.0)
