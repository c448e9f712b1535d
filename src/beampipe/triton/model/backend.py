"""`TritonPythonModel`: how Triton's Python backend meets a `Model`. Each generated ``model.py`` imports it.

`execute` never raises: each request gets its own answer or its own typed error, and nothing of the server's inside
(paths, tracebacks) goes to a client; those go to the server's log.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.errors import BeampipeError, CancelledError, InputError, ModelError
from beampipe.triton.model import contract
from beampipe.triton.model.canary import check_model
from beampipe.triton.model.contract import TensorSpec, fits, instance_count
from beampipe.triton.model.exchange import exchange
from beampipe.triton.model.metrics import InstanceMetrics
from beampipe.triton.model.served_model import Instance, ModelAnswer, ModelRequest, model_class

__all__ = ["TritonPythonModel"]

_POLL: Final = 0.02
"""Time [s] between two questions whether a client still waits. Each is a round trip to the server: too long for small
events."""


class TritonPythonModel:
    """The three calls of the Python backend: initialize, execute, finalize."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Bind one model to the device and threads of this instance, and ask it something with a known answer.

        Raises:
            BeampipeError: the model cannot be made here, or answers wrongly; Triton then does not serve it.
        """
        import triton_python_backend_utils as pb  # exists only inside Triton

        self.pb = pb
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config.get("parameters", {}).items()}
        folder = Path(args["model_repository"])
        version = folder / args["model_version"]
        self.batches = config.get("max_batch_size", 0) > 0
        self.requests: Sequence[Any] = ()
        self.begun = self.polled = monotonic()
        made = model_class(parameters[contract.MODEL_CLASS], version)
        self.metrics = InstanceMetrics(
            pb, args["model_name"], args["model_instance_name"], getattr(made, "counters", {})
        )
        weights = parameters.get(contract.EXECUTION_MODEL_PATH, contract.MODEL_DIRECTORY)
        instance = Instance(
            name=args["model_instance_name"],
            device=_device(args),
            threads=_threads(parameters, config),
            weights=Path(weights.replace(contract.MODEL_DIRECTORY, str(folder))),
            parameters=parameters,
            checkpoint=self._checkpoint,
            observe=self.metrics.observe,
        )
        self.inputs: tuple[TensorSpec, ...] = made.inputs
        self.outputs = {spec.name: spec for spec in made.outputs}
        self.model = made(instance)
        self.array, self.tensor = exchange(pb)
        check_model(self.model.run, version, args["model_name"])
        self.metrics.start()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request."""
        answers: dict[int, ModelAnswer] = {}
        arrays: dict[int, ModelRequest] = {}
        for row, request in enumerate(requests):
            try:
                arrays[row] = self._read(request)
            except Exception as error:
                answers[row] = self._known(error)
        self.requests = [requests[row] for row in arrays]
        self.begun = self.polled = monotonic()
        try:
            for rows in [list(arrays)] if self.batches else [[row] for row in arrays]:
                answers.update(zip(rows, self._run([arrays[row] for row in rows]), strict=True))
        finally:
            self.requests = ()
        return [self._response(request, answers[row]) for row, request in enumerate(requests)]

    def finalize(self) -> None:
        """Free the model and what it holds on its device."""
        self.metrics.stop()
        del self.model

    def _read(self, request: Any) -> ModelRequest:
        arrays = {}
        for spec in self.inputs:
            tensor = self.pb.get_input_tensor_by_name(request, spec.name)
            if tensor is None:
                raise InputError(f"{spec.name}: got no such input, expected {spec}")
            array = self.array(tensor)
            shape = array.shape
            if self.batches:
                if shape[:1] != (1,):
                    raise InputError(
                        f"{spec.name}: got shape {list(shape)}, expected [1, n, ...]: one event per request"
                    )
                array = array[0]
            if array.dtype != spec.dtype:
                raise InputError(f"{spec.name}: got {array.dtype}, expected {np.dtype(spec.dtype)}")
            if not fits(array.shape, spec.dims):
                raise InputError(f"{spec.name}: got shape {list(shape)}, expected {list(spec.dims)}")
            arrays[spec.name] = array
        return arrays

    def _run(self, requests: list[ModelRequest]) -> Sequence[ModelAnswer]:
        try:
            answers = list(self.model.run(requests))
            if len(answers) != len(requests):
                raise ModelError(f"model: got {len(answers)} answers, expected {len(requests)}")
        except Exception as error:
            if len(requests) == 1:
                return [self._known(error)]
            # One of them is at fault; the others still get their answer.
            return [self._run([request])[0] for request in requests]
        return answers

    def _checkpoint(self) -> None:
        now = monotonic()
        if now - self.polled < _POLL:
            return
        self.polled = now
        # Triton does not see that an HTTP client has gone, but clients may say how long they wait [us]; 0: for ever.
        spent = (now - self.begun) * 1e6
        if self.requests and all(request.is_cancelled() or 0 < request.timeout() < spent for request in self.requests):
            raise CancelledError("cancelled: nobody waits for the answer any more")

    def _known(self, error: Exception) -> BeampipeError:
        """What a client may read of an error: not of the server's files, packages and settings."""
        if isinstance(error, (InputError, CancelledError)) or type(error) is BeampipeError:
            return error
        if isinstance(error, MemoryError):
            return BeampipeError("out of memory: send a smaller event, or fewer at a time")
        self.pb.Logger.log_error("".join(traceback.format_exception(error)))
        return BeampipeError("internal error of the model; the server's log has the details")

    def _response(self, request: Any, answer: ModelAnswer) -> Any:
        try:
            if isinstance(answer, BeampipeError):
                return self._error(self._known(answer))
            wanted = request.requested_output_names()
            outputs = [self._output(self.outputs[name], answer[name]) for name in wanted]
            return self.pb.InferenceResponse(output_tensors=outputs)
        except Exception as error:
            return self._error(self._known(error))

    def _output(self, spec: TensorSpec, array: ndarray) -> Any:
        # Triton checks neither type nor shape of what a model answers.
        if array.dtype != spec.dtype or not fits(array.shape, spec.dims):
            raise ModelError(
                f"{spec.name}: got {array.dtype} {list(array.shape)}, expected {np.dtype(spec.dtype)} {list(spec.dims)}"
            )
        array = np.ascontiguousarray(array)
        # Not `array[None]`: the stride of its new axis is 0, which Triton takes for a gap.
        return self.tensor(spec.name, array.reshape(1, *array.shape) if self.batches else array)

    def _error(self, error: BeampipeError) -> Any:
        codes = self.pb.TritonError
        code = codes.INTERNAL
        if isinstance(error, InputError):
            code = codes.INVALID_ARG
        elif isinstance(error, CancelledError):
            code = codes.CANCELLED
        return self.pb.InferenceResponse(error=codes(str(error), code))


def _device(args: Mapping[str, str]) -> str:
    return f"cuda:{args['model_instance_device_id']}" if args["model_instance_kind"] == "GPU" else "cpu"


def _threads(parameters: Mapping[str, str], config: Mapping[str, Any]) -> int:
    """As the configuration says, else the cores shared out among the instances."""
    if (given := parameters.get(contract.THREADS, "")).isdigit():
        return int(given)
    return max(1, len(os.sched_getaffinity(0)) // (instance_count(config) or 1))
