"""The Python backend, on a stand-in for Triton's side of it: answers, errors, cancellation, instances and metrics."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import BeampipeError, CancelledError, ConfigError, FileError, InputError
from beampipe.triton.model import backend, canary, contract
from beampipe.triton.model.backend import InstanceMetrics, TritonPythonModel
from beampipe.triton.model.contract import Instance, ModelAnswer, ModelRequest, TensorSpec
from tests.triton.model.dlpack import Capsule

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


def counting() -> tuple[list[int], Run]:
    """Numbers of requests of each call so far, and `sums` that counts them."""
    calls: list[int] = []

    def counted(instance: Instance, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        calls.append(len(requests))
        return sums(instance, requests)

    return calls, counted


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


def test_an_answer(serve: Serve) -> None:
    response = only(serve(sums).execute([sent((1, 2), (3, 4))]))
    assert response.error is None
    assert response.array("Y").tolist() == [0, 1]
    assert response.array("Z").tolist() == [3, 7]
    assert response.array("Y").dtype == np.int64


@pytest.mark.parametrize("outputs", [("Z",), ("Z", "Y"), ()])
def test_only_what_was_asked_for(serve: Serve, outputs: tuple[str, ...]) -> None:
    response = only(serve(sums).execute([sent((1, 2), outputs=outputs)]))
    assert [tensor.name for tensor in response.output_tensors] == list(outputs)


def test_a_batch_has_one_answer_each_of_its_own_length(serve: Serve) -> None:
    calls, counted = counting()
    requests = [sent((1, 2), batched=True), sent(batched=True), sent((1, 1), (2, 2), batched=True)]
    responses = serve(counted, max_batch_size=8).execute(requests)
    assert calls == [3]
    assert [response.array("Z").tolist() for response in responses] == [[[3]], [[]], [[2, 4]]]
    assert [response.array("Y").shape for response in responses] == [(1, 1), (1, 0), (1, 2)]


def test_without_batching_requests_run_one_by_one(serve: Serve) -> None:
    calls, counted = counting()
    responses = serve(counted).execute([sent((1, 2)), sent((3, 4))])
    assert calls == [1, 1]
    assert [response.array("Z").tolist() for response in responses] == [[3], [7]]


@pytest.mark.parametrize("bad", [(-1, 0), (2000, 0)], ids=["its input", "our fault"])
def test_one_bad_request_of_three_costs_no_other(serve: Serve, triton: Triton, bad: tuple[float, float]) -> None:
    requests = [sent((1, 2), batched=True), sent(bad, batched=True), sent((3, 4), batched=True)]
    responses = serve(sums, max_batch_size=8).execute(requests)
    assert [response.error is None for response in responses] == [True, False, True]
    assert responses[2].array("Z").tolist() == [[7]]
    if bad[0] < 0:
        refused(responses[1], INVALID_ARG, "negative")
        assert not triton.log
    else:
        refused(responses[1], INTERNAL, "internal error", "log")
        (logged,) = triton.log
        assert SECRET in logged
        assert "Traceback" in logged


def test_an_unreadable_request_of_a_batch_never_reaches_the_model(serve: Serve) -> None:
    calls, counted = counting()
    served = serve(counted, max_batch_size=8)
    responses = served.execute([Sent({}), sent((3, 4), batched=True)])
    assert calls == [1]
    refused(responses[0], INVALID_ARG, "X", "FP32")
    assert responses[1].array("Z").tolist() == [[7]]
    assert [response.error is None for response in served.execute([Sent({}), Sent({})])] == [False, False]


@pytest.mark.parametrize(
    ("array", "batch", "parts"),
    [
        (np.zeros((2, 5, 2), np.float32), 8, ["[2, 5, 2]", "one event per request"]),
        (np.zeros((5, 2), np.float32), 8, ["[5, 2]", "[1, n, ...]"]),
        (np.zeros((1, 5, 3), np.float32), 8, ["[1, 5, 3]", "[-1, 2]"]),
        (np.zeros((5, 2), np.float64), 0, ["float64", "float32"]),
        (np.zeros((5, 3), np.float32), 0, ["[5, 3]", "[-1, 2]"]),
        (np.zeros(5, np.float32), 0, ["[5]", "[-1, 2]"]),
    ],
)
def test_wrong_tensors_are_refused(serve: Serve, array: ndarray, batch: int, parts: list[str]) -> None:
    response = only(serve(sums, max_batch_size=batch).execute([Sent({"X": array})]))
    refused(response, INVALID_ARG, "X: got", "expected", *parts)


@pytest.mark.parametrize(
    ("answers", "log"),
    [
        ([], "0 answers"),
        ([{"Y": np.arange(1), "Z": np.zeros(1, np.float32)}] * 2, "2 answers"),
        ([{"Y": np.arange(1)}], "KeyError: 'Z'"),
        ([{"Y": np.arange(1, dtype=np.int32), "Z": np.zeros(1, np.float32)}], "Y: got int32"),
        ([{"Y": np.arange(1), "Z": np.zeros((1, 1), np.float32)}], "Z: got float32 [1, 1]"),
    ],
)
def test_what_the_model_gets_wrong_is_an_internal_error(
    serve: Serve, triton: Triton, answers: list[Any], log: str
) -> None:
    response = only(serve(lambda instance, requests: answers).execute([sent((1, 2))]))
    refused(response, INTERNAL, "internal error")
    (logged,) = triton.log
    assert log in logged


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("X: got it wrong"), INVALID_ARG, "X: got it wrong"),
        (CancelledError("nobody waits"), CANCELLED, "nobody waits"),
        (BeampipeError("not today"), INTERNAL, "not today"),
        (FileError(f"{SECRET}: got no such file"), INTERNAL, "internal error"),
        (MemoryError(), INTERNAL, "out of memory"),
    ],
)
@pytest.mark.parametrize("how", ["raised", "returned"])
def test_errors_by_kind(serve: Serve, error: Exception, code: str, message: str, how: str) -> None:
    def run(instance: Instance, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        if how == "returned" and isinstance(error, BeampipeError):
            return [error]
        raise error

    refused(only(serve(run).execute([sent((1, 2))])), code, message)


@pytest.mark.usefixtures("always_ask")
@pytest.mark.parametrize("end", ["the client is gone", "the time that it allowed is over"])
def test_work_ends_between_steps_when_nobody_waits(serve: Serve, end: str) -> None:
    steps: list[int] = []

    def long(instance: Instance, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        for step in range(3):
            instance.checkpoint()
            steps.append(step)
            if end == "the client is gone":
                request.cancelled = step == 1
            else:
                request.allowed = 1 if step == 1 else 10**12
            while monotonic() < begin + 1e-3:
                pass
        return sums(instance, requests)

    begin = monotonic()
    request = sent((1, 2))
    refused(only(serve(long).execute([request])), CANCELLED, "nobody waits")
    assert steps == [0, 1]


@pytest.mark.usefixtures("always_ask")
def test_a_batch_goes_on_while_somebody_waits(serve: Serve) -> None:
    def checked(instance: Instance, requests: Sequence[ModelRequest]) -> Sequence[ModelAnswer]:
        instance.checkpoint()
        return sums(instance, requests)

    served = serve(checked, max_batch_size=8)
    gone, here = sent((1, 2), batched=True, cancelled=True), sent((3, 4), batched=True)
    assert served.execute([gone, here])[1].array("Z").tolist() == [[7]]
    for response in served.execute([gone, gone]):
        refused(response, CANCELLED)


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


COUNTERS = {"hits": "Hits of the events answered.", "tracks": "Tracks found."}


def added(counters: InstanceMetrics) -> dict[str, float]:
    """What has reached the families, by name and labels."""
    metrics = [(family.name, *metric) for family in counters._families.values() for metric in family.metrics]
    return {",".join([name, *labels.values()]): sum(amounts) for name, labels, amounts in metrics}


@pytest.fixture
def counters(triton: Triton) -> InstanceMetrics:
    return InstanceMetrics(triton, "model", "model_0", COUNTERS)


def test_amounts_are_added_up_and_handed_over_once(counters: InstanceMetrics) -> None:
    counters.start()
    for _ in range(1000):
        counters.observe("hits", 2, "")
        counters.observe("stage_seconds", 0.5, "gnn")
        counters.observe("stage_seconds", 0.25, "embedding")
    counters.stop()
    assert added(counters) == {
        "beampipe_hits_total,model,model_0": 2000,
        "beampipe_stage_seconds_total,model,model_0,gnn": 500,
        "beampipe_stage_seconds_total,model,model_0,embedding": 250,
    }
    ((_, amounts),) = counters._families["hits"].metrics
    assert len(amounts) < 10


def test_what_came_before_the_start_is_forgotten(counters: InstanceMetrics) -> None:
    counters.observe("hits", 306, "")
    counters.start()
    counters.observe("hits", 1, "")
    counters.stop()
    assert added(counters) == {"beampipe_hits_total,model,model_0": 1}


def test_it_hands_over_while_it_runs(counters: InstanceMetrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_PERIOD", 0.01)
    arrived = threading.Event()
    monkeypatch.setattr(counters, "_flush", arrived.set)
    counters.start()
    assert arrived.wait(60)
    counters.stop()
