"""Stands for Triton's side of its Python backend, call by call, and a model to be served by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from numpy import ndarray

from beampipe.errors import InputError
from beampipe.triton.model import contract
from beampipe.triton.model.backend import TritonPythonModel
from beampipe.triton.model.contract import Instance, ModelAnswer, ModelRequest, TensorSpec

X = TensorSpec("X", "FP32", np.float32, (-1, 2))
Y = TensorSpec("Y", "INT64", np.int64, (-1,))
Z = TensorSpec("Z", "FP32", np.float32, (-1,))

INTERNAL, INVALID_ARG, CANCELLED = "INTERNAL", "INVALID_ARG", "CANCELLED"
SECRET = "/srv/secret/weights.safetensors"


@dataclass
class Sent:
    """A request as Triton hands it over."""

    inputs: dict[str, ndarray]
    outputs: tuple[str, ...] = ("Y", "Z")
    cancelled: bool = False
    allowed: int = 0

    def requested_output_names(self) -> list[str]:
        return list(self.outputs)

    def is_cancelled(self) -> bool:
        return self.cancelled

    def timeout(self) -> int:
        return self.allowed


class Capsule:
    """Lets numpy read a DLPack capsule."""

    def __init__(self, capsule: object) -> None:
        self.capsule = capsule

    def __dlpack__(self, **options: object) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


@dataclass
class Tensor:
    name: str
    array: ndarray

    @classmethod
    def from_dlpack(cls, name: str, capsule: object) -> Tensor:
        return cls(name, np.from_dlpack(Capsule(capsule)).copy())


@dataclass
class TritonError:
    message: str
    code: str
    INTERNAL: ClassVar[str] = INTERNAL
    INVALID_ARG: ClassVar[str] = INVALID_ARG
    CANCELLED: ClassVar[str] = CANCELLED


@dataclass
class InferenceResponse:
    output_tensors: Sequence[Tensor] = ()
    error: TritonError | None = None

    def array(self, name: str) -> ndarray:
        return next(tensor.array for tensor in self.output_tensors if tensor.name == name)


@dataclass
class MetricFamily:
    name: str
    description: str
    kind: str
    metrics: list[tuple[dict[str, str], list[float]]] = field(default_factory=list)
    COUNTER: ClassVar[str] = "counter"

    def Metric(self, labels: dict[str, str]) -> SimpleNamespace:
        amounts: list[float] = []
        self.metrics.append((labels, amounts))
        return SimpleNamespace(increment=amounts.append)


class Triton(SimpleNamespace):
    """Stands for `triton_python_backend_utils`."""

    def __init__(self) -> None:
        self.log: list[str] = []
        super().__init__(
            Tensor=Tensor,
            TritonError=TritonError,
            InferenceResponse=InferenceResponse,
            MetricFamily=MetricFamily,
            Logger=SimpleNamespace(log_error=self.log.append),
            get_input_tensor_by_name=lambda request, name: request.inputs.get(name),
        )


Run = Callable[[Instance, Sequence[ModelRequest]], Sequence[ModelAnswer]]
Serve = Callable[..., TritonPythonModel]


def arguments(folder: Path, **changes: Any) -> dict[str, str]:
    config = {
        "max_batch_size": changes.pop("max_batch_size", 0),
        "instance_group": changes.pop("instance_group", [{"count": 1}]),
        "parameters": {
            key: {"string_value": value}
            for key, value in {contract.MODEL_CLASS: "here:Fake", **changes.pop("parameters", {})}.items()
        },
    }
    return {
        "model_config": json.dumps(config),
        "model_repository": str(folder),
        "model_version": "1",
        "model_name": "fake",
        "model_instance_name": "fake_0_0",
        "model_instance_kind": "CPU",
        "model_instance_device_id": "0",
        **changes,
    }


def sums(instance: Instance, requests: Sequence[ModelRequest]) -> list[ModelAnswer]:
    """Y counts rows, Z adds them up; a negative first value is refused, a huge one is a fault of ours."""
    answers: list[ModelAnswer] = []
    for request in requests:
        x = request["X"]
        if x.size and x[0, 0] < 0:
            raise InputError("X: got a negative value, expected none")
        if x.size and x[0, 0] > 1000:
            raise ZeroDivisionError(f"in {SECRET}")
        answers.append({"Y": np.arange(len(x)), "Z": x.sum(axis=1)})
    return answers


def sent(*rows: tuple[float, float], batched: bool = False, **more: Any) -> Sent:
    array = np.array(rows, np.float32).reshape(-1, 2)
    return Sent({"X": array[None] if batched else array}, **more)


def only(responses: list[Any]) -> InferenceResponse:
    (response,) = responses
    assert isinstance(response, InferenceResponse)
    return response


def refused(response: InferenceResponse, code: str, *parts: str) -> None:
    assert response.error is not None
    assert not response.output_tensors
    assert response.error.code == code
    for part in parts:
        assert part in response.error.message
    assert "Traceback" not in response.error.message
    assert "/" not in response.error.message
