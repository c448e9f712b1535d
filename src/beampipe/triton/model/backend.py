"""`TritonPythonModel`: runs a `Model` in Triton's Python backend. Each generated ``model.py`` imports it.

`TritonPythonModel.execute` never raises: each request gets its own answer or its own typed error. Nothing about the
server's internals (paths, tracebacks) goes to a client; it goes to the server's log.
"""

from __future__ import annotations

import ctypes
import json
import os
import threading
import traceback
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.errors import BeampipeError, CancelledError, ConfigError, InputError, ModelError, to_wire
from beampipe.triton.model import contract
from beampipe.triton.model.canary import check_model


def exchange(pb: Any) -> tuple[Callable[[Any], ndarray], Callable[[str, ndarray], Any]]:
    """The two functions that convert between Triton's tensors and arrays.

    Builds of the Python backend for numpy 1 (Triton 2.51 is one) give wrong data with numpy 2, without an error:
    ``as_numpy`` repeats the first element, and `Tensor` sends an empty buffer of the right shape. DLPack avoids both.
    The canary detects a wrong choice for any build.

    Args:
        pb: Triton's module `triton_python_backend_utils`.

    Returns:
        A function from a tensor to its array, which may be read-only, and one from a name and an array to a tensor.
    """
    set_destructor = ctypes.pythonapi.PyCapsule_SetDestructor
    set_destructor.argtypes, set_destructor.restype = [ctypes.py_object, ctypes.c_void_p], ctypes.c_int

    def to_tensor(name: str, array: ndarray) -> Any:
        if not array.size:
            # numpy gives an empty array strides of 0, which the backend mistakes for a gap; a view has correct ones.
            array = np.empty(1, array.dtype)[:0].reshape(array.shape)
        if not array.flags.writeable:  # DLPack cannot mark arrays read-only, such as an input returned as output
            array = array.copy()
        capsule = array.__dlpack__()
        tensor = pb.Tensor.from_dlpack(name, capsule)
        # The backend now owns the array and frees it. It renames the capsule in a way unknown to numpy, and
        # numpy's destructor would write a traceback into the log for every answer.
        set_destructor(capsule, None)
        return tensor

    return np.from_dlpack, to_tensor


COMMON_COUNTERS: Final = {"events": "Events answered.", "stage_seconds": "Wall time of each stage [s]."}
"""Counters of all models: name -> description."""

_PERIOD: Final = 1.0
"""Interval [s] at which amounts are passed to Triton."""


