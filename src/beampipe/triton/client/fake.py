"""`FakeTransport`: answers in this process, for tests of clients.

client = ModelClient("grpc://anywhere:8001", "doubler", transport=FakeTransport(Doubler))
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.errors import BeampipeError, ServiceError
from beampipe.triton.client.codec import ConfigRequest, InferRequest, Message, Output
from beampipe.triton.client.transports import PendingAnswer
from beampipe.triton.model.contract import Instance, Model, TensorSpec, tensor_configuration, triton_type

Answers = Callable[[dict[str, ndarray]], Mapping[str, ndarray]]
"""Input arrays by name -> output arrays by name; may raise errors of a server, such as `ServiceUnavailableError`."""


class FakeTransport:
    """A transport to no server: a function or a model answers each request.

    Args:
        answer: function from input arrays to output arrays by name of tensor, or the class of a `Model`. It sees
            arrays without the batch axis, as a model behind Triton does, from several threads at once.
        inputs: tensors that a function takes; a class has its own.
        outputs: tensors that a function gives; a class has its own.
        batched: whether the model's tensors have a batch axis in front on the wire.
        parameters: parameters of the model's configuration, by name.

    Attributes:
        n_requests: number of inference requests received.
    """

    def __init__(
        self,
        answer: Answers | type[Model],
        inputs: Sequence[TensorSpec] = (),
        outputs: Sequence[TensorSpec] = (),
        *,
        batched: bool = False,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        self._parameters = dict(parameters or {})
        self._answer: Answers
        if isinstance(answer, type):
            model: Model = answer(Instance(parameters=self._parameters))
            self._answer, inputs, outputs = partial(_answer, model), model.inputs, model.outputs
        else:
            self._answer = answer
        self._inputs, self._outputs, self._batched = tuple(inputs), tuple(outputs), batched
        self._lock = threading.Lock()
        self.n_requests = 0

    def send(self, message: Message[Any], timeout: float, pending: PendingAnswer[Any] | None = None) -> Any:
        if isinstance(message, ConfigRequest):
            return self._config(message.model)
        if isinstance(message, InferRequest):
            return self._infer(message)
        raise ServiceError(f"fake: got {type(message).__name__}, expected a request for a configuration or an answer")

    def close(self) -> None:
        """Does nothing: a fake holds nothing."""

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _config(self, model: str) -> dict[str, Any]:
        return {
            "name": model,
            "max_batch_size": int(self._batched),
            "input": list(map(tensor_configuration, self._inputs)),
            "output": list(map(tensor_configuration, self._outputs)),
            "parameters": {key: {"string_value": value} for key, value in self._parameters.items()},
        }

    def _infer(self, request: InferRequest) -> dict[str, Output]:
        with self._lock:
            self.n_requests += 1
        # Copies, so that the function cannot change the client's arrays.
        sent = {tensor.spec.name: tensor.array.copy() for tensor in request.inputs}
        answers = self._answer({name: array[0] if self._batched else array for name, array in sent.items()})
        outputs = {}
        for spec in request.outputs:
            if spec.name in answers:
                array = np.ascontiguousarray(answers[spec.name])
                shape = (1, *array.shape) if self._batched else array.shape
                outputs[spec.name] = Output(triton_type(array.dtype), shape, array.tobytes())
        return outputs


def _answer(model: Model, arrays: dict[str, ndarray]) -> Mapping[str, ndarray]:
    """The answer of a model to one request."""
    (answer,) = model.run([arrays])
    if isinstance(answer, BeampipeError):
        raise answer
    return answer
