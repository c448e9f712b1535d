"""`ModelClient` without a server: a function, or a model, answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import BeampipeError, DeadlineError, InputError, ServiceError, ServiceUnavailableError
from beampipe.triton.client import FakeTransport, ModelClient, Transport
from beampipe.triton.client.servers import RemoteModel
from beampipe.triton.model.contract import Instance, Model, ModelAnswer, ModelRequest, TensorSpec

X = TensorSpec("X", "FP32", np.float32, (-1,))
Y = TensorSpec("Y", "FP32", np.float32, (-1,))
EVENT = {"X": np.arange(3, dtype=np.float32)}
DOUBLED = [0.0, 2.0, 4.0]


class Doubler:
    inputs: ClassVar[tuple[TensorSpec, ...]] = (X,)
    outputs: ClassVar[tuple[TensorSpec, ...]] = (Y,)

    def __init__(self, instance: Instance) -> None:
        self.factor = float(instance.parameters.get("FACTOR", "2"))

    def run(self, requests: Sequence[ModelRequest], /) -> Sequence[ModelAnswer]:
        return [
            {"Y": np.float32(self.factor) * request["X"]} if np.isfinite(request["X"]).all() else InputError("X: NaN")
            for request in requests
        ]

    @classmethod
    def example(cls) -> ModelRequest:
        return EVENT


def double(arrays: Mapping[str, ndarray]) -> dict[str, ndarray]:
    return {"Y": 2 * arrays["X"]}


class Failing:
    """Raises each of some errors, then doubles."""

    def __init__(self, *errors: BeampipeError) -> None:
        self.errors = list(errors)

    def __call__(self, arrays: Mapping[str, ndarray]) -> dict[str, ndarray]:
        if self.errors:
            raise self.errors.pop(0)
        return double(arrays)


def fake(answer: object = double, *, batched: bool = False) -> FakeTransport:
    return FakeTransport(answer, [X], [Y], batched=batched)  # type: ignore[arg-type]  # any callable


@pytest.mark.parametrize("batched", [False, True])
def test_arrays_come_back_by_each_way_of_asking(batched: bool) -> None:
    transport = FakeTransport(Doubler, batched=batched)
    assert isinstance(transport, Transport)
    assert isinstance(Doubler(Instance()), Model)
    with ModelClient("grpc://anywhere:8001", "doubler", transport=transport) as client:
        assert client.infer(EVENT)["Y"].tolist() == DOUBLED
        assert client.submit(EVENT).result(60)["Y"].tolist() == DOUBLED
        assert asyncio.run(client.infer_async(EVENT))["Y"].tolist() == DOUBLED
        assert client.infer(EVENT, {"Y": (3,)})["Y"].tolist() == DOUBLED
    assert transport.n_requests == 4


def test_a_model_has_its_parameters() -> None:
    transport = FakeTransport(Doubler, parameters={"FACTOR": "3"})
    with ModelClient("fake:1", "doubler", transport=transport) as client:
        assert client.infer(EVENT)["Y"].tolist() == [0.0, 3.0, 6.0]


def test_what_was_sent_is_left_alone() -> None:
    def spoil(arrays: dict[str, ndarray]) -> dict[str, ndarray]:
        arrays["X"] *= 2
        return {"Y": arrays["X"]}

    event = np.ones(3, np.float32)
    with ModelClient("fake:1", "doubler", transport=fake(spoil)) as client:
        assert client.infer({"X": event})["Y"].tolist() == [2.0] * 3
    assert event.tolist() == [1.0] * 3


def test_an_answer_of_another_type_shape_or_name_is_an_error() -> None:
    answers = {
        r"gave Y FP64 \[3\], expected FP32 \[4\]": lambda arrays: {"Y": np.zeros(3)},
        r"gave Y FP32 \[3\], expected FP32 \[4\]": double,
        r"gave \[\], expected Y": lambda arrays: {"Z": np.zeros(3)},
    }
    for message, answer in answers.items():
        with (
            ModelClient("grpc://fake:1", "doubler", transport=fake(answer)) as client,
            pytest.raises(ServiceError, match=message) as caught,
        ):
            client.infer(EVENT, {"Y": (4,)})
        assert (caught.value.url, caught.value.model) == ("grpc://fake:1", "doubler")


def test_a_server_that_is_down_is_asked_again_and_one_that_refuses_is_not() -> None:
    down, refused = ServiceUnavailableError("down"), InputError("NaN")
    for errors, retries, request in (([down], 1, 2), ([down, down], 1, 2), ([down], 0, 1), ([refused], 3, 1)):
        transport = fake(Failing(*errors))
        with ModelClient("fake:1", "doubler", transport=transport, retries=retries) as client:
            if len(errors) < request:
                assert client.infer(EVENT)["Y"].tolist() == DOUBLED
            else:
                with pytest.raises(type(errors[-1])) as caught:
                    client.infer(EVENT)
                assert getattr(caught.value, "model", "doubler") == "doubler"
        assert transport.n_requests == request


def test_a_model_s_own_refusal_reaches_the_caller() -> None:
    client = ModelClient("fake:1", "doubler", transport=FakeTransport(Doubler))
    with client, pytest.raises(InputError, match="X: NaN"):
        client.infer({"X": np.array([np.nan], np.float32)})


def test_when_the_time_is_over_the_last_reason_is_told() -> None:
    transport = fake(Failing(*99 * [ServiceUnavailableError("busy")]))
    client = ModelClient("fake:1", "doubler", transport=transport, timeout=1.0)
    with client, pytest.raises(ServiceUnavailableError, match="busy"):
        client.infer(EVENT)
    assert 2 <= transport.n_requests < 99


def test_a_missed_deadline_says_why_the_request_was_repeated() -> None:
    transport = fake(Failing(ServiceUnavailableError("the process of the model is not healthy"), DeadlineError("late")))
    with ModelClient("fake:1", "doubler", transport=transport) as client, pytest.raises(DeadlineError) as caught:
        client.infer(EVENT)
    assert str(caught.value) == "late; before that: the process of the model is not healthy"


def test_a_time_that_is_over_before_another_request_is_sent_hides_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = fake(Failing(*9 * [ServiceUnavailableError("busy")]))
    ask, calls = RemoteModel.ask, count()

    def ask_once(self: RemoteModel, call: Any, deadline: float, pending: Any = None) -> Any:
        return ask(self, call, deadline if next(calls) == 0 else 0.0, pending)

    monkeypatch.setattr(RemoteModel, "ask", ask_once)
    with ModelClient("fake:1", "doubler", transport=transport) as client:
        with pytest.raises(ServiceUnavailableError, match="busy"):
            client.infer(EVENT)
        assert transport.n_requests == 1
        with pytest.raises(DeadlineError):
            client.infer(EVENT)


def test_who_wants_to_know_is_told_once_why_a_request_is_repeated() -> None:
    output: list[str] = []
    answer = Failing(*3 * [ServiceUnavailableError("down")])
    client = ModelClient(
        "fake:1", "doubler", transport=fake(answer), on_failure=lambda error: output.append(str(error))
    )
    with client:
        client.infer(EVENT)
        assert output == ["down"]
        answer.errors = [ServiceUnavailableError("down again")]
        client.infer(EVENT)
        assert output == ["down", "down again"]
        client.infer(EVENT)
    assert len(output) == 2


def test_a_fake_has_no_shared_memory() -> None:
    large = {"X": np.ones(100_000, np.float32)}
    with ModelClient("localhost:1", "doubler", transport=fake()) as client:
        assert client.infer(large, {"Y": (100_000,)})["Y"].sum() == 200_000
    client = ModelClient("localhost:1", "doubler", protocol="shm", transport=fake())
    with client, pytest.raises(ServiceError, match="the server cannot map memory"):
        client.infer(large, {"Y": (100_000,)})