class InstanceMetrics:
    """The counters of one instance of a model, as Prometheus metrics on Triton's own metrics port::

        beampipe_events_total           {model, instance}           by every model that observes it
        beampipe_stage_seconds_total    {model, instance, stage}    likewise
        beampipe_NAME_total             {model, instance}           for each NAME in the `counters` of a model

    Each call into the server costs tens of microseconds, so amounts are added up here and passed on once a second.

    Args:
        pb: Triton's module `triton_python_backend_utils`.
        model: name of the model.
        instance: name of the instance.
        counters: descriptions by name of what the model may observe besides `COMMON_COUNTERS`. Other names are ignored.
    """

    def __init__(self, pb: Any, model: str, instance: str, counters: Mapping[str, str]) -> None:
        self._labels = {"model": model, "instance": instance}
        # Families must live as long as their metrics are used.
        self._families = {
            name: pb.MetricFamily(name=f"beampipe_{name}_total", description=text, kind=pb.MetricFamily.COUNTER)
            for name, text in {**COMMON_COUNTERS, **counters}.items()
        }
        self._metrics: dict[tuple[str, str], Any] = {}
        self._amounts: defaultdict[tuple[str, str], float] = defaultdict(float)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        """Discard what the canary has added, and start to pass amounts to Triton."""
        self._take()
        self._thread.start()

    def stop(self) -> None:
        """Pass the remaining amounts to Triton, and end."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def observe(self, name: str, amount: int | float, stage: str) -> None:
        """Add to a counter.

        Args:
            name: name of the counter; one that was not declared is ignored.
            amount: what is added, in the unit of the counter.
            stage: label of the stage that the amount belongs to; empty for none.
        """
        if name in self._families:
            with self._lock:
                self._amounts[name, stage] += amount

    def _take(self) -> dict[tuple[str, str], float]:
        with self._lock:
            taken = dict(self._amounts)
            self._amounts.clear()
        return taken

    def _run(self) -> None:
        while not self._stopped.wait(_PERIOD):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        for (name, stage), amount in self._take().items():
            if (name, stage) not in self._metrics:
                labels = {**self._labels, **({"stage": stage} if stage else {})}
                self._metrics[name, stage] = self._families[name].Metric(labels=labels)
            self._metrics[name, stage].increment(amount)


_POLL: Final = 0.02
"""Time [s] between two checks for cancellation. Each is a round trip to the server: too long for small events."""


class TritonPythonModel:
    """The three calls of the Python backend: initialize, execute, finalize."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Make the model on the device and with the threads of this instance, and check its canary.

        Raises:
            BeampipeError: the model cannot be made here, or its canary fails; Triton then does not serve it.
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
        cls = contract.model_class(parameters[contract.MODEL_CLASS], version)
        self.metrics = InstanceMetrics(
            pb, args["model_name"], args["model_instance_name"], getattr(cls, "counters", {})
        )
        device = "cpu"
        if args["model_instance_kind"] == "GPU":
            device = f"cuda:{args['model_instance_device_id']}"
        threads = max(1, len(os.sched_getaffinity(0)) // (contract.instance_count(config) or 1))  # divide the cores
        if (configured := parameters.get(contract.THREADS, "")).isdigit():
            threads = int(configured)
        weights = parameters.get(contract.EXECUTION_MODEL_PATH, contract.MODEL_DIRECTORY)
        instance = contract.Instance(
            name=args["model_instance_name"],
            device=device,
            threads=threads,
            weights=Path(weights.replace(contract.MODEL_DIRECTORY, str(folder))),
            parameters=parameters,
            checkpoint=self._checkpoint,
            observe=self.metrics.observe,
        )
        self.inputs: tuple[contract.TensorSpec, ...] = cls.inputs
        self.outputs = {spec.name: spec for spec in cls.outputs}
        self.model = cls(instance)
        digest = contract.model_digest(self.model, parameters[contract.MODEL_CLASS], version, parameters)
        if parameters.get(contract.DIGEST, digest) != digest:
            raise ConfigError(
                f"{args['model_name']}: got other code, weights or parameters than when it was exported: another"
                " version of beampipe or of its own modules is installed here, or files were changed; export it again"
            )
        self.array, self.tensor = exchange(pb)
        check_model(self.model.run, version, args["model_name"])
        self.metrics.start()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request."""
        answers: dict[int, contract.ModelAnswer] = {}
        arrays: dict[int, contract.ModelRequest] = {}
        for row, request in enumerate(requests):
            try:
                arrays[row] = self._read(request)
            except Exception as error:
                answers[row] = self._public_error(error)
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

    def _read(self, request: Any) -> contract.ModelRequest:
        arrays = {}
        for spec in self.inputs:
            tensor = self.pb.get_input_tensor_by_name(request, spec.name)
            if tensor is None and spec.optional:
                continue
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
            if not contract.fits(array.shape, spec.dims):
                raise InputError(f"{spec.name}: got shape {list(shape)}, expected {list(spec.dims)}")
            arrays[spec.name] = array
        return arrays

    def _run(self, requests: list[contract.ModelRequest]) -> Sequence[contract.ModelAnswer]:
        try:
            answers = list(self.model.run(requests))
            if len(answers) != len(requests):
                raise ModelError(f"model: got {len(answers)} answers, expected {len(requests)}")
        except Exception as error:
            if len(requests) == 1:
                return [self._public_error(error)]
            # One of the requests is the cause; run alone, the others get their answer.
            return [self._run([request])[0] for request in requests]
        return answers

    def _checkpoint(self) -> None:
        now = monotonic()
        if now - self.polled < _POLL:
            return
        self.polled = now
        # Triton does not notice that an HTTP client has gone, but clients may state a timeout [us]; 0 for none.
        spent = (now - self.begun) * 1e6
        if self.requests and all(request.is_cancelled() or 0 < request.timeout() < spent for request in self.requests):
            raise CancelledError("cancelled: nobody waits for the answer any more")

    def _public_error(self, error: Exception) -> BeampipeError:
        """The part of an error that a client may read: nothing about the server's files, packages and settings."""
        if isinstance(error, (InputError, CancelledError)) or type(error) is BeampipeError:
            return error
        if isinstance(error, MemoryError):
            return BeampipeError("out of memory: send a smaller event, or fewer at a time")
        self.pb.Logger.log_error("".join(traceback.format_exception(error)))
        return BeampipeError("internal error of the model; the server's log has the details")

    def _response(self, request: Any, answer: contract.ModelAnswer) -> Any:
        try:
            if isinstance(answer, BeampipeError):
                return self._error(self._public_error(answer))
            names = request.requested_output_names()
            outputs = [self._output(self.outputs[name], answer[name]) for name in names]
            return self.pb.InferenceResponse(output_tensors=outputs)
        except Exception as error:
            return self._error(self._public_error(error))

    def _output(self, spec: contract.TensorSpec, array: ndarray) -> Any:
        # Triton checks neither type nor shape of a model's output.
        if array.dtype != spec.dtype or not contract.fits(array.shape, spec.dims):
            raise ModelError(
                f"{spec.name}: got {array.dtype} {list(array.shape)}, expected {np.dtype(spec.dtype)} {list(spec.dims)}"
            )
        array = np.ascontiguousarray(array)
        # Not `array[None]`: the stride of its new axis is 0, which Triton mistakes for a gap.
        return self.tensor(spec.name, array.reshape(1, *array.shape) if self.batches else array)

    def _error(self, error: BeampipeError) -> Any:
        codes = self.pb.TritonError
        code = codes.INTERNAL
        if isinstance(error, InputError):
            code = codes.INVALID_ARG
        elif isinstance(error, CancelledError):
            code = codes.CANCELLED
        return self.pb.InferenceResponse(error=codes(to_wire(error), code))
